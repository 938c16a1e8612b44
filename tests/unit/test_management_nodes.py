"""Several machines on one MariaDB: signs of life, take-over, clocks that differ. Each has its PID namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.unit.conftest import Zctl
from tests.unit.servers import MariaDb
from zctl.inventory import lease, nodes
from zctl.resources.base import now

VM = ("--image", "tiny", "--instance-offering", "small", "--network", "lan")
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="a node is a process in namespaces, which needs root"
)


@pytest.fixture
def engine(server: MariaDb) -> str:
    """What several machines share is on a server."""
    return server.without_rows()


@dataclass
class Node:
    """One machine that runs zctl."""

    name: str
    cloud: Zctl
    settings: dict[str, str] = field(default_factory=dict)

    def start(self, *words: str, **settings: str) -> subprocess.Popen[str]:
        """Begin a call."""
        spaces = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        argv = [*spaces, "sh", "-c", 'hostname "$0"; exec "$@"', self.name, sys.executable, "-m"]
        environment = {
            **os.environ,
            "ZCTL_HOME": str(self.cloud.home.with_name(self.name)),
            "ZCTL_DB": self.cloud.db,
            "NODE_LOG": str(self.log),
            "PYTHONPATH": f"{ROOT}:{ROOT}/plugins/module_utils",
            **self.settings,
            **settings,
        }
        return subprocess.Popen(
            [*argv, "tests.unit.node_process", *words],
            env=environment,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def call(self, *words: str, **settings: str) -> str:
        """A call that must succeed; what it said."""
        process = self.start(*words, **settings)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        return out + err

    @property
    def log(self) -> Path:
        """Which nodes ran something on hosts, a line each."""
        return self.cloud.home.with_name("runs.log")

    def wait_for_run(self) -> None:
        """Until a run has begun."""
        deadline = time.monotonic() + 30
        while not (self.log.exists() and self.name in self.log.read_text().split()):
            assert time.monotonic() < deadline, "the run has not begun"
            time.sleep(0.05)


def elsewhere(process: subprocess.Popen[str]) -> IO[bytes]:
    """Keeps a PID namespace: the number of one that is gone goes to the next, which then knows that its owner died."""
    return Path(f"/proc/{process.pid}/ns/pid_for_children").open("rb")


def silence(cloud: Zctl, seconds: int) -> None:
    """Let time pass since each sign of life."""
    with cloud.inventory.write() as db:
        for table, column in (("job", "heartbeat_at"), ("lease", "expires_at"), ("management_node", "last_seen")):
            change = f"UPDATE {table} SET {column} = {column} - INTERVAL {seconds} SECOND"
            db.connection().exec_driver_sql(change)


def states(cloud: Zctl) -> dict[str, tuple[str, int]]:
    """Each node's state and number of running jobs."""
    return {row["name"]: (row["state"], row["jobs"]) for row in cloud.rows("management-node")}


def test_a_node_killed_amid_a_job_is_taken_over(cloud: Zctl) -> None:
    """Not before it has been silent for a minute; then by exactly one of the others, which finishes what it began."""
    first, second, third = (Node(f"node{n}", cloud) for n in (1, 2, 3))
    process = first.start("vm", "create", "web-1", *VM, NODE_SLEEP="60")
    first.wait_for_run()
    assert states(cloud) == {"node1": ("Alive", 1)}
    with elsewhere(process):
        process.kill()
        process.wait()
        assert "taken over" not in second.call("management-node", "watch")
    assert [row["state"] for row in cloud.rows("job")] == ["Running"]
    assert states(cloud) == {"node1": ("Alive", 1), "node2": ("Alive", 0)}
    silence(cloud, 61)
    both = [node.start("management-node", "watch") for node in (second, third)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert sorted("taken over" in words for words in said) == [False, True], said
    assert [row["state"] for row in cloud.rows("job")] == ["Done"]
    assert [row["state"] for row in cloud.rows("vm")] == ["Running"]
    assert first.log.read_text().split()[0] == "node1" and len(first.log.read_text().split()) == 2
    silence(cloud, 200)
    assert set(states(cloud).values()) == {("Silent", 0)}


def test_many_jobs_and_two_watches_in_the_same_second(cloud: Zctl) -> None:
    """Every job is done once."""
    names = [f"vm-{n}" for n in range(6)]
    for name in names:
        cloud.ok("vm", "create", name, *VM)
    with cloud.inventory.write() as db:
        db.connection().exec_driver_sql(
            "UPDATE job SET state = 'Running', ended_at = NULL, heartbeat_at = NULL, owner = 'root@gone:0:1:1'"
        )
    watchers = [Node(f"node{n}", cloud).start("management-node", "watch", NODE_SLEEP="0.1") for n in (1, 2)]
    said = "".join(process.communicate(timeout=90)[1] for process in watchers)
    assert sorted(line.split()[-1] for line in said.splitlines() if "left by" in line) == ["1"] * 6, said
    assert all(row["state"] == "Done" for row in cloud.rows("job")), said


@pytest.mark.parametrize(("mine", "yours"), [("0", "600"), ("-600", "0")])
def test_clocks_ten_minutes_apart(cloud: Zctl, mine: str, yours: str) -> None:
    """A node with another clock neither takes over what lives, nor is it taken for dead."""
    first, other = Node("node1", cloud, {"NODE_CLOCK": mine}), Node("node2", cloud, {"NODE_CLOCK": yours})
    hold = cloud.home.with_name("hold")
    hold.touch()
    process = first.start("vm", "create", "web-1", *VM, NODE_HOLD=str(hold))
    first.wait_for_run()
    waiting = other.start("vm", "create", "web-2", *VM, "--host", cloud.rows("vm")[0]["host"])
    assert "taken over" not in other.call("management-node", "watch")
    assert waiting.stderr is not None
    assert "waiting for root on node1" in (said := waiting.stderr.readline()), said
    hold.unlink()
    _out, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, said
    assert process.wait() == 0, process.communicate()
    assert {name: state for name, (state, _jobs) in states(cloud).items()} == {"node1": "Alive", "node2": "Alive"}


def test_a_process_that_was_held_up_does_not_undo_what_another_finished(cloud: Zctl) -> None:
    """Such as a suspended machine: its run fails in the end, but the job is another's by then."""
    first, second = Node("node1", cloud), Node("node2", cloud)
    hold = cloud.home.with_name("hold")
    hold.touch()
    process = first.start("vm", "create", "web-1", *VM, NODE_HOLD=str(hold))
    first.wait_for_run()
    silence(cloud, 61)
    assert "1 jobs taken over" in second.call("management-node", "watch")
    hold.unlink()
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "took over" in err, err
    assert [row["state"] for row in cloud.rows("vm")] == ["Running"]
    assert [row["state"] for row in cloud.rows("job")] == ["Done"]


def test_two_machines_with_one_name(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its row, and neither takes the other's processes for its own dead ones."""
    with cloud.inventory.write() as db:
        nodes.beat(db)
        monkeypatch.setattr(nodes, "node_id", lambda: "aaaaaaaa-0000-4000-8000-000000000001")
        nodes.beat(db)
        nodes.beat(db)
    names = sorted(row["name"] for row in cloud.rows("management-node"))
    assert len(names) == 2 and names[1] == f"{names[0]}-aaaaaaaa"
    own = lease.owner()
    user, _, rest = own.partition(":")
    kernel, _, process = rest.partition(":")
    assert lease.is_dead(own) is False
    assert lease.is_dead(f"{user}:{kernel}:999999999:1") is True
    assert lease.is_dead(f"{user}:{kernel}:1:1") is True  # another process has its number
    assert lease.is_dead(f"{user}:otherboot:{process}") is None
    assert lease.is_dead(f"{user}:unknown:{process}") is None


def test_a_zombie_is_dead_and_a_hidden_process_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process waits for its parent; one that /proc hides (hidepid) may be at work."""
    user, _, rest = lease.owner().partition(":")
    kernel = rest.partition(":")[0]
    process = subprocess.Popen(["sleep", "60"])
    owner = f"{user}:{kernel}:{process.pid}:{lease._start(process.pid)}"
    assert lease.is_dead(owner) is False
    process.kill()
    time.sleep(0.2)
    assert lease.is_dead(owner) is True
    process.wait()
    assert lease.is_dead(owner) is True
    monkeypatch.setattr(lease, "_stat", lambda _pid: [])

    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert lease.is_dead(owner) is None


def test_who_waits_for_a_host_stays_alive(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job is not taken over while it waits for another's lease."""
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.2)
    host = cloud.rows("host")[0]["uuid"]
    theirs = {"owner": "root@elsewhere:b:1:1", "purpose": "long work", "expires_at": now() + lease.LIFETIME}
    with cloud.inventory.write() as db:
        db.add(lease.Lease(host_id=host, **theirs))
        db.add(lease.Job.build(name="mine", verb="vm create", state="Running", owner=lease.owner(), heartbeat_at=None))
    with (
        pytest.raises(Exception, match="is held by root on elsewhere"),
        lease.hold(cloud.inventory, [host], "test", 1, str),
    ):
        pass
    assert cloud.rows("job", "name=mine")[0]["heartbeat_at"] is not None
