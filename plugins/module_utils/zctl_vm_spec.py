"""What zctl decides about a libvirt domain, as a value: read from domain XML, merged into domain XML.

Everything here is pure. `parse` and `merge` are a pair: `parse(merge(xml, spec)) == spec`, and `merge` keeps every
element and attribute that it does not know. Format: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_adopted as adopted_devices
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_bandwidth as bandwidth
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_boot as vm_boot
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_room as vm_room
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_template as template
except ImportError:
    import zctl_vm_adopted as adopted_devices  # type: ignore[no-redef]
    import zctl_vm_bandwidth as bandwidth  # type: ignore[no-redef]
    import zctl_vm_boot as vm_boot  # type: ignore[no-redef]
    import zctl_vm_room as vm_room  # type: ignore[no-redef]
    import zctl_vm_template as template  # type: ignore[no-redef]

XMLNS = adopted_devices.XMLNS
MARK = adopted_devices.MARK
DISK_ALIAS = "ua-zctl-disk-"
NIC_ALIAS = "ua-zctl-nic-"
KIB = 1024

# XML 1.0 has no way to write these characters at all, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

ET.register_namespace("zctl", XMLNS)


@dataclass(frozen=True)
class DiskSpec:
    """A disk of the domain: `dev` is the name that the guest is likely to see (vda, vdb ...)."""

    uuid: str
    path: str
    format: str
    dev: str
    adopted: bool = False


@dataclass(frozen=True)
class NicSpec:
    """A network card of the domain; `mtu` is what the guest is told, in bytes, or None for the bridge's own."""

    uuid: str
    mac: str
    bridge: str
    tap: str
    mtu: int | None = None
    adopted: bool = False
    limits: tuple[int | None, int | None] = bandwidth.NONE


@dataclass(frozen=True)
class DomainSpec:
    """All that zctl sets in a domain; `memory` is in KiB because libvirt rounds to them."""

    uuid: str
    name: str
    domain: str
    inventory: str
    virt_type: str
    vcpus: int
    memory: int
    description: str | None = None
    reboot: str | None = None
    boot: tuple[str, ...] = ("disk",)
    disks: tuple[DiskSpec, ...] = field(default=())
    nics: tuple[NicSpec, ...] = field(default=())
    adopted: bool = False


def xml_text(text: str) -> str:
    """The text with what XML cannot hold replaced by U+FFFD, and line ends as XML reads them."""
    return _NOT_XML.sub("\ufffd", text).replace("\r\n", "\n").replace("\r", "\n")


def title_text(name: str) -> str:
    """A VM's name as a domain title: libvirt refuses line breaks there."""
    return " ".join(xml_text(name).split()) or "-"


def desired_spec(inventory: str, vm: dict[str, Any]) -> DomainSpec:
    """The spec of one VM of the host state (`Vm` in the plan)."""
    adopted = bool(vm.get("adopted"))
    return DomainSpec(
        uuid=vm["uuid"].lower(),
        name=xml_text(vm["name"]),
        domain=vm["domain"],
        inventory=inventory,
        virt_type=vm["virt_type"],
        vcpus=int(vm["vcpus"]),
        memory=vm_room.kib(int(vm["memory"])),
        description=xml_text(vm.get("description") or "").strip() or None,
        reboot=vm.get("reboot"),
        boot=tuple(vm.get("boot") or ("disk",)),
        disks=_adopted_first(
            # zctl's own files are named by the volume's uuid, which is younger than any adopted file
            DiskSpec(d["uuid"], d["path"], d["format"], d["dev"], adopted and d["uuid"] not in d["path"])
            for d in vm.get("disks") or []
        ),
        nics=_adopted_first(_desired_nic(nic, adopted) for nic in vm.get("nics") or []),
        adopted=adopted,
    )


def _adopted_first(devices: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(devices, key=lambda device: not device.adopted))


def parse_mark(root: ET.Element) -> dict[str, str] | None:
    """The attributes of zctl's mark, or None when the domain carries none."""
    mark = root.find(f"metadata/{MARK}")
    return None if mark is None else dict(mark.attrib)


def render_mark(spec: DomainSpec) -> ET.Element:
    """The metadata element that says whose domain this is."""
    mark = ET.Element(MARK, {"inventory": spec.inventory, "uuid": spec.uuid, "name": spec.name})
    if spec.reboot:
        mark.set("reboot", spec.reboot)
    if spec.adopted:
        adopted_devices.add_mapping(
            mark,
            [(disk.uuid, disk.dev) for disk in spec.disks if disk.adopted],
            [(nic.uuid, nic.mac) for nic in spec.nics if nic.adopted],
        )
    return mark


def parse(xml: str) -> DomainSpec:
    """The spec that domain XML holds. Disks and NICs that zctl did not put there are left out."""
    return parse_root(ET.fromstring(xml))


def parse_root(root: ET.Element) -> DomainSpec:
    """As `parse`, from the parsed document."""
    mark = parse_mark(root) or {}
    disks = [_adopted_disk(key, disk) for key, disk in adopted_devices.adopted_disks(root).items()]
    nics = [_adopted_nic(key, nic) for key, nic in adopted_devices.adopted_nics(root).items()]
    adopted = mark.get("adopted") == "yes"
    description = root.findtext("description") or ""
    return DomainSpec(
        uuid=(root.findtext("uuid") or "").strip(),
        name=mark.get("name", ""),
        domain=root.findtext("name") or "",
        inventory=mark.get("inventory", ""),
        virt_type=root.get("type", ""),
        vcpus=_vcpus(root),
        memory=_memory(root),
        description=(description.strip() if adopted else description) or None,
        reboot=mark.get("reboot"),
        boot=vm_boot.parse_boot(root),
        disks=(*disks, *(_parse_disk(disk) for disk in our_disks(root))),
        nics=(*nics, *(_parse_nic(nic) for nic in our_nics(root))),
        adopted=adopted,
    )


def _vcpus(root: ET.Element) -> int:
    vcpu = root.find("vcpu")
    if vcpu is None:
        return 1
    return int(vcpu.get("current") or vcpu.text or 1)


def _memory(root: ET.Element) -> int:
    # Not currentMemory: the balloon changes that while the guest runs.
    element = root.find("memory")
    if element is None:
        return 0
    factor = {"KiB": 1, "MiB": KIB, "GiB": KIB**2, "bytes": 1 / KIB, "b": 1 / KIB}.get(element.get("unit", "KiB"), 1)
    return int(int((element.text or "0").strip()) * factor)


def alias(element: ET.Element) -> str:
    """The device's alias, or an empty text."""
    found = element.find("alias")
    return "" if found is None else found.get("name", "")


def our_disks(root: ET.Element) -> list[ET.Element]:
    """The disk elements that zctl put there."""
    return [disk for disk in root.findall("devices/disk") if alias(disk).startswith(DISK_ALIAS)]


def our_nics(root: ET.Element) -> list[ET.Element]:
    """The interface elements that zctl put there."""
    return [nic for nic in root.findall("devices/interface") if alias(nic).startswith(NIC_ALIAS)]


def _attr(element: ET.Element, path: str, name: str) -> str:
    found = element.find(path)
    return "" if found is None else found.get(name, "")


def _parse_disk(disk: ET.Element) -> DiskSpec:
    return DiskSpec(
        uuid=alias(disk)[len(DISK_ALIAS) :],
        path=_attr(disk, "source", "file"),
        format=_attr(disk, "driver", "type"),
        dev=_attr(disk, "target", "dev"),
    )


def _parse_nic(nic: ET.Element) -> NicSpec:
    mtu = _attr(nic, "mtu", "size")
    return NicSpec(
        uuid=alias(nic)[len(NIC_ALIAS) :],
        mac=_attr(nic, "mac", "address"),
        bridge=_attr(nic, "source", "bridge"),
        tap=_attr(nic, "target", "dev"),
        mtu=int(mtu) if mtu else None,
        limits=bandwidth.found(nic),
    )


def _desired_nic(n: dict[str, Any], adopted: bool) -> NicSpec:
    adopted = adopted and not n["tap"]
    return NicSpec(
        n["uuid"], n["mac"].lower(), n["bridge"], n["tap"], n.get("mtu"), adopted, limits=bandwidth.wanted(n)
    )


def _adopted_disk(uuid: str, disk: ET.Element) -> DiskSpec:
    source, kind = adopted_devices.disk_source(disk), adopted_devices.disk_format(disk)
    return DiskSpec(uuid, source, kind, adopted_devices.target(disk), adopted=True)


def _adopted_nic(uuid: str, nic: ET.Element) -> NicSpec:
    return NicSpec(uuid, adopted_devices.mac(nic), adopted_devices.nic_source(nic), "", adopted=True)


def _child(parent: ET.Element, tag: str) -> ET.Element:
    found = parent.find(tag)
    return ET.SubElement(parent, tag) if found is None else found


def _drop(parent: ET.Element, tag: str) -> None:
    for found in parent.findall(tag):
        parent.remove(found)


def _set_text(root: ET.Element, tag: str, text: str | None) -> None:
    if text is None:
        _drop(root, tag)
    else:
        _child(root, tag).text = text


def render_disk(disk: DiskSpec, into: ET.Element | None = None) -> ET.Element:
    """A disk element with our fields set; `into` is the existing element whose other content is kept."""
    if disk.adopted:
        return into if into is not None else adopted_devices.disk_element(disk.path, disk.format, disk.dev)
    element = into if into is not None else ET.Element("disk", {"type": "file", "device": "disk"})
    driver = _child(element, "driver")
    driver.set("name", "qemu")
    driver.set("type", disk.format)
    if into is None:
        driver.set("discard", "unmap")
    source = _child(element, "source")
    if source.get("file") != disk.path:
        _drop(element, "backingStore")  # describes the file that was there before
        source.set("file", disk.path)
    target = _child(element, "target")
    if target.get("dev") != disk.dev:
        _drop(element, "address")  # may be the one that the guest's order depends on: let libvirt choose again
        target.set("dev", disk.dev)
    target.set("bus", target.get("bus") or "virtio")
    # 20 characters are all that virtio-blk has room for; guests show them under /dev/disk/by-id.
    if element.find("serial") is None:
        ET.SubElement(element, "serial").text = disk.uuid.replace("-", "")[:20]
    _child(element, "alias").set("name", DISK_ALIAS + disk.uuid)
    return element


def render_nic(nic: NicSpec, into: ET.Element | None = None, *, network_boot: bool = False) -> ET.Element:
    """As `render_disk`, a card. Without network boot it has no ROM: the firmware need not look for it."""
    if nic.adopted:
        return into if into is not None else adopted_devices.nic_element(nic.mac, nic.bridge)
    element = into if into is not None else ET.Element("interface", {"type": "bridge"})
    element.set("type", "bridge")
    _child(element, "mac").set("address", nic.mac)
    source = _child(element, "source")
    if source.get("bridge") != nic.bridge:
        source.attrib.clear()
        source.set("bridge", nic.bridge)
    _child(element, "target").set("dev", nic.tap)
    if element.find("model") is None:
        ET.SubElement(element, "model", {"type": "virtio"})
    rom = element.find("rom")
    if rom is None and not network_boot:
        ET.SubElement(element, "rom", {"enabled": "no"})
    elif rom is not None and network_boot and rom.get("enabled") == "no":
        element.remove(rom)
    if nic.mtu is None:
        _drop(element, "mtu")
    else:
        _child(element, "mtu").set("size", str(nic.mtu))
    bandwidth.render(nic.limits, element)
    _child(element, "alias").set("name", NIC_ALIAS + nic.uuid)
    return element


def merge(xml: str | None, spec: DomainSpec) -> str:
    """Domain XML that holds `spec`: the given document with our fields set, or a new one.

    The UUID and the libvirt name of an existing domain are kept as they are; the caller makes sure that they agree
    with the spec. The order of our disks and NICs follows the spec.
    """
    new = xml is None
    root = template.new_domain(spec.uuid, spec.domain, spec.virt_type) if xml is None else template.parse_document(xml)
    root.set("type", spec.virt_type)
    if spec.adopted and not new:
        return _merge_adopted(root, spec)
    _set_text(root, "title", title_text(spec.name))
    _set_text(root, "description", spec.description)
    _merge_mark(root, spec)
    for tag in ("memory", "currentMemory"):
        element = _child(root, tag)
        element.set("unit", "KiB")
        element.text = str(spec.memory)
    vm_boot.merge_boot(root, spec.boot)
    if not new:
        _drop(root, "vcpus")  # one entry for each CPU: wrong as soon as their number changes
        template.fit_cpu(root, spec.virt_type)
    vm_room.give_room(root, spec.vcpus, spec.memory)
    _merge_devices(root, _child(root, "devices"), spec)
    return ET.tostring(root, encoding="unicode")


def _merge_mark(root: ET.Element, spec: DomainSpec) -> None:
    metadata, mark = _child(root, "metadata"), render_mark(spec)
    old = metadata.find(MARK)
    if old is None:
        metadata.append(mark)
    else:
        metadata[list(metadata).index(old)] = mark


def _merge_adopted(root: ET.Element, spec: DomainSpec) -> str:
    """Set in a domain that zctl did not make only what differs: its title, CPU model and hardware are its owner's."""
    found = parse_root(root)
    adopted_devices.set_size(root, spec.memory, spec.vcpus, (found.memory, found.vcpus))
    if found.description != spec.description:
        _set_text(root, "description", spec.description)
    vm_boot.merge_boot(root, spec.boot)
    devices = _child(root, "devices")
    disks, nics = adopted_devices.adopted_disks(root), adopted_devices.adopted_nics(root)
    wanted = {device.uuid for device in (*spec.disks, *spec.nics)}
    for key, element in (*disks.items(), *nics.items()):
        if key not in wanted:
            devices.remove(element)
    devices.extend(render_disk(disk) for disk in spec.disks if disk.adopted and disk.uuid not in disks)
    devices.extend(render_nic(nic) for nic in spec.nics if nic.adopted and nic.uuid not in nics)
    _merge_mark(root, spec)
    _merge_devices(root, devices, spec)
    return ET.tostring(root, encoding="unicode")


def _merge_devices(root: ET.Element, devices: ET.Element, spec: DomainSpec) -> None:
    """Set our disks and NICs, each from the one with the same identity, and remove those not wanted."""
    ours = replace(
        spec,
        disks=tuple(disk for disk in spec.disks if not disk.adopted),
        nics=tuple(nic for nic in spec.nics if not nic.adopted),
    )
    disks = {alias(disk)[len(DISK_ALIAS) :]: disk for disk in our_disks(root)}
    nics = {alias(nic)[len(NIC_ALIAS) :]: nic for nic in our_nics(root)}
    _put(devices, list(disks.values()), [render_disk(disk, disks.get(disk.uuid)) for disk in ours.disks])
    cards = [render_nic(nic, nics.get(nic.uuid), network_boot="network" in spec.boot) for nic in ours.nics]
    _put(devices, list(nics.values()), cards)


def _put(devices: ET.Element, old: list[ET.Element], new: list[ET.Element]) -> None:
    """Put `new` where `old` was, one by one; what is more goes to the end, what was more goes away."""
    places = [index for index, element in enumerate(devices) if any(element is one for one in old)]
    for index, element in zip(places, new):  # noqa: B905  (strict= needs Python 3.10)
        devices[index] = element
    for index in reversed(places[len(new) :]):
        del devices[index]
    devices.extend(new[len(places) :])
