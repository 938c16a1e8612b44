"""Inventories of older zctl: brought to this schema with every row, by a dump that leads back."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, DateTime, Float, Integer, MetaData, Table, create_engine, select
from sqlalchemy.dialects.mysql import LONGTEXT, TINYINT

from tests.unit.conftest import Zctl
from tests.unit.servers import MariaDb
from zctl.actions import upgrade as actions
from zctl.config import Config
from zctl.errors import Conflict, DatabaseError
from zctl.inventory import schema
from zctl.inventory.engine import Inventory, connect
from zctl.inventory.head import HEAD
from zctl.inventory.lease import owner
from zctl.resources.base import now

REVISIONS = [entry.revision for entry in ScriptDirectory.from_config(schema.alembic_config()).walk_revisions()][::-1]
AT = datetime(2026, 1, 2, 3, 4, 5)
NOT_ROWS = {"alembic_version"}


def build(url: str, revision: str, rows: int = 2) -> dict[str, list[dict[str, Any]]]:
    """An inventory as that revision made it, with rows in every table; returns them."""
    engine = connect(url)
    with engine.connect() as connection:
        command.upgrade(schema.alembic_config(connection), revision)
        connection.commit()
    tables = MetaData()
    tables.reflect(engine)
    made: dict[str, list[dict[str, Any]]] = {}
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")  # some tables refer to each other
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")
        for name, table in tables.tables.items():
            if name not in NOT_ROWS:
                count = 1 if name == "info" else rows
                made[name] = [row_of(table, number) for number in range(1, count + 1)]
                connection.execute(table.insert(), made[name])
        connection.commit()
    engine.dispose()
    return made


def row_of(table: Table, number: int) -> dict[str, Any]:
    """A row that fits; what refers to another table names the row with the same number."""
    return {column.name: value_of(column, number) for column in table.columns}


def value_of(column: Any, number: int) -> Any:
    """A value of the column's type."""
    kind = column.type
    if column.name in ("id", "inventory") or column.foreign_keys:
        return number if isinstance(kind, Integer) else f"{number:08d}-0000-4000-8000-000000000000"
    if isinstance(kind, Boolean | TINYINT):
        return bool(number % 2)
    if isinstance(kind, DateTime):
        return AT
    if isinstance(kind, JSON | LONGTEXT):
        return json.dumps([number]) if isinstance(kind, LONGTEXT) else [number]
    if isinstance(kind, Integer | Float):
        return number
    return f"{column.name}-{number}"[: kind.length or 80]


def read(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables."""
    engine = create_engine(connect(url).url)
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        found = {
            name: [dict(row._mapping) for row in connection.execute(select(table))]
            for name, table in tables.tables.items()
        }
    engine.dispose()
    return found


def require_kept(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> None:
    """Every row is there with every value it had, as far as the column is still there."""
    for table, rows in before.items():
        assert len(after[table]) == len(rows), table
        for row in rows:
            key = {name: row[name] for name in row if name == "id" or name.endswith("_id") or name == "uuid"}
            same = [entry for entry in after[table] if key.items() <= entry.items()]
            assert len(same) == 1, (table, key)
            changed = {name for name in row if name in same[0] and not equal(row[name], same[0][name])}
            assert not changed, (table, changed, row, same[0])


def equal(old: Any, new: Any) -> bool:
    """Whether two values are the same to the inventory; JSON may be text on one side."""
    return old == new or (isinstance(new, list | str) and json.dumps(old) == json.dumps(new)) or str(old) == str(new)


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_every_row_is_kept_on_sqlite(tmp_path: Path, revision: str) -> None:
    """From each revision there ever was."""
    url = f"sqlite:///{tmp_path}/zctl.db"
    before = build(url, revision)
    assert schema.initialise(url) == f"brought from schema {revision} to {HEAD}"
    require_kept(before, read(url))


@pytest.fixture
def database(server: MariaDb) -> str:
    """An empty database on MariaDB."""
    return server.empty()


@pytest.mark.parametrize("revision", ["0001", "0005", REVISIONS[-2]])
def test_every_row_is_kept_on_mariadb(database: str, revision: str) -> None:
    """From the first, from one amid, and from the one before this."""
    before = build(database, revision)
    assert schema.initialise(database) == f"brought from schema {revision} to {HEAD}"
    require_kept(before, read(database))


def test_two_nodes_upgrade_at_once(database: str, tmp_path: Path) -> None:
    """One does it, the other finds it done."""
    build(database, "0008")
    environment = {**os.environ, "ZCTL_HOME": str(tmp_path), "ZCTL_DB": database}
    argv = [sys.executable, "-m", "zctl", "init"]
    running = [subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[1].rpartition(": ")[2].strip() for process in running)
    assert said == [f"brought from schema 0008 to {HEAD}", "unchanged"]


@pytest.mark.parametrize("engine", [""])
def test_an_upgrade_by_the_command(zctl: Zctl) -> None:
    """--check tells and changes nothing; without a dump there is no upgrade; then it is done, and is done once."""
    url = zctl.url
    (zctl.home / "zctl.db").unlink()
    build(url, "0009")
    said = zctl.ok("upgrade", "--check")
    assert f"schema     0009, this zctl has {HEAD}" in said and "to do 0010 Management nodes" in said
    assert "something waits for name-1, name-2" in said
    assert schema.revision_of(url) == "0009"
    told = json.loads(zctl.ok("upgrade", "--check", "-o", "json"))
    assert told["upgraded"] is False and told["migrations"][0] == {"revision": "0010", "about": "Management nodes."}
    assert "needs a yes" in zctl.call("upgrade").stderr
    assert "hosts can be compared when" in zctl.call("upgrade", "--check", "--hosts").stderr
    answer = zctl.call("upgrade", "--yes")
    assert answer.exit_code == 0 and "+ 0010 Management nodes" in answer.stdout and "upgraded" in answer.stderr
    (dump,) = json.loads(zctl.ok("db", "list-backups", "--check", "-o", "json"))
    assert dump["file"].startswith("zctl-before-upgrade-") and (dump["schema"], dump["condition"]) == ("0009", "good")
    assert schema.revision_of(url) == HEAD
    assert "up to date" in zctl.call("upgrade", "--yes").stderr


def test_an_empty_inventory_and_its_hosts(zctl: Zctl) -> None:
    """Comparing with no hosts is no error."""
    assert "no differences on 0 hosts" in zctl.ok("upgrade", "--check", "--hosts")
    assert json.loads(zctl.ok("upgrade", "--check", "--hosts", "-o", "json"))["hosts"]["differences"] == []


def test_no_dump_no_upgrade_and_the_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed dump stops it; a failed migration changes nothing and says what leads back, and that does."""
    path, saved = tmp_path / "zctl.db", tmp_path / "dump.db"
    url = f"sqlite:///{path}"
    before = build(url, "0009")

    def fail() -> str:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        actions.upgrade(Config(tmp_path, db=url), fail, str)
    assert schema.revision_of(url) == "0009"

    def dump() -> str:
        with sqlite3.connect(path) as source, sqlite3.connect(saved) as target:
            source.backup(target)
        return f"restore {saved}"

    def broken(_connection: Any, _revision: str) -> None:
        raise RuntimeError("the migration broke")

    with monkeypatch.context() as patch:
        patch.setattr(schema.command, "upgrade", broken)
        with pytest.raises(DatabaseError, match="the migration broke") as caught:
            actions.upgrade(Config(tmp_path, db=url), dump, str)
    assert caught.value.remedy == f"go back with the zctl you had: restore {saved}"
    assert schema.revision_of(url) == "0009"
    require_kept(before, read(url))
    assert "failed: RuntimeError" in (tmp_path / "zctl.log").read_text()
    saved.unlink()
    assert actions.upgrade(Config(tmp_path, db=url), dump, str).migrations[0][0] == "0010"
    require_kept(before, read(url))
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copy(saved, path)
    assert schema.revision_of(url) == "0009"
    assert read(url)["vm"] == read(f"sqlite:///{saved}")["vm"]


def test_refusals(zctl: Zctl, tmp_path: Path) -> None:
    """No inventory, one from the future, one that is being worked on."""
    assert "there is no inventory" in zctl.call("upgrade", "--check", "--db", str(tmp_path / "none.db")).stderr
    with Inventory(zctl.url).engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert "newer than this zctl" in zctl.call("upgrade", "--check").stderr
    url = f"sqlite:///{tmp_path}/busy.db"
    build(url, "0009")
    with connect(url).begin() as connection:
        words = "UPDATE job SET state = 'Running', owner = ?, heartbeat_at = ?"
        connection.exec_driver_sql(words, (owner(), now().isoformat(" ")))
    with pytest.raises(Conflict, match="is being worked on"):
        actions.upgrade(Config(tmp_path, db=url), lambda: "", str)
    with connect(url).begin() as connection:
        connection.exec_driver_sql("UPDATE job SET owner = 'root@gone:0:1:1', heartbeat_at = '2026-01-01 00:00:00'")
    assert actions.upgrade(Config(tmp_path, db=url), lambda: "", str).schema == "0009"
