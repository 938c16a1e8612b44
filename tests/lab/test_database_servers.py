"""Database servers on real hosts: set up by the role, copied to replicas, and failovers while writers write."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.lab.database_group import DatabaseGroup, writable
from zctl.lab import Lab

TABLE = "CREATE TABLE zctl.acknowledged (n INT PRIMARY KEY);"


@pytest.fixture(scope="module")
def group(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseGroup]:
    """A primary and two replicas, installed by zctl, with an inventory and two writers."""
    made = DatabaseGroup(lab, tmp_path_factory.mktemp("databases"))
    first, second, third = (made.address(name) for name in ("h1", "h2", "h3"))
    made.ok(
        "replicate", "--primary", first, "--replica", second, "--replica", f"root@{third}:22", "--semi-sync", "--use"
    )
    made.ok("migrate")
    made.sql("h1", TABLE)
    yield made
    made.end_writing()
    for name in ("h1", "h2", "h3"):
        lab.ssh(name, "systemctl disable --now mariadb.service; rm -rf /etc/zctl/database")


def test_the_role_sets_up_what_it_says(group: DatabaseGroup) -> None:
    """Again it changes nothing; users may do no more than needed, and nobody gets in without TLS."""
    assert "unchanged" in group.ok("deploy", "--host", group.address("h1"))
    accounts = group.sql("h1", "SELECT CONCAT(user, '@', host) FROM mysql.global_priv").split()
    assert sorted(accounts) == [
        "mariadb.sys@localhost", "mysql@localhost", "root@localhost", "zctl@%", "zctl_reader@%", "zctl_repl@%"
    ]  # fmt: skip
    assert "REQUIRE SSL" in group.sql("h1", "SHOW GRANTS FOR zctl")
    assert group.lab.ssh("h1", "stat -c '%a %U' /etc/zctl/database/server.key").split() == ["600", "mysql"]
    assert (group.folder / "home/servers.toml").stat().st_mode & 0o077 == 0
    settings = (group.folder / "config/zctl/config.toml").read_text()
    assert "ENC(" in settings and settings.count(",") == 2
    found = group.status()
    assert [server["role"] for server in found["servers"]] == ["primary", "replica", "replica"]
    assert found["problems"] == [] and writable(group) == [group.address("h1")]


def test_dumps_with_no_more_rights_than_that(group: DatabaseGroup) -> None:
    """Over TLS, tried in a scratch database, restored; replicas have all of it, too."""
    for words in (
        ("zone", "create", "z1"),
        ("dump_mysql", "--verify"),
        ("zone", "create", "z2"),
        ("restore_mysql", "--file", "newest", "--yes"),
    ):
        if words[0] == "restore_mysql":
            (newest,) = (group.folder / "home/mysql-backup").glob("*.sql.zst")
            words = (*words[:2], newest.name, *words[3:])  # noqa: PLW2901
        output, _ = (process := group.begin(*words)).communicate(timeout=120)
        assert process.returncode == 0, output
    assert group.sql("h1", "SELECT name FROM zone") == "z1"
    group.wait_for_replicas("SELECT GROUP_CONCAT(name) FROM zone", "z1")


def test_a_setting_of_somebody_else_is_not_overruled(group: DatabaseGroup) -> None:
    """It is named, and left alone."""
    path = "/etc/mysql/mariadb.conf.d/70-mine.cnf"
    group.lab.ssh("h2", f"printf '[mysqld]\\nsync-binlog = 0\\n' >{path}")
    try:
        code, output = group.call("deploy", "--host", group.address("h2"))
        assert code == 1 and "70-mine.cnf sets sync_binlog = 0" in output
    finally:
        group.lab.ssh("h2", f"rm {path}")


def test_failovers_lose_nothing(group: DatabaseGroup) -> None:
    """One planned, one after kill -9 of the server, one after the machine's power is cut."""
    group.begin_writing()
    group.wait_for_writes(time.time())
    group.ok("failover", "--to", group.address("h2"))
    assert group.wait_for_writes(time.time()) < 30
    assert group.missing() == set() and writable(group) == [group.address("h2")]

    group.kill_server("h2")
    group.ok("failover")
    assert group.wait_for_writes(time.time()) < 30
    assert group.missing() == set() and len(writable(group)) == 1
    group.heal()

    primary = group.name(group.status()["primary"])
    group.lab.kill(primary)
    group.ok("failover")
    assert group.wait_for_writes(time.time()) < 30
    group.power_on()
    assert group.missing() == set()
    assert len(writable(group)) == 1, "the old primary came back as a second one"
    group.heal()
    assert group.status()["problems"] == []
    group.end_writing()
    assert group.missing() == set()


def test_a_primary_that_was_cut_off_stands_back(group: DatabaseGroup) -> None:
    """It knows nothing of the failover; as soon as it sees the others again it takes no more writes."""
    group.begin_writing()
    group.wait_for_writes(time.time())
    primary = group.name(group.status()["primary"])
    group.cut_network(primary)
    try:
        group.ok("failover")
        assert group.wait_for_writes(time.time()) < 30
        assert group.missing() == set()
    finally:
        group.mend_network(primary)
    group.wait_for_one_writable()
    assert group.wait_for_writes(time.time()) < 30
    group.heal()
    assert group.status()["problems"] == []
    group.end_writing()
    assert group.missing() == set()
