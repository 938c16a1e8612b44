"""Where zctl keeps things and how it is set: /etc/zctl/config.toml, the user's file, environment, options."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zctl.errors import Misuse, did_you_mean

ENVIRONMENT = {"db": "ZCTL_DB", "ssh_key": "ZCTL_SSH_KEY"}
"""Settings that come from the environment, and the names they have there."""

SYSTEM_FILE = Path("/etc/zctl/config.toml")


@dataclass(frozen=True)
class Config:
    """The settings of one call; `home` is the data folder, `db` a SQLAlchemy URL.

    `db_source` says where `db` was given. `dump_folder` is where dumps of the database go, `dump_recipients` are age's
    public keys they are encrypted for, and `dump_identity` is the file with the private key that opens them.
    """

    home: Path
    db: str = ""
    db_source: str = ""
    ssh_key: str = ""
    dump_folder: str = ""
    dump_recipients: tuple[str, ...] = ()
    dump_identity: str = ""
    forks: int = 20
    lock_timeout: int = 600
    debug: bool = False
    files: tuple[Path, ...] = field(default=())

    @property
    def url(self) -> str:
        """The inventory's address; a file in the data folder when none is set. Raises Misuse for one with mistakes."""
        if not self.db or self.db.startswith("sqlite:"):
            return self.db or sqlite_url(self.home / "zctl.db")
        from zctl.inventory.addresses import checked

        return checked(self.db, self.db_source or "the configuration")


SETTABLE: dict[str, type] = {
    "home": str,
    "db": str,
    "ssh_key": str,
    "forks": int,
    "lock_timeout": int,
    "dump_folder": str,
    "dump_recipients": list,
    "dump_identity": str,
}


PATHS = ("home", "db", "dump_folder", "dump_identity")
"""Settings that are paths; `db` is one where it is no URL."""

_taken: dict[str, str] = {}


def take_secrets() -> None:
    """Keep the database's address, which holds a password, to ourselves: programs that zctl starts do not get it."""
    if address := os.environ.pop("ZCTL_DB", ""):
        _taken["ZCTL_DB"] = address


def user_file() -> Path:
    """The user's configuration file."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "zctl" / "config.toml"


def data_home() -> Path:
    """The data folder: ZCTL_HOME, else the place the XDG rules give."""
    if home := os.environ.get("ZCTL_HOME"):
        return Path(home).absolute()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "zctl"


def load(**options: Any) -> Config:
    """The settings, with options given on the command line on top. Raises Misuse for a file with mistakes."""
    values: dict[str, Any] = {}
    read = []
    source = ""
    for path in (SYSTEM_FILE, user_file()):
        if path.exists():
            found = read_file(path)
            values |= found
            read.append(path)
            source = f"db in {path}" if "db" in found else source
    for name, variable in ENVIRONMENT.items():
        if text := os.environ.get(variable) or _taken.get(variable):
            values[name] = text
            source = variable if name == "db" else source
    values |= {name: value for name, value in options.items() if value}
    source = "--db" if options.get("db") else source
    home = values.pop("home", "")
    home = Path(home) if home and "ZCTL_HOME" not in os.environ else data_home()
    values["dump_recipients"] = tuple(values.get("dump_recipients", ()))
    config = replace(Config(home=home, db_source=source, files=tuple(read)), **values)
    return replace(config, db=database_url(config, config.db)) if config.db else config


LOGIN = re.compile(r"[^/@]+:[^/@]*@")
"""A user and a password, which are no part of a file's name and must not be shown as one."""


def database_url(config: Config, db: str) -> str:
    """A database's address with its encrypted values opened; a path alone is a file of SQLite."""
    from zctl.secrets import SEALED, opened

    # Within an address the value is quoted as a part of it; an address that is encrypted whole is taken as it is.
    db = opened(db, config.home, str if SEALED.fullmatch(db) else lambda text: quote(text, safe=""))
    return db if "://" in db or LOGIN.match(db) else sqlite_url(expanded(db).absolute())


def sqlite_url(path: Path | str) -> str:
    """The address of an SQLite file: signs that mean something in an address are quoted."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def expanded(text: str) -> Path:
    """A path with `~` as the home folder. Raises Misuse for a user that is unknown."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise Misuse(f"there is no home folder for {text}", remedy="write the path from / on") from None


def full_path(file: Path, name: str, text: str) -> str:
    """A path in a configuration file with `~` as the home folder. Raises Misuse for one that begins elsewhere."""
    path = expanded(text)
    if not path.is_absolute():
        raise Misuse(
            f"{name} is no full path: it would depend on the folder that zctl is called in",
            resource=str(file),
            remedy="write it from / on, or from ~ on",
        )
    return str(path)


def read_file(path: Path) -> dict[str, Any]:
    """The settings in one TOML file."""
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Misuse(f"cannot read {path}: {error}", remedy="mend or remove the file") from None
    for name, value in found.items():
        if name not in SETTABLE:
            raise Misuse(
                f"{path}: there is no setting {name!r}", remedy=did_you_mean(name, SETTABLE) or ", ".join(SETTABLE)
            )
        if not isinstance(value, SETTABLE[name]):
            raise Misuse(f"{path}: {name} must be of type {SETTABLE[name].__name__}")
        if isinstance(value, list) and not all(isinstance(entry, str) for entry in value):
            raise Misuse(f"{path}: {name} must be a list of texts")
        if name in PATHS and value and not (name == "db" and re.search(r"://|ENC\(", str(value))):
            found[name] = full_path(path, name, str(value))
    return found
