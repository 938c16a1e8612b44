"""The pure parts, with many inputs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zctl.plan.addresses import first_free, is_inside
from zctl.plan.assemble import restrict
from zctl.plan.fragments import DuplicateFragment, Fragment, merge
from zctl.plan.hoststate import HostState, L2Network, L3Network, Lease, Named, Storage, Vm, Volume
from zctl.plan.manifest import Document, in_dependency_order
from zctl.plan.placement import Demand, Room, place, shortages
from zctl.resources.registry import all_classes
from zctl.run.explain import explain_result
from zctl.run.render import render_playbook, untemplated
from zctl.run.values import Connection, HostRun
from zctl.units import format_size, parse_size

ROOMS = st.lists(
    st.builds(
        Room,
        host=st.uuids().map(str),
        name=st.text("abc", min_size=1, max_size=5),
        cpus=st.integers(1, 64).map(float),
        cpus_used=st.integers(0, 64),
        memory=st.integers(1, 2**40),
        memory_used=st.integers(0, 2**40),
        disk=st.none() | st.integers(0, 2**45),
        disk_used=st.integers(0, 2**45),
    ),
    max_size=8,
    unique_by=lambda room: room.host,
)


@given(ROOMS, st.builds(Demand, cpus=st.integers(1, 64), memory=st.integers(1, 2**40), disk=st.integers(0, 2**45)))
def test_placement_never_gives_what_is_not_there(rooms: list[Room], demand: Demand) -> None:
    """The chosen host fits; without one every host says why; the order of the rooms does not matter."""
    choice = place(rooms, demand)
    chosen = [room for room in rooms if room.host == choice.host]
    if choice.host is None:
        assert len(choice.reasons) == len(rooms)
    else:
        assert shortages(chosen[0], demand) == []
        assert chosen[0].memory_used + demand.memory <= chosen[0].memory
    shuffled = random.Random(1).sample(rooms, len(rooms))
    if len({room.name for room in rooms}) == len(rooms):
        assert place(shuffled, demand).host == choice.host


@given(st.integers(0, 2**62))
def test_sizes_survive_writing_and_reading(size: int) -> None:
    """Exactly when they are round, closely otherwise."""
    again = parse_size(format_size(size))
    assert abs(again - size) <= size * 0.06


@pytest.mark.parametrize("text", ["", "G", "1X", "-1", "1e3", "1G1", None, True, 1.5, [1]])
def test_what_is_no_size(text: object) -> None:
    """Raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        parse_size(text)


@given(st.sets(st.integers(0, 15)))
def test_the_first_free_address(taken: set[int]) -> None:
    """Inside the ranges, not taken, and the lowest."""
    names = {f"10.0.0.{number}" for number in taken}
    found = first_free([("10.0.0.4", "10.0.0.7"), ("10.0.0.12", "10.0.0.15")], names)
    free = [n for n in (4, 5, 6, 7, 12, 13, 14, 15) if n not in taken]
    assert found == (f"10.0.0.{free[0]}" if free else None)
    assert found is None or is_inside([("10.0.0.4", "10.0.0.7"), ("10.0.0.12", "10.0.0.15")], found)


def example() -> list[Fragment]:
    """Two networks with leases, a storage with volumes, VMs."""
    found = [Fragment("storage", "storages", Storage(uuid="s", name="s", kind="local", path="/srv"))]
    for number in range(4):
        volume = Volume(uuid=f"v{number}", name="v", storage="s", path=f"/srv/{number}", size=1)
        vm = Vm(uuid=f"m{number}", name="m", domain=f"z-{number}", vcpus=1, memory=1, virt_type="qemu", state="Running")
        lease = Lease(uuid=f"n{number}", name="m", mac="x", ip=f"10.0.0.{number}")
        found += [
            Fragment("storage", "volumes", volume),
            Fragment("vm", "vms", vm),
            Fragment("l3_services", "leases", lease, f"l{number % 2}"),
        ]
    for number in range(2):
        found.append(
            Fragment("network", "l2_networks", L2Network(uuid=f"b{number}", name="b", kind="vxlan", bridge="b"))
        )
        l3 = L3Network(
            uuid=f"l{number}",
            name="l",
            l2="b0",
            bridge="b",
            uplink="u",
            namespace="n",
            veth="v",
            cidr="10.0.0.0/24",
            dhcp_ip="10.0.0.9",
        )
        found.append(Fragment("l3_services", "l3_networks", l3))
    return found


def build(fragments: list[Fragment]) -> HostState:
    """A host state out of fragments."""
    return merge("i", Named(uuid="h", name="h"), {}, fragments)


@given(st.randoms(use_true_random=False))
def test_the_order_of_fragments_does_not_matter(dice: random.Random) -> None:
    """And an entry given twice is an error."""
    shuffled = example()
    dice.shuffle(shuffled)
    assert build(shuffled).model_dump() == build(example()).model_dump()
    with pytest.raises(DuplicateFragment):
        build([*shuffled, shuffled[0]])


@given(st.sets(st.sampled_from(["s", "v0", "v1", "m0", "m3", "n0", "n1", "l1", "b1", "other"])))
def test_a_restricted_state_is_a_part_of_the_whole(scope: set[str]) -> None:
    """Only what is in scope, with the storages and networks that it needs."""
    part = restrict(build(example()), scope)
    assert {volume.uuid for volume in part.storage.volumes} == scope & {"v0", "v1"}
    assert {vm.uuid for vm in part.vm.vms} == scope & {"m0", "m3"}
    leases = {lease.uuid for network in part.l3_services.l3_networks for lease in network.leases}
    assert leases == scope & {"n0", "n1"}
    assert {network.uuid for network in part.network.l2_networks} == scope & {"b1"}
    assert not part.storage.volumes or part.storage.storages


def test_documents_come_in_an_order_in_which_they_can_be_made() -> None:
    """What others need comes first, whatever the order in the file."""
    needs = {
        "Vm": {"Image", "L3Network"},
        "L3Network": {"L2Network"},
        "L2Network": {"Zone"},
        "Image": set(),
        "Zone": set(),
    }
    documents = [Document(kind, {"name": kind}, "") for kind in ("Vm", "L3Network", "Image", "L2Network", "Zone")]
    order = [document.kind for document in in_dependency_order(documents, needs)]
    for kind, others in needs.items():
        assert all(order.index(other) < order.index(kind) for other in others)


def test_text_that_looks_like_a_template_is_marked() -> None:
    """At any depth; other text is left alone."""
    marked = untemplated({"a": ["{{ x }}", "{% y %}", "plain"], "b": {"c": "{# z #}"}})
    assert marked == {
        "a": [{"__ansible_unsafe": "{{ x }}"}, {"__ansible_unsafe": "{% y %}"}, "plain"],
        "b": {"c": {"__ansible_unsafe": "{# z #}"}},
    }


def test_the_playbook_has_only_the_roles_that_are_needed() -> None:
    """One VM is one module call."""
    import yaml

    roles = [role["role"] for role in yaml.safe_load(render_playbook(["storage", "l3_services", "vm"]))[0]["roles"]]
    assert roles == ["zctl.cloud.guests"]
    roles = [
        role["role"] for role in yaml.safe_load(render_playbook(["vm_removal", "network", "kvm_host"]))[0]["roles"]
    ]
    assert roles[0] == "zctl.cloud.guests" and set(roles[1:]) >= {"zctl.cloud.kvm_host", "zctl.cloud.network"}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"msg": "Failed to connect to the host via ssh: Host key verification failed."}, "not the pinned one"),
        ({"msg": "Failed to connect to the host via ssh: root@h: Permission denied (publickey)."}, "login is refused"),
        ({"msg": "Failed to connect to the host via ssh: ssh: connect to host h port 22: Connection refused"}, "sshd"),
        ({"msg": "Missing sudo password"}, "sudoers"),
        ({"msg": "MODULE FAILURE", "module_stderr": "OSError: [Errno 28] No space left on device"}, "disk is full"),
        ({"msg": "bridge zbr-1 is in use"}, "bridge zbr-1 is in use"),
        ({"msg": "", "exception": "(traceback unavailable)"}, "without a word"),
    ],
)
def test_causes_not_wrappings(result: dict[str, str], words: str) -> None:
    """What is the matter, and what to do."""
    assert words in explain_result(result)


def test_every_reference_leads_somewhere() -> None:
    """Types are ordered so that what is referred to comes first."""
    from zctl.resources.base import references

    seen = set()
    for cls in all_classes():
        assert all(about.ref in seen or about.ref == cls.noun for about in references(cls).values()), cls.noun
        seen.add(cls.noun)


def test_a_runs_folder_is_private(tmp_path: Path) -> None:
    """Nobody else can look into what a run was given."""
    from zctl.run.render import write_run

    connection = Connection("h1", "u" * 36, "198.18.0.1", host_key="ssh-ed25519 AAAA")
    write_run(tmp_path / "runs" / "one", [HostRun(connection, {"name": "{{ x }}"}, None, ("vm",))])
    assert (tmp_path / "runs" / "one").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "runs" / "one").rglob("*") if path.is_file())
