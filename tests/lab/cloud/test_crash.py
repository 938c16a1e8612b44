"""kill -9 at many points, and many processes at once: inventory, hosts and a rerun always agree in the end."""

from __future__ import annotations

import os
import random
import sqlite3
import time

from tests.lab.cloud.zctl import Cloud

ROUNDS = 14
LONGEST_SECONDS = 3.0


def agree(cloud: Cloud) -> None:
    """The inventory and the hosts tell the same: domains, disks, leases, and nothing is left to do."""
    assert cloud.rows("job", "state=Running") == []
    vms, volumes = cloud.rows("vm"), cloud.rows("volume")
    nics = cloud.rows("nic")
    for host in cloud.lab.hosts:
        there = {f"z-{row['name']}" for row in vms if row["host"] == host.name}
        assert set(cloud.domains(host.name)) == there, host.name
        files = {f"{row['uuid']}.qcow2" for row in volumes if row["host"] == host.name}
        assert cloud.volumes(host.name) == files, host.name
        own = {row["uuid"] for row in nics if any(vm["name"] == row["vm"] and vm["host"] == host.name for vm in vms)}
        assert (
            set(cloud.lab.ssh(host.name, "ls /etc/zctl/l3/*/hosts | grep -E '^[0-9a-f-]{36}$' || true").split()) == own
        ), host.name
    with sqlite3.connect(cloud.home / "zctl.db") as db:
        assert db.execute("SELECT * FROM grave").fetchall() == []
        assert db.execute("SELECT * FROM outstanding").fetchall() == []
        assert db.execute("SELECT * FROM lease").fetchall() == []


def kill_in_the_middle(cloud: Cloud, seconds: float, *words: str) -> bool:
    """Begin a call and end it hard after some time; whether it was still running then."""
    process = cloud.start(*words)
    time.sleep(seconds)
    alive = process.poll() is None
    if alive:
        process.kill()
    process.wait()
    return alive


def test_kill_9_at_random_points_of_create_and_delete(no_vms: Cloud) -> None:
    """Whatever was killed is finished or undone by the next call."""
    cloud = no_vms
    seed = int(os.environ.get("ZCTL_TEST_SEED", "0")) or random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    killed = 0
    for number in range(ROUNDS):
        name = f"crash-{number}"
        create = (
            "vm",
            "create",
            name,
            "--image",
            "tiny",
            "--instance-offering",
            "small",
            "--network",
            "flat",
            "--power",
            "Stopped",
        )
        killed += kill_in_the_middle(cloud, dice.uniform(0.2, LONGEST_SECONDS), *create)
        if number % 2:
            cloud.ok("job", "resume")
            if cloud.rows("vm", f"name={name}"):
                killed += kill_in_the_middle(cloud, dice.uniform(0.2, LONGEST_SECONDS), "vm", "delete", name, "--yes")
    cloud.ok("job", "resume")
    cloud.ok("converge")
    agree(cloud)
    again = cloud.call("converge")
    assert "changed" not in again.err.replace("unchanged", ""), again.err
    assert killed >= ROUNDS // 2, "the kills came too late to prove anything"


def test_eight_processes_at_once(no_vms: Cloud) -> None:
    """Eight creates at one moment: all succeed, no address or disk is given twice; then eight deletes."""
    cloud = no_vms
    names = [f"race-{number}" for number in range(8)]
    running = [
        cloud.start(
            "vm",
            "create",
            name,
            "--image",
            "tiny",
            "--instance-offering",
            "small",
            "--network",
            "flat",
            "--power",
            "Stopped",
        )
        for name in names
    ]
    for process in running:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
    assert len({row["ip"] for row in cloud.rows("nic")}) == len({row["mac"] for row in cloud.rows("nic")}) == 8
    agree(cloud)
    running = [cloud.start("vm", "delete", name, "--yes") for name in names]
    for process in running:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
    agree(cloud)


def test_eight_processes_want_one_name_and_one_address(no_vms: Cloud) -> None:
    """Exactly one wins; the others say why not, and nothing of them is left."""
    cloud = no_vms
    address = f"flat={str(cloud.lab.plan.gateway).rpartition('.')[0]}.77"
    running = [
        cloud.start(
            "vm",
            "create",
            f"same-{number % 4}",
            "--image",
            "tiny",
            "--instance-offering",
            "small",
            "--network",
            address,
            "--power",
            "Stopped",
        )
        for number in range(8)
    ]
    codes = []
    for process in running:
        _out, err = process.communicate(timeout=240)
        codes.append(process.returncode)
        assert "Traceback" not in err
        assert process.returncode == 0 or "belongs to nic" in err or "exists already" in err, err
    assert sorted(codes) == [0, 1, 1, 1, 1, 1, 1, 1]
    assert len(cloud.rows("vm")) == 1
    agree(cloud)
