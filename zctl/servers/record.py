"""The file servers.toml in the data folder: the database's servers, readable when all of them are dead."""

from __future__ import annotations

import os
import re
import secrets as random
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from zctl import secrets
from zctl.config import Config
from zctl.errors import Conflict, Invalid, NotFound, Refused
from zctl.files import open_lock, replace_file
from zctl.run.values import Connection

FILE_NAME = "servers.toml"
LOCK_NAME = "servers.lock"
DATABASE = "zctl"
USERS = ("zctl", "zctl_reader", "zctl_repl")
PASSWORD_BYTES = 30
PORT = 3306
WHERE = re.compile(
    r"(?:(?P<user>[a-z_][a-z0-9_-]*)@)?(?P<address>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(?::(?P<port>\d+))?"
)


@dataclass(frozen=True)
class Server:
    """One server: how it is reached by SSH and, at `sql_port`, by clients. `out` says that it does not take part."""

    name: str
    uuid: str
    address: str
    server_id: int
    host_key: str
    port: int = 22
    user: str = "root"
    sql_port: int = PORT
    out: bool = False

    def connection(self, config: Config) -> Connection:
        """How SSH reaches it."""
        return Connection(self.name, self.uuid, self.address, self.port, self.user, config.ssh_key, self.host_key)

    @property
    def endpoint(self) -> str:
        """Where clients reach it, as addresses of databases have it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return host if self.sql_port == PORT else f"{host}:{self.sql_port}"


@dataclass(frozen=True)
class Change:
    """A failover that has begun and not ended: from which server, and to which as far as that is decided."""

    old: str
    new: str = ""


@dataclass(frozen=True)
class Group:
    """All that is written down. `term` grows with each failover; passwords are sealed."""

    servers: tuple[Server, ...] = ()
    primary: str = ""
    semi_sync: bool = False
    term: int = 1
    passwords: dict[str, str] = field(default_factory=dict)
    change: Change | None = None

    def server(self, name: str) -> Server:
        """The server of a name. Raises NotFound."""
        for server in self.servers:
            if server.name == name:
                return server
        known = ", ".join(server.name for server in self.servers) or "none"
        raise NotFound("zctl knows no such database server", resource=name, remedy=f"known: {known}")

    def role(self, name: str) -> str:
        """What a server is to be."""
        if self.server(name).out:
            return "fenced"
        if name != self.primary:
            return "replica"
        return "primary" if len(self.servers) > 1 else "standalone"

    def with_server(self, changed: Server) -> Group:
        """The same with one server added or changed."""
        kept = [changed if server.name == changed.name else server for server in self.servers]
        return replace(self, servers=tuple(kept if changed in kept else [*kept, changed]))

    def with_out(self, name: str, out: bool) -> Group:
        """The same with a server that takes part no longer, or again."""
        return self.with_server(replace(self.server(name), out=out))

    @property
    def ordered(self) -> list[Server]:
        """The servers, the primary first."""
        return sorted(self.servers, key=lambda server: server.name != self.primary)


def path_of(config: Config) -> Path:
    """Where the file lies."""
    return config.home / FILE_NAME


def load(config: Config) -> Group:
    """What is written down; nothing when there is no file. Raises Refused for one that is damaged."""
    path = path_of(config)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Group()
    except (OSError, ValueError) as error:
        raise Refused(f"it cannot be read: {error}", resource=str(path), remedy="restore it from your backup") from None
    try:
        change = Change(**found["change"]) if "change" in found else None
        servers = tuple(Server(**entry) for entry in found.get("servers", []))
        values = found["group"]
        return Group(servers, values["primary"], values["semi_sync"], values["term"], found["passwords"], change)
    except (KeyError, TypeError) as error:
        raise Refused(
            f"it lacks or misnames {error}", resource=str(path), remedy="restore it from your backup"
        ) from None


def save(config: Config, group: Group) -> None:
    """Write it down, as a whole and for good."""
    import tomlkit

    values: dict[str, Any] = {
        "group": {"primary": group.primary, "semi_sync": group.semi_sync, "term": group.term},
        "passwords": group.passwords,
    }
    if group.change:
        values["change"] = asdict(group.change)
    values["servers"] = [asdict(server) for server in group.servers]
    text = "# The database servers of zctl (zctl db status). zctl writes this file.\n" + tomlkit.dumps(values)
    replace_file(path_of(config), text)


@contextmanager
def locked(config: Config) -> Iterator[None]:
    """Be the only one who changes the servers. Raises Conflict while somebody else does."""
    config.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        lock = open_lock(config.home / LOCK_NAME)
    except BlockingIOError:
        raise Conflict(
            "another zctl is changing the database servers",
            remedy="wait for it; zctl db status shows how far it is",
        ) from None
    try:
        yield
    finally:
        os.close(lock)


def parse_where(text: str) -> tuple[str, str, int]:
    """User, address and SSH port in `[user@]address[:port]`. Raises Invalid."""
    found = WHERE.fullmatch(text)
    port = int(found["port"] or 22) if found else 0
    if found is None or not 0 < port < 65536:
        raise Invalid(
            f"{text!r} is not [USER@]ADDRESS[:PORT]", remedy="such as root@192.0.2.10:22, or the name of a known server"
        )
    return found["user"] or "root", found["address"].strip("[]"), port


def find(group: Group, text: str) -> Server | None:
    """The known server that a word means: by name, or by user, address and port."""
    for server in group.servers:
        if server.name == text:
            return server
    user, address, port = parse_where(text)
    for server in group.servers:
        if (server.address, server.port) == (address, port) and ("@" not in text or server.user == user):
            return server
    return None


def new_server(group: Group, text: str, host_key: str, sql_port: int = PORT) -> Server:
    """A server that joins; it is known by its address from now on."""
    user, address, port = parse_where(text)
    name = address if all(server.name != address for server in group.servers) else f"{address}:{port}"
    number = max((server.server_id for server in group.servers), default=0) + 1
    return Server(name, str(uuid.uuid4()), address, number, host_key, port, user, sql_port)


def new_passwords(config: Config) -> dict[str, str]:
    """A random password for each user, sealed."""
    keys = secrets.make(config.home)
    return {user: keys.seal(random.token_urlsafe(PASSWORD_BYTES)) for user in USERS}


def open_passwords(config: Config, group: Group) -> dict[str, str]:
    """The passwords as they are."""
    keys = secrets.load(config.home)
    return {user: keys.open(sealed) for user, sealed in group.passwords.items()}
