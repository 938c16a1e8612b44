"""MySQL and MariaDB: dumps by their own programs, and scratch databases to try a dump in."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import text
from sqlalchemy.engine import URL

from zctl.backup.rows import RowCounter
from zctl.backup.stream import CHUNK, Sink, child_environment, fed
from zctl.errors import DatabaseError, Misuse, Refused
from zctl.inventory.addresses import split
from zctl.inventory.engine import Inventory, explained
from zctl.temporary import private_folder

SCRATCH = "zctl_scratch_"
SCRATCH_PATTERN = SCRATCH.replace("_", r"\_") + "%"
DUMP_OPTIONS = (
    "--single-transaction",
    "--quick",
    "--routines",
    "--triggers",
    "--events",
    "--hex-blob",
    "--no-autocommit",
    "--default-character-set=utf8mb4",
    # Two dumps of the same rows are the same bytes then, by which a restored dump is compared.
    "--skip-comments",
    "--skip-dump-date",
    "--order-by-primary",
    "--no-tablespaces",
)
TLS_OPTIONS = {"ssl_ca": "ssl-ca", "ssl_cert": "ssl-cert", "ssl_key": "ssl-key", "ssl_capath": "ssl-capath"}


@dataclass(frozen=True)
class Server:
    """One reachable server, as the inventory's connection found it, with what the programs need to reach it too."""

    options: dict[str, str]
    database: str
    name: str
    version: str
    address: URL

    def url(self, database: str) -> str:
        """The address of another database on just this server."""
        return self.address.set(database=database).render_as_string(hide_password=False)


def server_of(inventory: Inventory) -> Server:
    """The server that the inventory is connected to now."""
    with explained(inventory.url), inventory.engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        name, version, database = connection.execute(text("SELECT @@hostname, VERSION(), DATABASE()")).one()
    address, _servers = split(inventory.url)
    query = address.query
    options = {"user": as_text(raw.user), "password": as_text(raw.password)}
    if raw.unix_socket:
        options |= {"socket": as_text(raw.unix_socket), "protocol": "socket"}
    else:
        options |= {"host": as_text(raw.host), "port": str(raw.port), "protocol": "tcp"}
        # Of several servers it is the one that takes writes.
        address = address.set(host=as_text(raw.host), port=raw.port)
    for given, option in TLS_OPTIONS.items():
        if value := query.get(given):
            options[option] = str(value)
    if "ssl-ca" in options:
        options["ssl-verify-server-cert"] = ""
    return Server(options, str(database), str(name), str(version), address)


def as_text(value: str | bytes | None) -> str:
    """A setting of the driver, which keeps some as bytes."""
    return value.decode() if isinstance(value, bytes) else value or ""


def option_text(options: dict[str, str]) -> str:
    """The [client] section of an option file; values are quoted as its own rules say."""
    lines = ["[client]"]
    for name, value in options.items():
        if not value:
            lines += [name] if name == "ssl-verify-server-cert" else []
            continue
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f'{name}="{quoted}"')
    return "\n".join(lines) + "\n"


@contextmanager
def option_file(options: dict[str, str]) -> Iterator[Path]:
    """A file only we can read with the way to the server, for the time that programs need it."""
    with private_folder() as folder:
        path = folder / "client.cnf"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(option_text(options))
        yield path


def program(*names: str) -> str:
    """The first of these programs that is installed. Raises Misuse when none is."""
    for name in names:
        if found := shutil.which(name):
            return found
    package = "mariadb-client" if names[0].startswith("mariadb") else names[0]
    raise Misuse(f"{names[0]} is not installed here", remedy=f"apt install {package}")


def tool_version(path: str) -> str:
    """What a program says of itself, on one line."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, env=child_environment(), check=False)
    return " ".join(said.stdout.split())[:200]


def dumper() -> str:
    """The program that writes dumps."""
    return program("mariadb-dump", "mysqldump")


def dump(server: Server, database: str, sink: Sink, extra: Iterable[str] = ()) -> RowCounter:
    """Write a dump of one moment of a database into a sink; returns what it holds. Raises DatabaseError."""
    counter = RowCounter()
    with option_file(server.options) as options, tempfile.TemporaryFile() as words:
        argv = [dumper(), f"--defaults-file={options}", *DUMP_OPTIONS, *extra, "--", database]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=words, env=child_environment()) as process:
            assert process.stdout is not None
            with suppress(OSError):  # fewer, larger pieces; a machine may forbid it
                fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, CHUNK)
            try:
                while piece := os.read(process.stdout.fileno(), CHUNK):
                    counter.feed(piece)
                    sink.write(piece)
            except BaseException:
                process.kill()
                raise
            if process.wait() != 0:
                raise failed("the dump", server, database, words)
    counter.finish()
    return counter


def load(server: Server, database: str, contents: Iterator[bytes]) -> None:
    """Run a dump's statements in a database. Raises DatabaseError."""
    client = program("mariadb", "mysql")
    with option_file(server.options) as options, tempfile.TemporaryFile() as words:
        argv = [
            client,
            f"--defaults-file={options}",
            "--batch",
            "--default-character-set=utf8mb4",
            f"--database={database}",
        ]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words, env=child_environment()
        ) as process:
            with fed(process) as stdin:
                for piece in contents:
                    stdin.write(piece)
            if process.wait() != 0:
                raise failed("loading a dump", server, database, words)


def copy_programs(server: Server, source: str, target: str) -> None:
    """Bring the routines, triggers and events of one database to another one on the same server."""
    options = ("--no-data", "--no-create-info", "--add-drop-trigger")
    with tempfile.TemporaryFile() as file:
        dump(server, source, file, options)
        file.seek(0)
        load(server, target, iter(lambda: file.read(CHUNK), b""))


def failed(what: str, server: Server, database: str, words: IO[bytes]) -> DatabaseError:
    """The error for a program of the server's that did not do its work."""
    words.seek(0)
    lines = [line for line in words.read(4000).decode(errors="replace").splitlines() if line.strip()]
    said = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "it ended without a word")
    lower = said.lower()
    if "access denied" in lower or "denied to user" in lower or "command denied" in lower:
        remedy = "grant the rights that docs/backup.md names, or correct the password in --db"
    elif "lost connection" in lower or "gone away" in lower or "can't connect" in lower:
        remedy = "the server went away: start it, then repeat"
    elif "doesn't exist" in lower or "definition has changed" in lower:
        remedy = "the schema changed meanwhile: repeat"
    elif "already exists" in lower:
        remedy = "a trigger whose text names its database: create it anew without that name"
    elif "full" in lower or "errno: 28" in lower:
        remedy = "the server's disk is full: free some there, then repeat"
    else:
        remedy = "look into the server's log"
    return DatabaseError(
        f"{what} failed: {said[:500]}", resource=f"database {database} on {server.name}", remedy=remedy
    )


@contextmanager
def scratch(inventory: Inventory) -> Iterator[str]:
    """A new, empty database beside the inventory's, gone at the end; those that dead processes left go, too.

    A lock of the server that ends with the connection tells which are in use.
    """
    name = f"{SCRATCH}{uuid.uuid4().hex[:16]}"
    with (
        explained(inventory.url),
        inventory.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        for (old,) in connection.execute(text("SHOW DATABASES LIKE :name"), {"name": SCRATCH_PATTERN}):
            if connection.execute(text("SELECT IS_FREE_LOCK(:name)"), {"name": old}).scalar():
                connection.execute(text(f"DROP DATABASE IF EXISTS `{plain(old)}`"))
        connection.execute(text("SELECT GET_LOCK(:name, 0)"), {"name": name})
        try:
            connection.execute(text(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4"))
        except Exception as error:
            if "denied" not in str(error).lower():
                raise
            raise Refused(
                "the database user may not make scratch databases, in which dumps are tried",
                resource=f"database {split(inventory.url)[0].database}",
                remedy=rf"as the server's root: GRANT ALL ON `{SCRATCH_PATTERN}`.* TO it (zctl db deploy does that)",
            ) from None
        try:
            yield name
        finally:
            with suppress(Exception):  # a server that is gone takes it away with the next one
                connection.execute(text(f"DROP DATABASE IF EXISTS `{name}`"))
                connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})


def plain(name: str) -> str:
    """A name for between backticks."""
    return name.replace("`", "``")
