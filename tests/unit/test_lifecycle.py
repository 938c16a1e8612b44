"""What verbs do to the inventory, with hosts played by a function: states, undo, what stays outstanding, jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.unit.conftest import Zctl
from zctl.inventory import lease
from zctl.inventory.engine import Inventory
from zctl.inventory.outstanding import Scope
from zctl.inventory.outstanding import store as store_outstanding
from zctl.resources.base import now
from zctl.resources.host import Host
from zctl.resources.internal import Grave, Lease, Outstanding
from zctl.resources.job import Job
from zctl.resources.vm import Vm

VM = ("--image", "tiny", "--instance-offering", "small", "--network", "lan")


def left(cloud: Zctl) -> tuple[int, int, int]:
    """How many rows say that something is to be done, removed or held."""
    with cloud.inventory.read() as db:
        return tuple(len(list(db.scalars(select(cls)))) for cls in (Outstanding, Grave, Lease))  # type: ignore[return-value]


def test_a_vms_life(cloud: Zctl) -> None:
    """create, stop, start, reboot, destroy, recover, delete: the words follow the field."""
    states = []
    cloud.ok("vm", "create", "web-1", *VM, "--tag", "role=web", "--reason", "first one")
    for verb in ("stop", "start", "reboot", "destroy", "recover", "start"):
        cloud.ok("vm", verb, "web-1", *(("--yes",) if verb == "destroy" else ()))
        row = cloud.rows("vm")[0]
        states.append((row["power"], row["state"]))
    assert states == [
        ("Stopped", "Stopped"),
        ("Running", "Running"),
        ("Running", "Running"),
        ("Destroyed", "Destroyed"),
        ("Stopped", "Stopped"),
        ("Running", "Running"),
    ]
    assert cloud.rows("vm")[0]["tags"] == {"role": "web"}
    assert any(event["reason"] == "first one" for event in cloud.rows("event"))
    cloud.ok("vm", "delete", "web-1", "--yes")
    assert [cloud.rows(noun) for noun in ("vm", "nic", "volume", "tag")] == [[], [], [], []]
    assert left(cloud) == (0, 0, 0)
    assert {job["state"] for job in cloud.rows("job")} == {"Done"}


def test_verbs_that_make_no_sense_are_refused(cloud: Zctl) -> None:
    """No verb succeeds without doing its work."""
    cloud.ok("vm", "create", "web-1", *VM, "--power", "Stopped")
    assert "Stopped" in cloud.fails("vm", "reboot", "web-1")
    assert "not destroyed" in cloud.fails("vm", "recover", "web-1")
    assert "root volume" in cloud.fails("volume", "delete", "web-1-root", "--yes")
    assert "root volume" in cloud.fails("volume", "detach", "web-1-root")
    assert "nothing to change" in cloud.fails("vm", "update", "web-1", code=2)
    assert "unchanged" in cloud.call("vm", "update", "web-1", "--cpus", "1").stderr
    assert "in use by" in cloud.fails("image", "delete", "tiny", "--yes")


def test_ten_failed_creates_leak_nothing(cloud: Zctl) -> None:
    """Addresses, capacity and rows are free again, and the error is the cause, not what followed from it."""
    before = cloud.dump()
    for number in range(10):
        cloud.hosts.broken = {
            f"web-{number}-root": "No space left on device: /srv/zctl",
            f"web-{number}": "disk is missing",
        }
        answer = cloud.call("vm", "create", f"web-{number}", *VM)
        assert answer.exit_code == 1
        assert "No space left" in answer.stderr and "undone" in answer.stderr
    assert cloud.dump() == before
    assert left(cloud) == (0, 0, 0)
    assert {job["state"] for job in cloud.rows("job")} == {"Failed"}


def test_a_host_that_is_away(cloud: Zctl) -> None:
    """Its running VMs are Unknown; a delete succeeds at once and is cleaned up when the host is back."""
    cloud.ok("vm", "create", "web-1", *VM, "--host", "h1")
    cloud.ok("vm", "create", "web-2", *VM, "--host", "h1", "--power", "Stopped")
    cloud.hosts.away = {"h1"}
    assert cloud.call("refresh").exit_code == 1
    assert {row["name"]: row["state"] for row in cloud.rows("vm")} == {"web-1": "Unknown", "web-2": "Stopped"}
    answer = cloud.call("vm", "delete", "web-1", "--yes")
    assert answer.exit_code == 0 and "when it is back" in answer.stderr
    assert left(cloud)[1] == 2
    assert cloud.call("converge").exit_code == 1
    cloud.hosts.away = set()
    cloud.ok("converge")
    assert left(cloud) == (0, 0, 0)
    assert cloud.rows("host", "name=h1")[0]["state"] == "Connected"


def test_what_is_noted_during_a_run_stays(cloud: Zctl) -> None:
    """A change that comes while a run is on its way is not taken for done."""

    def meanwhile() -> None:
        cloud.hosts.during = None
        with cloud.inventory.write() as db:
            vm = db.scalars(select(Vm)).first()
            assert vm is not None and vm.host_id is not None
            scope: Scope = {vm.host_id: {vm.id: "vm"}}
            store_outstanding(db, scope)

    cloud.hosts.during = meanwhile
    cloud.ok("vm", "create", "web-1", *VM)
    assert left(cloud)[0] == 1


def test_dry_run_changes_nothing(cloud: Zctl) -> None:
    """Neither rows nor events nor hosts."""
    cloud.ok("vm", "create", "web-1", *VM)
    before, runs, events = cloud.dump(), len(cloud.hosts.runs), len(cloud.rows("event"))
    for words in (
        ("vm", "create", "web-2", *VM),
        ("vm", "update", "web-1", "--cpus", "2"),
        ("vm", "stop", "web-1"),
        ("vm", "delete", "web-1"),
        ("zone", "create", "z2"),
        ("zone", "delete", "z1", "--cascade"),
        ("host", "maintenance", "h1"),
        ("vm", "destroy", "web-1"),
    ):  # a dry run of converge compares the hosts: see test_drift.py
        answer = cloud.call(*words, "--dry-run")
        assert answer.exit_code in (0, 1) and "Traceback" not in answer.output, (words, answer.output)
    assert (cloud.dump(), len(cloud.hosts.runs), len(cloud.rows("event"))) == (before, runs, events)


def test_maintenance_waits(cloud: Zctl) -> None:
    """What is asked of a host in maintenance is done when it leaves."""
    cloud.ok("vm", "create", "web-1", *VM, "--host", "h1")
    cloud.ok("host", "maintenance", "h1")
    assert cloud.call("vm", "stop", "web-1").exit_code == 1
    assert cloud.rows("vm")[0]["state"] != "Stopped"
    cloud.ok("host", "enable", "h1")
    assert cloud.rows("vm")[0]["state"] == "Stopped"


def orphan(cloud: Zctl, state: str = "Running") -> str:
    """A job whose process is gone, as kill -9 leaves it."""
    with cloud.inventory.write() as db:
        job = Job.build(name="left", verb="vm create", state=state, owner="root@nowhere:0:1:1", heartbeat_at=None)
        job.owner = lease.owner().rsplit(":", 2)[0] + ":999999:1"
        db.add(job)
    return "left"


def test_orphaned_jobs(cloud: Zctl) -> None:
    """The next command takes them over; a living process's job is left alone; cancel undoes."""
    orphan(cloud)
    cloud.ok("zone", "create", "z2")
    assert cloud.rows("job", "name=left")[0]["state"] == "Done"
    assert "there is nothing to resume" in cloud.fails("job", "resume", "left")
    with cloud.inventory.write() as db:
        db.add(Job.build(name="mine", verb="vm create", state="Running", owner=lease.owner(), heartbeat_at=now()))
    assert "worked on" in cloud.fails("job", "cancel", "mine")
    cloud.ok("job", "delete", "left")


def test_apply(cloud: Zctl, tmp_path: Path) -> None:
    """In any order, twice, with a change; mistakes name file and line and change nothing."""
    text = """
kind: Vm
name: web-1
tags: {env: prod}
spec: {image: tiny, instance_offering: small, networks: [lan], disks: [data]}
---
kind: InstanceOffering
name: large
spec: {cpus: 2, memory: 2G}
---
kind: Zone
name: z2
description: another
"""
    said = cloud.ok("apply", "-f", "-", stdin=text)
    assert "created 6, updated 0, unchanged 0" in said
    runs = len(cloud.hosts.runs)
    assert "created 0, updated 0, unchanged 3" in cloud.ok("apply", "-f", "-", stdin=text)
    assert len(cloud.hosts.runs) == runs, "an unchanged manifest contacted a host"
    said = cloud.ok(
        "apply",
        "-f",
        "-",
        stdin=text.replace("large", "large").replace("instance_offering: small", "instance_offering: large"),
    )
    assert "cpus: 1 -> 2" in said and cloud.rows("vm")[0]["memory"] == 2 * 2**30
    for old, new, words in (
        ("kind: Zone", "kind: Zoen", "did you mean Zone?"),
        ("memory: 2G", "memry: 2G", "did you mean memory?"),
        ("name: z2", "name: z2\nname: z3", "given twice"),
        ("description: another", "description: &a [*a]", "aliases"),
        ("cpus: 2", "cpus: many", "cpus"),
        ("[lan]", "lan", "networks"),
        ("kind: Zone\nname: z2", "kind: Vm\nname: web-1", "described twice"),
        ("image: tiny", "image: nothing", "does not exist"),
    ):
        file = tmp_path / "cloud.yaml"
        file.write_text(text.replace(old, new).replace("web-1", "web-7"))
        said = cloud.fails("apply", "-f", str(file), code=1 if words == "does not exist" else 2)
        assert words in said and "cloud.yaml" in said, said


def test_eight_processes_take_numbers(cloud: Zctl) -> None:
    """Nobody gets a VNI twice, and nobody fails: writers wait for each other."""
    cloud.ok("zone", "create", "z2")
    words = [sys.executable, "-m", "zctl", "l2-network", "create", "--zone", "z2", "--kind", "vxlan"]
    environment = {**os.environ, "ZCTL_HOME": str(cloud.home), "ZCTL_DB": cloud.db}
    running = [
        subprocess.Popen([*words, f"n{n}"], env=environment, stderr=subprocess.PIPE, text=True) for n in range(8)
    ]
    for process in running:
        _out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert len({row["vni"] for row in cloud.rows("l2-network", "kind=vxlan")}) == 8


def test_a_dead_owners_lease_is_taken_over(cloud: Zctl) -> None:
    """kill -9 while a lease is held: the next one gets it at once; a living owner's is waited for."""
    code = (
        "import sys, time\nfrom zctl.inventory.engine import Inventory\nfrom zctl.inventory import lease\n"
        "from zctl.resources.registry import all_classes\nall_classes()\n"
        "inventory = Inventory(sys.argv[1])\nassert lease.try_take(inventory, [sys.argv[2]], 'test', str) is None\n"
        "print('held', flush=True)\ntime.sleep(60)\n"
    )
    url = cloud.url
    with Inventory(url).read() as db:
        host = db.scalars(select(Host)).first()
    assert host is not None
    with subprocess.Popen([sys.executable, "-c", code, url, host.id], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        assert lease.try_take(Inventory(url), [host.id], "mine", str) is not None
        child.send_signal(signal.SIGKILL)
        child.wait()
        buried: list[str] = []
        begun = time.monotonic()
        assert lease.try_take(Inventory(url), [host.id], "mine", buried.append) is None
        assert buried and time.monotonic() - begun < 5


def test_lists_can_be_had_in_every_form(cloud: Zctl) -> None:
    """JSON, YAML, names, chosen columns, filters, sorting."""
    for number in (10, 9, 1):
        cloud.ok("disk-offering", "create", f"d-{number}", "--size", f"{number}G")
    assert cloud.ok("disk-offering", "list", "-o", "name").split() == ["d-1", "d-9", "d-10", "data"]
    assert json.loads(cloud.ok("disk-offering", "list", "-o", "json", "--filter", "size=9G"))[0]["name"] == "d-9"
    assert cloud.ok("disk-offering", "list", "--columns", "name", "--sort", "-size", "--no-header").split()[0] == "d-10"
    assert "size: 1073741824" in cloud.ok("disk-offering", "show", "d-1", "-o", "yaml")
    uuid = cloud.rows("disk-offering", "name=d-1")[0]["uuid"]
    assert "d-1" in cloud.ok("disk-offering", "show", uuid[:8])
    for line in cloud.ok("host", "list").splitlines():
        assert len(line) <= 80


def test_what_hosts_need_not_hear_of(cloud: Zctl) -> None:
    """A host's description changes without contacting it, also while it is away; tags follow a new name."""
    cloud.hosts.away = {"h1"}
    cloud.ok("host", "update", "h1", "--description", "in the cellar", "--tag", "rack=7")
    assert cloud.hosts.runs == []
    cloud.ok("host", "update", "h1", "--name", "cellar")
    assert cloud.rows("host", "name=cellar")[0]["tags"] == {"rack": "7"}
    assert [row["name"] for row in cloud.rows("tag")] == ["host/cellar/rack"]


def test_a_mac_that_is_taken_is_not_given_again(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance may propose one twice."""
    dice = iter([b"\x01\x02\x03", b"\x01\x02\x03", b"\x0a\x0b\x0c"])
    monkeypatch.setattr("zctl.resources.nic.secrets.token_bytes", lambda _count: next(dice))
    cloud.ok("vm", "create", "web-1", *VM)
    cloud.ok("vm", "create", "web-2", *VM)
    assert {row["mac"] for row in cloud.rows("nic")} == {"52:54:00:01:02:03", "52:54:00:0a:0b:0c"}
