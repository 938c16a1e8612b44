"""The vm role alone on a real host: real domains, killed, changed while they run, refused and removed."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.role_runner import INVENTORY, by_name, run_role
from zctl.lab import Lab
from zctl.lab.guest_image import cached_guest

ROOT = "/var/lib/zctl/test-vms"
BRIDGE = "zbr-testrole"
Json = dict[str, Any]


def uuid(number: int) -> str:
    return f"bbbbbbbb-0000-4000-8000-{number:012d}"


def disk(name: str, dev: str = "vda") -> Json:
    return {"uuid": f"disk-{name}", "path": f"{ROOT}/{name}.qcow2", "format": "qcow2", "dev": dev}


def nic(number: int) -> Json:
    return {"uuid": f"nic-{number}", "mac": f"52:54:00:99:00:{number:02x}", "bridge": BRIDGE, "tap": f"zt-test{number}"}


def vm(number: int, **changes: Any) -> Json:
    return {
        "uuid": uuid(number),
        "name": f"t{number}",
        "domain": f"z-t{number}",
        "description": 'it\'s <b>a</b> "test" & 🎉',
        "vcpus": 1,
        "memory": 96 << 20,
        "virt_type": "qemu",
        "state": "Running",
        "stop_timeout": 30,
        "disks": [disk(f"t{number}")],
        "nics": [nic(number)],
        **changes,
    }


class Role:
    """The vm role on h1."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder

    def answer(self, *vms: Json, purge: tuple[Json, ...] = (), **options: Any) -> Json:
        return run_role(self.lab, self.folder, "vm", {"vms": list(vms), "purge": list(purge)}, **options)["h1"]

    def __call__(self, *vms: Json, **options: Any) -> Json:
        return by_name(self.answer(*vms, **options))

    def ssh(self, command: str) -> str:
        return self.lab.ssh("h1", command)

    def xml(self, number: int, *options: str) -> str:
        return self.ssh(f"virsh -q dumpxml {' '.join(options)} z-t{number}")

    def booted(self, number: int) -> None:
        """Wait until the guest has said on its console that it is up."""
        for _ in range(60):
            if "ready" in self.ssh(f"cat /var/log/libvirt/qemu/z-t{number}-console.log 2>/dev/null || true"):
                return
            time.sleep(0.5)
        raise AssertionError(self.ssh(f"tail -20 /var/log/libvirt/qemu/z-t{number}-console.log"))


@pytest.fixture(scope="module")
def base(lab: Lab) -> Iterator[None]:
    guest = cached_guest().qcow2
    lab.ssh("h1", f"mkdir -p {ROOT} && ip link add {BRIDGE} type bridge && ip link set {BRIDGE} up")
    (Path(lab.host("h1").root) / f"{ROOT}/base.qcow2".lstrip("/")).write_bytes(Path(guest).read_bytes())
    yield
    lab.ssh("h1", f"ip link del {BRIDGE}; rm -rf {ROOT}")


@pytest.fixture
def role(lab: Lab, tmp_path: Path, base: None) -> Iterator[Role]:
    made = Role(lab, tmp_path)
    for name in ("t1", "t2", "extra"):
        made.ssh(f"cd {ROOT} && qemu-img create -q -f qcow2 -b {ROOT}/base.qcow2 -F qcow2 {name}.qcow2 256M")
    yield made
    made.ssh(
        "for d in $(virsh -q list --all --name | grep -E '^(z-t[0-9]|foreign)'); do virsh -q destroy $d 2>/dev/null;"
        f" virsh -q undefine $d; done; rm -f /var/log/libvirt/qemu/z-t*-console.log; chmod 755 {ROOT}; true"
    )


def test_vms_are_made_and_left_alone_afterwards(role: Role) -> None:
    dry = role(vm(1), check=True)
    assert dry["t1"]["result"] == "changed"
    assert "z-t1" not in role.ssh("virsh -q list --all --name")
    first = role.answer(vm(1), vm(2, state="Stopped"))
    found = by_name(first)
    assert found["t1"]["observed"]["state"] == "Running"
    assert found["t2"]["observed"]["state"] == "Stopped"
    assert [entry["name"] for entry in sorted(first["observed"], key=lambda entry: entry["name"])] == ["t1", "t2"]
    assert role.ssh("virsh -q list --autostart --all --name").split() == ["z-t1"]
    role.booted(1)
    again = role.answer(vm(1), vm(2, state="Stopped"))
    assert not again["changed"]
    assert role.ssh("virsh desc z-t1").strip() == vm(1)["description"]


def test_one_failed_vm_does_not_stop_the_others(role: Role) -> None:
    lost = vm(2, disks=[disk("lost")])
    strayed = vm(3, nics=[{**nic(3), "bridge": "zbr-nowhere"}], disks=[disk("extra")])
    found = role(lost, strayed, vm(1))
    assert f"the disk file {ROOT}/lost.qcow2 does not exist" in found["t2"]["reason"]
    assert "the bridge zbr-nowhere does not exist on this host" in found["t3"]["reason"]
    assert found["t1"]["observed"]["state"] == "Running"


def test_a_vm_killed_behind_our_back_shows_and_is_started_again(role: Role) -> None:
    role(vm(1))
    role.ssh("kill -9 $(cat /run/libvirt/qemu/z-t1.pid); sleep 1")
    seen = role.answer(vm(1), scope=[])
    assert not seen["changed"]
    assert by_name(seen)["t1"]["observed"]["state"] == "Stopped"
    assert by_name(seen)["t1"]["reason"] == "crashed"
    assert role(vm(1))["t1"]["reason"] == "started"


def test_graceful_stop_then_reboot_once(role: Role) -> None:
    role(vm(1))
    role.booted(1)
    stopped = role(vm(1, state="Stopped"))["t1"]
    assert stopped["observed"]["state"] == "Stopped"
    assert "forced" not in stopped["reason"]
    role(vm(1))
    ident = role.ssh("virsh domid z-t1")
    # a guest that does not answer in time is forced off
    rebooted = role(vm(1, reboot="token-1", stop_timeout=0))["t1"]
    assert "rebooted" in rebooted["reason"]
    assert role.ssh("virsh domid z-t1") != ident
    assert role(vm(1, reboot="token-1", stop_timeout=0))["t1"]["result"] == "unchanged"


def test_changes_of_a_running_guest(role: Role) -> None:
    role(vm(1))
    role.booted(1)
    more = vm(1, memory=128 << 20, vcpus=2, disks=[disk("t1"), disk("extra", "vdb")], nics=[nic(1), nic(2)])
    found = role(more)["t1"]
    words = "memory 96M -> 128M (a guest started with less than 1G has no room for more)"
    assert found["observed"]["pending"] == [words]
    assert (found["observed"]["memory"], found["observed"]["vcpus"]) == (96 << 20, 2)
    live = role.xml(1)
    assert "extra.qcow2" in live
    assert "52:54:00:99:00:02" in live
    fewer = role({**more, "disks": [disk("t1")], "nics": [nic(1)]})["t1"]
    assert fewer["result"] == "changed"
    live = role.xml(1)
    assert "extra.qcow2" not in live
    assert "52:54:00:99:00:02" not in live
    fresh = role({**more, "disks": [disk("t1")], "nics": [nic(1)], "reboot": "now", "stop_timeout": 0})["t1"]
    assert fresh["observed"]["pending"] == []
    assert (fresh["observed"]["memory"], fresh["observed"]["vcpus"]) == (128 << 20, 2)


def test_differences_are_told_field_by_field(role: Role) -> None:
    """What was changed by virsh shows in check mode with both values, is mended once, and is gone then."""
    whole = vm(1, disks=[disk("t1"), disk("extra", "vdb")])
    assert role(whole)["t1"]["differences"] == [{"field": "domain", "actual": None, "desired": "z-t1"}]
    role.booted(1)
    role.ssh(
        "virsh -q detach-disk z-t1 vdb --live; virsh -q desc z-t1 --config other; virsh -q autostart --disable z-t1;"
        " virsh -q setvcpus z-t1 3 --config; virsh -q setvcpus z-t1 2 --live"
    )
    seen = role(whole, check=True)["t1"]["differences"]
    assert {entry["field"]: (entry["actual"], entry["desired"]) for entry in seen} == {
        "autostart": (False, True),
        "vcpus": (3, 1),
        "description": ("other", whole["description"]),
        "disk vdb": (None, f"{ROOT}/extra.qcow2"),
    }
    assert role(whole)["t1"]["differences"] == seen
    assert role(whole, check=True)["t1"]["differences"] == []
    role.ssh("virsh -q destroy z-t1")
    state = [{"field": "state", "actual": "Stopped", "desired": "Running"}]
    assert role(whole, scope=[])["t1"]["differences"] == state


def test_what_a_person_has_added_stays(role: Role) -> None:
    role(vm(1, state="Stopped"))
    role.ssh("virsh -q attach-disk z-t1 '' sda --type cdrom --config && virsh -q metadata z-t1 https://example.org/x"
             " --key mine --set '<note>hi</note>' --config")  # fmt: skip
    before = role.xml(1, "--inactive")
    assert role(vm(1, state="Stopped", vcpus=2))["t1"]["reason"] == "changed vcpus"
    after = role.xml(1, "--inactive")
    after = after.replace("current='2'", "current='1'")
    # canonical, because the same namespace may be declared at another place
    assert ET.canonicalize(after, strip_text=True) == ET.canonicalize(before, strip_text=True)


def test_foreign_domains_are_never_touched(role: Role) -> None:
    role.ssh(
        "cat >/tmp/f.xml <<END\n<domain type='qemu'><name>z-t1</name><memory unit='MiB'>16</memory>"
        "<os><type>hvm</type></os></domain>\nEND\nvirsh -q define /tmp/f.xml"
    )
    taken = role.ssh("virsh domuuid z-t1").strip()
    before = role.xml(1)
    answer = role.answer(vm(1), purge=({"uuid": taken, "name": "foreign"},))
    found = by_name(answer)
    assert "is taken by another domain" in found["t1"]["reason"]
    assert "does not carry this inventory's mark" in found["foreign"]["reason"]
    assert taken in {thing["uuid"] for thing in answer["foreign_things"]}
    assert answer["observed"] == []
    assert role.xml(1) == before


def test_permission_denied_names_folder_user_and_remedy(role: Role) -> None:
    role.ssh(f"chmod 700 {ROOT}")
    reason = role(vm(1))["t1"]["reason"]
    assert f"QEMU runs as libvirt-qemu and may not enter {ROOT} (root:root 0700)" in reason
    assert f"chmod o+x {ROOT}" in reason


def test_a_disk_that_is_in_use_elsewhere(role: Role) -> None:
    role.ssh(f"setsid sh -c 'sleep 30 | qemu-io {ROOT}/t1.qcow2' </dev/null >/dev/null 2>&1 & sleep 1")
    try:
        assert f"{ROOT}/t1.qcow2 is in use by another process" in role(vm(1))["t1"]["reason"]
    finally:
        role.ssh("kill $(pidof qemu-io)")


def test_hardware_virtualization_that_is_not_there(role: Role) -> None:
    reason = role(vm(1, virt_type="kvm"))["t1"]["reason"]
    assert "hardware virtualization (KVM) does not work on this host" in reason


def test_purge_removes_the_domain_and_not_its_disk(role: Role) -> None:
    role(vm(1), vm(2, state="Stopped"))
    gone = role(purge=({"uuid": uuid(1), "name": "t1"},))
    assert gone["t1"]["result"] == "removed"
    left = role.ssh("virsh -q list --all --name").split()
    assert "z-t1" not in left
    assert "z-t2" in left
    assert role.ssh(f"ls {ROOT}/t1.qcow2")
    assert role(purge=({"uuid": uuid(1), "name": "t1"},))["t1"]["observed"] == {}


def test_a_disk_grows_under_a_running_guest(role: Role) -> None:
    store = {"uuid": uuid(9), "name": "s", "kind": "local", "path": f"{ROOT}/store"}
    path = f"{ROOT}/store/volumes/v.qcow2"
    volume = {"uuid": "v", "name": "v", "storage": uuid(9), "path": path, "size": 64 << 20, "format": "qcow2"}
    run_role(role.lab, role.folder, "storage", {"storages": [store], "volumes": [volume]})
    role(vm(1, disks=[disk("t1"), {**disk("v", "vdb"), "path": path}]))
    grown = {**volume, "size": 96 << 20}
    found = by_name(run_role(role.lab, role.folder, "storage", {"storages": [store], "volumes": [grown]})["h1"])
    assert found["v"]["reason"] == "grown from 64 MiB to 96 MiB"
    assert str(96 << 20) in role.ssh("virsh domblkinfo z-t1 vdb")
    refused = {"uuid": "v", "name": "v", "storage": uuid(9), "path": path}
    kept = by_name(run_role(role.lab, role.folder, "storage", {"storages": [store], "purge": [refused]})["h1"])
    assert "in use by a running guest" in kept["v"]["reason"]


def test_the_mark_says_whose_it_is(role: Role) -> None:
    role(vm(1, state="Stopped"))
    mark = role.ssh("virsh metadata z-t1 https://zctl.dev/xmlns/1")
    assert INVENTORY in mark
    assert 'name="t1"' in mark
