"""The inventory of a running cloud is lost, or older than the cloud: it comes back from nothing but the hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.cloud.zctl import Cloud, fetch

VM = ("--image", "tiny", "--instance-offering", "small", "--host")
RECORDS = "cat /etc/zctl/inventory/*/*.rows"


@pytest.fixture(scope="module")
def rich(cloud: Cloud, keys: Path) -> Iterator[Cloud]:
    """VMs on two hosts with all that can hang on them; nothing of it is known to the other tests."""
    gateway = str(cloud.lab.plan.gateway)
    first = gateway.rpartition(".")[0]
    cloud.ok(
        *("l3-network", "create", "internet", "--l2-network", "wire", "--cidr", str(cloud.lab.plan.data), "--public"),
        *("--gateway", gateway, "--range", f"{first}.20-{first}.40"),
    )
    cloud.ok("l2-network", "create", "isolated", "--zone", "z1", "--kind", "vxlan")
    cloud.ok(
        *("l3-network", "create", "inner", "--l2-network", "isolated", "--cidr", "10.30.0.0/24"),
        *("--gateway", "10.30.0.1", "--gateway-on", "hosts", "--range", "10.30.0.10-10.30.0.100"),
    )
    cloud.ok("nat-gateway", "create", "way", "--l3-network", "inner", "--network", "internet", "--host", "h3")
    cloud.ok("security-group", "create", "served", "--rule", "ingress tcp 80 from 0.0.0.0/0", "--tag", "team=größe")
    disk = ("--disk", "scratch", "--ssh-key", "me", "--tag", "env=prod")
    cloud.ok("vm", "create", "front", *VM, "h1", "--network", "flat", "--network", "inner", *disk)
    cloud.ok("vm", "create", "back", *VM, "h2", "--network", "inner")
    cloud.ok("nic", "update", "back-nic0", "--security-group", "served")
    cloud.ok("eip", "create", "face", "--network", "internet", "--vm", "back")
    cloud.ok("vip", "create", "door", "--l3-network", "internet")
    cloud.ok("port-forwarding", "create", "web", "--vip", "door", "--ports", "8080", "--nic", "front-nic1")
    cloud.ok("volume", "create", "spare", "--disk-offering", "scratch")
    yield cloud
    cloud.ok("port-forwarding", "delete", "web", "--yes")
    cloud.ok("eip", "delete", "face", "--yes")
    cloud.ok("vip", "delete", "door", "--yes")
    cloud.ok("vm", "delete", *(row["name"] for row in cloud.rows("vm")), "--yes")
    cloud.ok("volume", "delete", *(row["name"] for row in cloud.rows("volume")), "--yes")
    cloud.ok("nat-gateway", "delete", "way", "--yes")
    cloud.ok("l3-network", "delete", "internet", "inner", "--yes", "--cascade")
    cloud.ok("l2-network", "delete", "isolated", "--yes")
    cloud.ok("security-group", "delete", "served", "--yes")


def lose(cloud: Cloud) -> None:
    """The inventory is gone."""
    for path in cloud.home.glob("zctl.db*"):
        path.unlink()


def boots(cloud: Cloud, vm: str) -> str:
    """What is different after each start of a guest."""
    return cloud.lab.ssh("h1", f"virsh domid z-{vm}").strip()


def test_the_inventory_is_lost(rich: Cloud) -> None:
    """Deleted with a running cloud: one host is named, all comes back, nothing differs, and the VM never stopped."""
    rich.ok("plan", "--detailed-exitcode")
    rich.ok("converge")  # hosts hear with it of what needed no run, such as a volume that waits for a VM
    export, running = rich.ok("export"), boots(rich, "front")
    lose(rich)
    words = ("db", "rebuild", "--from-hosts", "--host", f"root@{rich.lab.hosts[0].address}:22")
    found: dict[str, Any] = json.loads(rich.ok(*words, "-o", "json"))
    assert found["differences"] == 0 and not (found["left_out"] or found["notes"] or found["unread"])
    assert {"vm": 2, "volume": 4, "host": 3, "eip": 1, "keypair": 2}.items() <= found["rows"].items()
    rich.ok("plan", "--detailed-exitcode")
    assert rich.ok("export") == export and boots(rich, "front") == running
    assert {row["name"]: row["state"] for row in rich.rows("vm")} == {"front": "Running", "back": "Running"}
    assert {row["state"] for row in rich.rows("host")} == {"Connected"}
    rich.ok("vm", "stop", "front")
    rich.ok("vm", "start", "front")
    rich.ok("plan", "--detailed-exitcode")
    assert "front" in fetch(f"http://{rich.ip('front')}/")


def test_the_inventory_is_an_older_one(rich: Cloud, tmp_path: Path) -> None:
    """A VM made after the dump is offered, never removed; once it is taken in it is as any other."""
    dump = json.loads(rich.ok("dump_mysql", "--file-path", str(tmp_path), "-o", "json"))["path"]
    rich.ok("vm", "create", "late", *VM, "h2", "--network", "flat")
    said = rich.call("restore_mysql", "--file", dump, "--yes")
    assert said.code == 0 and "on hosts, not in the dump: vm late" in said.err
    assert "+ vm late" in rich.ok("db", "rebuild", "--from-hosts", "--dry-run")
    rich.ok("converge")
    assert rich.domains("h2")["z-late"] == "running"
    rich.fails("db", "rebuild", "--from-hosts", code=2)
    assert "vm: 1 taken in" in rich.ok("db", "rebuild", "--from-hosts", "--yes")
    rich.ok("converge")
    rich.ok("plan", "--detailed-exitcode")
    assert "late" in fetch(f"http://{rich.ip('late')}/")


def test_a_host_forgets(rich: Cloud) -> None:
    """Records that are lost or edited are a difference, which converge mends; only root reads them."""
    lab = rich.lab
    said = lab.ssh("h1", "stat -c %a /etc/zctl/inventory/*/ /etc/zctl/inventory/*/*.rows").split()
    assert said == ["700", "600", "600"]
    before = lab.ssh("h1", RECORDS)
    lab.ssh("h1", 'sed -i \'/"name":"front"/d; s/"size":16777216/"size":1/\' /etc/zctl/inventory/*/own.rows')
    told = {(entry["noun"], entry["actual"]) for entry in json.loads(rich.ok("plan", "-o", "json"))["differences"]}
    assert told == {("vm", None), ("volume", "edited")}
    rich.ok("converge")
    assert lab.ssh("h1", RECORDS).splitlines()[1:] != [] and rich.ok("plan", "--detailed-exitcode")
    after = lab.ssh("h1", RECORDS)
    assert [line for line in after.splitlines() if line[0] != "#"] == [
        line for line in before.splitlines() if line[0] != "#"
    ]


def test_there_is_no_room_for_records(rich: Cloud) -> None:
    """The VM is made all the same; the host tells why it has no record, and has it when there is room."""
    lab, folder = rich.lab, "/etc/zctl/inventory"
    lab.ssh("h2", f"mount -t tmpfs -o size=4k none {folder}")
    try:
        rich.ok("vm", "create", "blind", *VM, "h2", "--network", "flat", "--power", "Stopped")
        assert "No space left" in rich.show("host", "h2")["problem"]
        assert rich.call("converge").code == 1
    finally:
        lab.ssh("h2", f"umount {folder}")
    rich.ok("converge")
    rich.ok("plan", "--detailed-exitcode")
    assert '"name":"blind"' in lab.ssh("h2", RECORDS) and not rich.show("host", "h2")["problem"]
