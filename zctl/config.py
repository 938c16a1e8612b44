"""Where zctl keeps things and how it is set: /etc/zctl/config.toml, the user's file, environment, options."""

from __future__ import annotations

import os
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

    `dump_folder` is where dumps of the database go, `dump_recipients` are age's public keys they are encrypted for, and
    `dump_identity` is the file with the private key that opens them.
    """

    home: Path
    db: str = ""
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
        """The inventory's address; a file in the data folder when none is set."""
        return self.db or f"sqlite:///{self.home / 'zctl.db'}"


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
    for path in (SYSTEM_FILE, user_file()):
        if path.exists():
            values |= read_file(path)
            read.append(path)
    for name, variable in ENVIRONMENT.items():
        if text := os.environ.get(variable) or _taken.get(variable):
            values[name] = text
    values |= {name: value for name, value in options.items() if value}
    home = values.pop("home", "")
    home = Path(home) if home and "ZCTL_HOME" not in os.environ else data_home()
    values["dump_recipients"] = tuple(values.get("dump_recipients", ()))
    config = replace(Config(home=home, files=tuple(read)), **values)
    return replace(config, db=database_url(config, config.db)) if config.db else config


def database_url(config: Config, db: str) -> str:
    """A database's address with its encrypted values opened; a path alone is a file of SQLite."""
    from zctl.secrets import SEALED, opened

    # Within an address the value is quoted as a part of it; an address that is encrypted whole is taken as it is.
    db = opened(db, config.home, str if SEALED.fullmatch(db) else lambda text: quote(text, safe=""))
    return db if "://" in db else f"sqlite:///{Path(db).expanduser().absolute()}"


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
    return found
