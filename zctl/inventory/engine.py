"""Opening the inventory and running transactions on it, with errors in plain words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import col

from zctl.errors import Conflict, DatabaseError, Misuse
from zctl.inventory import addresses
from zctl.inventory.addresses import split
from zctl.inventory.failover import (
    CONNECT_SECONDS,
    FAILOVER_SECONDS,
    LOST_ERRORS,
    READ_ONLY_ERRORS,
    Finder,
    connect_once,
    error_number,
    is_passing,
    watch_over,
)
from zctl.inventory.head import HEAD

BUSY_TIMEOUT_MS = 60_000


class Inventory:
    """An open inventory: `read` and `write` give sessions, each of which is one transaction."""

    def __init__(self, url: str, *, read_from: str = "primary", waiting: Callable[[str], None] | None = None) -> None:
        """Open the inventory at a URL, which may name several servers.

        `read_from` may be `replica`: reads then go to a server that follows the primary, until the first write.
        `waiting` hears once when no server takes writes.
        """
        self.url = url
        self.engine = connect(url, waiting=waiting)
        self._replica = connect(url, replica=True) if read_from == "replica" and is_replicated(url) else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; what is changed in it is thrown away."""
        engine = self._replica or self.engine
        with explained(self.url), Session(engine, expire_on_commit=False, autoflush=False) as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One write transaction: writers take turns, all of it is stored or nothing.

        Its begin waits for a server that takes writes. What is lost on the way later is refused and told: the caller
        may repeat. Only when the connection ends while the commit is under way nobody knows what became of it.
        """
        self._replica = None  # what this command wrote it is to read back
        engine = self.engine.execution_options(zctl_write=True)
        with explained(self.url), self.begun(engine) as db:
            yield db
            try:
                db.commit()
            except DBAPIError as error:
                if error_number(error.orig) in LOST_ERRORS:
                    raise DatabaseError(
                        "the connection ended while the change was being stored: it may be stored or not",
                        remedy="look before you repeat it",
                    ) from None
                raise

    @contextmanager
    def begun(self, engine: Engine) -> Iterator[Session]:
        """A session that has the turn to write."""
        from zctl.inventory.store import note_removals  # it imports this module's users
        from zctl.resources.internal import Info

        deadline = time.monotonic() + FAILOVER_SECONDS
        while True:
            with Session(engine, expire_on_commit=False) as db:
                event.listen(db, "before_flush", note_removals)
                try:
                    if engine.dialect.name != "sqlite":
                        db.execute(select(col(Info.id)).with_for_update())
                        # A primary that is being replaced stops taking writes while others wait for their turn.
                        if split(self.url)[1] and db.scalar(text("SELECT @@global.read_only")):
                            db.invalidate()
                            continue
                except DBAPIError as error:
                    if not split(self.url)[1] or not is_passing(error.orig) or time.monotonic() > deadline:
                        raise
                    continue  # nothing was done yet: begin again, on the server that takes writes now
                yield db
                return

    def check_schema(self) -> None:
        """Raise DatabaseError unless the tables are there and of this version."""
        path = sqlite_path(self.url)
        if path is not None and not path.exists():
            raise DatabaseError(f"there is no inventory at {path}", remedy="zctl init makes one")
        with self.read() as db:
            try:
                found = db.execute(text("SELECT version_num FROM alembic_version")).scalar()
            except DBAPIError as error:
                if is_missing_table(error):
                    raise DatabaseError(
                        f"the database {shown(self.url)} holds no inventory", remedy="zctl init makes one"
                    ) from None
                raise
        if found != HEAD:
            raise DatabaseError(
                f"the inventory has schema {found}, this zctl needs {HEAD}",
                remedy="zctl init brings it up to date, after a dump; a newer one needs a newer zctl",
            )

    def identity(self, db: Session) -> str:
        """The inventory's own UUID: part of every mark on hosts."""
        from zctl.resources.internal import Info

        info = db.get(Info, 1)
        assert info is not None
        return info.inventory


def sqlite_path(url: str) -> Path | None:
    """The file of a plain SQLite URL, or None for other databases and for SQLite's own file: addresses.

    Raises Misuse for an address with mistakes.
    """
    made, _servers = split(url)
    if made.get_backend_name() != "sqlite" or not made.database or made.database.startswith("file:"):
        return None
    return Path(made.database)


def shown(url: str) -> str:
    """The URL without its password."""
    return addresses.shown(url)


def is_replicated(url: str) -> bool:
    """Whether the address names several servers."""
    return bool(split(url)[1])


def connect(url: str, *, replica: bool = False, waiting: Callable[[str], None] | None = None) -> Engine:
    """An engine with foreign keys and WAL on SQLite, and honest transactions. Raises Misuse for a URL with mistakes.

    Of several servers it connects to the one that takes writes, or with `replica` to one that follows that.
    """
    made, servers = split(url)
    try:
        if made.get_backend_name() in ("mysql", "mariadb") and "+" not in made.drivername:
            made = made.set(drivername=f"{made.drivername}+pymysql")
        if made.get_backend_name() == "sqlite":
            engine = create_engine(made, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False})
        else:
            options: dict[str, Any] = {}  # these go before what the address says
            if "connect_timeout" not in made.query:
                options["connect_timeout"] = CONNECT_SECONDS if servers else 10
            if made.password:
                options["password"] = made.password.encode()  # the driver would take a text for Latin-1
            engine = create_engine(
                made, pool_pre_ping=not servers, isolation_level="READ COMMITTED", connect_args=options
            )
            if servers:
                watch_over(engine, Finder(servers, replica, waiting=waiting))
            else:
                event.listen(engine, "do_connect", connect_once)
    except (ArgumentError, NoSuchModuleError, ImportError):
        raise Misuse(
            f"{made.drivername!r} is no database zctl knows",
            remedy="use sqlite:////path/zctl.db or mysql://user:password@server/zctl",
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event starts transactions, not the driver
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("zctl_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def is_missing_table(error: DBAPIError) -> bool:
    """Whether a statement failed because its table does not exist."""
    words = str(error.orig).lower()
    return "no such table" in words or "doesn't exist" in words


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn database errors into zctl's: what happened to which database, and what to do."""
    try:
        yield
    except StaleDataError:
        raise Conflict(
            "somebody else changed the same resource at this moment", remedy="look again and repeat"
        ) from None
    except IntegrityError as error:
        raise Conflict(
            f"the inventory refused it: {error.orig}", remedy="somebody else may have taken it; try again"
        ) from None
    except DBAPIError as error:
        raise DatabaseError(*explain(url, error)) from None
    except SQLAlchemyError as error:
        raise DatabaseError(f"the database {shown(url)} failed: {error}") from error


def explain(url: str, error: DBAPIError) -> tuple[str]:
    """A sentence for a driver's error, with the remedy."""
    words, path = str(error.orig), sqlite_path(url)
    place = str(path) if path else shown(url)
    lower = words.lower()
    if error_number(error.orig) in READ_ONLY_ERRORS and not path:
        return (
            f"the database server of {place} takes no writes any more; nothing was stored, repeat the command (zctl db"
            " status shows the servers)",
        )
    if "locked" in lower:
        return (
            f"the inventory {place} is locked by another program for over {BUSY_TIMEOUT_MS // 1000} s; end that first",
        )
    if "readonly" in lower or "read-only" in lower:
        return (f"the inventory {place} is read-only; check its owner, mode and mount",)
    if "unable to open" in lower:
        return (f"the inventory {place} cannot be opened; check that the folder exists and may be written",)
    if "disk is full" in lower or "full" in lower.split():
        return (f"no space left for the inventory {place}; free some, nothing was changed",)
    if "malformed" in lower or "not a database" in lower:
        return (f"{place} is damaged or not an inventory; restore a dump",)
    if "can't connect" in lower or "connection refused" in lower or "lost connection" in lower or "gone away" in lower:
        if is_replicated(url):
            return (f"no server of {place} takes writes; zctl db status shows why",)
        return (f"the database server of {place} does not answer; start it or correct --db",)
    if "access denied" in lower:
        return (f"the database server refuses the user or password of {place}",)
    return (f"the database {place} failed: {words}",)
