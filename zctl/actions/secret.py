"""Encrypted values everywhere: where they are, and giving them all a new key."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl import secrets
from zctl.config import SYSTEM_FILE, user_file
from zctl.errors import Refused
from zctl.files import replace_file
from zctl.inventory.engine import Inventory, sqlite_path
from zctl.inventory.nodes import node_id
from zctl.log import logger
from zctl.resources.base import attrs
from zctl.resources.management_node import ManagementNode
from zctl.resources.registry import all_classes
from zctl.servers import record

if TYPE_CHECKING:
    from zctl.config import Config


@dataclass
class Rotated:
    """What a rotation encrypted anew: values in each file, and in rows of the inventory.

    `nodes` are the other machines that work on the inventory: they need the new key, and their own files the old one.
    """

    files: dict[Path, int] = field(default_factory=dict)
    rows: int = 0
    nodes: list[str] = field(default_factory=list)


def rotate(config: Config) -> Rotated:
    """Make a new key, encrypt all values by it, then forget the old one.

    Killed in between, old and new key are both in the file and every value still opens; doing it again finishes it.
    Raises Refused, with both keys kept, when a value does not open or a file cannot be written, and Conflict while
    another process rotates, or changes the database servers, whose file has passwords.
    """
    path = secrets.key_file(config.home)
    if path.name == secrets.CREDENTIAL:
        raise Refused(
            "the key in use is a credential of systemd, which only the file it comes from can change",
            resource=str(path),
            remedy="rotate as root, outside the service",
        )
    with secrets.alone(path), record.locked(config) if record.path_of(config).exists() else nullcontext():
        return replace_key(config)


def replace_key(config: Config) -> Rotated:
    """The same while nobody else does it."""
    from cryptography.fernet import Fernet

    keys = secrets.make(config.home)
    keys.require_keys()
    new = Fernet.generate_key()
    secrets.write_keys(keys.path, (new, *keys.keys))
    both = secrets.load(config.home)
    done = Rotated()
    for path in (SYSTEM_FILE, user_file(), record.path_of(config)):
        if path.exists() and (count := reseal_file(path, both)):
            done.files[path] = count
    if has_inventory(config):
        inventory = Inventory(config.url)
        done.rows = reseal_rows(inventory, both)
        done.nodes = other_nodes(inventory)
    # Only what was replaced here goes: a key that somebody has put into the file meanwhile is in use.
    secrets.write_keys(keys.path, tuple(key for key in secrets.load(config.home).keys if key not in keys.keys))
    logger(config.home, "secret").info("new key in %s: %d files, %d rows", keys.path, len(done.files), done.rows)
    return done


def has_inventory(config: Config) -> bool:
    """Whether there is an inventory whose rows could hold encrypted values."""
    path = sqlite_path(config.url)
    return path is None or path.exists()


def reseal_file(path: Path, keys: secrets.Keyring) -> int:
    """Encrypt the values in a file anew; all else in it stays. Returns how many there were."""
    try:
        text = path.read_text(encoding="utf-8")
        count = len(secrets.SEALED.findall(text))
        if not count:
            return 0
        replace_file(path.resolve(), keys.reseal(text))
        return count
    except OSError as error:
        raise Refused(
            f"its encrypted values cannot be written anew: {error.strerror}",
            resource=str(path),
            remedy="run it as the owner of that file; until then both keys are kept",
        ) from None


def other_nodes(inventory: Inventory) -> list[str]:
    """The names of the other machines that work on the inventory."""
    with inventory.read() as db:
        found = db.scalars(select(col(ManagementNode.name)).where(col(ManagementNode.id) != node_id()))
        return sorted(found)


def reseal_rows(inventory: Inventory, keys: secrets.Keyring) -> int:
    """Encrypt the secret fields of all resources anew, in one transaction. Returns how many rows were changed."""
    inventory.check_schema()
    count = 0
    with inventory.write() as db:
        for cls in all_classes():
            for name in (name for name, about in attrs(cls).items() if about.secret):
                for row in db.scalars(select(cls)):
                    if value := getattr(row, name):
                        setattr(row, name, keys.reseal(value))
                        db.add(row)
                        count += 1
    return count
