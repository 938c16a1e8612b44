"""The frames by which hosts prove an l2-network: made and read. Pure."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple
from uuid import UUID

PROBE = 0x88B5  # IEEE 802: for local experiments, so nobody's protocol
ARP = 0x0806
BROADCAST = b"\xff" * 6
MAGIC = b"zctl-check-1"
BODY = struct.Struct("!12s16s16s16s16sH?")  # magic, run, inventory, network, host, size, heard everybody
ARP_BODY = struct.Struct("!HHBBH6s4s6s4s")
HEADER = 14


class Probe(NamedTuple):
    """What a probe says: who sent it, for which network and run, how large the packet was meant to be."""

    run: str
    inventory: str
    network: str
    host: str
    size: int
    done: bool


def probe_frame(mac: bytes, probe: Probe) -> bytes:
    """A broadcast whose packet (what follows the Ethernet header) is as large as the probe says."""
    ids = [UUID(text).bytes for text in (probe.run, probe.inventory, probe.network, probe.host)]
    body = BODY.pack(MAGIC, *ids, probe.size, probe.done)
    return BROADCAST + mac + struct.pack("!H", PROBE) + body.ljust(probe.size, b"\0")


def read_probe(frame: bytes) -> Probe | None:
    """What a frame says, None when it is no probe or has been cut."""
    if len(frame) < HEADER + BODY.size or struct.unpack_from("!H", frame, 12)[0] != PROBE:
        return None
    magic, run, inventory, network, host, size, done = BODY.unpack_from(frame, HEADER)
    if magic != MAGIC or len(frame) < HEADER + size:
        return None
    ids = [str(UUID(bytes=value)) for value in (run, inventory, network, host)]
    return Probe(*ids, size, done)


def arp_probe(mac: bytes, address: str) -> bytes:
    """Asks who has an address without claiming one (RFC 5227, ARP Probe)."""
    body = ARP_BODY.pack(1, 0x0800, 6, 4, 1, mac, b"\0" * 4, b"\0" * 6, packed(address))
    return BROADCAST + mac + struct.pack("!H", ARP) + body


def read_arp(frame: bytes) -> tuple[str, str] | None:
    """(address, MAC) of who says in a frame that it has an address; None when nobody does."""
    if len(frame) < HEADER + ARP_BODY.size or struct.unpack_from("!H", frame, 12)[0] != ARP:
        return None
    kind, protocol, _, _, _, sender, address, _, _ = ARP_BODY.unpack_from(frame, HEADER)
    if (kind, protocol) != (1, 0x0800) or not any(address):
        return None
    return ".".join(str(byte) for byte in address), mac_text(sender)


def packed(address: str) -> bytes:
    """An IPv4 address as four bytes."""
    return bytes(int(part) for part in address.split("."))


def mac_text(mac: bytes) -> str:
    """A MAC as people write it."""
    return ":".join(f"{byte:02x}" for byte in mac)


def sizes_of(mtu: int) -> tuple[int, int]:
    """A small packet, and the largest that the network is to carry."""
    return 128, max(mtu, 128)


class Ears:
    """What one host has heard on one network."""

    def __init__(self, check: dict[str, Any], mtu: int) -> None:
        self.check = check
        self.sizes = sizes_of(mtu)
        self.heard: dict[str, set[str]] = {}
        self.done: set[str] = set()
        self.strangers: set[tuple[str, str, str]] = set()
        self.answers: dict[str, set[str]] = {}
        self.news = 0

    def take_probe(self, probe: Probe) -> None:
        """A probe that has come in."""
        if probe.host == self.check["host"] and probe.network == self.check["uuid"]:
            return  # our own, by a loop in the wire
        if probe.inventory != self.check["inventory"] or probe.network != self.check["uuid"]:
            if probe.run == self.check["run"] or probe.inventory != self.check["inventory"]:
                self.strangers.add((probe.inventory, probe.network, probe.host))
            return
        if probe.run != self.check["run"]:
            return
        sizes = self.heard.setdefault(probe.host, set())
        size = "small" if probe.size == self.sizes[0] else "large"
        self.news += size not in sizes
        sizes.add(size)
        if probe.done:
            self.done.add(probe.host)

    def take_arp(self, address: str, mac: str) -> None:
        """Somebody says that it has an address."""
        if address in self.check["ask"]:
            self.answers.setdefault(address, set()).add(mac)

    @property
    def has_all(self) -> bool:
        """Whether every other host was heard in both sizes."""
        return all(len(self.heard.get(host, ())) == 2 for host in self.check["hosts"])

    @property
    def is_finished(self) -> bool:
        """Whether nobody waits for anything on this network any more."""
        return self.has_all and self.done >= set(self.check["hosts"])

    def observed(self) -> dict[str, Any]:
        """What is told to the controller."""
        return {
            "heard": {host: sorted(sizes) for host, sizes in sorted(self.heard.items())},
            "strangers": [list(entry) for entry in sorted(self.strangers)],
            "answers": {address: sorted(macs) for address, macs in sorted(self.answers.items())},
            "mtu": self.sizes[1],
        }
