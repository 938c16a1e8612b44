"""Connections to a database of several servers: to the one that takes writes, wherever that is by now."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

from zctl.errors import Misuse

Address = tuple[str, int]
CONNECT_SECONDS = 3
FAILOVER_SECONDS = 30.0
"""How long a command waits for a server that takes writes."""
POLL_SECONDS = 0.3
# A server whose machine is dead says nothing more: these tell within about ten seconds.
KEEPALIVE = (
    ("TCP_KEEPIDLE", 4),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 10_000),
)
FILES = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key")
READ_ONLY_ERRORS = {1290, 1792, 1836}
"""--read-only, read-only transaction, read-only mode: the statement was refused, nothing was stored."""
LOST_ERRORS = {1053, 1927, 2002, 2003, 2006, 2013, 2014, 2055}
"""Shutdown in progress, connection killed, and the ways in which a connection ends."""


def error_number(error: BaseException | None) -> int:
    """The number in a driver's error, 0 when there is none."""
    words = getattr(error, "args", ())
    return words[0] if words and isinstance(words[0], int) else 0


def is_passing(error: BaseException | None) -> bool:
    """Whether an error is one that a failover causes, so that another connection may do better."""
    return error_number(error) in READ_ONLY_ERRORS | LOST_ERRORS


@dataclass
class Finder:
    """Finds the server that takes writes, or with `replica` one that follows it; remembers which that was."""

    addresses: list[Address]
    replica: bool = False
    waiting: Callable[[str], None] | None = None
    last: Address | None = None

    def connect(self, dialect: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A connection by the driver. Raises the driver's error when no server is right in time."""
        driver = dialect.loaded_dbapi
        deadline = time.monotonic() + FAILOVER_SECONDS
        told = False
        while True:
            found, error = self.try_all(driver, arguments, options)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise error or driver.OperationalError(2003, "no server of the database takes writes")
            if not told and self.waiting is not None:
                self.waiting("no server of the database takes writes at this moment: waiting for one")
                told = True
            time.sleep(POLL_SECONDS)

    def try_all(self, driver: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Exception | None]:
        """A connection to the first server that is right, and otherwise the last error."""
        error: Exception | None = None
        second = None
        for address in sorted(self.addresses, key=lambda entry: entry != self.last):
            try:
                connection = open_connection(driver, address, arguments, options)
            except driver.OperationalError as problem:
                if error_number(problem) not in LOST_ERRORS:
                    raise  # such as a wrong password: no other server will like it better
                error = problem
                continue
            if is_read_only(connection) == self.replica:
                self.last = address
                if second is not None:
                    second.close()
                return connection, None
            if self.replica and second is None:
                second = connection  # the primary serves where no replica does
            else:
                connection.close()
        return second, error


def open_connection(driver: Any, address: Address, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A connection to one server, which notices when that server's machine is gone."""
    made = driver_connection(
        driver, arguments, {**options, "host": address[0], "port": address[1], "defer_connect": True}
    )
    try:
        wire = socket.create_connection(address, CONNECT_SECONDS)
    except (OSError, UnicodeError) as error:
        raise driver.OperationalError(2003, f"Can't connect to MySQL server on {address[0]!r} ({error})") from None
    wire.settimeout(None)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    made.connect(wire)
    return made


def driver_connection(driver: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The driver's connection. Raises Misuse for options in the address that it cannot use."""
    try:
        return driver.connect(*arguments, **options)
    except (OSError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        tls = {f"ssl_{name}": str(value) for name, value in (options.get("ssl") or {}).items()}
        files = {name: path for name, path in tls.items() if name in FILES}
        if isinstance(error, OSError) and files:
            wrong = {name: path for name, path in files.items() if not os.access(path, os.R_OK)} or files
            raise Misuse(
                f"{', '.join(f'{name}={path}' for name, path in wrong.items())} cannot be used:"
                f" {error.strerror or type(error).__name__}",
                resource="the database's address",
                remedy="correct the path, or make it a file in PEM format that you can read",
            ) from None
        raise Misuse(
            f"the driver cannot use the server's name or an option in it ({type(error).__name__})",
            resource="the database's address",
            remedy="correct the name, and what stands behind the question mark",
        ) from None


def connect_once(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
    """A connection to the one server there is."""
    return driver_connection(dialect.loaded_dbapi, tuple(arguments), dict(options))


def is_read_only(connection: Any) -> bool:
    """Whether the server of a driver's connection refuses writes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@global.read_only")
        row = cursor.fetchone()
    return bool(row[0])


def watch_over(engine: Engine, finder: Finder) -> None:
    """Make an engine find its server anew whenever a connection leads to one that is gone or has another role."""

    def connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        return finder.connect(dialect, tuple(arguments), dict(options))

    def checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        try:
            changed = is_read_only(connection) and not finder.replica
        except Exception:
            changed = True  # whatever is wrong with a connection from the pool, a fresh one tells
        if changed:
            raise InvalidatePoolError

    # That a connection broke is told by the error it raised; the pool would print a trace beside it.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkout", checkout)
