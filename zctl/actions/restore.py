"""Restoring a dump: everything is checked and tried beside the inventory first; then it takes its place in one step."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, select, text
from sqlmodel import SQLModel, col

from zctl.actions.dump import SAFETY_KEEP, SAFETY_PREFIX, Wish, take
from zctl.actions.verify import compare, contents, require_engine, require_good, unpacked_file
from zctl.backup import mysql, sqlite
from zctl.backup.folder import Dump
from zctl.errors import DatabaseError, Refused, ZctlError
from zctl.files import sync_folder
from zctl.inventory.engine import Inventory, explained, shown, sqlite_path
from zctl.inventory.head import HEAD
from zctl.inventory.lease import LIFETIME, is_alive, owner, shown_owner
from zctl.inventory.schema import alembic_config, initialise
from zctl.log import logger
from zctl.resources.base import now
from zctl.resources.clock import clock
from zctl.resources.internal import Info, Lease
from zctl.resources.job import Job
from zctl.resources.registry import all_classes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.actions.context import Say
    from zctl.config import Config

BUSY_SECONDS = 30.0


@dataclass
class Present:
    """The inventory that is there now. `identity` is empty when there is none, `trouble` says why it cannot be read."""

    identity: str = ""
    schema: str = ""
    busy: list[str] = field(default_factory=list)
    trouble: str = ""

    @property
    def exists(self) -> bool:
        """Whether there is anything that a restore would replace."""
        return bool(self.identity or self.trouble)


@dataclass
class Restored:
    """What a restore came to."""

    rows: int
    from_schema: str
    safety: Path | None
    cancelled: list[str]


def look(url: str) -> Present:
    """What is in the database now. Raises DatabaseError when the server does not answer."""
    path = sqlite_path(url)
    if path is not None and (not path.exists() or path.stat().st_size == 0):
        return Present()
    inventory = Inventory(url)
    try:
        with inventory.read() as db:
            schema = str(db.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")
            identity = str(db.execute(text("SELECT inventory FROM info")).scalar() or "")
            return Present(identity, schema, at_work(db) if schema == HEAD else [])
    except ZctlError as error:
        if "doesn't exist" in str(error) or "no such table" in str(error).lower():
            return Present()
        if path is None:
            raise
        return Present(trouble=error.what)
    finally:
        inventory.engine.dispose()


def at_work(db: Session) -> list[str]:
    """The living processes, here and on other nodes, that have a lease or a job."""
    present = clock(db)
    leases = db.execute(select(col(Lease.owner), col(Lease.expires_at))).all()
    signs = [(who, until - LIFETIME) for who, until in leases]
    signs += db.execute(select(col(Job.owner), col(Job.heartbeat_at)).where(col(Job.state) == "Running")).all()  # type: ignore[arg-type]
    owners = {who for who, seen in signs if is_alive(who, seen, present)}
    return sorted(shown_owner(who) for who in owners - {owner()})


def check(dump: Dump, url: str, present: Present, *, other: bool) -> None:
    """Raise unless the dump is whole, of this kind of database, of a schema known here, and of this inventory."""
    require_good(dump)
    require_engine(Inventory(url), dump)
    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
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
    if present.busy:
        raise Refused(
            f"the inventory is in use by {', '.join(present.busy[:3])}",
            resource=shown(url),
            remedy="wait for them, or end them, and stop timers that start others",
        )


def restore(config: Config, dump: Dump, present: Present, identity: str, folder: Path, say: Say) -> Restored:
    """Put a checked dump in the inventory's place. Raises ZctlError; then the inventory is as it was."""
    log = logger(config.home, "restore")
    url = config.url
    try:
        safety = save_present(config, present, folder, say)
        say(f"restoring {dump.path.name} beside the inventory")
        if path := sqlite_path(url):
            cancelled = restore_file(dump, path, present, identity, say)
        else:
            cancelled = restore_server(dump, url, identity, say)
    except ZctlError as error:
        log.error("%s from %s: %s", shown(url), dump.path, error)
        raise
    log.info("restored %s from %s, schema %s", shown(url), dump.path, dump.manifest.schema_revision)
    return Restored(dump.manifest.rows, dump.manifest.schema_revision, safety, cancelled)


def save_present(config: Config, present: Present, folder: Path, say: Say) -> Path | None:
    """Dump what is about to be replaced, or lay it aside when it is too damaged for that."""
    if not present.exists:
        return None
    if present.trouble:
        path = sqlite_path(config.url)
        assert path is not None
        say(f"{path} is damaged: it is laid aside")
        return set_aside(path)
    wish = Wish(prefix=f"{SAFETY_PREFIX}-restore", keep=SAFETY_KEEP, folder=folder)
    return take(config, Inventory(config.url), wish, say).dump.path


def set_aside(path: Path) -> Path:
    """Copy a damaged file, with what belongs to it, under another name."""
    kept = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    try:
        for suffix in ("", "-wal", "-shm"):
            if (part := path.with_name(path.name + suffix)).exists():
                shutil.copy2(part, kept.with_name(kept.name + suffix))
    except OSError as error:
        raise DatabaseError(
            f"the damaged file cannot be laid aside: {error.strerror}", resource=str(path), remedy="free space there"
        ) from None
    return kept


def restore_file(dump: Dump, path: Path, present: Present, identity: str, say: Say) -> list[str]:
    """The same for SQLite: a copy beside it is migrated, then copied over it in one transaction."""
    with unpacked_file(dump, identity) as staged:
        compare(dump, sqlite.check(staged))
        cancelled = prepare(f"sqlite:///{staged}")
        say("taking its place")
        if present.exists and not present.trouble:
            sqlite.overwrite(staged, path, BUSY_SECONDS)
            return cancelled
        lay(staged, path)
        return cancelled


def lay(staged: Path, path: Path) -> None:
    """Lay a file where there is none, or only a damaged one that has been laid aside."""
    beside = path.with_name(f".{path.name}.zctl-part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside.unlink(missing_ok=True)
        sqlite.copy(staged, beside)
        beside.chmod(0o600)
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


def restore_server(dump: Dump, url: str, identity: str, say: Say) -> list[str]:
    """The same for MySQL and MariaDB: a scratch database is migrated, then its rows replace ours in one transaction."""
    inventory = Inventory(url)
    server = mysql.server_of(inventory)
    with mysql.scratch(inventory) as scratch:
        mysql.load(server, scratch, contents(dump, identity))
        cancelled = prepare(server.url(scratch))
        initialise(url)
        say("taking its place")
        with explained(url), inventory.engine.connect() as connection:
            replace_rows(connection, scratch, server.database)
        # After the rows: triggers must not fire on them.
        if programs(inventory, scratch):
            mysql.copy_programs(server, scratch, server.database)
    return cancelled


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
    """Make the tables of one database hold the rows of another one's: readers see all of it or nothing."""
    all_classes()
    connection.execute(text("SET SESSION foreign_key_checks = 0, unique_checks = 0"))
    connection.execute(select(col(Info.id)).with_for_update())
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
