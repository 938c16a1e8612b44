"""zctl restore_mysql and db move: what they check, what they replace, and what is left when they go wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import select, text

from tests.unit.conftest import FakeHosts, Zctl
from tests.unit.rows_machine import play
from tests.unit.servers import MariaDb
from tests.unit.test_dump import begun, dumped, fill_events, folder_of, slowed, start
from zctl.actions.restore import look
from zctl.inventory.engine import Inventory
from zctl.inventory.head import HEAD
from zctl.inventory.schema import alembic_config
from zctl.resources.base import now
from zctl.resources.job import Job

VM = ("--image", "tiny", "--instance-offering", "small", "--network", "lan")


def rewrite(zctl: Zctl, file: str, **changes: Any) -> None:
    """Change a dump's manifest."""
    path = folder_of(zctl) / f"{file}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_back_to_the_dump(cloud: Zctl) -> None:
    """Every row as it was; what was there before is in a dump of its own, and that one restores, too."""
    cloud.ok("vm", "create", "web-1", *VM, "--tag", "a=b")
    before = cloud.dump()
    file = dumped(cloud)["file"]
    cloud.ok("vm", "create", "web-2", *VM)
    cloud.ok("vm", "delete", "web-1", "--yes")
    after = cloud.dump()
    assert "needs a yes" in cloud.fails("restore_mysql", "--file", file, code=2)
    assert cloud.call("restore_mysql", "--file", file, "--dry-run").exit_code == 0 and cloud.dump() == after
    done = json.loads(cloud.ok("restore_mysql", "--file", file, "--yes", "--no-plan", "-o", "json"))
    assert cloud.dump() == before
    cloud.ok("restore_mysql", "--file", done["safety_dump"], "--yes", "--no-plan")
    assert cloud.dump() == after
    assert "ERROR" not in (cloud.home / "zctl.log").read_text()


def test_hosts_are_compared_afterwards(cloud: Zctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore ends with what was made since and the plan; a host that is away is no failure of the restore."""
    cloud.hosts = play(monkeypatch, tmp_path / "etc")
    file = dumped(cloud)["file"]
    cloud.ok("vm", "create", "web-9", *VM, "--host", "h2")
    answer = cloud.call("restore_mysql", "--file", file, "--yes")
    assert answer.exit_code == 0 and "on hosts, not in the dump: vm web-9" in answer.stderr, answer.output
    assert "zctl db rebuild --from-hosts takes them in" in answer.stderr
    cloud.hosts.away = {"h1"}
    answer = cloud.call("restore_mysql", "--file", file, "--yes")
    assert answer.exit_code == 0 and "h1" in answer.stderr and "does not answer" in answer.stderr, answer.output


def test_what_is_refused(cloud: Zctl, tmp_path: Path) -> None:
    """Damage, truncation, schemas and manifests of the future, other inventories, no manifest: nothing is changed."""
    place = folder_of(cloud)
    file = dumped(cloud)["file"]
    good, manifest = (place / file).read_bytes(), (place / f"{file}.json").read_text()
    words = ("restore_mysql", "--yes", "--file", file)

    def refusal(code: int = 1) -> str:
        said = cloud.fails(*words, code=code)
        (place / file).write_bytes(good)
        (place / f"{file}.json").write_text(manifest)
        return said

    (place / file).write_bytes(good[:-20])
    assert "cut off" in refusal()
    (place / file).write_bytes(good[:50] + b"XXXX" + good[54:])
    assert "damaged" in refusal()
    rewrite(cloud, file, schema_revision="9999")
    assert "has schema 9999, which this zctl" in refusal()
    rewrite(cloud, file, format=2)
    assert "needs a newer zctl" in refusal(2)
    rewrite(cloud, file, inventory="another")
    assert "of another inventory" in refusal()
    rewrite(cloud, file, content_sha256="0" * 64)
    assert "contents are not what" in refusal()
    rewrite(cloud, file, engine="mysql" if not cloud.db else "sqlite")
    assert "zctl db move" in refusal()
    (place / f"{file}.json").write_text("no json")
    assert "no manifest of a dump" in refusal(2)
    (place / f"{file}.json").unlink()
    assert "manifest" in refusal(2)
    assert "there is no dump" in cloud.fails("restore_mysql", "--yes", "--file", "nothing", code=2)
    cloud.ok(*words, "--no-plan")


def test_into_an_empty_database(cloud: Zctl, tmp_path: Path, server: MariaDb) -> None:
    """After the disk or the server was lost: the dump is enough, and needs no yes."""
    file = folder_of(cloud) / dumped(cloud)["file"]
    before = cloud.dump()
    fresh = Zctl(tmp_path / "new", FakeHosts(), server.empty("zctl_fresh") if cloud.db else "")
    fresh.ok("restore_mysql", "--file", str(file), "--no-plan")
    assert fresh.dump() == before
    fresh.ok("zone", "create", "z9")


def test_a_damaged_inventory_is_laid_aside(cloud: Zctl) -> None:
    """SQLite: a file that cannot be read any more is kept under another name."""
    if cloud.db:
        pytest.skip("what MariaDB's own files hold is its business")
    before = cloud.dump()
    file = dumped(cloud)["file"]
    path = cloud.home / "zctl.db"
    path.write_bytes(b"this is no database at all" * 500)
    for extra in ("-wal", "-shm"):
        Path(f"{path}{extra}").unlink(missing_ok=True)
    cloud.ok("restore_mysql", "--file", file, "--yes", "--no-plan")
    assert cloud.dump() == before
    (kept,) = cloud.home.glob("zctl.db.damaged-*")
    assert kept.read_bytes().startswith(b"this is no database")


def test_jobs_of_that_time_are_given_up(cloud: Zctl) -> None:
    """What ran when the dump was taken is neither done nor undone again: it could hit what was made later."""
    with cloud.inventory.write() as db:
        db.add(
            Job.build(
                name="job-x", verb="vm create", owner="me@elsewhere:b:1:1", heartbeat_at=now() - timedelta(hours=1)
            )
        )
    file = dumped(cloud)["file"]
    with cloud.inventory.write() as db:
        db.delete(db.scalars(select(Job)).one())
    answer = cloud.call("restore_mysql", "--file", file, "--yes", "--no-plan")
    assert answer.exit_code == 0 and "job-x" in answer.stderr
    assert [(row["state"], "restored from a dump" in row["error"]) for row in cloud.rows("job")] == [
        ("Cancelled", True)
    ]


def test_not_while_others_are_at_work(cloud: Zctl) -> None:
    """A living process would go on writing into what it has not read."""
    file = dumped(cloud)["file"]
    from zctl.inventory.lease import owner

    with cloud.inventory.write() as db:
        mine = owner().rpartition(":")
        parent = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]
        alive = f"{mine[0].rpartition(':')[0]}:{os.getppid()}:{parent}"
        db.add(Job.build(name="job-y", verb="vm create", owner=alive, heartbeat_at=now()))
    assert "is in use by" in cloud.fails("restore_mysql", "--file", file, "--yes")


@pytest.mark.parametrize("revision", ["0001", "0005", "0008"])
def test_an_older_schema_is_brought_up_to_date(revision: str, engine: str, tmp_path: Path, server: MariaDb) -> None:
    """A dump from before an upgrade: its rows come back, in today's tables."""
    url = server.empty() if engine else f"sqlite:///{tmp_path}/home/zctl.db"
    (tmp_path / "home").mkdir()
    zctl = Zctl(tmp_path / "home", FakeHosts(), url if engine else "")
    with Inventory(url).engine.connect() as connection:
        command.upgrade(alembic_config(connection), revision)
        connection.execute(text("INSERT INTO info (id, inventory) VALUES (1, 'b0000000-0000-0000-0000-000000000000')"))
        connection.execute(
            text(
                "INSERT INTO zone (id, name, version, created_at, updated_at)"
                " VALUES ('a', 'old', 1, '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
            )
        )
        connection.commit()
    file = dumped(zctl, "--verify")["file"]
    zctl.ok("init")
    zctl.ok("zone", "create", "newer")
    done = json.loads(zctl.ok("restore_mysql", "--file", file, "--yes", "--no-plan", "-o", "json"))
    assert done["schema"] == revision and [row["name"] for row in zctl.rows("zone")] == ["old"]
    with Inventory(zctl.url).engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD


def test_killed_at_any_moment(cloud: Zctl, tmp_path: Path) -> None:
    """kill -9 in a restore: the inventory is the old one or the new one, whole; the next restore works."""
    fill_events(cloud, 500)
    old = cloud.dump()
    file = dumped(cloud)["file"]
    cloud.ok("zone", "create", "later")
    new = cloud.dump()
    path = slowed(tmp_path, "mariadb", 'exec "$real" "$@"') if cloud.db else ""
    chance = random.Random(5)
    for _ in range(4):
        with start(cloud, "restore_mysql", "--file", file, "--yes", "--no-plan", path=path) as process:
            if cloud.db:
                begun(tmp_path)
            time.sleep(chance.uniform(0.3, 1.2))
            process.send_signal(signal.SIGKILL)
        assert cloud.dump() in (old, new)
    cloud.ok("restore_mysql", "--file", file, "--yes", "--no-plan")
    assert cloud.dump() == old
    if cloud.db:
        with cloud.inventory.engine.connect() as connection:
            assert connection.execute(text("SHOW DATABASES LIKE 'zctl\\_scratch\\_%'")).all() == []


def test_routines_triggers_and_events_come_along(cloud: Zctl, server: MariaDb) -> None:
    """What a user added to the database beside zctl's tables is in the dump, and comes back."""
    if not cloud.db:
        pytest.skip("SQLite has none")
    server.sql(
        "USE zctl",  # with the database's name in its text a trigger could only come back in a database of that name
        "CREATE OR REPLACE TRIGGER t1 BEFORE INSERT ON zone FOR EACH ROW SET NEW.description = 'by trigger'",
        "CREATE OR REPLACE PROCEDURE zctl.p1() SELECT 1",
        "CREATE OR REPLACE EVENT zctl.e1 ON SCHEDULE EVERY 1 YEAR DO SELECT 1",
    )
    try:
        before = cloud.dump()
        file = dumped(cloud, "--verify")["file"]
        server.sql("DROP TRIGGER zctl.t1", "DROP PROCEDURE zctl.p1", "DROP EVENT zctl.e1")
        cloud.ok("restore_mysql", "--file", file, "--yes", "--no-plan")
        assert cloud.dump() == before
        cloud.ok("zone", "create", "z7")
        assert cloud.rows("zone", "name=z7")[0]["description"] == "by trigger"
        assert server.sql("SELECT count(*) FROM information_schema.routines WHERE routine_schema = 'zctl'") == [(1,)]
        assert server.sql("SELECT count(*) FROM information_schema.events WHERE event_schema = 'zctl'") == [(1,)]
    finally:
        server.empty()


def test_move_there_and_back(cloud: Zctl, tmp_path: Path, server: MariaDb) -> None:
    """SQLite to MariaDB and back, or the other way: every row, and the inventory is the same one."""
    cloud.ok("vm", "create", "web-1", *VM, "--description", "größer \N{SNOWMAN}", "--tag", "a=b")
    fill_events(cloud, 100)
    before = cloud.dump()
    there = str(tmp_path / "there.db") if cloud.db else server.empty("zctl_there")
    assert "needs a yes" in cloud.fails("db", "move", "--to", there, code=2)
    assert json.loads(cloud.ok("db", "move", "--to", there, "--dry-run", "-o", "json"))["dry_run"]
    assert json.loads(cloud.ok("db", "move", "--to", there, "--yes", "-o", "json"))["rows"] > 100
    other = Zctl(cloud.home, cloud.hosts, there if "://" in there else f"sqlite:///{there}")
    assert other.dump() == before
    assert "an inventory already" in cloud.fails("db", "move", "--to", there, "--yes")
    back = str(tmp_path / "back.db") if not cloud.db else server.empty("zctl_back")
    other.ok("db", "move", "--to", back, "--yes")
    assert Zctl(cloud.home, cloud.hosts, back if "://" in back else f"sqlite:///{back}").dump() == before
    assert "that is in use" in cloud.fails("db", "move", "--to", cloud.url, "--yes", code=2)


def test_the_databases_own_prompt(cloud: Zctl) -> None:
    """It reads statements from the input, and its exit code is the command's."""
    with start(cloud, "db", "shell", stdin=subprocess.PIPE) as process:
        said, _ = process.communicate("SELECT name FROM zone;\n")
    assert process.returncode == 0 and cloud.rows("zone")[0]["name"] in said.split()
    with start(cloud, "db", "shell", stdin=subprocess.PIPE) as process:
        process.communicate("SELECT nothing FROM nowhere;\n")
    assert process.returncode == 1


def test_a_killed_move_can_be_repeated(cloud: Zctl, tmp_path: Path) -> None:
    """What it leaves is an inventory without rows, which the next move takes."""
    fill_events(cloud, 1500)
    there = tmp_path / "there.db"
    for wait in (0.8, 1.0, 1.2):
        with start(cloud, "db", "move", "--to", str(there), "--yes") as process:
            time.sleep(wait)
            process.kill()
    url = f"sqlite:///{there}"
    if look(url).identity != look(cloud.url).identity:  # none of them came to its end
        cloud.ok("db", "move", "--to", str(there), "--yes")
    assert Zctl(cloud.home, cloud.hosts, url).dump() == cloud.dump()
    assert there.stat().st_mode & 0o077 == 0
    with sqlite3.connect(there) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_move_to_a_server_with_a_password(cloud: Zctl, server: MariaDb) -> None:
    """What is to be done next is told without a line that looks ready for copying and cannot log in."""
    server.sql(
        "DROP USER IF EXISTS 'mover'@'localhost'",
        "CREATE USER 'mover'@'localhost' IDENTIFIED BY 'pw'",
        "GRANT ALL ON zctl_there.* TO 'mover'@'localhost'",
    )
    server.empty("zctl_there")
    said = cloud.call("db", "move", "--to", server.url("zctl_there", "mover:pw"), "--yes").stderr
    assert "zctl secret encrypt" in said and "mover:***@" in said and 'db = "' not in said and ":pw@" not in said
