"""A private MariaDB server for tests, and databases on it that begin without rows."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pymysql
import pytest

# Nothing of a test has to outlive a crash of the machine.
FAST = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-flush-method=nosync",
    "--debug-no-sync",
    "--innodb-buffer-pool-size=128M",
    "--innodb-log-file-size=96M",
)


@dataclass
class MariaDb:
    """A running server; root needs no password at its socket."""

    socket: Path
    data: Path
    process: subprocess.Popen[bytes]
    made: set[str] = field(default_factory=set)

    def url(self, database: str = "zctl", user: str = "root") -> str:
        """The address of a database on it."""
        return f"mysql://{user}@localhost/{database}?unix_socket={self.socket}"

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as root; returns the last one's rows."""
        with pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def empty(self, database: str = "zctl") -> str:
        """The address of a new database without tables."""
        self.sql(f"DROP DATABASE IF EXISTS {database}", f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
        self.made.discard(database)
        return self.url(database)

    def without_rows(self, database: str = "zctl") -> str:
        """The address of a database with the schema of today and no rows; the tables are made once only."""
        from zctl.inventory.head import HEAD
        from zctl.inventory.schema import initialise

        tables: list[str] = []
        if database in self.made:
            query = f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{database}'"
            tables = [str(row[0]) for row in self.sql(query)]
            if "alembic_version" in tables:
                found = self.sql(f"SELECT version_num FROM {database}.alembic_version")
                tables = [name for name in tables if name != "alembic_version"] if found == [(HEAD,)] else []
        if tables:
            self.sql("SET foreign_key_checks = 0", *(f"DELETE FROM {database}.`{name}`" for name in tables))
        else:
            initialise(self.empty(database))
            self.made.add(database)
        return self.url(database)


@contextmanager
def mariadb(folder: Path, *options: str) -> Iterator[MariaDb]:
    """A server with its data in a folder, reached by a socket only."""
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        pytest.fail("there is no MariaDB server here: apt install mariadb-server-core (./dev setup does)")
    data, socket = folder / "data", folder / "s"
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", *user],
        check=True,
        capture_output=True,
    )
    # A server that starts clears its folder for temporary files: it must not be another one's.
    (folder / "tmp").mkdir()
    argv = [
        "mariadbd",
        "--no-defaults",
        f"--datadir={data}",
        f"--tmpdir={folder}/tmp",
        f"--socket={socket}",
        f"--pid-file={folder}/pid",
        *user,
    ]
    networking = [] if any(option.startswith("--port") for option in options) else ["--skip-networking"]
    with subprocess.Popen(
        [*argv, *networking, *FAST, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        for _ in range(300):
            if socket.exists():
                break
            time.sleep(0.1)
        try:
            yield MariaDb(socket, data, process)
        finally:
            process.kill()  # its data go with the folder
