"""Database servers: positions, who may take over, the servers' file, certificates, and what the host's code decides."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import zctl_mysql_client as client
import zctl_mysql_plan as plan
import zctl_mysql_replication as replication
import zctl_mysql_seed as seeding
import zctl_mysql_writable as writable
from typer.testing import CliRunner

from zctl import secrets
from zctl.actions import database_config
from zctl.cli.main import app
from zctl.config import Config, load
from zctl.errors import Conflict, Invalid, NotFound, Refused
from zctl.run.runner import forget_secrets
from zctl.servers import choose, gtid, record, states
from zctl.servers.ask import Seen, shortened
from zctl.servers.record import Change, Group, Server
from zctl.servers.seed import binlog_command
from zctl.servers.tls import certificate_for

SERVERS = tuple(Server(f"192.0.2.{n}", f"u{n}", f"192.0.2.{n}", n, "ssh-ed25519 AAAA") for n in (1, 2, 3))
A, B, C = (server.name for server in SERVERS)
GROUP = Group(SERVERS, A, True, 1, dict.fromkeys(record.USERS, "ENC(x)"))
FOLLOWS = {"host": A, "port": 3306, "receiving": "Yes", "applying": "Yes"}


def seen(name: str, position: str = "0-1-9", **more: object) -> Seen:
    """A server that is up."""
    values = {"current_pos": position, "binlog_state": position, "role": "replica", "source": FOLLOWS, **more}
    return Seen(name, reached=True, up=True, **values)  # type: ignore[arg-type]


def three(**changed: Seen) -> dict[str, Seen]:
    """A writable primary and two replicas, but for those given."""
    found = {A: seen(A, role="primary", writable=True, source={}), B: seen(B), C: seen(C)}
    return found | {entry.name: entry for entry in changed.values()}


def test_positions() -> None:
    """The greatest number counts, in each domain by itself; what only a replica has is told with its range."""
    assert gtid.reach("0-1-7,0-2-9,1-1-3") == {0: 9, 1: 3}
    assert gtid.covers("0-2-9", "0-1-7") and not gtid.covers("0-2-9", "0-1-7,1-1-1") and gtid.covers("", "")
    assert gtid.errant("0-1-105,0-2-3", "0-1-104,0-2-200") == ["0-1-105"]
    assert gtid.errant("0-1-107", "0-1-104,0-2-200") == ["0-1-105..107"]
    assert gtid.errant("0-1-107", "0-1-104", writer=1) == [], "the primary was asked first and has written since"
    assert replication.newest("0-1-5,1-1-2", "0-2-9", "") == "0-2-9,1-1-2"


def test_a_copy_knows_the_history_of_its_source() -> None:
    """What servers wrote before the copy, with the copy's own position as the last of its domain."""
    assert seeding.history("0-3-50,0-1-90", "0-1-100") == "0-3-50,0-1-100"
    assert seeding.history("", "0-1-100") == "0-1-100" and seeding.history("0-1-5", "") == "0-1-5"
    assert seeding.parse_position("zctl-bin.000003\t345\t0-1-100\n") == "0-1-100"
    assert seeding.parse_position("zctl-bin.000003\t345\n") == ""


def test_who_may_take_over_in_a_planned_failover() -> None:
    """One that follows the primary, without an error and without transactions of its own; the one that has most."""
    assert choose.best_replica(GROUP, three(b=seen(B, "0-1-8"))) == C
    choose.check_planned(GROUP, three(), B)
    choose.check_planned(GROUP, three(b=seen(B, role="primary", writable=True, source={})), B)
    for bad, words in (
        (seen(B, source={}), "does not replicate"),
        (seen(B, source={**FOLLOWS, "applying": "No", "error": "Duplicate entry"}), "Duplicate entry"),
        (seen(B, binlog_state="0-1-9,0-2-1"), "0-2-1"),
        (Seen(B, problem="silence"), "silence"),
    ):
        with pytest.raises(Refused, match=words):
            choose.check_planned(GROUP, three(b=bad), B)
    with pytest.raises(Refused, match="no replica at present"):
        choose.check_planned(GROUP.with_out(B, True), three(), B)
    with pytest.raises(Refused, match="no replica can take over"):
        choose.best_replica(GROUP, three(b=Seen(B), c=Seen(C)))


def test_when_a_dead_primary_may_be_replaced() -> None:
    """Only where every acknowledged write is on a server that can be asked, unless a loss is accepted."""
    dead = Seen(A)
    choose.check_unplanned(GROUP, three(a=dead), accept_loss=False)
    with pytest.raises(Refused, match="without semi-sync"):
        choose.check_unplanned(replace(GROUP, semi_sync=False), three(a=dead), accept_loss=False)
    with pytest.raises(Refused, match="these alone"):
        choose.check_unplanned(GROUP, three(a=dead, c=Seen(C)), accept_loss=False)
    choose.check_unplanned(GROUP, three(a=dead, c=Seen(C)), accept_loss=True)
    assert choose.most_advanced(GROUP, three(c=seen(C, "0-1-10")), [B, C], "") == C
    with pytest.raises(Refused, match="received more"):
        choose.most_advanced(GROUP, three(c=seen(C, "0-1-10")), [B, C], B)
    with pytest.raises(Refused, match="cannot apply"):
        choose.most_advanced(GROUP, three(b=seen(B, problem="cannot apply")), [B, C], B)
    with pytest.raises(Refused, match="no replica can take over"):
        choose.most_advanced(GROUP, three(b=Seen(B)), [B], "")


def test_a_server_becomes_writable_only_when_most_follow_it() -> None:
    """A standalone one at once; a primary when no other is writable and a majority takes it for the primary."""
    peer = {"name": "b", "reached": True, "writable": False, "follows": True}
    lost = {"name": "c", "reached": False, "writable": False, "follows": False}
    assert writable.obstacle({"role": "standalone"}, []) == ""
    assert writable.obstacle({"role": "primary"}, [peer, lost]) == ""
    assert "b, c" in writable.obstacle({"role": "primary"}, [peer | {"follows": False}, lost])
    assert "1 of 2" in writable.obstacle({"role": "primary"}, [lost])
    assert "b is writable" in writable.obstacle({"role": "primary"}, [peer | {"writable": True}, lost])
    for role in ("replica", "fenced"):
        assert role in writable.obstacle({"role": role}, [peer, peer])
    assert "unknown" in writable.obstacle({}, [])


def test_a_primary_is_superseded_only_when_most_have_left_it() -> None:
    """One that somebody made writable by hand ends no primary, and silence ends none either."""
    follower = {"name": "b", "reached": True, "writable": False, "follows": True}
    silent = {"name": "c", "reached": False, "writable": False, "follows": False}
    taken = {"name": "d", "reached": True, "writable": True, "follows": False}
    assert writable.superseded([]) == "" == writable.superseded([silent, silent])
    assert writable.superseded([taken]) == "d" == writable.superseded([taken, silent])
    assert writable.superseded([follower, taken]) == ""
    assert writable.superseded([taken | {"follows": True}]) == ""


def test_settings_and_what_others_set() -> None:
    """The file starts every server read-only; a foreign file that says otherwise is named, Debian's own are not."""
    wanted = plan.settings({"server_id": 7}, 8 * 2**30)
    text = plan.render_config(wanted)
    assert plan.parse_config(text) == wanted and wanted["read_only"] == "ON" and wanted["server_id"] == "7"
    assert wanted["innodb_buffer_pool_size"] == str(2**30)
    assert plan.settings({"server_id": 7}, 2**29)["innodb_buffer_pool_size"] == str(2**27)
    assert plan.conflicts({"/x/70-mine.cnf": "[mysqld]\nsync-binlog=0 # fast\n", "/x/50-server.cnf": text}, wanted) == [
        "/x/70-mine.cnf sets sync_binlog = 0, zctl needs 1"
    ]
    assert plan.conflicts({"/x/70-mine.cnf": "[client]\nport = 1\n[mariadb-10.11]\nport = 3306\n"}, wanted) == []
    running = {**wanted, "tx_isolation": "READ-COMMITTED", "log_bin": "ON", "server_id": "1", "bind_address": "::"}
    found = plan.differing(wanted, running)
    assert set(found) == {"server_id", "bind_address"} and "server_id" in plan.DYNAMIC
    assert plan.set_statements({"server_id": ("1", "7")}) == "SET GLOBAL server_id = 7;\n"


def test_users_get_exactly_their_rights() -> None:
    """Nothing is said to the server when they have them; passwords go as hashes."""
    wanted = plan.users("zctl")["zctl_reader"]
    assert plan.password_hash("password") == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"
    lines = [
        f"GRANT USAGE ON *.* TO `zctl_reader`@`%` IDENTIFIED BY PASSWORD '{plan.password_hash('p')}' REQUIRE SSL",
        "GRANT SHOW VIEW, SELECT ON `zctl`.* TO `zctl_reader`@`%`",
    ]
    assert plan.user_statements("zctl_reader", "p", wanted, lines) == ""
    for have in (None, lines[:1], [*lines, "GRANT DROP ON `x`.* TO `zctl_reader`@`%`"], [lines[0][:-12], lines[1]]):
        text = plan.user_statements("zctl_reader", "p", wanted, have)
        assert "REQUIRE SSL" in text and "REVOKE ALL" in text and "'p'" not in text
    assert "`zctl\\_scratch\\_%`.*" in plan.users("zctl")["zctl"]


def test_hardening_keeps_what_is_somebodys() -> None:
    """Anonymous users, remote root and an empty test database go; a test database with tables stays."""
    socket = '{"plugin":"unix_socket","auth_or":[{}]}'
    both = '{"plugin":"mysql_native_password","auth_or":[{},{"plugin":"unix_socket"}]}'
    accounts = [
        {"User": None, "Host": "h", "Priv": "{}"},
        {"User": "root", "Host": "%", "Priv": both},
        {"User": "root", "Host": "localhost", "Priv": both},
        {"User": "shop", "Host": "%", "Priv": "{}"},
    ]
    found = [statement for _what, statement in plan.hardening(accounts, {"test": 0, "shop": 3}, 1)]
    assert found[:4] == ["DROP USER ''@'h'", "DROP USER 'root'@'%'",
                         "ALTER USER 'root'@'localhost' IDENTIFIED VIA unix_socket", "DROP DATABASE test"]  # fmt: skip
    accounts = [{"User": "root", "Host": "localhost", "Priv": socket}]
    assert plan.hardening(accounts, {"test": 2}, 0) == []


def test_rows_of_the_client() -> None:
    """Names, then rows; escapes are undone, NULL is nothing."""
    assert client.parse_rows("a\tb\nx\\ty\\\\\tNULL\n\n") == [{"a": "x\ty\\", "b": None}]
    assert client.parse_rows("") == [] and client.literal("o'n\\e") == "'o''n\\\\e'"


def test_the_servers_file(tmp_path: Path) -> None:
    """It is written as a whole for its owner alone, comes back as it was, and is changed by one at a time."""
    config = Config(home=tmp_path / "home")
    assert record.load(config) == Group()
    with record.locked(config):
        with pytest.raises(Conflict, match="another zctl"), record.locked(config):
            pass
        changed = replace(GROUP, change=Change(A, B), passwords=record.new_passwords(config))
        record.save(config, changed.with_out(C, True))
    assert record.path_of(config).stat().st_mode & 0o777 == 0o600
    back = record.load(config)
    assert back == changed.with_out(C, True) and back.role(C) == "fenced" and back.role(A) == "primary"
    assert len(record.open_passwords(config, back)["zctl"]) >= 32
    assert record.open_passwords(config, back)["zctl"] not in record.path_of(config).read_text()
    record.path_of(config).write_text("[group\n")
    with pytest.raises(Refused, match="cannot be read"):
        record.load(config)
    record.path_of(config).write_text("[group]\nprimary = 'x'\n")
    with pytest.raises(Refused, match="lacks or misnames"):
        record.load(config)


def test_how_servers_are_written() -> None:
    """User, address and port, or a known name."""
    assert record.parse_where("192.0.2.1") == ("root", "192.0.2.1", 22)
    assert record.parse_where("admin@db-1.example:2222") == ("admin", "db-1.example", 2222)
    assert record.parse_where("[2001:db8::1]:23") == ("root", "2001:db8::1", 23)
    for text in ("", "a b", "-oProxyCommand=x", "x:0", "x:99999", "x;y", "@x"):
        with pytest.raises(Invalid):
            record.parse_where(text)
    assert record.find(GROUP, f"root@{B}:22") == SERVERS[1] and record.find(GROUP, "192.0.2.9") is None
    assert record.find(GROUP, f"other@{B}") is None
    with pytest.raises(NotFound, match="no such database server"):
        GROUP.server("x")


def test_certificates(tmp_path: Path) -> None:
    """One authority, a certificate for each address, kept; keys lie sealed, and Python's ssl takes them."""
    config = Config(home=tmp_path)
    authority, certificate, key = certificate_for(config, A, A)
    assert certificate_for(config, A, A) == (authority, certificate, key)
    assert certificate_for(config, B, B)[0] == authority
    assert certificate_for(config, A, "db.example")[1] != certificate
    for path in (tmp_path / "tls").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600 and "PRIVATE KEY" not in path.read_text()
    (tmp_path / "c.pem").write_text(certificate)
    (tmp_path / "k.pem").write_text(key)
    context = ssl.create_default_context(cadata=authority)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")


def test_what_servers_and_clients_are_told(tmp_path: Path) -> None:
    """Who takes no part is no peer; a primary that is alone waits for nobody; the primary's address comes first."""
    config = Config(home=tmp_path)
    group = replace(GROUP, primary=B, passwords=record.new_passwords(config))
    assert states.role_record(group, B)["role"] == "primary" and states.role_record(group, B)["semi_sync"]
    alone = group.with_out(A, True).with_out(C, True)
    assert states.role_record(alone, B)["peers"] == [] and not states.role_record(alone, B)["semi_sync"]
    assert Group(SERVERS[:1], A).role(A) == "standalone"
    url = states.database_url(config, group.with_server(replace(SERVERS[2], sql_port=3307)))
    assert f"@{B},{A},{C}:3307/zctl?ssl_ca=" in url and "ENC(" in url
    state, hidden = states.server_state(config, group, SERVERS[0])
    assert hidden["zctl"] not in str(state) and "PRIVATE KEY" in hidden["key"]


def test_the_setting_follows_the_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the addresses changes, everything else in the file stays; somebody else's database is left alone."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("ZCTL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZCTL_DB", raising=False)
    sealed = secrets.make(tmp_path / "home").seal("p@:/,")
    path = tmp_path / "zctl/config.toml"
    path.parent.mkdir()
    path.write_text(f'# mine\nforks = 3\ndb = "mysql://zctl:{sealed}@{A},{B},{C}/zctl?ssl_ca=/x"\n')
    path.chmod(0o640)
    assert database_config.follow_group(load(), replace(GROUP, primary=C)) == path
    assert path.read_text() == f'# mine\nforks = 3\ndb = "mysql://zctl:{sealed}@{C},{A},{B}/zctl?ssl_ca=/x"\n'
    assert path.stat().st_mode & 0o777 == 0o640
    path.write_text('db = "mysql://u:p@198.51.100.1/zctl"\n')
    assert database_config.follow_group(load(), GROUP) is None
    database_config.write_setting(load(), "mysql://u@h/zctl")
    assert path.read_text() == 'db = "mysql://u@h/zctl"\n'


def test_kept_runs_hold_no_secrets(tmp_path: Path) -> None:
    """What is kept of a failed run for a look has neither passwords nor keys."""
    path = tmp_path / "inventory" / "hosts.json"
    path.parent.mkdir()
    path.write_text('{"mysql_server_secrets": {"zctl": "geheim", "key": "-----BEGIN"}, "x": 1}')
    forget_secrets(tmp_path)
    assert path.read_text() == '{"mysql_server_secrets": "(left out)", "x": 1}'


def test_small_words() -> None:
    """Ranges for mariadb-binlog, and long lists of changes in short."""
    assert "--start-position=0-2-6 --stop-position=0-2-9" in binlog_command("0-2-7..9")
    assert "--start-position=0-2-6 --stop-position=0-2-7" in binlog_command("0-2-7")
    assert shortened("a, b") == "a, b" and shortened("a, b, c, d, e, f") == "a, b, c, d and 2 more"


def test_commands_refuse_in_words(tmp_path: Path) -> None:
    """Without servers, with wrong words, with an option that lacks its fellow."""
    environment = {"ZCTL_HOME": str(tmp_path), "ZCTL_DB": ""}

    def fails(code: int, *words: str) -> str:
        answer = CliRunner().invoke(app, ["db", *words], env=environment)
        assert answer.exit_code == code and "Traceback" not in answer.output, answer.output
        return answer.output

    assert "zctl init makes one" in fails(1, "status")
    assert "nothing to fail over to" in fails(1, "failover")
    assert "keep-dump with --dump-file" in fails(2, "rejoin", "x", "--errant", "keep-dump", "--yes")
    assert "no such database server" in fails(1, "forget", "192.0.2.1", "--yes")
    assert "not [USER@]ADDRESS" in fails(2, "deploy", "--host", "a b")
    record.save(Config(home=tmp_path), GROUP)
    assert f"the database has a server already: {A}" in fails(1, "deploy", "--host", "192.0.2.77")
    assert f"failover --to {B}" in fails(1, "replicate", "--primary", B, "--replica", C)
    assert "is the primary" in fails(1, "rejoin", A)
