"""Making the inventory's tables and bringing them up to date, by alembic."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select
from sqlmodel import SQLModel

from zctl.errors import DatabaseError, Refused
from zctl.inventory.engine import Inventory, explained, shown, sqlite_path
from zctl.inventory.head import HEAD
from zctl.ownership import give
from zctl.resources.internal import Info
from zctl.resources.registry import all_classes, resource_class
from zctl.resources.registry_index import foreign_nouns

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER = Path(__file__).parent / "migrations"
VERSIONS = "alembic_version"


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's settings without a file."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def revision_of(url: str) -> str | None:
    """The schema revision of the inventory at a URL; None when there is none."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return None
    inventory = Inventory(url)
    with explained(url), inventory.engine.connect() as connection:
        return revision_in(connection)


def revision_in(connection: Connection) -> str | None:
    """The schema revision of the inventory in a database; None when there is none."""
    return MigrationContext.configure(connection).get_current_revision()


def strangers(connection: Connection) -> list[str]:
    """The tables that are not zctl's, or hold something: what must not be there where an inventory is to be made."""
    all_classes()
    found = []
    for name in inspect(connection).get_table_names():
        quoted = connection.dialect.identifier_preparer.quote(name)
        known = name in SQLModel.metadata.tables
        if name != VERSIONS and not (known and is_empty(connection, quoted)):
            found.append(name)
    return found


def require_no_strangers(strange: list[str], url: str) -> None:
    """Raise Refused where a database holds something, but no inventory."""
    if strange:
        raise Refused(
            f"it holds no inventory, but {', '.join(strange[:5])}",
            resource=shown(url),
            remedy="name an empty database; when it was an inventory, restore a dump into an empty one",
        )


def is_empty(connection: Connection, quoted: str) -> bool:
    """Whether a table has no rows."""
    return connection.exec_driver_sql(f"SELECT 1 FROM {quoted} LIMIT 1").first() is None  # noqa: S608


def clear_broken_off(connection: Connection) -> None:
    """Remove the empty tables that a killed call left, for MySQL makes each table for good at once."""
    names = inspect(connection).get_table_names()
    if not names:
        return
    connection.exec_driver_sql("SET SESSION foreign_key_checks = 0")
    for name in names:
        connection.exec_driver_sql(f"DROP TABLE {connection.dialect.identifier_preparer.quote(name)}")
    connection.exec_driver_sql("SET SESSION foreign_key_checks = 1")


def pending(before: str) -> list[tuple[str, str]]:
    """The migrations from a revision to this zctl's, in order: number and what each brings."""
    script = ScriptDirectory.from_config(alembic_config())
    found = [(entry.revision, entry.doc) for entry in script.iterate_revisions(HEAD, before)]
    return found[::-1]


def known_revisions() -> set[str]:
    """Every schema that this zctl knows the way from."""
    return {entry.revision for entry in ScriptDirectory.from_config(alembic_config()).walk_revisions()}


def require_known(before: str) -> None:
    """Raise DatabaseError for a schema that a newer zctl made."""
    if before > HEAD:
        raise DatabaseError(
            f"the inventory has schema {before}, newer than this zctl's {HEAD}", remedy="install a newer zctl"
        )
    if before not in known_revisions():
        raise DatabaseError(f"the inventory has schema {before}, which there never was", remedy="restore a dump")


def initialise(url: str) -> str:
    """Make or update the inventory at a URL; says what was done. An existing inventory keeps all its rows."""
    path = sqlite_path(url)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600, exist_ok=True)
            give(path)
        except OSError as error:
            raise DatabaseError(
                f"cannot make {path}: {error.strerror}", remedy="check the folder's owner and mode, or set ZCTL_HOME"
            ) from None
    inventory = Inventory(url)
    with explained(url), inventory.engine.connect() as connection:
        if path is not None:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            # A migration may have to make a table anew; dropping the old one must not delete what refers to it.
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            # Its statements on tables are no transaction; two nodes at once would make the same table. Ends with the
            # connection.
            connection.exec_driver_sql("SELECT GET_LOCK(LEFT(CONCAT('zctl.', DATABASE()), 64), 600)")
        before = revision_in(connection)
        if before is not None:
            require_known(before)
        if before != HEAD:
            strange = strangers(connection)
            if before is None:
                require_no_strangers(strange, url)
            if not strange and path is None:
                clear_broken_off(connection)
                before = None
        if before != HEAD:
            command.upgrade(alembic_config(connection), "head")
            if path is not None and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()):
                raise DatabaseError(f"the migration would break {len(broken)} references; nothing was changed")
            connection.commit()
        make_foreign_tables(connection)
        connection.commit()
    inventory.engine.dispose()  # its connection does not watch over foreign keys
    with inventory.write() as db:
        if db.scalars(select(Info)).first() is None:
            db.add(Info(id=1, inventory=str(uuid.uuid4())))
    if before is None:
        return "made"
    return "unchanged" if before == HEAD else f"brought from schema {before} to {HEAD}"


def make_foreign_tables(connection: Connection) -> None:
    """The tables of resource types that other packages bring; how those change later is their packages' business."""
    for noun in foreign_nouns():
        table = resource_class(noun).__table__  # type: ignore[attr-defined]
        table.create(connection, checkfirst=True)
