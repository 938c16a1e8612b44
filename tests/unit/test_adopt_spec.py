"""Adopted domains as values: any change reads back, and what zctl did not make is the same before and after."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import zctl_adopt
import zctl_vm_adopted as adopted
import zctl_vm_diff as vm_diff
import zctl_vm_spec as vm_spec
from hypothesis import given
from hypothesis import strategies as st
from zctl_vm_spec import DiskSpec, DomainSpec, NicSpec

from tests.unit.adopt_machine import disk, domain_xml, nic

XML = domain_xml(
    "web",
    disk("file='/srv/a.img'", "vdb", form="raw")
    + disk("dev='/dev/vg/b'", "sda", "block", "raw")
    + nic("52:54:00:AA:00:01")
    + nic("52:54:00:aa:00:02", "network='default'", "network")
    + "<graphics type='vnc'/>",
    head="<title>Mine</title>",
)
FOUND = DomainSpec(
    uuid=vm_spec.parse(XML).uuid,
    name="web",
    domain="web",
    inventory="i",
    virt_type="qemu",
    vcpus=1,
    memory=98304,
    disks=(
        DiskSpec("d-root", "/dev/vg/b", "raw", "sda", adopted=True),
        DiskSpec("d-data", "/srv/a.img", "raw", "vdb", adopted=True),
    ),
    nics=(
        NicSpec("n-1", "52:54:00:aa:00:01", "br0", "", adopted=True),
        NicSpec("n-2", "52:54:00:aa:00:02", "network:default", "", adopted=True),
    ),
    adopted=True,
)


def marked() -> str:
    root = ET.fromstring(XML)
    ET.SubElement(root, "metadata").append(vm_spec.render_mark(FOUND))
    return ET.tostring(root, encoding="unicode")


def test_the_mark_alone_makes_it_what_is_wanted():
    assert zctl_adopt.marked(XML, FOUND) == FOUND
    assert vm_spec.parse(marked()) == FOUND
    assert vm_spec.parse(XML).disks == () and not vm_spec.parse(XML).adopted


@given(
    st.integers(1, 8),
    st.integers(16384, 1 << 24),
    st.none() | st.text("ab é", min_size=1).map(str.strip).map(lambda text: text or None),
    st.sets(st.sampled_from(["d-root", "d-data", "n-1", "n-2"])),
    st.integers(0, 2),
)
def test_any_change_reads_back_and_keeps_the_rest(vcpus, memory, description, gone, more):
    wanted = replace(
        FOUND,
        vcpus=vcpus,
        memory=memory,
        description=description,
        disks=(
            *(one for one in FOUND.disks if one.uuid not in gone),
            *(DiskSpec(f"z{n}", f"/p/z{n}.qcow2", "qcow2", f"vd{'xyz'[n]}") for n in range(more)),
        ),
        nics=(
            *(one for one in FOUND.nics if one.uuid not in gone),
            *(NicSpec(f"y{n}", f"52:54:00:bb:00:0{n}", "zbr-1", f"zt-{n}", 1450) for n in range(more)),
        ),
    )
    merged = vm_spec.merge(marked(), wanted)
    assert vm_spec.parse(merged) == wanted
    assert vm_spec.merge(merged, wanted) == merged
    root, before = ET.fromstring(merged), ET.fromstring(XML)
    assert root.findtext("title") == "Mine"
    for path in ("cpu", "os", "devices/graphics"):
        assert ET.tostring(root.find(path)) == ET.tostring(before.find(path))
    kept = [ET.tostring(one) for one in before.findall("devices/disk")]
    names = {one.dev for one in wanted.disks}
    assert [text for text in kept if ET.fromstring(text).find("target").get("dev") in names] == [
        ET.tostring(one) for one in root.findall("devices/disk") if not vm_spec.alias(one)
    ]


def test_back_again_is_what_it_was():
    """Taking a disk away and plugging it in again gives the same spec."""
    less = vm_spec.merge(marked(), replace(FOUND, disks=FOUND.disks[:1], nics=FOUND.nics[:1]))
    assert vm_spec.parse(vm_spec.merge(less, FOUND)) == FOUND


def test_topology_goes_only_when_it_must():
    """libvirt refuses a topology that does not come to the number of CPUs."""
    text = marked().replace("<model", "<topology sockets='1' cores='2' threads='1'/><model", 1)
    assert "topology" in vm_spec.merge(text, replace(FOUND, vcpus=2, memory=1 << 20))
    assert "topology" not in vm_spec.merge(text, replace(FOUND, vcpus=3))


def test_the_mark_as_libvirt_wants_it():
    plain = adopted.without_namespace(vm_spec.render_mark(FOUND))
    assert plain.startswith("<vm ") and "xmlns" not in plain and plain.count("<disk ") == 2


@pytest.mark.parametrize(
    ("source", "is_disk", "words"),
    [("nbd://h:1/e", True, "disk sda"), ("/dev/vg/b", True, ""), ("direct:eth0", False, "card"), ("br0", False, "")],
)
def test_a_device_that_is_gone_is_told_when_it_cannot_be_made(source, is_disk, words):
    spec = replace(
        FOUND,
        disks=(replace(FOUND.disks[0], path=source),) if is_disk else (),
        nics=() if is_disk else (replace(FOUND.nics[0], bridge=source),),
    )
    assert words in vm_spec.xml_text(adopted.lost_device(spec, replace(FOUND, disks=(), nics=())))
    assert bool(adopted.lost_device(spec, replace(FOUND, disks=(), nics=()))) == bool(words)


def test_a_moved_source_is_followed_live_too():
    """A card that was moved to another bridge by its owner stays there; a disk after a snapshot too."""
    moved = replace(
        FOUND,
        disks=(replace(FOUND.disks[0], path="/dev/vg/s"), FOUND.disks[1]),
        nics=(replace(FOUND.nics[0], bridge="br9"), FOUND.nics[1]),
    )
    actual = vm_diff.Actual(moved, moved, vm_diff.RUNNING, True)
    assert vm_diff.diff(actual, vm_diff.Desired(FOUND, vm_diff.RUNNING, True)) == vm_diff.Plan()
