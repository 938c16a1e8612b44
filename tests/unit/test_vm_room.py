"""Head-room: what is plugged into a running guest, what waits, and what the domain keeps."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import zctl_vm_diff as vm_diff
import zctl_vm_room as vm_room
import zctl_vm_spec as vm_spec
from hypothesis import given
from hypothesis import strategies as st
from test_vm_domain import make, ops, running, specs, wanted

GIB = 1 << 20


def with_room(memory=GIB, **room):
    spec = make(memory=memory)
    return running(spec, room=vm_room.Room(**{"vcpus": 8, "memory": 4 * GIB, "slots": 16, **room}))


@pytest.mark.parametrize(
    ("room", "size", "steps", "pending"),
    [
        ({}, {"memory": GIB + 262144}, ["define", "plug-memory"], ()),
        ({}, {"memory": GIB, "vcpus": 8}, ["define", "vcpus"], ()),
        ({}, {"memory": GIB, "vcpus": 9}, ["define"], ("cpus 1 -> 9",)),
        ({}, {"memory": GIB + 1024}, ["define"], ("memory 1G -> 1025M (a running guest grows in steps of 128M)",)),
        ({"slots": 0}, {"memory": 2 * GIB}, ["define"], ("memory 1G -> 2G (all 16 slots for memory are taken)",)),
        ({}, {"memory": 8 * GIB}, ["define"], ("memory 1G -> 8G (the guest was started with room for 4G)",)),
        ({}, {"memory": GIB // 2}, ["define"], ("memory 1G -> 512M",)),
        ({"dimms": (vm_room.Dimm("a", GIB // 2),)}, {"memory": GIB // 2}, ["define", "unplug-memory"], ()),
        ({}, {"memory": GIB, "boot": ("network", "disk")}, ["define"], ("boot disk -> network,disk",)),
    ],
)
def test_size_of_a_running_guest_with_room(room, size, steps, pending):
    plan = vm_diff.diff(with_room(**room), wanted(make(**size)))
    assert (ops(plan), plan.pending) == (steps, pending)


def test_taking_cpus_away_is_tried_once_and_not_under_emulation():
    has = with_room()
    size = make(memory=GIB, virt_type="kvm")
    more = replace(has, spec=size, live=replace(size, vcpus=4))
    assert vm_diff.diff(more, wanted(size)) == vm_diff.Plan((), ("cpus 4 -> 1",))
    new = replace(more, spec=replace(size, vcpus=4))
    assert ops(vm_diff.diff(new, wanted(size))) == ["define", "vcpus"]
    emulated = replace(has, spec=make(memory=GIB, vcpus=4), live=make(memory=GIB, vcpus=4))
    assert ops(vm_diff.diff(emulated, wanted(make(memory=GIB)))) == ["define"]


@given(st.integers(1, 2000))
def test_room_for_cpus_is_above_them_and_bounded(count):
    assert count <= vm_room.vcpu_room(count) <= max(count, 64)


@given(specs, specs)
def test_room_is_kept_when_it_is_larger(before, after):
    big, small = max(before.vcpus, after.vcpus), min(before.vcpus, after.vcpus)
    xml = vm_spec.merge(vm_spec.merge(None, replace(before, vcpus=big)), replace(before, vcpus=small))
    assert vm_room.parse_room(ET.fromstring(xml)).vcpus >= vm_room.vcpu_room(big)


def test_a_change_of_the_room_alone_is_no_difference():
    xml = vm_spec.merge(None, make(memory=GIB)).replace(">8<", ">32<").replace(">4194304<", ">8388608<")
    assert vm_spec.parse(xml) == make(memory=GIB)


def test_room_follows_the_size_in_one_numa_cell():
    root = ET.fromstring(vm_spec.merge(vm_spec.merge(None, make(memory=GIB)), make(memory=2 * GIB, vcpus=4)))
    assert dict(root.find("cpu/numa/cell").attrib) == {
        "id": "0", "cpus": "0-15", "memory": str(2 * GIB), "unit": "KiB"
    }  # fmt: skip
    assert (root.find("vcpu").get("current"), root.findtext("vcpu")) == ("4", "16")
    assert root.findtext("maxMemory") == str(8 * GIB)
    small = ET.fromstring(vm_spec.merge(ET.tostring(root, encoding="unicode"), make(memory=1024)))
    assert small.find("maxMemory") is None and small.find("cpu/numa") is None


def test_cards_have_a_rom_only_when_the_guest_may_boot_from_them():
    xml = vm_spec.merge(None, make())
    assert 'enabled="no"' in xml
    merged = vm_spec.merge(xml, make(boot=("network", "disk")))
    assert 'enabled="no"' not in merged
    assert [boot.get("dev") for boot in ET.fromstring(merged).findall("os/boot")] == ["network", "hd"]
    assert 'enabled="no"' not in vm_spec.merge(None, make(boot=("network",)))
