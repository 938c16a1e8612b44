"""Opening the inventory and running transactions on it, with errors in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import col

from zctl.errors import Conflict, DatabaseError, Misuse
from zctl.inventory.head import HEAD
from zctl.resources.internal import Info

BUSY_TIMEOUT_MS = 60_000


class Inventory:
    """An open inventory: `read` and `write` give sessions, each of which is one transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect(url)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; what is changed in it is thrown away."""
        with explained(self.url), Session(self.engine, expire_on_commit=False, autoflush=False) as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One write transaction: writers take turns, all of it is stored or nothing."""
        engine = self.engine.execution_options(zctl_write=True)
        with explained(self.url), Session(engine, expire_on_commit=False) as db:
            if self.engine.dialect.name != "sqlite":
                db.execute(select(col(Info.id)).with_for_update())
            yield db
            db.commit()

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
        info = db.get(Info, 1)
        assert info is not None
        return info.inventory


def sqlite_path(url: str) -> Path | None:
    """The file of a plain SQLite URL, or None for other databases and for SQLite's own file: addresses."""
    made = make_url(url)
    if made.get_backend_name() != "sqlite" or not made.database or made.database.startswith("file:"):
        return None
    return Path(made.database)


def shown(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def connect(url: str) -> Engine:
    """An engine with foreign keys and WAL on SQLite, and honest transactions. Raises Misuse for a URL with mistakes."""
    try:
        made = make_url(url)
        if made.get_backend_name() in ("mysql", "mariadb") and "+" not in made.drivername:
            made = made.set(drivername=f"{made.drivername}+pymysql")
        if made.get_backend_name() == "sqlite":
            engine = create_engine(made, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False})
        else:
            engine = create_engine(
                made, pool_pre_ping=True, isolation_level="READ COMMITTED", connect_args={"connect_timeout": 10}
            )
    except (ArgumentError, NoSuchModuleError, ImportError):
        raise Misuse(
            f"{url.partition('://')[0]!r} is no database zctl knows",
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
        return (f"the database server of {place} does not answer; start it or correct --db",)
    if "access denied" in lower:
        return (f"the database server refuses the user or password of {place}",)
    return (f"the database {place} failed: {words}",)
