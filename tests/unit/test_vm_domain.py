"""Domains: XML is read back as written and keeps what is not ours; the steps lead from any state to any other."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import zctl_vm_diff as vm_diff
import zctl_vm_host as vm_host
import zctl_vm_room as vm_room
import zctl_vm_spec as vm_spec
from hypothesis import given
from hypothesis import strategies as st
from zctl_vm_diff import Actual, Desired, Step
from zctl_vm_spec import DiskSpec, DomainSpec, NicSpec

NASTY = ["<b>&amp;\"'", "a\nb", "$(reboot) {{ x }}", "🎉 é", "]]>", "x" * 300, "\x00\x1b\ud800", "tab\there"]

uuids = st.uuids().map(str)
names = st.text(min_size=1, max_size=40).map(vm_spec.xml_text)
paths = st.text("abc/ <&\"'é", min_size=1, max_size=20).map(lambda text: "/" + text)
disks = st.builds(DiskSpec, uuids, paths, st.sampled_from(["qcow2", "raw"]), st.sampled_from(["vda", "vdb", "vdc"]))
macs = st.integers(0, 2**24 - 1).map(lambda n: f"52:54:00:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}")
limits = st.tuples(*[st.none() | st.integers(1, 10**8)] * 2)
nics = st.builds(
    NicSpec,
    uuids,
    macs,
    st.just("zbr-0123456789"),
    st.just("zt-0123456789"),
    st.none() | st.integers(576, 9000),
    limits=limits,
)


def unique(items):
    return tuple({item.uuid: item for item in items}.values())


specs = st.builds(
    DomainSpec,
    uuid=uuids,
    name=names,
    domain=st.just("z-web"),
    inventory=uuids,
    virt_type=st.sampled_from(["kvm", "qemu"]),
    vcpus=st.integers(1, 64),
    memory=st.integers(1, 1 << 30) | st.integers(1, 64).map(lambda n: n * 131072),
    description=st.none() | names.map(str.strip).map(lambda text: text or None),
    reboot=st.none() | uuids,
    boot=st.sampled_from([("disk",), ("network",), ("disk", "network"), ("network", "disk")]),
    disks=st.lists(disks, max_size=4).map(unique),
    nics=st.lists(nics, max_size=3).map(unique),
)


@given(specs)
def test_new_domain_reads_back(spec):
    assert vm_spec.parse(vm_spec.merge(None, spec)) == spec


@given(specs, specs)
def test_merge_brings_any_domain_to_any_other(before, after):
    after = replace(after, uuid=before.uuid)
    merged = vm_spec.merge(vm_spec.merge(None, before), after)
    assert vm_spec.parse(merged) == after
    assert vm_spec.merge(merged, after) == merged


@given(specs, specs)
def test_merge_keeps_what_it_does_not_know(before, after):
    root = ET.fromstring(vm_spec.merge(None, before))
    root.set("foreign", "1")
    devices = root.find("devices")
    assert devices is not None
    cdrom = ET.SubElement(devices, "disk", {"type": "file", "device": "cdrom"})
    ET.SubElement(cdrom, "target", {"dev": "sda", "bus": "sata"})
    ET.SubElement(devices, "hostdev", {"mode": "subsystem"})
    metadata = root.find("metadata")
    assert metadata is not None
    ET.SubElement(metadata, "{https://example.org/other}tag").text = "kept"
    merged = ET.fromstring(vm_spec.merge(ET.tostring(root, encoding="unicode"), replace(after, uuid=before.uuid)))
    assert merged.get("foreign") == "1"
    assert merged.find("devices/disk[@device='cdrom']/target[@dev='sda']") is not None
    assert merged.find("devices/hostdev") is not None
    assert merged.findtext("metadata/{https://example.org/other}tag") == "kept"


def make(**changes):
    return replace(
        DomainSpec(
            uuid="3f1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e03",
            name="web",
            domain="z-web",
            inventory="i",
            virt_type="qemu",
            vcpus=1,
            memory=1024,
            disks=(DiskSpec("d1", "/s/volumes/a.qcow2", "qcow2", "vda"),),
            nics=(NicSpec("n1", "52:54:00:00:00:01", "zbr-1", "zt-1"),),
        ),
        **changes,
    )


@pytest.mark.parametrize("text", NASTY)
def test_nasty_names_and_descriptions_stay_text(text):
    spec = make(name=vm_spec.xml_text(text), description=vm_spec.xml_text(text).strip() or None)
    root = ET.fromstring(vm_spec.merge(None, spec))
    assert vm_spec.parse_root(root) == spec
    assert "\n" not in (root.findtext("title") or "")
    assert len(root.findall("devices/disk")) == 1


def test_uuid_and_libvirt_name_of_an_existing_domain_stay():
    xml = vm_spec.merge(None, make())
    merged = vm_spec.parse(vm_spec.merge(xml, make(domain="z-other", vcpus=4)))
    assert (merged.domain, merged.vcpus) == ("z-web", 4)


def test_addresses_of_devices_stay_when_the_size_changes():
    root = ET.fromstring(vm_spec.merge(None, make()))
    for device in [*vm_spec.our_disks(root), *vm_spec.our_nics(root)]:
        ET.SubElement(device, "address", {"type": "pci", "slot": "0x07"})
    merged = ET.fromstring(vm_spec.merge(ET.tostring(root, encoding="unicode"), make(memory=4096)))
    assert len(merged.findall("devices/*/address[@slot='0x07']")) == 2


def test_foreign_prefixes_are_written_back():
    xml = vm_spec.merge(None, make()).replace(
        "<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ", 1
    )
    xml = xml.replace("</domain>", "<qemu:commandline><qemu:arg value='-snapshot'/></qemu:commandline></domain>")
    assert '<qemu:arg value="-snapshot"' in vm_spec.merge(xml, make(vcpus=2))


def test_explicit_cpu_model_is_left_alone_and_mode_follows_the_virtualization():
    xml = vm_spec.merge(None, make()).replace(
        '<cpu mode="maximum" />', "<cpu mode='custom'><model>Nehalem</model></cpu>"
    )
    assert "Nehalem" in vm_spec.merge(xml, make(virt_type="kvm"))
    assert "host-model" in vm_spec.merge(vm_spec.merge(None, make()), make(virt_type="kvm"))


def test_desired_spec_takes_every_field_of_the_plan():
    vm = {
        "uuid": "ABC", "name": "web", "domain": "z-web", "description": "  ", "vcpus": 2, "memory": 1025,
        "virt_type": "kvm", "state": "Running", "reboot": "t1",
        "disks": [{"uuid": "d", "path": "/p", "format": "raw", "dev": "vda"}],
        "nics": [{"uuid": "n", "mac": "52:54:00:AA:00:01", "bridge": "b", "tap": "t", "ip": None, "mtu": 1450}],
    }  # fmt: skip
    assert vm_spec.desired_spec("inv", vm) == DomainSpec(
        uuid="abc", name="web", domain="z-web", inventory="inv", virt_type="kvm", vcpus=2, memory=2, description=None,
        reboot="t1", disks=(DiskSpec("d", "/p", "raw", "vda"),),
        nics=(NicSpec("n", "52:54:00:aa:00:01", "b", "t", 1450),),
    )  # fmt: skip


rooms = st.builds(
    vm_room.Room,
    vcpus=st.integers(0, 64),
    memory=st.just(0) | st.integers(1, 1 << 31),
    slots=st.integers(0, 2),
    dimms=st.lists(st.sampled_from([131072, 262144]), max_size=3).map(
        lambda sizes: tuple(vm_room.Dimm(f"{vm_room.DIMM_ALIAS}{n}", size) for n, size in enumerate(sizes))
    ),
)


@st.composite
def actuals(draw, spec):
    state = draw(st.sampled_from([*vm_diff.ACTIVE, vm_diff.STOPPED]))
    live = draw(specs) if state in vm_diff.ACTIVE else None
    room = draw(rooms) if live else vm_room.Room()
    live = live and replace(live, uuid=spec.uuid, domain=spec.domain)
    return Actual(spec, live, state, draw(st.booleans()), room)


@st.composite
def pairs(draw):
    spec = draw(specs)
    wanted = replace(draw(specs), uuid=spec.uuid, inventory=spec.inventory)
    running = draw(st.booleans())
    state = vm_diff.RUNNING if running else vm_diff.STOPPED
    desired = Desired(wanted, state, running and draw(st.booleans()))
    return draw(st.none() | actuals(spec)), desired


def apply(actual, plan):
    """What the steps make of a domain, were they carried out."""
    for step in plan.steps:
        if step.op == "define":
            actual = replace(actual, spec=step.value) if actual else Actual(step.value, None, vm_diff.STOPPED, False)
        elif step.op == "mark":
            actual = replace(actual, spec=replace(actual.spec, reboot=step.value.reboot))
        elif step.op == "autostart":
            actual = replace(actual, autostart=step.value)
        elif step.op == "stop":
            actual = replace(actual, state=vm_diff.STOPPED, live=None)
        elif step.op == "start":
            actual = replace(actual, state=vm_diff.RUNNING, live=actual.spec)
        elif step.op in ("resume", "wake"):
            actual = replace(actual, state=vm_diff.RUNNING)
        elif step.op == "vcpus":
            actual = replace(actual, live=replace(actual.live, vcpus=step.value))
        elif step.op.endswith("plug-memory"):
            sign = 1 if step.op == "plug-memory" else -1
            dimms = [dimm for dimm in actual.room.dimms if dimm != step.value] + [step.value] * (sign > 0)
            room = replace(actual.room, slots=actual.room.slots - sign, dimms=tuple(dimms))
            live = replace(actual.live, memory=actual.live.memory + sign * step.value.size)
            actual = replace(actual, live=live, room=room)
        else:
            actual = replace(actual, live=apply_live(actual.live, step))
    return actual


def apply_live(live, step):
    what = "disks" if step.op.endswith("disk") else "nics"
    devices = [
        d
        for d in getattr(live, what)
        if (d.uuid, getattr(d, "mac", "")) != (step.value.uuid, getattr(step.value, "mac", ""))
    ]
    if not step.op.startswith("detach"):
        devices.append(step.value)
    return replace(live, **{what: tuple(devices)})


@given(pairs())
def test_steps_lead_to_what_is_wanted(pair):
    actual, desired = pair
    plan = vm_diff.diff(actual, desired)
    after = apply(actual, plan)
    assert (after.state, after.autostart) == (desired.state, desired.autostart)
    wanted = replace(desired.spec, domain=after.spec.domain)
    assert replace(after.spec, reboot=wanted.reboot or after.spec.reboot) == replace(
        wanted, reboot=wanted.reboot or after.spec.reboot
    )
    again = vm_diff.diff(after, desired)
    assert again.steps == ()
    assert again.pending == plan.pending


@given(pairs())
def test_what_differs_in_a_running_guest_is_pending_or_done(pair):
    actual, desired = pair
    after = apply(actual, vm_diff.diff(actual, desired))
    if after.live and not vm_diff.diff(after, desired).pending:
        assert {d.uuid: d for d in after.live.disks} == {d.uuid: d for d in desired.spec.disks}
        assert {n.uuid: n for n in after.live.nics} == {n.uuid: n for n in desired.spec.nics}
        assert (after.live.memory, after.live.vcpus) == (desired.spec.memory, desired.spec.vcpus)


def running(spec=None, **changes):
    spec = spec or make()
    return replace(Actual(spec, spec, vm_diff.RUNNING, True), **changes)


def wanted(spec=None, state=vm_diff.RUNNING):
    return Desired(spec or make(), state, state == vm_diff.RUNNING)


def ops(plan):
    return [step.op for step in plan.steps]


def test_nothing_to_do():
    assert vm_diff.diff(running(), wanted()) == vm_diff.Plan()


def test_memory_of_a_small_running_guest_waits_for_its_restart():
    plan = vm_diff.diff(running(), wanted(make(memory=2048)))
    words = "memory 1M -> 2M (a guest started with less than 1G has no room for more)"
    assert (ops(plan), plan.pending) == (["define"], (words,))


def test_a_guest_killed_behind_our_back_is_started_again():
    assert ops(vm_diff.diff(running(live=None, state=vm_diff.STOPPED), wanted())) == ["start"]


def test_reboot_is_done_once_and_recorded_after_it_was_done():
    plan = vm_diff.diff(running(), wanted(make(reboot="t1")))
    assert ops(plan) == ["stop", "start", "mark"]
    assert vm_diff.diff(running(make(reboot="t1")), wanted(make(reboot="t1"))).steps == ()
    assert vm_diff.describe(running(), plan) == "rebooted"


def test_a_run_that_died_between_stop_and_start_is_finished():
    plan = vm_diff.diff(running(live=None, state=vm_diff.STOPPED), wanted(make(reboot="t1")))
    assert ops(plan) == ["define", "start"]
    assert plan.steps[0].value.reboot == "t1"


def test_what_may_be_running_is_neither_started_nor_stopped():
    unknown = running(state=vm_diff.UNKNOWN, live=None)
    assert vm_diff.diff(unknown, wanted()).steps == ()
    assert "stop" not in ops(vm_diff.diff(unknown, wanted(state=vm_diff.STOPPED)))


def test_nic_on_another_bridge_is_moved_while_it_runs():
    spec = make(nics=(replace(make().nics[0], bridge="zbr-2"),))
    plan = vm_diff.diff(running(), wanted(spec))
    assert ops(plan) == ["define", "update-nic"]
    assert plan.pending == ()


@pytest.mark.parametrize(
    ("mark", "namesake", "words"),
    [
        (None, None, "did not make"),
        ({"inventory": "other"}, None, "another zctl inventory"),
        ({}, "abc", "taken by another domain"),
    ],
)
def test_foreign_domains_are_refused(mark, namesake, words):
    found = vm_diff.conflict(make(), mark, namesake)
    assert found is not None
    assert words in found.reason


def test_own_domain_is_no_conflict():
    assert vm_diff.conflict(make(), {"inventory": "i"}, make().uuid) is None
    assert vm_diff.conflict(make(), {}, None) is None


@pytest.mark.parametrize(
    ("code", "reason", "state", "words"),
    [
        (1, 1, "Running", ""),
        (3, 1, "Paused", "user"),
        (3, 2, "Unknown", "migration"),
        (3, 5, "Paused", "I/O error"),
        (5, 3, "Stopped", "crashed"),
        (6, 1, "Stopped", "crashed"),
        (7, 1, "Suspended", ""),
        (0, 0, "Unknown", ""),
    ],
)
def test_libvirt_states(code, reason, state, words):
    found, why = vm_host.state_of(code, reason)
    assert found == state
    assert words in why


def test_words_of_a_plan():
    plan = vm_diff.Plan((Step("define", make(memory=2048)), Step("autostart", False)))
    assert vm_diff.describe(running(), plan) == "changed memory, autostart off"
    assert vm_diff.describe(None, vm_diff.diff(None, wanted())) == "created, autostart on, started"
