"""Carrying the inventory from one database to another, of whichever kind: every row, compared one by one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, insert, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, col

from zctl.actions.present import Present, look, require_nobody_at_work
from zctl.errors import DatabaseError, Misuse, Refused
from zctl.inventory.engine import Inventory, explained, shown, sqlite_path
from zctl.inventory.head import HEAD
from zctl.inventory.schema import initialise, require_no_strangers
from zctl.log import logger
from zctl.resources.internal import Info
from zctl.resources.registry import all_classes

if TYPE_CHECKING:
    from zctl.actions.context import Say
    from zctl.config import Config

BATCH = 2000


@dataclass
class Moved:
    """What was carried over: rows of each table."""

    tables: dict[str, int]

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self.tables.values())


def move(config: Config, target: str, say: Say) -> Moved:
    """Copy the inventory to another, empty database. Writers wait meanwhile. Raises ZctlError; then it holds no rows.

    The inventory keeps its UUID, so that hosts go on belonging to it. The old database stays as it is.
    """
    source = Inventory(config.url)
    source.check_schema()
    require_free(config.url, target)
    log = logger(config.home, "move")
    initialise(target)
    place = Inventory(target)
    # The source's own write lock: what is copied stays the last word until the copy is compared.
    with source.write() as db:
        old = db.connection()
        require_known_tables(old)
        with explained(target), place.engine.execution_options(zctl_write=True).connect() as new:
            if new.dialect.name != "sqlite":  # which has begun by taking the turn to write
                new.execute(select(col(Info.id)).with_for_update())
            if holds_rows(new):
                raise taken(target)  # somebody else has been there since it was looked at
            unchecked(new)
            moved = Moved({table.name: copy_table(old, new, table, say) for table in tables()})
            for table in tables():
                require_same(old, new, table)
            new.commit()
        db.rollback()
    place.engine.dispose()
    log.info("moved %d rows from %s to %s", moved.rows, shown(config.url), shown(target))
    return moved


def require_free(source: str, target: str) -> None:
    """Raise unless the target is another database without an inventory, and nobody is at work on the source."""
    here, there = look(source), look(target)
    fresh = is_fresh(target, there)
    if source == target or is_same_file(source, target) or (fresh and there.identity == here.identity):
        raise Misuse("--to names the database that is in use", remedy="name another one")
    require_no_strangers(there.strange, target)
    if there.exists and not fresh:
        raise taken(target, there.trouble)
    require_nobody_at_work(here.busy, source)


def is_same_file(source: str, target: str) -> bool:
    """Whether two addresses lead to one file."""
    first, second = sqlite_path(source), sqlite_path(target)
    return first is not None and second is not None and first.resolve() == second.resolve()


def taken(target: str, trouble: str = "") -> Refused:
    """The refusal of a target that holds something."""
    return Refused(
        f"it cannot be read: {trouble}" if trouble else "there is an inventory already",
        resource=shown(target),
        remedy="name an empty database; an inventory is never overwritten by a move",
    )


def is_fresh(url: str, there: Present) -> bool:
    """Whether an inventory holds nothing yet, as after zctl init or a move that was broken off."""
    if not there.identity or there.schema != HEAD:
        return False
    inventory = Inventory(url)
    with inventory.read() as db:
        found = holds_rows(db.connection())
    inventory.engine.dispose()
    return not found


def holds_rows(connection: Connection) -> bool:
    """Whether an inventory holds more than its own UUID."""
    kept = (table for table in tables() if table.name != Info.__tablename__)
    return any(connection.execute(select(table).limit(1)).first() for table in kept)


def tables() -> list[Table]:
    """All tables of the inventory, referred-to ones first."""
    all_classes()
    return list(SQLModel.metadata.sorted_tables)


def require_known_tables(connection: Connection) -> None:
    """Raise Refused when the database holds tables that would be left behind."""
    known = {table.name for table in tables()} | {"alembic_version"}
    if strange := sorted(set(inspect(connection).get_table_names()) - known):
        raise Refused(
            f"it holds tables that zctl does not know: {', '.join(strange[:5])}",
            resource="the inventory",
            remedy="install the packages whose resource types they are, or move those tables elsewhere",
        )


def unchecked(connection: Connection) -> None:
    """Let rows come in any order: a row may refer to one of its own table."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    else:
        # With unique_checks = 0 a name that is there twice would be told at the end, and not which.
        connection.exec_driver_sql("SET SESSION foreign_key_checks = 0")


def ordered(connection: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table by primary key, some at a time."""
    # One order in both databases: their texts sort differently.
    result = connection.execution_options(stream_results=True).execute(select(table))
    for rows in result.mappings().partitions(BATCH):
        yield [dict(row) for row in rows]


def copy_table(old: Connection, new: Connection, table: Table, say: Say) -> int:
    """Copy a table's rows; what a fresh inventory has there goes first."""
    new.execute(table.delete())
    count = 0
    for rows in ordered(old, table):
        try:
            new.execute(insert(table), rows)
        except IntegrityError as error:
            raise Refused(
                f"two of its rows are the same to the other database: {error.orig}",
                resource=table.name,
                remedy="MySQL takes no notice of upper and lower case: rename one of them; nothing was moved",
            ) from None
        count += len(rows)
    if count:
        say(f"{table.name}: {count} rows")
    return count


def require_same(old: Connection, new: Connection, table: Table) -> None:
    """Raise DatabaseError unless both tables hold the same rows."""
    before, after = sums(old, table), sums(new, table)
    if before != after:
        differing = sorted(set(before.items()) ^ set(after.items()))
        raise DatabaseError(
            f"{len(differing)} rows came out different, for instance {differing[0][0] if differing else ''}",
            resource=f"table {table.name}",
            remedy="nothing was moved; please report it with the versions of both databases",
        )


def sums(connection: Connection, table: Table) -> dict[str, bytes]:
    """A sum of each row's values, by primary key."""
    keys = [column.name for column in table.primary_key]
    return {
        json.dumps([row[key] for key in keys], default=word): hashlib.sha256(
            json.dumps(row, default=word, sort_keys=True).encode()
        ).digest()
        for rows in ordered(connection, table)
        for row in rows
    }


def word(value: Any) -> str:
    """A value that JSON does not know, as text."""
    return value.isoformat() if isinstance(value, datetime) else repr(value)
