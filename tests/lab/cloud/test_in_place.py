"""Changes in place on real hosts: plugged in while the guest runs, or told as pending and done by a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from xml.etree import ElementTree

from tests.lab.cloud.zctl import Cloud, ask, fetch

MIB = 1024  # in KiB


def create(cloud: Cloud, name: str, *more: str) -> str:
    """A VM with room for more memory, up and answering; returns its address."""
    cloud.ok("vm", "create", name, "--image", "tiny", "--cpus", "1", "--memory", "1G", "--network", "flat", *more)
    ip = cloud.ip(name)
    fetch(f"http://{ip}/")
    return ip


def size(ip: str) -> dict[str, int]:
    """What the guest's kernel sees: CPUs, and memory in KiB."""
    return {words[0]: int(words[1]) for words in map(str.split, ask(ip, "size").splitlines())}


def until(what: Callable[[], bool], patience: float = 20) -> None:
    """Wait for the guest to notice."""
    deadline = time.monotonic() + patience
    while not what():
        assert time.monotonic() < deadline, "the guest does not notice"
        time.sleep(0.5)


def domain(cloud: Cloud, name: str, *options: str) -> ElementTree.Element:
    """The domain XML."""
    row = cloud.show("vm", name)
    return ElementTree.fromstring(cloud.lab.ssh(row["host"], f"virsh dumpxml z-{name} {' '.join(options)}"))


def qemu(cloud: Cloud, name: str) -> str:
    """The process of a running VM: another one after each start."""
    return cloud.lab.ssh(cloud.show("vm", name)["host"], f"cat /run/libvirt/qemu/z-{name}.pid").strip()


def test_cpus_and_memory_are_plugged_into_a_running_guest(no_vms: Cloud) -> None:
    """The guest's kernel sees them; the next start has them as one block."""
    cloud = no_vms
    ip = create(cloud, "web-1")
    process, before = qemu(cloud, "web-1"), size(ip)
    assert before["cpus"] == 1
    cloud.ok("vm", "update", "web-1", "--cpus", "3", "--memory", "1280M")
    assert cloud.show("vm", "web-1")["pending"] == []
    until(lambda: size(ip)["cpus"] == 3 and size(ip)["memory"] - before["memory"] == 256 * MIB)
    assert "unchanged" in cloud.call("vm", "update", "web-1", "--cpus", "3").err
    # What was plugged in can be taken out again.
    cloud.ok("vm", "update", "web-1", "--memory", "1G")
    assert cloud.show("vm", "web-1")["pending"] == []
    until(lambda: size(ip)["memory"] == before["memory"])
    cloud.ok("vm", "update", "web-1", "--memory", "1152M")
    assert qemu(cloud, "web-1") == process
    cloud.ok("vm", "reboot", "web-1")
    assert domain(cloud, "web-1").findall("devices/memory") == []
    assert size(ip)["cpus"] == 3
    assert abs(size(ip)["memory"] - before["memory"] - 128 * MIB) < 16 * MIB  # page tables take some


def test_what_cannot_be_done_live_waits_and_is_told(no_vms: Cloud) -> None:
    """vm show and stderr say it with both values; --restart does it at once; identities stay."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--disk", "scratch", "--host", "h1")
    keep = ("uuid", "ip", "nics", "volumes", "host")
    before, process = cloud.show("vm", "web-1"), qemu(cloud, "web-1")
    said = cloud.call("vm", "update", "web-1", "--memory", "1100M", "--boot", "network,disk").err
    waits = cloud.show("vm", "web-1")["pending"]
    assert len(waits) == 2 and all(words in said for words in waits)
    assert waits[0] == "memory 1G -> 1100M (a running guest grows in steps of 128M) at the next start"
    assert waits[1] == "boot disk -> network,disk at the next start"
    assert qemu(cloud, "web-1") == process
    cloud.ok("converge", "--host", "h1")
    assert cloud.show("vm", "web-1")["pending"] == waits and qemu(cloud, "web-1") == process
    said = cloud.call("vm", "update", "web-1", "--boot", "disk,network", "--restart").err
    assert "restarted" in said and "next start" not in said
    after = cloud.show("vm", "web-1")
    assert after["pending"] == [] and qemu(cloud, "web-1") != process
    assert {key: after[key] for key in keep} == {key: before[key] for key in keep}
    xml = domain(cloud, "web-1")
    assert [boot.get("dev") for boot in xml.findall("os/boot")] == ["hd", "network"]
    assert xml.find("devices/interface/rom[@enabled='no']") is None
    fetch(f"http://{ip}/")
    # Fewer CPUs and less memory: after a stop and a start.
    cloud.ok("vm", "update", "web-1", "--memory", "512M")
    assert cloud.show("vm", "web-1")["pending"] == ["memory 1100M -> 512M at the next start"]
    cloud.ok("vm", "stop", "web-1")
    cloud.ok("vm", "start", "web-1")
    assert cloud.show("vm", "web-1")["pending"] == []
    assert size(ip)["memory"] < 512 * MIB
    # A restart that nothing asks for is not made.
    process = qemu(cloud, "web-1")
    cloud.ok("vm", "update", "web-1", "--description", "plain words", "--restart")
    assert qemu(cloud, "web-1") == process


def test_volumes_grow_under_a_running_guest_and_under_a_stopped_one(no_vms: Cloud) -> None:
    """The guest sees the new size at once; shrinking is refused; a file on the host never gets smaller."""
    cloud = no_vms
    ip = create(cloud, "db-1", "--disk", "scratch")
    process = qemu(cloud, "db-1")
    ask(ip, "write?vdb=kept")
    cloud.ok("volume", "update", "db-1-data1", "--size", "48M")
    cloud.ok("volume", "update", "db-1-root", "--size", "128M")
    until(lambda: {f"vda {128 << 20}", f"vdb {48 << 20}"} <= set(ask(ip, "disks").splitlines()))
    assert "kept" in ask(ip, "read?vdb") and qemu(cloud, "db-1") == process
    assert "cannot shrink" in cloud.fails("volume", "update", "db-1-data1", "--size", "16M")
    cloud.ok("vm", "stop", "db-1")
    cloud.ok("volume", "update", "db-1-data1", "--size", "64M")
    cloud.ok("vm", "start", "db-1")
    assert f"vdb {64 << 20}" in ask(ip, "disks")
    assert "kept" in ask(ip, "read?vdb")


def test_disks_and_cards_keep_their_places_through_updates(no_vms: Cloud) -> None:
    """Targets, PCI addresses, MACs and serials are the same after attach, detach, resize and restart."""
    cloud = no_vms
    ip = create(cloud, "db-1", "--disk", "scratch", "--disk", "scratch", "--host", "h1")

    def places() -> dict[str, tuple[str, ...]]:
        found = {}
        devices = domain(cloud, "db-1").find("devices")
        assert devices is not None
        for device in [*devices.findall("disk"), *devices.findall("interface")]:
            words = [("target", "dev"), ("mac", "address"), ("serial", ""), ("address", "bus"), ("address", "slot")]
            parts = [(device.find(tag), key) for tag, key in words if (tag, device.tag) != ("target", "interface")]
            found[device.find("alias").get("name", "")] = tuple(  # type: ignore[union-attr]
                part.get(key, "") if key else str(part.text) for part, key in parts if part is not None
            )
        return found

    before = places()
    assert len(before) == 4
    cloud.ok("volume", "create", "more", "--size", "16M")
    cloud.ok("volume", "attach", "more", "--vm", "db-1")
    cloud.ok("nic", "create", "--vm", "db-1", "--l3-network", "private")
    assert before.items() <= places().items() and len(places()) == 6
    cloud.ok("volume", "detach", "db-1-data1")
    kept = places()
    assert len(kept) == 5
    cloud.ok("vm", "update", "db-1", "--memory", "1100M", "--cpus", "2", "--restart")
    fetch(f"http://{ip}/")
    assert places() == kept
