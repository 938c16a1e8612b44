"""Trying a dump: its sums, then a restore into a scratch database, compared with what the dump says of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zctl.backup import mysql, sqlite
from zctl.backup.folder import Dump
from zctl.backup.stream import Counted, pieces, unpacked
from zctl.errors import DatabaseError, Refused
from zctl.inventory.engine import Inventory, sqlite_path
from zctl.temporary import large_place, private_folder

if TYPE_CHECKING:
    from zctl.actions.context import Say

ANOTHER = "use another dump: zctl db list-backups"


class Nowhere:
    """Takes what is only counted."""

    def write(self, data: bytes, /) -> int:
        """Forget it."""
        return len(data)


def require_good(dump: Dump) -> None:
    """Raise DatabaseError unless the file is as it was written."""
    condition = dump.condition()
    if condition != "good":
        raise DatabaseError(
            f"the dump is {condition}: it is not what its manifest says", resource=str(dump.path), remedy=ANOTHER
        )


def contents(dump: Dump, identity: str) -> Iterator[bytes]:
    """A dump's contents, piece by piece. Raises DatabaseError at their end when they are not what the manifest says."""
    total, size = hashlib.sha256(), 0
    with unpacked(dump.path, identity, dump.manifest.encrypted) as reader:
        for piece in pieces(reader):
            total.update(piece)
            size += len(piece)
            yield piece
    if (size, total.hexdigest()) != (dump.manifest.content_size, dump.manifest.content_sha256):
        raise DatabaseError("its contents are not what its manifest says", resource=str(dump.path), remedy=ANOTHER)


def verify(inventory: Inventory, dump: Dump, identity: str, say: Say) -> None:
    """Restore a dump where it disturbs nobody, and compare. Raises DatabaseError when it does not come out the same."""
    require_good(dump)
    require_engine(inventory, dump)
    say("verifying: restoring into a scratch database")
    if dump.manifest.engine == "sqlite":
        with unpacked_file(dump, identity) as path:
            compare(dump, sqlite.check(path))
        return
    server = mysql.server_of(inventory)
    with mysql.scratch(inventory) as scratch:
        mysql.load(server, scratch, contents(dump, identity))
        again = Counted(Nowhere())
        compare(dump, mysql.dump(server, scratch, again).rows)
        # Another version of the server writes the same rows in other words.
        if server.version == dump.manifest.server_version and again.sha256 != dump.manifest.content_sha256:
            raise DatabaseError(
                "restored, it has other contents than what was dumped", resource=str(dump.path), remedy=ANOTHER
            )


def compare(dump: Dump, tables: dict[str, int]) -> None:
    """Raise DatabaseError unless all tables and rows came back."""
    wrong = [
        f"{name}: {tables.get(name, 0)} of {dump.manifest.tables.get(name, 0)} rows"
        for name in sorted({*tables, *dump.manifest.tables})
        if tables.get(name, 0) != dump.manifest.tables.get(name, 0)
    ]
    if wrong:
        raise DatabaseError(f"restored, it differs: {'; '.join(wrong[:5])}", resource=str(dump.path), remedy=ANOTHER)


def require_engine(inventory: Inventory, dump: Dump) -> None:
    """Raise Refused when the dump is of the other kind of database."""
    is_file = sqlite_path(inventory.url) is not None
    if is_file != (dump.manifest.engine == "sqlite"):
        ours, its = ("SQLite", "MySQL or MariaDB") if is_file else ("MySQL or MariaDB", "SQLite")
        raise Refused(
            f"it is a dump of {its}, the inventory in use is on {ours}",
            resource=str(dump.path),
            remedy="name one of its kind with --db; zctl db move carries an inventory from one kind to the other",
        )


@contextmanager
def unpacked_file(dump: Dump, identity: str) -> Iterator[Path]:
    """The SQLite file of a dump, in a private folder that goes again."""
    place = large_place()
    with private_folder(place) as folder:
        path = folder / "zctl.db"
        try:
            with path.open("wb") as file:
                for piece in contents(dump, identity):
                    file.write(piece)
        except OSError as error:
            raise DatabaseError(
                f"the dump cannot be unpacked: {error.strerror}",
                resource=place,
                remedy="free space there, or set TMPDIR",
            ) from None
        yield path
