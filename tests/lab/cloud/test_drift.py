"""What somebody does behind zctl's back is told field by field, mended by converge, or taken over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.cloud.zctl import Cloud

WORDS = ("--image", "tiny", "--instance-offering", "small", "--host", "h1")


@pytest.fixture(scope="module")
def vm(cloud: Cloud) -> Iterator[Cloud]:
    """A running VM `web` with a data disk on h1 and a stopped one, `idle`. Each test leaves them mended."""
    cloud.ok("vm", "create", "web", *WORDS, "--network", "flat", "--network", "private", "--disk", "scratch")
    cloud.ok("vm", "create", "idle", *WORDS, "--power", "Stopped")
    cloud.ok("wait", "vm", "web", "ip", "--timeout", "120")
    assert differences(cloud) == []
    yield cloud
    cloud.ok("vm", "delete", *(row["name"] for row in cloud.rows("vm")), "--yes")
    cloud.ok("volume", "delete", *(row["name"] for row in cloud.rows("volume")), "--yes")


def differences(cloud: Cloud, *words: str) -> list[dict[str, Any]]:
    """What plan tells."""
    found: list[dict[str, Any]] = json.loads(cloud.ok("plan", "-o", "json", *words))["differences"]
    return found


def told(cloud: Cloud) -> set[tuple[str, str]]:
    """(resource, field) of each difference."""
    return {(f"{entry['noun']} {entry['name']}", entry["field"]) for entry in differences(cloud)}


BRIDGE = "$(ls /sys/class/net | grep ^zbr- | head -1)"
NIC = "$(virsh domiflist z-web | awk '/52:54/{print $5}' | tail -1)"
BEHIND: dict[str, list[tuple[str, str, str, str]]] = {
    # what somebody does on h1, the noun it is told of, a name, a part of the field; groups do not hide each other
    "states": [
        ("virsh destroy z-web", "vm", "web", "state"),
        ("virsh start z-idle", "vm", "idle", "state"),
        ("rm /etc/systemd/system/zctl-l3@.service", "l3-network", "", "zctl-l3@.service"),
    ],
    "parts": [
        ("virsh undefine z-idle", "vm", "idle", "domain"),
        ("virsh autostart z-web --disable", "vm", "web", "autostart"),
        ("virsh detach-disk z-web vdb --live --config", "vm", "web", "disk vdb"),
        (f"virsh detach-interface z-web bridge --mac {NIC} --live --config", "vm", "web", "nic"),
    ],
    "domains": [
        ("virsh destroy z-web; virsh undefine z-web", "vm", "web", "domain"),
        ("virsh desc z-idle --config --new-desc scribble", "vm", "idle", "description"),
        ("virsh setmem z-idle 64M --config; virsh setmaxmem z-idle 64M --config", "vm", "idle", "memory"),
        ("virsh setvcpus z-idle 2 --config", "vm", "idle", "vcpus"),
    ],
    "files": [
        ("rm /etc/zctl/l3/*/hosts/*", "nic", "web-", ""),
        (f"ip link set {BRIDGE} down", "l2-network", "", ""),
        ("echo net.ipv4.ip_forward=0 >> /etc/sysctl.d/90-zctl.conf", "host", "h1", ""),
    ],
    "tunnel": [
        ("ip link del $(ls /sys/class/net | grep ^zvx- | head -1)", "l2-network", "tunnel", ""),
        ("nft flush table bridge $(nft list tables bridge | awk '/zctl_l3/{print $3; exit}')", "l3-network", "", ""),
    ],
    "namespace": [("ip netns del $(ip netns list | head -1 | cut -d' ' -f1)", "l3-network", "", "")],
    "services": [("systemctl stop 'zctl-l3@*'", "l3-network", "", "")],
}


@pytest.mark.parametrize("group", BEHIND)
def test_each_kind_of_drift_is_told_and_mended(vm: Cloud, group: str) -> None:
    """Told with resource and field, exit 2 for monitoring; then mended, and gone."""
    vm.lab.ssh("h1", "; ".join(command for command, *_ in BEHIND[group]))
    answer = vm.call("plan", "-o", "json", "--detailed-exitcode", "--host", "h1")
    assert answer.code == 2, answer.err
    found = {(f"{one['noun']} {one['name']}", one["field"]) for one in json.loads(answer.out)["differences"]}
    for _, noun, name, field in BEHIND[group]:
        assert any(label.startswith(f"{noun} {name}") and word.startswith(field) for label, word in found), found
    nouns = {noun for _, noun, *_ in BEHIND[group]}
    assert "vm" not in nouns or {label.split()[0] for label, _ in found} <= nouns, found
    vm.ok("converge", "--host", "h1")
    assert differences(vm, "--host", "h1") == []


def test_only_what_is_named_is_mended(vm: Cloud) -> None:
    """Telling changes nothing; --noun and --name leave the rest as it is, to be looked at."""
    vm.lab.ssh("h1", "virsh destroy z-web; virsh start z-idle")
    assert told(vm) == told(vm) == {("vm web", "state"), ("vm idle", "state")}
    vm.ok("converge", "--noun", "vm", "--name", "web")
    assert told(vm) == {("vm idle", "state")}
    vm.ok("converge", "--host", "h1")
    assert told(vm) == set()


def test_the_hosts_values_are_taken_over(vm: Cloud) -> None:
    """--accept: the inventory follows what somebody did by hand, and nothing is undone."""
    vm.ok("vm", "create", "taken", *WORDS, "--disk", "scratch")
    vm.lab.ssh("h1", "virsh destroy z-taken; virsh detach-disk z-taken vdb --config; virsh setvcpus z-idle 2 --config")
    vm.ok("converge", "--accept", "--yes")
    assert vm.show("vm", "taken")["power"] == "Stopped" and vm.show("vm", "idle")["cpus"] == 2
    assert vm.rows("volume", "name=taken-data1")[0]["vm"] is None
    assert differences(vm) == []
    assert vm.domains("h1")["z-taken"] == "shut off"


def test_a_vm_that_is_starting_is_no_drift(vm: Cloud) -> None:
    """A comparison waits for the other zctl process, and sees the end of it."""
    vm.ok("vm", "stop", "web")
    starting = vm.start("vm", "start", "web")
    assert all(entry["field"] != "state" for entry in differences(vm))
    assert starting.wait(timeout=120) == 0
    assert differences(vm) == []


def test_what_is_not_zctls_is_told_and_left(vm: Cloud) -> None:
    """A domain made by hand is listed with its owner, in no plan, and survives every converge."""
    xml = "<domain type='qemu'><name>byhand</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>"
    vm.lab.ssh("h1", f"cat > /tmp/x.xml <<E\n{xml}\nE\nvirsh define /tmp/x.xml")
    try:
        found = json.loads(vm.ok("plan", "-o", "json"))
        assert found["differences"] == []
        assert any(thing["name"] == "byhand" and thing["host"] == "h1" for thing in found["foreign"]), found["foreign"]
        vm.ok("converge")
        assert "byhand" in vm.domains("h1")
    finally:
        vm.lab.ssh("h1", "virsh undefine byhand")


def test_what_lies_in_the_login_users_home_does_not_matter(vm: Cloud) -> None:
    """A comparison runs no file of the user's, and finds its answer among what his shell prints."""
    vm.lab.ssh("h1", "echo 'raise SystemExit(9)' | tee json.py libvirt.py; touch .bashrc; mv .bashrc .bashrc.old")
    vm.lab.ssh("h1", "cat > .bashrc", stdin="echo '{'\ntrap 'echo bye' EXIT\n")
    try:
        assert "bye" in vm.lab.ssh("h1", "true"), "the shell prints nothing: this would show nothing"
        assert differences(vm, "--host", "h1") == []
    finally:
        vm.lab.ssh("h1", "rm json.py libvirt.py; mv .bashrc.old .bashrc")


def test_what_cannot_be_read_is_a_problem_and_hides_nothing_else(vm: Cloud) -> None:
    """A host of which one concern cannot be seen fails the check; what the others see is told."""
    library = "/usr/lib/python3/dist-packages/libvirt.py"
    vm.lab.ssh("h1", f"mv {library} {library}.away; ip link set {BRIDGE} down")
    try:
        answer = vm.call("plan", "--host", "h1")
    finally:
        vm.lab.ssh("h1", f"mv {library}.away {library}")
    assert answer.code == 1 and "vm: the Python library libvirt is missing" in answer.out
    assert "bridge.state: down -> up" in answer.out
    vm.ok("converge", "--host", "h1")
    assert differences(vm) == []
