"""What only concerns MariaDB: its schema, and a server that is gone. All else runs on both kinds of database."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from tests.unit.conftest import Zctl
from tests.unit.rows_machine import play
from tests.unit.servers import MariaDb
from zctl.inventory.engine import Inventory
from zctl.inventory.schema import initialise
from zctl.resources.registry import all_classes

VM = ("--image", "tiny", "--instance-offering", "small", "--network", "lan")


@pytest.fixture
def engine(server: MariaDb) -> str:
    """A new database on MariaDB: its schema is made by this test."""
    return server.empty()


def test_the_schema_is_the_same(cloud: Zctl) -> None:
    """Migrations give what the declarations say; a second init changes nothing."""
    all_classes()
    assert initialise(cloud.url) == "unchanged"
    with Inventory(cloud.url).engine.connect() as connection:
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": False}), SQLModel.metadata
        )
    assert [entry for entry in differences if entry[0] not in ("remove_index",)] == []


def test_it_comes_back_from_hosts(
    cloud: Zctl, server: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that was lost is made anew by `zctl db rebuild`; what an older one lacks is taken in."""
    cloud.hosts = play(monkeypatch, tmp_path / "etc")
    cloud.ok("vm", "create", "web-1", *VM, "--disk", "data", "--description", "größer \N{SNOWMAN}", "--tag", "a=b")
    cloud.ok("converge")
    before, vm = cloud.dump(), cloud.rows("vm")
    server.empty()
    words = ("db", "rebuild", "--from-hosts", "--host", "198.18.0.1")
    assert "no differences on 2 hosts" in cloud.ok(*words)
    assert cloud.dump() | {"tag": []} == before | {"tag": []} and cloud.rows("vm") == vm
    assert "nothing to take in" in cloud.ok(*words, "--yes")


def test_a_server_that_is_gone(cloud: Zctl) -> None:
    """Said in words, without the password."""
    answer = cloud.call("zone", "list", "--db", "mysql://root:geheim@127.0.0.1:1/zctl")
    assert answer.exit_code == 1 and "does not answer" in answer.stderr and "geheim" not in answer.output
