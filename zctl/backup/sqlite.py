"""SQLite: copies by its online backup API, which writers do not disturb."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from zctl.errors import DatabaseError, Refused

TABLES = r"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name"
REMEDY = "restore a dump: zctl db list-backups"


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
                remedy="free space there, or give another folder with --file-path; older dumps are untouched",
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


def overwrite(source: Path, target: Path, busy_seconds: float) -> None:
    """Make a file hold what another one holds, in one transaction. Raises Refused while it is in use."""
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target, timeout=busy_seconds)) as new,
        ):
            old.backup(new)
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
