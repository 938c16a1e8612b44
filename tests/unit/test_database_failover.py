"""A zctl with several database servers, on two real MariaDB servers that are read-only in turn."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import text

from tests.unit.conftest import FakeHosts, Zctl
from tests.unit.servers import MariaDb
from zctl.errors import DatabaseError, Misuse
from zctl.inventory import failover
from zctl.inventory.addresses import shown, split
from zctl.inventory.engine import Inventory
from zctl.inventory.schema import initialise


@dataclass
class TwoServers:
    """Two servers with the same inventory; nothing is copied between them."""

    folder: Path
    ports: list[int] = field(default_factory=list)
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address of both."""
        return f"mysql://zctl@127.0.0.1:{self.ports[0]},127.0.0.1:{self.ports[1]}/zctl"

    def start(self, port: int) -> None:
        """Start one, read-only, and wait for it."""
        user = ["--user=root"] if os.geteuid() == 0 else []
        argv = ["mariadbd", "--no-defaults", f"--datadir={self.folder}/{port}", f"--socket={self.folder}/{port}.s"]
        argv += [f"--port={port}", "--bind-address=127.0.0.1", "--read-only=ON", "--skip-name-resolve", *user]
        self.running[port] = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.say(port, "SELECT 1")
                return
            except pymysql.err.OperationalError:
                time.sleep(0.05)
        raise AssertionError("the server does not start")

    def say(self, port: int, statement: str) -> None:
        """A statement as root."""
        with pymysql.connect(unix_socket=f"{self.folder}/{port}.s", user="root") as connection:
            connection.cursor().execute(statement)

    def take_writes(self, port: int) -> None:
        """Only this one takes writes."""
        for other in self.running:
            self.say(other, f"SET GLOBAL read_only = {'OFF' if other == port else 'ON'}")

    def count(self, port: int) -> int:
        """How many notes a server holds."""
        with pymysql.connect(unix_socket=f"{self.folder}/{port}.s", user="root") as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT COUNT(*) FROM zctl.note")
            return int((cursor.fetchone() or [0])[0])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoServers]:
    """Both, with the tables of an inventory and one more."""
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        pytest.skip("there is no MariaDB server here: apt install mariadb-server-core (./dev setup does)")
    made = TwoServers(tmp_path_factory.mktemp("m"))
    user = ["--user=root"] if os.geteuid() == 0 else []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [f"--datadir={made.folder}/{port}", "--auth-root-authentication-method=normal", *user]
        subprocess.run(["mariadb-install-db", "--no-defaults", *words], check=True, capture_output=True)
        made.ports.append(port)
        made.start(port)
        made.say(port, "SET GLOBAL read_only = OFF")
        made.say(port, "CREATE DATABASE zctl CHARACTER SET utf8mb4")
        made.say(port, "CREATE USER zctl@'%'")
        made.say(port, "GRANT ALL ON zctl.* TO zctl@'%'")
        initialise(f"mysql://zctl@127.0.0.1:{port}/zctl")
        made.say(port, "CREATE TABLE zctl.note (n INT)")
    yield made
    for process in made.running.values():
        process.kill()
        process.wait()


def note(inventory: Inventory) -> None:
    """One write transaction."""
    with inventory.write() as db:
        db.execute(text("INSERT INTO note VALUES (1)"))


def test_writes_go_to_the_server_that_takes_them(servers: TwoServers) -> None:
    """Also when that changes between two transactions of one process."""
    inventory = Inventory(servers.url)
    for port in (servers.ports[1], servers.ports[0], servers.ports[1]):
        servers.take_writes(port)
        before = servers.count(port)
        note(inventory)
        assert servers.count(port) == before + 1


def test_a_begin_waits_for_a_server(servers: TwoServers) -> None:
    """It says so once, and goes on when there is one."""
    servers.take_writes(0)
    heard: list[str] = []
    inventory = Inventory(servers.url, waiting=heard.append)
    timer = threading.Timer(1.5, servers.take_writes, [servers.ports[1]])
    timer.start()
    begun = time.monotonic()
    note(inventory)
    assert 1 < time.monotonic() - begun < 10 and len(heard) == 1
    timer.join()


def test_a_dead_server_is_left(servers: TwoServers) -> None:
    """Connections to it are forgotten, the other one serves; nobody is told of it."""
    first, second = servers.ports
    servers.take_writes(first)
    inventory = Inventory(servers.url)
    note(inventory)
    servers.running.pop(first).kill()
    servers.take_writes(second)
    note(inventory)
    with inventory.read() as db:
        assert db.scalar(text("SELECT @@port")) == second
    servers.start(first)


def test_what_is_lost_on_the_way_is_told(servers: TwoServers) -> None:
    """Refused before the commit: nothing is stored. Cut off in the commit: nobody knows, and that is said."""
    first, second = servers.ports
    servers.take_writes(first)
    inventory = Inventory(servers.url)
    before = servers.count(first)
    with pytest.raises(DatabaseError, match="nothing was stored"), inventory.write() as db:
        db.execute(text("INSERT INTO note VALUES (1)"))
        servers.take_writes(second)
    assert servers.count(first) == before
    with pytest.raises(DatabaseError, match="may be stored or not"), inventory.write() as db:
        db.execute(text("INSERT INTO note VALUES (1)"))
        number = db.scalar(text("SELECT CONNECTION_ID()"))
        servers.say(second, f"KILL {number}")
    note(inventory)


def test_reads_may_go_to_a_replica_until_something_is_written(servers: TwoServers) -> None:
    """A command reads back what it wrote. Without a replica that answers, the primary serves."""
    first, second = servers.ports
    servers.take_writes(first)
    inventory = Inventory(servers.url, read_from="replica")
    with inventory.read() as db:
        assert db.scalar(text("SELECT @@port")) == second
    note(inventory)
    with inventory.read() as db:
        assert db.scalar(text("SELECT @@port")) == first
    servers.running.pop(second).kill()
    with Inventory(servers.url, read_from="replica").read() as db:
        assert db.scalar(text("SELECT @@port")) == first
    servers.start(second)


def test_nobody_takes_writes(servers: TwoServers, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the end that is an error in words; a wrong password is one at once."""
    servers.take_writes(0)
    monkeypatch.setattr(failover, "FAILOVER_SECONDS", 0.5)
    with pytest.raises(DatabaseError, match="takes writes"), Inventory(servers.url).read() as db:
        db.scalar(text("SELECT 1"))
    with pytest.raises(DatabaseError, match="refuses the user or password") as caught:
        note(Inventory(servers.url.replace("zctl@", "zctl:falsch@")))
    assert "falsch" not in str(caught.value)


def test_addresses_with_several_servers() -> None:
    """Ports and IPv6 are each server's own; the password is never shown; mistakes are refused."""
    url = "mysql://u:a%2Cb@h1,h2:3307,[2001:db8::1]:3308,h1/zctl?ssl_ca=/x"
    made, found = split(url)
    assert (made.host, made.password, made.database) == ("h1", "a,b", "zctl")
    assert found == [("h1", 3306), ("h2", 3307), ("2001:db8::1", 3308)]
    assert shown(url) == "mysql://u:***@h1,h2:3307,[2001:db8::1]:3308,h1/zctl?ssl_ca=%2Fx"
    assert split("mysql://u@h1:3307/zctl")[1] == [] and split("sqlite:////a,b/zctl.db")[1] == []
    for wrong in ("mysql://u@h1,h2:x/zctl", "mysql://u@h1,/zctl", "mysql://u@h1,h2:70000/zctl"):
        with pytest.raises(Misuse, match="neither HOST nor HOST:PORT"):
            Inventory(wrong)


def test_addresses_that_are_right() -> None:
    """Signs that leave no doubt where the password ends need no quoting; each is shown without it."""
    for url, password, host in (
        ("mysql://u:a:b@h/zctl", "a:b", "h"),
        ("mysql://u:a/b@h:3307/zctl", "a/b", "h"),
        ("mysql://u:a,b@h1,h2/zctl", "a,b", "h1"),
        ("mysql://u:a%40b%3A@[2001:db8::1]:3307/zctl?charset=utf8mb4", "a@b:", "2001:db8::1"),
        ("mysql://u:pw@h/zctl?unix_socket=/run/mysqld@1/s", "pw", "h"),
        ("mysql://u@h/zctl?unix_socket=/run/mysqld@1/s", None, "h"),
        ("mysql://localhost/zctl?unix_socket=/run/mysqld/s", None, "localhost"),
        ("mysql:///zctl?unix_socket=/s", None, None),
    ):
        made, _servers = split(url)
        assert (made.password, made.host, made.database) == (password, host, "zctl"), url
        assert password is None or password not in shown(url)
    assert shown("mysql://h1:pw@h1,h2/zctl") == "mysql://h1:***@h1,h2/zctl"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://zctl:a@b:SECRETpw@127.0.0.1:3306/zctl",
        "mysql://zctl:SECRET,y/z@127.0.0.1:3306/zctl",
        "mysql://zctl:aa@SECRETpw@127.0.0.1:3306/zctl",
        "mysql://zctl@SECRET@127.0.0.1:3306/zctl",
        "mysql://zctl:a@b/SECRET@127.0.0.1/zctl",
        "mysql://zctl:a@b?SECRET=x@127.0.0.1/zctl",
        "mysql://zc/tl:SECRET@127.0.0.1/zctl",
        "mysql://zctl:SECRET#127.0.0.1:3306/zctl",
        "mysql://zctl@127.0.0.1:3306/zctl?password=SECRET",
        "mysql://zctl@127.0.0.1:3306/zctl?passwd=SECRET",
        "mysql://zctl@127.0.0.1:3306/zctl?ssl_key_password=SECRET",
        "://zctl:SECRET@127.0.0.1/zctl",
    ],
)
def test_no_part_of_a_password_is_shown(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address with mistakes is refused by where it comes from, whichever command reads it."""
    assert "SECRET" not in shown(url)
    folder = tmp_path / "config/zctl"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'db = "{url}"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder.parent))
    calls = [
        (Zctl(tmp_path, FakeHosts(), db), words, source)
        for words in (("zone", "list"), ("db", "status"), ("init",), ("dump_mysql",), ("zone", "list", "--debug"))
        for db, source in ((url, "ZCTL_DB"), ("", f"db in {folder}/config.toml"))
    ]
    calls += [(Zctl(tmp_path, FakeHosts(), ""), ("zone", "list", "--db", url), "--db")]
    for zctl, words, source in calls:
        answer = zctl.call(*words)
        assert answer.exit_code == 2 and "SECRET" not in answer.output, (words, answer.output)
        assert f"error: {source}: the database's address: " in answer.stderr, answer.stderr
        assert "percent-encode" in answer.stderr or "is its place" in answer.stderr
    (folder / "config.toml").unlink()
    answer = Zctl(tmp_path, FakeHosts()).call("db", "move", "--to", url, "--dry-run")
    assert answer.exit_code == 2 and "error: --to: " in answer.stderr and "SECRET" not in answer.output


def test_an_address_without_its_beginning_is_no_file(tmp_path: Path) -> None:
    """It would be shown as one, with the password in its name."""
    answer = Zctl(tmp_path, FakeHosts()).call("init", "--db", "zctl:SECRET@127.0.0.1/zctl")
    assert answer.exit_code == 2 and "SECRET" not in answer.output and "mysql://" in answer.stderr


def test_a_timeout_in_the_address_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one server; where there are several, each is left quickly for the next."""
    given: list[object] = []

    def connect(**options: object) -> None:
        given.append(options["connect_timeout"])
        raise pymysql.OperationalError(2003, "nobody is there")

    monkeypatch.setattr(pymysql, "connect", connect)
    for query in ("", "?connect_timeout=77"):
        with pytest.raises(DatabaseError), Inventory(f"mysql://u@h/zctl{query}").read() as db:
            db.scalar(text("SELECT 1"))
    assert given == [10, 77]


def test_options_of_an_address_that_are_wrong(server: MariaDb, tmp_path: Path) -> None:
    """Told by their names, with what is right."""
    (tmp_path / "bad.pem").write_text("nothing")
    for option, said in (
        ("bogus=1", "'bogus' in it is unknown"),
        ("conect_timeout=1", "did you mean connect_timeout"),
        ("connect_timeout=abc", "connect_timeout in it has to be a number"),
        ("connect_timeout=0", "has to be 1 to"),
        ("ssl_ca=/nonexist", "ssl_ca=/nonexist cannot be used: No such file"),
        (f"ssl_ca={tmp_path}/bad.pem", f"ssl_ca={tmp_path}/bad.pem cannot be used"),
        ("charset=latin99", "cannot use the server's name or an option"),
    ):
        answer = Zctl(tmp_path, FakeHosts(), f"{server.url()}&{option}").call("zone", "list")
        assert answer.exit_code == 2 and said in answer.stderr, (option, answer.output)
        assert "what to do" in answer.stderr and "itself went wrong" not in answer.stderr
