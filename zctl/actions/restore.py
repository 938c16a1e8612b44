"""Restoring a dump: everything is checked and tried beside the inventory first; then it takes its place in one step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, select, text
from sqlalchemy.orm import Session
from sqlmodel import SQLModel, col

from zctl.actions.dump import SAFETY_KEEP, SAFETY_PREFIX, Wish, take
from zctl.actions.present import Present, at_work, look, require_nobody_at_work
from zctl.actions.verify import ANOTHER, compare, contents, require_engine, require_good, unpacked_file
from zctl.backup import mysql, sqlite
from zctl.backup.folder import Dump
from zctl.config import sqlite_url
from zctl.errors import DatabaseError, Refused, ZctlError
from zctl.files import sync_folder
from zctl.inventory.engine import Inventory, explained, shown, sqlite_path
from zctl.inventory.head import HEAD
from zctl.inventory.schema import VERSIONS, initialise, known_revisions, require_no_strangers
from zctl.log import logger
from zctl.ownership import give
from zctl.resources.base import now
from zctl.resources.internal import Info, Lease
from zctl.resources.job import Job
from zctl.resources.registry import all_classes

if TYPE_CHECKING:
    from zctl.actions.context import Say
    from zctl.config import Config

BUSY_SECONDS = 30.0
ATTEMPTS = 5
Save = Callable[[], Path]
"""Dumps what is there and says where to."""


@dataclass
class Restored:
    """What a restore came to."""

    rows: int
    from_schema: str
    safety: Path | None
    cancelled: list[str]


def check(dump: Dump, url: str, present: Present, *, other: bool) -> None:
    """Raise unless the dump is whole, of this kind of database, of a schema known here, and of this inventory."""
    require_good(dump)
    require_engine(Inventory(url), dump)
    known = known_revisions()
    if dump.manifest.schema_revision not in known:
        raise Refused(
            f"it has schema {dump.manifest.schema_revision}, which this zctl ({HEAD}) does not know",
            resource=str(dump.path),
            remedy=f"restore it with the zctl that took it: {dump.manifest.zctl}, or a newer one",
        )
    if present.schema and present.schema not in known:
        raise Refused(
            f"the inventory has schema {present.schema}, which this zctl ({HEAD}) does not know",
            resource=shown(url),
            remedy="use the newer zctl that it was made with",
        )
    if present.identity and present.identity != dump.manifest.inventory and not other:
        raise Refused(
            f"it is of another inventory ({dump.manifest.inventory}) than the one here ({present.identity})",
            resource=str(dump.path),
            remedy="correct --db or --file; --other-inventory replaces this one by that one",
        )
    require_no_strangers(present.strange, url)
    require_nobody_at_work(present.busy, url)


def restore(config: Config, dump: Dump, present: Present, identity: str, folder: Path, say: Say) -> Restored:
    """Put a checked dump in the inventory's place. Raises ZctlError; then the inventory is as it was.

    What is stored until the very moment of the exchange is in the dump of what was there.
    """
    log = logger(config.home, "restore")
    url = config.url

    def save() -> Path:
        wish = Wish(prefix=f"{SAFETY_PREFIX}-restore", keep=SAFETY_KEEP, folder=folder)
        return take(config, Inventory(url), wish, say).dump.path

    say(f"restoring {dump.path.name} beside the inventory")
    try:
        if path := sqlite_path(url):
            safety, cancelled = restore_file(dump, path, present, identity, save, say)
        else:
            safety, cancelled = restore_server(dump, url, present, identity, save, say)
    except ZctlError as error:
        log.error("%s from %s: %s", shown(url), dump.path, error)
        raise
    log.info("restored %s from %s, schema %s", shown(url), dump.path, dump.manifest.schema_revision)
    return Restored(dump.manifest.rows, dump.manifest.schema_revision, safety, cancelled)


def set_aside(path: Path) -> Path:
    """Copy a damaged file, with what belongs to it, under another name."""
    kept = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    try:
        for suffix in ("", "-wal", "-shm"):
            if (part := path.with_name(path.name + suffix)).exists():
                give(Path(shutil.copy2(part, kept.with_name(kept.name + suffix))))
    except OSError as error:
        raise DatabaseError(
            f"the damaged file cannot be laid aside: {error.strerror}", resource=str(path), remedy="free space there"
        ) from None
    return kept


def restore_file(
    dump: Dump, path: Path, present: Present, identity: str, save: Save, say: Say
) -> tuple[Path | None, list[str]]:
    """For SQLite: a copy beside it is migrated, then copied over it in one transaction."""
    with unpacked_file(dump, identity) as staged:
        compare(dump, sqlite.check(staged))
        require_same_words(dump, sqlite.word(staged, "info", "inventory"), sqlite.word(staged, VERSIONS, "version_num"))
        cancelled = prepare(sqlite_url(staged))
        if present.trouble:
            say(f"{path} is damaged: it is laid aside")
            safety = set_aside(path)
            lay(staged, path)
            return safety, cancelled
        if not present.exists:
            lay(staged, path)
            return None, cancelled
        for _ in range(ATTEMPTS):
            with sqlite.Watch(path) as watch:
                require_nobody_at_work(look(sqlite_url(path)).busy, str(path))
                safety = save()
                say("taking its place")
                if sqlite.overwrite(staged, path, BUSY_SECONDS, watch):
                    return safety, cancelled
            say("the inventory has changed meanwhile: once more")
        raise Refused(
            "others change it all the time", resource=str(path), remedy="end them first; nothing was restored"
        )


def lay(staged: Path, path: Path) -> None:
    """Lay a file where there is none, or only a damaged one that has been laid aside."""
    beside = path.with_name(f".{path.name}.zctl-part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside.unlink(missing_ok=True)
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        give(beside)
        sqlite.copy(staged, beside)
        sqlite.log_ahead(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        beside.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise DatabaseError(
            f"it cannot be written: {error.strerror}", resource=str(path), remedy="free space, check owner and mode"
        ) from None
    finally:
        beside.unlink(missing_ok=True)


def restore_server(
    dump: Dump, url: str, present: Present, identity: str, save: Save, say: Say
) -> tuple[Path | None, list[str]]:
    """The same for MySQL and MariaDB: a scratch database is migrated, then its rows replace ours in one transaction."""
    inventory = Inventory(url)
    server = mysql.server_of(inventory)
    safety = None
    with mysql.scratch(inventory) as scratch:
        mysql.load(server, scratch, contents(dump, identity))
        with explained(url), inventory.engine.connect() as connection:
            require_same_words(dump, *words_of(connection, scratch))
        cancelled = prepare(server.url(scratch))
        if present.exists and present.schema != HEAD:
            safety = save()  # before its tables are changed
        initialise(url)
        with explained(url), inventory.engine.connect() as connection:
            # For this row writers take turns: nobody stores anything between the dump of what is there and its end.
            connection.execute(select(col(Info.id)).with_for_update())
            with Session(connection) as db:
                require_nobody_at_work(at_work(db), shown(url))
            if present.exists and safety is None:
                safety = save()
            say("taking its place")
            replace_rows(connection, scratch, server.database)
        # After the rows: triggers must not fire on them.
        if programs(inventory, scratch):
            mysql.copy_programs(server, scratch, server.database)
    return safety, cancelled


def words_of(connection: Connection, database: str) -> list[str]:
    """The UUID of the inventory in a database, and its schema."""
    place = f"`{mysql.plain(database)}`"
    queries = (f"SELECT inventory FROM {place}.info", f"SELECT version_num FROM {place}.{VERSIONS}")  # noqa: S608
    return [str(connection.exec_driver_sql(query).scalar() or "") for query in queries]


def require_same_words(dump: Dump, inventory: str, schema: str) -> None:
    """Raise Refused unless a dump holds the inventory and the schema that its manifest names."""
    told = (dump.manifest.inventory, dump.manifest.schema_revision)
    if (inventory, schema) != told:
        raise Refused(
            f"it holds inventory {inventory} with schema {schema}, its manifest says {told[0]} with schema {told[1]}",
            resource=str(dump.path),
            remedy=ANOTHER,
        )


def programs(inventory: Inventory, database: str) -> int:
    """How many routines, triggers and events a database has; zctl makes none itself."""
    found = 0
    with explained(inventory.url), inventory.engine.connect() as connection:
        for table, column in (("ROUTINES", "ROUTINE"), ("TRIGGERS", "TRIGGER"), ("EVENTS", "EVENT")):
            query = f"SELECT count(*) FROM information_schema.{table} WHERE {column}_SCHEMA = :name"  # noqa: S608
            found += connection.execute(text(query), {"name": database}).scalar() or 0
    return found


def prepare(url: str) -> list[str]:
    """Migrate what was restored, and give up the jobs and leases of processes of that time. Returns the jobs' names.

    A job that ran when the dump was taken has ended since; doing or undoing it again could hit what was made later.
    """
    initialise(url)
    inventory = Inventory(url)
    try:
        with inventory.write() as db:
            running = list(db.scalars(select(Job).where(col(Job.state) == "Running")))
            for job in running:
                job.state, job.ended_at = "Cancelled", now()
                job.error = "the inventory was restored from a dump that was taken while it ran"
                db.add(job)
            db.execute(delete(Lease))
        return [job.name for job in running]
    finally:
        inventory.engine.dispose()


def replace_rows(connection: Connection, source: str, target: str) -> None:
    """Make the tables of one database hold the rows of another one's: readers see all of it or nothing.

    The connection holds the row for which writers take turns.
    """
    all_classes()
    connection.execute(text("SET SESSION foreign_key_checks = 0, unique_checks = 0"))
    theirs, ours = columns(connection, source), columns(connection, target)
    for table in sorted(ours):
        if table in theirs or table in SQLModel.metadata.tables:
            connection.execute(text(f"DELETE FROM `{mysql.plain(target)}`.`{mysql.plain(table)}`"))  # noqa: S608
    for table, names in sorted(theirs.items()):
        if table not in ours:
            raise DatabaseError(
                f"the dump has a table {table} that the database here has not",
                resource=f"database {target}",
                remedy="install the package that brings its resource type, then zctl init",
            )
        listed = ", ".join(f"`{mysql.plain(name)}`" for name in names if name in ours[table])
        place, origin = (f"`{mysql.plain(database)}`.`{mysql.plain(table)}`" for database in (target, source))
        connection.execute(text(f"INSERT INTO {place} ({listed}) SELECT {listed} FROM {origin}"))  # noqa: S608
    connection.commit()


def columns(connection: Connection, database: str) -> dict[str, list[str]]:
    """The columns of each table of a database."""
    found: dict[str, list[str]] = {}
    query = (
        "SELECT c.TABLE_NAME, c.COLUMN_NAME FROM information_schema.COLUMNS c JOIN information_schema.TABLES t "
        "USING (TABLE_SCHEMA, TABLE_NAME) WHERE TABLE_SCHEMA = :name AND TABLE_TYPE = 'BASE TABLE' "
        "ORDER BY ORDINAL_POSITION"
    )
    for table, name in connection.execute(text(query), {"name": database}):
        found.setdefault(table, []).append(name)
    return found
