"""The same inventory on a real MariaDB server: schema, rows, races, errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from tests.unit.conftest import FakeHosts, Zctl, fill
from zctl.inventory.engine import Inventory
from zctl.inventory.schema import initialise
from zctl.resources.registry import all_classes

VM = ("--image", "tiny", "--instance-offering", "small", "--network", "lan")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A private server without a network port; yields its socket."""
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        pytest.skip("there is no MariaDB server here: apt install mariadb-server-core (./dev setup does)")
    folder = tmp_path_factory.mktemp("m")
    data, socket = folder / "data", folder / "s"
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", *user],
        check=True,
        capture_output=True,
    )
    argv = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={socket}", "--skip-networking", *user]
    with subprocess.Popen(
        [*argv, f"--pid-file={folder}/pid"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        for _ in range(100):
            if socket.exists():
                break
            time.sleep(0.1)
        yield socket
        process.terminate()


@pytest.fixture
def cloud(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zctl]:
    """The unit tests' cloud in a database of its own."""
    import pymysql

    with pymysql.connect(unix_socket=str(server), user="root") as connection:
        connection.cursor().execute("DROP DATABASE IF EXISTS zctl")
        connection.cursor().execute("CREATE DATABASE zctl CHARACTER SET utf8mb4")
    hosts = FakeHosts()
    for module in ("converge", "release", "hosts"):
        monkeypatch.setattr(f"zctl.actions.{module}.execute", hosts)
    made = Zctl(tmp_path / "home", hosts, db=f"mysql://root@localhost/zctl?unix_socket={server}")
    made.ok("init")
    fill(made, tmp_path)
    yield made


def test_the_schema_is_the_same(cloud: Zctl) -> None:
    """Migrations give what the declarations say; a second init changes nothing."""
    all_classes()
    assert initialise(cloud.url) == "unchanged"
    with Inventory(cloud.url).engine.connect() as connection:
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": False}), SQLModel.metadata
        )
    assert [entry for entry in differences if entry[0] not in ("remove_index",)] == []


def test_a_vms_life(cloud: Zctl) -> None:
    """Create, list, update, tags in any script, delete: nothing is left."""
    cloud.ok("vm", "create", "web-1", *VM, "--disk", "data", "--description", "größer \N{SNOWMAN}", "--tag", "a=b")
    row = cloud.rows("vm", "name=web-1")[0]
    assert (row["state"], row["description"], row["tags"]) == ("Running", "größer \N{SNOWMAN}", {"a": "b"})
    cloud.ok("vm", "stop", "web-1")
    cloud.ok("vm", "update", "web-1", "--cpus", "2")
    assert "exists already" in cloud.fails("vm", "create", "web-1", *VM)
    cloud.hosts.broken = {"web-2": "no"}
    assert cloud.call("vm", "create", "web-2", *VM).exit_code == 1
    cloud.ok("vm", "delete", "web-1", "--yes")
    assert [row["name"] for row in cloud.rows("volume")] == ["web-1-data1"]
    assert "created 0, updated 0, unchanged 1" in cloud.ok("apply", "-f", "-", stdin="kind: Zone\nname: z1\n")


def test_writers_take_turns(cloud: Zctl) -> None:
    """Eight processes at once never get one VNI twice, and none of them fails."""
    cloud.ok("zone", "create", "z2")
    words = [sys.executable, "-m", "zctl", "l2-network", "create", "--zone", "z2", "--kind", "vxlan", "--db", cloud.url]
    environment = {**os.environ, "ZCTL_HOME": str(cloud.home)}
    running = [
        subprocess.Popen([*words, f"n{n}"], env=environment, stderr=subprocess.PIPE, text=True) for n in range(8)
    ]
    for process in running:
        _out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert len({row["vni"] for row in cloud.rows("l2-network", "kind=vxlan")}) == 8


def test_a_server_that_is_gone(cloud: Zctl) -> None:
    """Said in words, without the password."""
    answer = cloud.call("zone", "list", "--db", "mysql://root:geheim@127.0.0.1:1/zctl")
    assert answer.exit_code == 1 and "does not answer" in answer.stderr and "geheim" not in answer.output
