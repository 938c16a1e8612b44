"""What restore_mysql, db move and init must not touch, and what others store while they are at work."""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from tests.unit.conftest import FakeHosts, Zctl
from tests.unit.servers import MariaDb
from tests.unit.test_dump import dumped, folder_of, start
from tests.unit.test_restore import rewrite
from zctl.actions import restore
from zctl.inventory import engine as engines
from zctl.inventory.engine import Inventory
from zctl.inventory.schema import alembic_config


def foreign(tmp_path: Path, server: MariaDb, on_server: bool) -> str:
    """A database that somebody else uses."""
    url = server.empty("zctl_foreign") if on_server else f"sqlite:///{tmp_path}/foreign.db"
    with Inventory(url).engine.connect() as connection:
        connection.execute(text("CREATE TABLE customers (name VARCHAR(20))"))
        connection.execute(text("INSERT INTO customers VALUES ('Ada')"))
        connection.commit()
    return url


def test_what_is_no_inventory_is_left_alone(cloud: Zctl, tmp_path: Path, server: MariaDb) -> None:
    """Another program's tables are named, whatever is to be put beside them; --yes is no answer to that."""
    file = folder_of(cloud) / dumped(cloud)["file"]
    url = foreign(tmp_path, server, bool(cloud.db))
    other = Zctl(tmp_path / "other", FakeHosts(), url)
    for words in (("restore_mysql", "--file", str(file), "--yes"), ("init",)):
        answer = other.call(*words)
        assert answer.exit_code == 1 and "no inventory, but customers" in answer.stderr
    assert "no inventory, but customers" in cloud.fails("db", "move", "--to", url, "--yes")
    with Inventory(url).engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM customers")).scalars().all() == ["Ada"]


@pytest.mark.parametrize("engine", [""])
def test_a_locked_inventory_is_not_a_damaged_one(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite: it is refused, and whoever holds the file keeps it."""
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", 300)
    file = dumped(cloud)["file"]
    cloud.ok("zone", "create", "later")
    cloud.inventory.engine.dispose()
    gc.collect()  # this process has the file open for the calls before
    with closing(sqlite3.connect(cloud.home / "zctl.db", isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        answer = cloud.call("restore_mysql", "--file", file, "--yes")
        assert answer.exit_code == 1 and "locked" in answer.stderr
        holder.execute("ROLLBACK")
    assert not list(cloud.home.glob("*damaged*")) and cloud.rows("zone", "name=later")


def test_what_is_stored_during_a_restore_is_not_lost(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the dump of what was there, or in the inventory afterwards, never in neither."""
    file = dumped(cloud)["file"]
    taken: list[Path] = []
    writers = [threading.Thread(target=cloud.ok, args=("zone", "create", f"late-{n}")) for n in range(2)]
    take = restore.take

    def slowly(*words: Any) -> Any:
        done = take(*words)
        taken.append(done.dump.path)
        if writer := next((one for one in writers if one.ident is None), None):
            writer.start()
            writer.join(2)  # on SQLite it has stored its row by then, on a server it waits for its turn
        return done

    monkeypatch.setattr(restore, "take", slowly)
    cloud.ok("restore_mysql", "--file", file, "--yes", "--no-plan")
    for writer in writers:
        if writer.ident is None:
            writer.start()
        writer.join()
    now = {row["name"] for row in cloud.rows("zone")}
    monkeypatch.setattr(restore, "take", take)
    cloud.ok("restore_mysql", "--file", str(taken[-1]), "--yes", "--no-plan")
    assert {"late-0", "late-1"} <= now | {row["name"] for row in cloud.rows("zone")}
    assert len(taken) == (1 if cloud.db else 3)


@pytest.mark.parametrize("engine", [""])
def test_a_file_that_was_gone_comes_back_as_it_was(cloud: Zctl) -> None:
    """Readers do not keep writers waiting, nobody else may read it, and the folder's owner owns it."""
    file = dumped(cloud)["file"]
    path = cloud.home / "zctl.db"
    for part in cloud.home.glob("zctl.db*"):
        part.unlink()
    if os.geteuid() == 0:
        os.chown(cloud.home, 65534, 65534)
    cloud.ok("restore_mysql", "--file", file, "--no-plan")
    about = path.stat()
    assert about.st_mode & 0o777 == 0o600 and about.st_uid == cloud.home.stat().st_uid
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_manifest_that_lies(cloud: Zctl) -> None:
    """Which inventory a dump is of is in the dump, not only beside it."""
    with cloud.inventory.write() as db:
        db.execute(text("UPDATE info SET inventory = 'c0000000-0000-0000-0000-000000000000'"))
    file = dumped(cloud)["file"]
    with cloud.inventory.write() as db:
        db.execute(text("UPDATE info SET inventory = 'd0000000-0000-0000-0000-000000000000'"))
    before = cloud.dump()
    rewrite(cloud, file, inventory="d0000000-0000-0000-0000-000000000000")
    assert "it holds inventory c0000000" in cloud.fails("restore_mysql", "--file", file, "--yes")
    rewrite(cloud, file, inventory="c0000000-0000-0000-0000-000000000000", schema_revision="0005")
    assert "its manifest says" in cloud.fails("restore_mysql", "--file", file, "--yes", "--other-inventory")
    assert cloud.dump() == before


@pytest.mark.parametrize("revision", ["0001", "0004", "0009"])
def test_an_init_that_was_killed_is_made_again(revision: str, server: MariaDb, tmp_path: Path) -> None:
    """MySQL keeps each table that was made; they are empty, so they go."""
    url = server.empty("zctl_killed")
    with Inventory(url).engine.connect() as connection:
        command.upgrade(alembic_config(connection), revision)
        connection.execute(text("ALTER TABLE zone ADD COLUMN half_way INT"))
        connection.commit()
    zctl = Zctl(tmp_path / "home", FakeHosts(), url)
    zctl.ok("init")
    zctl.ok("zone", "create", "z1")
    assert len(zctl.rows("zone")) == 1


def test_two_moves_at_once_to_one_place(cloud: Zctl, tmp_path: Path, server: MariaDb) -> None:
    """One of them has it; the other is told."""
    target = server.empty("zctl_there") if cloud.db else str(tmp_path / "there.db")
    second = Zctl(tmp_path / "second", FakeHosts(), server.empty("zctl_second") if cloud.db else "")
    second.ok("init")
    second.ok("zone", "create", "only-second")
    moves = [start(zctl, "db", "move", "--to", target, "--yes") for zctl in (cloud, second)]
    said = [process.communicate() for process in moves]
    assert sorted(process.returncode for process in moves) == [0, 1], said
    winner = (cloud, second)[[process.returncode for process in moves].index(0)]
    there = Zctl(tmp_path / "there", FakeHosts(), target if "://" in target else f"sqlite:///{target}")
    assert there.dump() == winner.dump()


@pytest.mark.parametrize("engine", [""])
def test_moves_that_cannot_be(zctl: Zctl, tmp_path: Path, server: MariaDb) -> None:
    """SQLite: onto itself by another name; names that are one name to MySQL."""
    link = tmp_path / "link.db"
    link.symlink_to(zctl.home / "zctl.db")
    assert "that is in use" in zctl.fails("db", "move", "--to", str(link), "--yes", code=2)
    zctl.ok("zone", "create", "ab")
    zctl.ok("zone", "create", "AB")
    url = server.empty("zctl_there")
    assert "upper and lower case" in zctl.fails("db", "move", "--to", url, "--yes")
    zctl.ok("zone", "delete", "AB", "--yes")
    assert json.loads(zctl.ok("zone", "list", "-o", "json"))[0]["name"] == "ab"
    zctl.ok("db", "move", "--to", url, "--yes")
