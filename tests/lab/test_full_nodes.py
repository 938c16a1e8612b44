"""Two management nodes on one MariaDB: one is killed at random points, the other finishes or undoes what it began."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cloud.conftest import delete_everything, manifest
from tests.lab.cloud.zctl import Cloud
from tests.unit.servers import mariadb
from zctl.inventory.engine import Inventory
from zctl.inventory.lease import LIFETIME
from zctl.lab import Lab
from zctl.lab.guest_image import cached_guest

ROUNDS = int(os.environ.get("ZCTL_TEST_ROUNDS", "5"))
LONGEST_SECONDS = 3.0
VM = ("--image", "tiny", "--instance-offering", "small", "--network", "flat", "--power", "Stopped")


@pytest.fixture
def shared(lab: Lab, tmp_path: Path) -> Iterator[Cloud]:
    """One host and its cloud in a database on a server."""
    with mariadb(tmp_path) as server:
        made = Cloud(tmp_path / "home", lab, {"ZCTL_DB": server.empty("shared")}, started=False)
        made.ok("init")
        made.ok("apply", "-f", "-", stdin=manifest(lab, cached_guest().qcow2, hosts=1))
        yield made
        delete_everything(made)


def node(cloud: Cloud, name: str, *words: str) -> subprocess.Popen[str]:
    """A call on another node: a host name and a PID namespace of its own, and its own data folder."""
    spaces = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv = ["sh", "-c", 'hostname "$0"; exec "$@"', name, sys.executable, "-m", "zctl", *words]
    return subprocess.Popen(
        [*spaces, *argv],
        env={**cloud.environment, "ZCTL_HOME": str(cloud.home.with_name(name))},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def is_at_work(cloud: Cloud) -> bool:
    """Whether a job is running."""
    with Inventory(cloud.extra["ZCTL_DB"]).read() as db:
        return bool(db.connection().exec_driver_sql("SELECT COUNT(*) FROM job WHERE state = 'Running'").scalar())


def said(process: subprocess.Popen[str]) -> str:
    """What a call that must succeed said."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return out + err


def test_one_of_two_nodes_is_killed_at_random_points(shared: Cloud) -> None:
    """After a minute's silence the other's watch takes over; inventory and host agree in the end."""
    seed = int(os.environ.get("ZCTL_TEST_SEED", "0")) or random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    taken = 0
    for number in range(ROUNDS):
        name = f"crash-{number}"
        first = node(shared, "node1", "vm", "create", name, *VM)
        while not is_at_work(shared) and first.poll() is None:
            time.sleep(0.05)
        time.sleep(dice.uniform(0, LONGEST_SECONDS))
        # Kept until the watch has looked: the number of a PID namespace that is gone goes to the next one, which then
        # knows without waiting that the owner is dead.
        with Path(f"/proc/{first.pid}/ns/pid_for_children").open("rb"):
            first.kill()
            first.wait()
            running = shared.rows("job", "state=Running")
            assert "taken over" not in said(node(shared, "node2", "management-node", "watch"))
        if running:
            time.sleep(LIFETIME.seconds + 1)
            watches = [node(shared, name, "management-node", "watch") for name in ("node2", "node3")]
            assert sum("1 jobs taken over" in words for words in map(said, watches)) == 1
            taken += 1
        assert shared.rows("job", "state=Running") == []
    assert taken, "the kills came too early or too late to prove anything"
    host = shared.lab.hosts[0].name
    assert set(shared.domains(host)) == {f"z-{row['name']}" for row in shared.rows("vm")}
    assert shared.volumes(host) == {f"{row['uuid']}.qcow2" for row in shared.rows("volume")}
    assert "no differences" in shared.ok("plan")
    print(f"{taken} of {ROUNDS} kills were amid a job")
