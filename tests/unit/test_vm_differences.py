"""Differences name each field with both values; foreign domains are told with their seeming owner."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import zctl_vm
import zctl_vm_diff as vm_diff
import zctl_vm_owner as vm_owner
from hypothesis import given
from test_vm_domain import apply, make, pairs, running, wanted
from zctl_vm_differences import differences
from zctl_vm_host import Found
from zctl_vm_spec import DiskSpec, merge


@given(pairs())
def test_no_difference_is_left_after_the_steps(pair):
    actual, desired = pair
    after = apply(actual, vm_diff.diff(actual, desired))
    assert differences(after, replace(desired, spec=replace(desired.spec, domain=after.spec.domain))) == []


def fields(actual, desired):
    return {entry["field"]: (entry["actual"], entry["desired"]) for entry in differences(actual, desired)}


def test_a_domain_that_is_as_wanted_has_none():
    assert differences(running(), wanted()) == []


def test_an_undefined_domain_is_one_difference():
    assert fields(None, wanted()) == {"domain": (None, "z-web")}


def test_each_changed_field_is_named_with_both_values():
    found = make(vcpus=2, memory=2048, name="old", description="x", boot=("network",), virt_type="kvm")
    assert fields(running(found, autostart=False), wanted()) == {
        "vcpus": (2, 1),
        "memory": (2048 * 1024, 1024 * 1024),
        "name": ("old", "web"),
        "description": ("x", None),
        "boot": ("network", "disk"),
        "virt_type": ("kvm", "qemu"),
        "autostart": (False, True),
    }


def test_a_killed_guest_differs_in_its_state_only():
    assert fields(running(live=None, state=vm_diff.STOPPED), wanted()) == {"state": ("Stopped", "Running")}


@pytest.mark.parametrize("state", [vm_diff.STOPPING, vm_diff.UNKNOWN])
def test_a_guest_on_its_way_is_no_difference(state):
    assert differences(running(state=state, live=None), wanted()) == []


def test_disks_and_nics_pulled_out_of_the_running_guest_only():
    bare = make(disks=(), nics=())
    assert fields(running(live=bare), wanted()) == {
        "disk vda": (None, "/s/volumes/a.qcow2"),
        "nic 52:54:00:00:00:01": (None, "bridge zbr-1, port zt-1"),
    }


def test_what_was_plugged_in_or_moved_behind_our_back():
    spec = make()
    moved = replace(spec.nics[0], bridge="other")
    more = replace(spec, disks=(*spec.disks, DiskSpec("d2", "/b", "raw", "vdb")), nics=(moved,))
    assert fields(running(live=more), wanted()) == {
        "disk vdb": ("/b", None),
        "nic 52:54:00:00:00:01": ("bridge other, port zt-1", "bridge zbr-1, port zt-1"),
    }


def test_what_waits_for_the_next_start_is_no_difference():
    assert differences(running(make(boot=("network",)), live=make()), wanted(make(boot=("network",)))) == []


@pytest.mark.parametrize(
    ("name", "inside", "words"),
    [
        ("a", '<metadata><z:vm xmlns:z="https://zctl.dev/xmlns/1" inventory="abc"/></metadata>', "inventory (abc)"),
        ("a", '<metadata><v:vm xmlns:v="http://ovirt.org/vm/1.0"/></metadata>', "oVirt"),
        ("a", '<metadata><n:instance xmlns:n="http://openstack.org/xmlns/libvirt/nova/1.1"/></metadata>', "OpenStack"),
        ("a", '<metadata><o:o xmlns:o="http://libosinfo.org/xmlns/libvirt/domain/1.0"/></metadata>', "virt-manager"),
        ("a", '<metadata><o:o xmlns:o="http://example.org/x"/></metadata>', "http://example.org/x"),
        ("instance-0000001a", "", "OpenStack"),
        ("i-2-34-VM", "", "CloudStack"),
        ("v-1-VM", "", "CloudStack"),
        ("104", "", "Proxmox"),
        ("web", "", "by hand"),
        ("1", "", "by hand"),
    ],
)
def test_the_owner_of_a_foreign_domain(name, inside, words):
    assert words in vm_owner.owner_words(ET.fromstring(f"<domain><name>{name}</name>{inside}</domain>"))


def test_foreign_things_are_those_without_our_mark_and_forgotten_ones():
    ours, other = make(), make(uuid="b" * 36, inventory="other", domain="theirs")

    def found_of(spec):
        return Found(None, spec.uuid, spec.domain, {"inventory": spec.inventory}, running(spec), "", merge(None, spec))

    found = {spec.uuid: found_of(spec) for spec in (ours, other)}
    request = zctl_vm.Request("i", [], [], read_only=True, check=False)
    theirs = {"kind": "domain", "name": "theirs", "uuid": other.uuid, "owner": "another zctl inventory (other)"}
    assert zctl_vm.foreign_things(request, found) == [theirs]
    forgotten = zctl_vm.foreign_things(replace(request, known=frozenset()), found)
    assert [thing["name"] for thing in forgotten] == ["z-web", "theirs"]
    assert "does not know" in forgotten[0]["owner"]
