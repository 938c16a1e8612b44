"""The devices of an adopted domain: known by a mapping in zctl's mark, left as they were found. Pure.

The mark names each adopted disk by its target and each adopted card by its MAC. What a device is plugged into is
read as one text, the same for the inventory and for the comparison: a path, `pool/image`, `nbd://host:port/export`
for disks; `br0`, `network:default`, `direct:eth0`, `user` for cards.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

XMLNS = "https://zctl.dev/xmlns/1"
MARK = f"{{{XMLNS}}}vm"
DISK = f"{{{XMLNS}}}disk"
NIC = f"{{{XMLNS}}}nic"

_BUSES = {"vd": "virtio", "sd": "sata", "hd": "ide", "xv": "xen"}


def disk_source(disk: ET.Element) -> str:
    """What a disk holds, as text; empty for a drive without a medium."""
    source = disk.find("source")
    if source is None:
        return ""
    for name in ("file", "dev", "dir"):
        if source.get(name):
            return str(source.get(name))
    if source.get("volume"):
        return f"{source.get('pool', '')}/{source.get('volume')}"
    if disk.get("type") == "network":
        return _network_source(source)
    if disk.get("type") == "nvme":
        return f"nvme:{_address(source)}:{source.get('namespace', '1')}"
    kind = disk.get("type") or "?"
    return f"{kind}:" + ",".join(f"{key}={value}" for key, value in sorted(source.attrib.items()) if key != "index")


def _network_source(source: ET.Element) -> str:
    protocol, name = source.get("protocol", "?"), source.get("name", "")
    if protocol == "rbd":
        return name
    host = source.find("host")
    if host is None:
        return f"{protocol}:{name}"
    if host.get("transport") == "unix":
        return f"{protocol}+unix://{host.get('socket', '')}/{name}"
    port = f":{host.get('port')}" if host.get("port") else ""
    return f"{protocol}://{host.get('name', '')}{port}/{name}"


def _address(source: ET.Element) -> str:
    address = source.find("address")
    if address is None:
        return "?"
    parts = [address.get(name, "0").replace("0x", "") for name in ("domain", "bus", "slot", "function")]
    return "{}:{}:{}.{}".format(*parts)


def nic_source(nic: ET.Element) -> str:
    """What a card is plugged into, as text; the same in the running domain's XML and in its configuration's."""
    kind, source = nic.get("type", "?"), nic.find("source")
    if source is None:
        return kind
    if kind == "bridge":
        return source.get("bridge", "")
    if kind == "network":
        group = source.get("portgroup")
        return f"network:{source.get('network', '')}" + (f"/{group}" if group else "")
    if kind == "hostdev":
        return f"hostdev:{_address(source)}"
    name = source.get("dev") or source.get("path") or source.get("address") or ""
    return f"{kind}:{name}" if name else kind


def disk_format(disk: ET.Element) -> str:
    """The format that the domain gives for a disk; QEMU takes one without for raw."""
    driver = disk.find("driver")
    return (driver.get("type") if driver is not None else "") or "raw"


def target(disk: ET.Element) -> str:
    """The disk's name in the domain, such as sda."""
    found = disk.find("target")
    return "" if found is None else found.get("dev", "")


def mac(nic: ET.Element) -> str:
    """The card's MAC, in lower case."""
    found = nic.find("mac")
    return "" if found is None else found.get("address", "").lower()


def is_disk(disk: ET.Element) -> bool:
    """Whether it is a disk with data, not a drive for discs and floppies."""
    return disk.get("device", "disk") in ("disk", "lun") and bool(disk_source(disk))


def adopted_disks(root: ET.Element) -> dict[str, ET.Element]:
    """The adopted disks by uuid, in the order of the mark; those that are gone from the domain are left out."""
    return _mapped(root, DISK, "target", {target(disk): disk for disk in root.findall("devices/disk") if is_disk(disk)})


def adopted_nics(root: ET.Element) -> dict[str, ET.Element]:
    """The adopted cards by uuid, in the order of the mark."""
    return _mapped(root, NIC, "mac", {mac(nic): nic for nic in root.findall("devices/interface")})


def _mapped(root: ET.Element, tag: str, key: str, devices: dict[str, ET.Element]) -> dict[str, ET.Element]:
    mark = root.find(f"metadata/{MARK}")
    if mark is None or mark.get("adopted") != "yes":
        return {}
    pairs = [(entry.get("uuid", ""), devices.get(entry.get(key, ""))) for entry in mark.findall(tag)]
    return {uuid: device for uuid, device in pairs if device is not None}


def add_mapping(mark: ET.Element, disks: list[tuple[str, str]], nics: list[tuple[str, str]]) -> None:
    """Write the mapping into a mark: (uuid, target) of disks, (uuid, mac) of cards."""
    mark.set("adopted", "yes")
    for uuid, name in disks:
        ET.SubElement(mark, DISK, {"uuid": uuid, "target": name})
    for uuid, address in nics:
        ET.SubElement(mark, NIC, {"uuid": uuid, "mac": address})


def without_namespace(mark: ET.Element) -> str:
    """The mark as text for virDomainSetMetadata, which puts all of it into the namespace itself."""
    plain = ET.fromstring(ET.tostring(mark))
    for element in plain.iter():
        element.tag = element.tag.rpartition("}")[2]
    return ET.tostring(plain, encoding="unicode")


def disk_element(path: str, kind: str, dev: str) -> ET.Element:
    """A disk as it was adopted, for plugging it out, and in again when it is a file or a device."""
    block = path.startswith("/dev/")
    element = ET.Element("disk", {"type": "block" if block else "file", "device": "disk"})
    ET.SubElement(element, "driver", {"name": "qemu", "type": kind})
    ET.SubElement(element, "source", {"dev" if block else "file": path})
    ET.SubElement(element, "target", {"dev": dev, "bus": _BUSES.get(dev[:2], "virtio")})
    return element


def nic_element(address: str, source: str) -> ET.Element:
    """A card as it was adopted, for plugging it out, and in again when it is on a bridge or a libvirt network."""
    network = source.partition("network:")[2].partition("/")[0] if source.startswith("network:") else ""
    element = ET.Element("interface", {"type": "network" if network else "bridge"})
    ET.SubElement(element, "mac", {"address": address})
    ET.SubElement(element, "source", {"network": network} if network else {"bridge": source})
    return element


def can_make(source: str, is_a_disk: bool) -> bool:
    """Whether a device that has gone from the domain can be plugged in again from what the inventory knows of it."""
    if is_a_disk:
        return source.startswith("/")
    return source.startswith("network:") or (":" not in source and source not in ("user", "ethernet", "udp", "vdpa"))


def set_size(root: ET.Element, memory: int, vcpus: int, has: tuple[int, int]) -> None:
    """Give the domain memory (KiB) and CPUs; what it `has` already, and all that goes with it, is left as it is."""
    if memory != has[0]:
        for tag in ("memory", "currentMemory"):
            element = root.find(tag)
            element = ET.SubElement(root, tag) if element is None else element
            element.set("unit", "KiB")
            element.text = str(memory)
    if vcpus == has[1]:
        return
    vcpu = root.find("vcpu")
    vcpu = ET.SubElement(root, "vcpu") if vcpu is None else vcpu
    for entry in root.findall("vcpus"):
        root.remove(entry)  # one entry for each CPU: wrong as soon as their number changes
    if vcpus <= int(vcpu.text or 1):
        vcpu.set("current", str(vcpus))
        return
    vcpu.attrib.pop("current", None)
    vcpu.text = str(vcpus)
    cpu = root.find("cpu")
    topology = None if cpu is None else cpu.find("topology")
    if cpu is not None and topology is not None:
        cpu.remove(topology)  # libvirt refuses one that does not come to the number of CPUs


def follow(wanted: Any, found: Any) -> Any:
    """The wanted spec (or one device of it) with the sources of adopted devices as they were found.

    A snapshot or a move by virsh gives a disk another file. It is the VM's owner's to say what an adopted device holds.
    """
    if not wanted.adopted or found is None:
        return wanted
    disks = {disk.uuid: disk for disk in found.disks if disk.adopted}
    nics = {nic.uuid: nic for nic in found.nics if nic.adopted}
    return replace(
        wanted,
        disks=tuple(disks.get(disk.uuid, disk) if disk.adopted else disk for disk in wanted.disks),
        nics=tuple(nics.get(nic.uuid, nic) if nic.adopted else nic for nic in wanted.nics),
    )


def lost_device(wanted: Any, found: Any) -> str:
    """Why the domain cannot be brought to what is wanted: an adopted device is gone and cannot be made again."""
    have = {device.uuid for device in (*found.disks, *found.nics)} if found is not None else set()
    for disk in wanted.disks:
        if disk.adopted and disk.uuid not in have and not can_make(disk.path, True):
            return f"its adopted disk {disk.dev} ({disk.path}) is gone from the domain; attach it again with virsh"
    for nic in wanted.nics:
        if nic.adopted and nic.uuid not in have and not can_make(nic.bridge, False):
            return f"its adopted network card {nic.mac} ({nic.bridge}) is gone from the domain; attach it with virsh"
    return ""
