"""Head-room: what a domain is given at its start so that CPUs and memory can be plugged in while it runs. Pure.

A larger maximum of CPUs costs the guest next to nothing. Room for memory makes a Linux guest set aside a bounce buffer
of 64 MiB, because the added memory would lie above 4 GiB; so small domains have none and grow at their next start.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from itertools import combinations

KIB = 1024
MIB, GIB = KIB, KIB * KIB  # in KiB, as all sizes here
DIMM_ALIAS = "ua-zctl-dimm-"
DIMM_STEP = 128 * MIB  # the least that Linux can add on x86
SLOTS = 16
MEMORY_ROOM_FROM = GIB
MEMORY_CAP = 512 * GIB  # QEMU's CPUs address 1 TiB, and the slots are rounded up
VCPU_FLOOR, VCPU_CAP = 8, 64


@dataclass(frozen=True)
class Dimm:
    """A block of memory that zctl has plugged into a running guest, in KiB."""

    alias: str
    size: int


@dataclass(frozen=True)
class Room:
    """How far a running guest can grow: CPUs, memory in KiB (0: not at all), free slots, and our dimms in it."""

    vcpus: int = 0
    memory: int = 0
    slots: int = 0
    dimms: tuple[Dimm, ...] = ()


def vcpu_room(vcpus: int) -> int:
    """The maximum of CPUs that a domain with so many is started with."""
    return max(vcpus, min(VCPU_CAP, max(VCPU_FLOOR, 4 * vcpus)))


def memory_room(memory: int) -> int:
    """The maximum of memory that a domain with so much is started with; 0 when it gets no room."""
    if memory < MEMORY_ROOM_FROM or memory >= MEMORY_CAP:
        return 0
    return min(MEMORY_CAP, -(-4 * memory // GIB) * GIB)


def parse_room(root: ET.Element) -> Room:
    """The room of a running domain."""
    vcpu, limit = root.find("vcpu"), root.find("maxMemory")
    dimms = root.findall("devices/memory")
    ours = [(_alias(dimm), int(dimm.findtext("target/size") or 0)) for dimm in dimms]
    return Room(
        vcpus=int(vcpu.text or 1) if vcpu is not None else 1,
        memory=int(limit.text or 0) if limit is not None else 0,
        slots=int(limit.get("slots", "0")) - len(dimms) if limit is not None else 0,
        dimms=tuple(Dimm(alias, size) for alias, size in ours if alias.startswith(DIMM_ALIAS)),
    )


def _alias(device: ET.Element) -> str:
    found = device.find("alias")
    return "" if found is None else found.get("name", "")


def dimm_to_plug(room: Room, growth: int) -> Dimm | None:
    """The block that lets a running guest grow by so much, None when that cannot be."""
    if why_not_grow(room, growth):
        return None
    taken = {dimm.alias for dimm in room.dimms}
    number = next(n for n in range(len(taken) + 1) if f"{DIMM_ALIAS}{n}" not in taken)
    return Dimm(f"{DIMM_ALIAS}{number}", growth)


def why_not_grow(room: Room, growth: int) -> str:
    """Why a running guest cannot be given so much more memory, in a few words; empty when it can."""
    if not room.memory:
        return f"a guest started with less than {size_words(MEMORY_ROOM_FROM)} has no room for more"
    if growth % DIMM_STEP:
        return f"a running guest grows in steps of {size_words(DIMM_STEP)}"
    if room.slots < 1:
        return f"all {SLOTS} slots for memory are taken"
    return ""


def dimms_to_unplug(room: Room, shrinkage: int) -> tuple[Dimm, ...]:
    """Our blocks that come to exactly so much, the youngest first; none when no choice of them does."""
    youngest = room.dimms[::-1]
    for count in range(1, len(youngest) + 1):
        for chosen in combinations(youngest, count):
            if sum(dimm.size for dimm in chosen) == shrinkage:
                return chosen
    return ()


def render_dimm(dimm: Dimm) -> str:
    """The block as a device to plug in."""
    device = ET.Element("memory", {"model": "dimm"})
    target = ET.SubElement(device, "target")
    ET.SubElement(target, "size", {"unit": "KiB"}).text = str(dimm.size)
    ET.SubElement(target, "node").text = "0"
    ET.SubElement(device, "alias", {"name": dimm.alias})
    return ET.tostring(device, encoding="unicode")


def give_room(root: ET.Element, vcpus: int, memory: int) -> None:
    """Set the size of a domain that zctl made, with room above it; larger room that is there already is kept."""
    vcpu = root.find("vcpu")
    vcpu = ET.SubElement(root, "vcpu") if vcpu is None else vcpu
    most = max(vcpu_room(vcpus), int(vcpu.text or 0))
    vcpu.text = str(most)
    vcpu.attrib.pop("current", None)
    if most != vcpus:
        vcpu.set("current", str(vcpus))
    cpu = root.find("cpu")
    cells = root.findall("cpu/numa/cell")
    if cpu is None:
        return
    if len(cells) > 1:  # somebody has laid out nodes by hand: what changes, changes in the last
        rest = memory - sum(int(cell.get("memory", "0")) for cell in cells[:-1])
        if rest > 0:
            cells[-1].set("memory", str(rest))
        return
    limit, room = root.find("maxMemory"), memory_room(memory)
    if not room:
        for element, parent in ((limit, root), (root.find("cpu/numa"), cpu)):
            if element is not None:
                parent.remove(element)
        return
    limit = ET.SubElement(root, "maxMemory") if limit is None else limit
    limit.text = str(max(room, int(limit.text or 0)))
    limit.set("slots", limit.get("slots", str(SLOTS)))
    limit.set("unit", "KiB")
    numa = cpu.find("numa")
    numa = ET.SubElement(cpu, "numa") if numa is None else numa
    cell = cells[0] if cells else ET.SubElement(numa, "cell", {"id": "0"})
    cell.attrib.update({"cpus": f"0-{most - 1}", "memory": str(memory), "unit": "KiB"})


def size_words(size: int) -> str:
    """KiB for people: 96M, 2G, 1000K."""
    for unit, factor in (("G", GIB), ("M", MIB)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}K"


def kib(size: int) -> int:
    """Bytes as whole KiB, rounded up."""
    return -(-size // KIB)
