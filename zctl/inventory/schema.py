"""Making the inventory's tables and bringing them up to date, by alembic."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import select

from zctl.errors import DatabaseError
from zctl.inventory.engine import Inventory, explained, sqlite_path
from zctl.inventory.head import HEAD
from zctl.resources.internal import Info
from zctl.resources.registry import resource_class
from zctl.resources.registry_index import foreign_nouns

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER = Path(__file__).parent / "migrations"


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's settings without a file."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def initialise(url: str) -> str:
    """Make or update the inventory at a URL; says what was done. An existing inventory keeps all its rows."""
    path = sqlite_path(url)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600, exist_ok=True)
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
        before = MigrationContext.configure(connection).get_current_revision()
        if before is not None and before > HEAD:
            raise DatabaseError(
                f"the inventory has schema {before}, newer than this zctl's {HEAD}", remedy="install a newer zctl"
            )
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
