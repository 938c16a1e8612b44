"""SQLite: copies by its online backup API, which writers do not disturb."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from zctl.errors import DatabaseError, Refused

TABLES = r"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name"
PAGES = 16
"""So few at a time that no inventory is copied in the first step."""
REMEDY = "restore a dump: zctl db list-backups"


def damage(path: Path) -> str:
    """What is wrong with a file's contents, empty when nothing is. That it cannot be read now, as when it is locked,
    is no damage.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            first = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        words = str(error)
        return words if "malformed" in words or "not a database" in words else ""
    return "" if first == "ok" else first


def copy(source: Path, target: Path) -> dict[str, int]:
    """A copy of one moment of a file; returns the rows of each table. Raises DatabaseError for a damaged one."""
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            # Without the -wal and -shm files beside it: what is copied is one file.
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")
        return check(target)
    except sqlite3.Error as error:
        if "full" in str(error):
            raise DatabaseError(
                "no space is left for a copy of the inventory",
                resource=str(target.parent),
                remedy="free space there; a dump may go elsewhere with --file-path; older dumps are untouched",
            ) from None
        raise told(source, error) from None


def check(path: Path) -> dict[str, int]:
    """The rows of each table of a file that is whole. Raises DatabaseError for one that is not."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            if problems:
                raise DatabaseError(f"it is damaged: {problems[0]}", resource=str(path), remedy=REMEDY)
            names = [row[0] for row in connection.execute(TABLES)]
            return {name: connection.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0] for name in names}  # noqa: S608
    except sqlite3.Error as error:
        raise told(path, error) from None


def word(path: Path, table: str, column: str) -> str:
    """One text out of a one-row table; empty when it is not there."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute(f"SELECT {quoted(column)} FROM {quoted(table)}").fetchone()  # noqa: S608
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""


class Watch:
    """Tells whether a file has changed since it was opened for watching, also while somebody has the turn to write."""

    def __init__(self, path: Path) -> None:
        """Remember what it is like now."""
        self.path = path
        self.connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        self.ahead = self.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        self.before = self.state()

    def state(self) -> object:
        """What is different after each change by others."""
        if self.ahead:
            return self.connection.execute("PRAGMA data_version").fetchone()[0]
        with self.path.open("rb") as file:  # a writer keeps readers out: the counter in the file's head
            return file.read(28)[24:]

    def changed(self) -> bool:
        """Whether it is another than in the beginning."""
        return self.state() != self.before

    def __enter__(self) -> Watch:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.connection.close()


class _Changed(Exception):
    """Ends a copy before it is one."""


def log_ahead(path: Path) -> None:
    """Let readers and one writer work at once, as the inventory has it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def overwrite(source: Path, target: Path, busy_seconds: float, watch: Watch) -> bool:
    """Make a file hold what another one holds, in one transaction. Returns False when the target has changed since it
    is watched; it is left as it is then. Raises Refused while it is in use.
    """

    looked = False

    def look(status: int, _remaining: int, _total: int) -> None:
        nonlocal looked
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise sqlite3.OperationalError("database is locked")  # Python would try again for ever
        # Between the steps the target is locked: what has not changed by now does not change any more.
        if not looked and watch.changed():
            raise _Changed
        looked = True

    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target, timeout=busy_seconds)) as new,
        ):
            new.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
            old.backup(new, pages=PAGES, progress=look)
    except _Changed:
        return False
    except sqlite3.OperationalError as error:
        if "locked" not in str(error).lower() and "busy" not in str(error).lower():
            raise told(target, error) from None
        raise Refused(
            f"another program holds it for over {busy_seconds:.0f} s",
            resource=str(target),
            remedy="end that first; nothing was changed",
        ) from None
    except sqlite3.Error as error:
        raise told(target, error) from None
    return True


def version() -> str:
    """The version of SQLite in use."""
    return f"SQLite {sqlite3.sqlite_version}"


def quoted(name: str) -> str:
    """A name within SQL."""
    return '"' + name.replace('"', '""') + '"'


def told(path: Path, error: sqlite3.Error) -> DatabaseError:
    """SQLite's error in zctl's words."""
    words = str(error)
    if "full" in words:
        return DatabaseError("no space is left for it", resource=str(path), remedy="free some; nothing was changed")
    if "malformed" in words or "not a database" in words:
        return DatabaseError("it is damaged or no inventory", resource=str(path), remedy=REMEDY)
    return DatabaseError(words, resource=str(path), remedy="check that the file may be read and its folder written")
