"""What goes wrong when nobody is looking: two hosts with one disk, nulls, names taken, plans that are refused late."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from tests.unit.conftest import Zctl
from zctl.resources.internal import Outstanding
from zctl.resources.vm import Vm

TWO = """
kind: Vm
name: a
spec: {image: tiny, cpus: 1, memory: 1G, host: h1, storage: disks}
---
kind: Vm
name: b
spec: {image: tiny, cpus: 1, memory: 1G, host: h2, storage: disks}
---
"""


def shared(cloud: Zctl) -> None:
    """A storage that both hosts share, with the volume d in the VM a on h1."""
    cloud.ok("primary-storage", "create", "nfs", "--zone", "z1", "--path", "/srv/nfs", "--kind", "shared-mount-point")
    cloud.ok("converge")
    cloud.ok("apply", "-f", "-", stdin=TWO + disk("a"))


def disk(vm: str) -> str:
    """The volume's document."""
    return f"kind: Volume\nname: d\nspec: {{size: 1G, primary_storage: nfs, vm: {vm}}}\n"


def test_a_shared_disk_is_never_in_two_vms(cloud: Zctl) -> None:
    """Not by a manifest, and not by detach and attach while the first host has not heard of it."""
    shared(cloud)
    said = cloud.fails("apply", "-f", "-", stdin=TWO + disk("b"))
    assert "on another host, which has to let go first" in said
    cloud.hosts.away = {"h1"}
    cloud.call("volume", "detach", "d")
    said = cloud.fails("volume", "attach", "d", "--vm", "b")
    assert "host h1 has not let go of it yet" in said
    cloud.hosts.away = set()
    cloud.ok("converge", "--host", "h1")
    cloud.ok("volume", "attach", "d", "--vm", "b")


def test_a_shared_disk_is_not_deleted_under_a_host_that_is_away(cloud: Zctl) -> None:
    """Pruned from the set while its VM's host does not answer: its file stays until that host has let go."""
    cloud.ok("primary-storage", "create", "nfs", "--zone", "z1", "--path", "/srv/nfs", "--kind", "shared-mount-point")
    cloud.ok("converge")
    cloud.ok("apply", "-f", "-", "--set", "s", stdin=TWO + disk("b"))
    cloud.hosts.away = {"h2"}
    cloud.hosts.runs.clear()
    answer = cloud.call("apply", "-f", "-", "--set", "s", "--prune", "--yes", stdin=TWO)
    assert answer.exit_code == 1
    assert not any(run.state["storage"]["purge"] for run in cloud.hosts.runs)
    cloud.hosts.away = set()
    cloud.ok("apply", "-f", "-", "--set", "s", "--prune", "--yes", stdin=TWO)
    assert cloud.rows("volume", "name=d") == []


def test_null_takes_a_value_away(cloud: Zctl) -> None:
    """What has a default gets it, sizes come from the offering again, and what must be there is refused in words."""
    vm = "kind: Vm\nname: v\ntags: {a: b}\nspec: {image: tiny, instance_offering: small, cpus: 2, power: Stopped}\n"
    cloud.ok("apply", "-f", "-", stdin=vm)
    text = "kind: Vm\nname: v\ntags: null\nspec: {cpus: null, memory: null, power: null, stop_timeout: null}\n"
    cloud.ok("apply", "-f", "-", stdin=text)
    row = cloud.rows("vm")[0]
    assert (row["cpus"], row["memory"], row["power"], row["tags"]) == (1, 2**30, "Running", {})
    assert "nothing to change" in cloud.ok("plan", "-f", "-", stdin=text)
    cloud.ok("vm", "create", "w", "--image", "tiny", "--cpus", "1", "--memory", "1G")
    assert "it has no size" in cloud.fails(
        "apply", "-f", "-", code=2, stdin="kind: Vm\nname: w\nspec: {memory: null}\n"
    )
    assert "cannot be taken away" in cloud.fails(
        "apply", "-f", "-", code=2, stdin="kind: Host\nname: h1\nspec: {address: null}\n"
    )
    cloud.ok("apply", "-f", "-", stdin="kind: L3Network\nname: lan\nspec: {dns: null}\n")


def test_a_plan_that_is_refused_touches_no_host(cloud: Zctl, tmp_path: Any) -> None:
    """A host that a stale plan would have pruned is left as it is."""
    host = "kind: Host\nname: h9\nspec: {cluster: c1, address: 198.18.0.9, host_key: ssh-ed25519 AAAA}\n"
    cloud.ok("apply", "-f", "-", "--set", "s", stdin=host + "---\nkind: Zone\nname: z9\n")
    cloud.ok("plan", "-f", "-", "--set", "s", "--prune", "--out", str(tmp_path / "p"), stdin="kind: Zone\nname: z9\n")
    cloud.ok("zone", "delete", "z9", "--yes")
    cloud.hosts.runs.clear()
    assert "changed since the plan" in cloud.fails("apply", str(tmp_path / "p"), "--yes")
    assert cloud.hosts.runs == []


def test_a_host_that_is_pruned_is_cleaned_first(cloud: Zctl) -> None:
    """While it is still known: its networks and services go, as with host delete."""
    host = "kind: Host\nname: h9\nspec: {cluster: c1, address: 198.18.0.9, host_key: ssh-ed25519 AAAA}\n"
    cloud.ok("apply", "-f", "-", "--set", "s", stdin=host)
    cloud.hosts.runs.clear()
    cloud.ok("apply", "-f", "-", "--set", "s", "--prune", "--yes", stdin="kind: Set\nname: s\n")
    assert [(run.connection.name, "network" in run.steps) for run in cloud.hosts.runs] == [("h9", True)]
    assert cloud.rows("host", "name=h9") == []


def test_a_part_that_is_pruned_may_come_back_as_another(cloud: Zctl) -> None:
    """A card that had a document of its own and now stands in the list is there after one apply."""
    vm = "kind: Vm\nname: v\nspec: {image: tiny, cpus: 1, memory: 1G}\n"
    cloud.ok("apply", "-f", "-", "--set", "s", stdin=vm + "---\nkind: Nic\nname: x\nspec: {vm: v, l3_network: lan}\n")
    vm = vm.replace("memory: 1G", "memory: 1G, networks: [lan]")
    cloud.ok("apply", "-f", "-", "--set", "s", "--prune", "--yes", stdin=vm)
    assert [row["name"] for row in cloud.rows("nic")] == ["v-nic0"]


def test_names_that_are_taken(cloud: Zctl) -> None:
    """A data volume that was kept is in nobody's way; an address that is taken names the document."""
    words = ("--image", "tiny", "--instance-offering", "small", "--disk", "data")
    cloud.ok("vm", "create", "web", *words)
    cloud.ok("vm", "delete", "web", "--yes")
    cloud.ok("vm", "create", "web", *words)
    assert {row["name"] for row in cloud.rows("volume", "kind=data")} == {"web-data1", "web-data2"}
    text = "kind: Host\nname: h9\nspec: {cluster: c1, address: 198.18.0.1, host_key: ssh-ed25519 AAAA}\n"
    found = json.loads(cloud.call("plan", "-f", "-", "-o", "json", stdin=text).stdout)
    assert "another resource has it already" in found["changes"][0]["why"] and "stdin:1" in found["changes"][0]["why"]
    text = "kind: L3Network\nname: lan\nspec: {ranges: [10.0.0.0/99]}\n---\n" + text
    assert len(json.loads(cloud.call("plan", "-f", "-", "-o", "json", stdin=text).stdout)["changes"]) == 2


def test_exit_codes(cloud: Zctl) -> None:
    """2 of a detailed plan means changes and nothing else; a dry run that is refused fails."""
    assert cloud.call("plan", "-f", "/none", "--detailed-exitcode").exit_code == 1
    assert cloud.call("plan", "-f", "-", "--detailed-exitcode", stdin="kind: Vmm\nname: a").exit_code == 1
    refused = "kind: L3Network\nname: lan\nspec: {cidr: 10.9.0.0/24}\n"
    assert cloud.call("apply", "-f", "-", "--dry-run", stdin=refused).exit_code == 1


def test_room_for_a_volume_that_is_plugged_in_later(cloud: Zctl) -> None:
    """It is counted when it is plugged in, as if it were made then."""
    vm = "kind: Vm\nname: v\nspec: {image: tiny, cpus: 1, memory: 1G}\n"
    text = vm + "---\nkind: Volume\nname: huge\nspec: {size: 900G}\n"
    cloud.ok("apply", "-f", "-", stdin=text)
    assert "needs 900G" in cloud.fails("apply", "-f", "-", stdin=text.replace("900G", "900G, vm: v"))


def test_ranges_by_hand_stay_and_ranges_grow(cloud: Zctl) -> None:
    """Only what came with the network follows its list; one in use may become larger."""
    cloud.ok(
        "ip-range", "create", "office-lan-1", "--l3-network", "lan", "--start", "10.0.0.200", "--end", "10.0.0.210"
    )
    cloud.ok("vm", "create", "v", "--image", "tiny", "--instance-offering", "small", "--network", "lan")
    lan = "kind: L3Network\nname: lan\nspec: {ranges: [RANGE]}\n"
    assert "nothing to change" in cloud.ok("plan", "-f", "-", stdin=lan.replace("RANGE", "10.0.0.0/28"))
    cloud.ok("apply", "-f", "-", stdin=lan.replace("RANGE", "10.0.0.1-10.0.0.100"))
    spans = {row["name"]: (row["start"], row["end"]) for row in cloud.rows("ip-range")}
    assert spans == {"lan-1": ("10.0.0.1", "10.0.0.100"), "office-lan-1": ("10.0.0.200", "10.0.0.210")}


@pytest.mark.parametrize("text", ["networks: [lan, lan=10.0.0.2]", "networks: [lan=10.0.0.2, lan]"])
def test_entries_with_addresses_are_matched_first(cloud: Zctl, text: str) -> None:
    """Whatever their order, the card that has the address stays."""
    vm = "kind: Vm\nname: v\nspec: {image: tiny, cpus: 1, memory: 1G, networks: [lan=10.0.0.2]}\n"
    cloud.ok("apply", "-f", "-", stdin=vm)
    cloud.ok("apply", "-f", "-", stdin=vm.replace("networks: [lan=10.0.0.2]", text))
    assert len(cloud.rows("nic")) == 2
    assert "nothing to change" in cloud.ok("plan", "-f", "-", stdin=vm.replace("networks: [lan=10.0.0.2]", text))


def test_what_is_outstanding_for_a_disk_goes(cloud: Zctl) -> None:
    """The note that a host has to let go of a disk is gone when it has."""
    shared(cloud)
    cloud.ok("apply", "-f", "-", stdin=TWO + disk("null"))
    with cloud.inventory.read() as db:
        assert list(db.scalars(select(Outstanding))) == [] and len(list(db.scalars(select(Vm)))) == 2
