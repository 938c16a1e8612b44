"""Sends and hears probes on the ways out of this host's l2-networks.

A packet socket on the bridge's way out needs no device of its own and ends with its process: nothing can be left
behind, and what is heard is what the wire carries, before any filter or bridge of this host.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_netcheck_frames import (
        ARP,
        PROBE,
        Ears,
        Probe,
        arp_probe,
        probe_frame,
        read_arp,
        read_probe,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import result
except ImportError:
    from zctl_netcheck_frames import (  # type: ignore[no-redef]
        ARP,
        PROBE,
        Ears,
        Probe,
        arp_probe,
        probe_frame,
        read_arp,
        read_probe,
    )
    from zctl_results import result  # type: ignore[no-redef]

Json = dict[str, Any]
KIND = "l2-network"
INTERVAL = 0.2  # seconds between two rounds of probes
ARP_TIMES = (0.0, 0.4, 0.8)  # RFC 5227 asks three times
AFTER_NEWS = 2.0  # seconds to stay after a host was first heard: it may have begun late
FAREWELL = 0.5  # seconds to go on saying that all is heard, for those who have not heard that
OUTGOING = 4  # linux/if_packet.h
SOL_PACKET, AUXDATA = 263, 8
VLAN_VALID = 1 << 4
ALL_PROTOCOLS = 3


class Port:
    """One network's way out of this host: its socket and what was heard there."""

    def __init__(self, check: Json) -> None:
        self.check = check
        self.device = str(check["device"])
        with open(f"/sys/class/net/{self.device}/mtu", encoding="ascii") as file:
            mtu = int(file.read())
        with open(f"/sys/class/net/{self.device}/flags", encoding="ascii") as file:
            if not int(file.read(), 16) & 1:
                raise OSError(f"{self.device} is down")
        self.ears = Ears(check, mtu)
        # With a protocol from the beginning it would hear every port of the host until it is bound to its own.
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(SOL_PACKET, AUXDATA, 1)
        self.socket.bind((self.device, ALL_PROTOCOLS))
        self.socket.setblocking(False)
        self.mac = self.socket.getsockname()[4]
        self.asked = 0
        self.unsent = ""

    def send(self, elapsed: float) -> None:
        """One round of probes; the questions for addresses go with the first rounds."""
        for size in self.ears.sizes:
            run, inventory, network = self.check["run"], self.check["inventory"], self.check["uuid"]
            probe = Probe(run, inventory, network, self.check["host"], size, self.ears.has_all)
            self.put(probe_frame(self.mac, probe))
        if self.asked < len(ARP_TIMES) and elapsed >= ARP_TIMES[self.asked]:
            self.asked += 1
            for address in self.check["ask"]:
                self.put(arp_probe(self.mac, address))

    def put(self, frame: bytes) -> None:
        """Send a frame; a full queue is the wire's own business, anything else is told."""
        try:
            self.socket.send(frame)
        except BlockingIOError:
            return
        except OSError as error:
            self.unsent = str(error)

    def hear(self) -> None:
        """Take everything that has come in."""
        while True:
            try:
                frame, extra, _, sender = self.socket.recvmsg(65600, 256)
            except OSError:
                return
            if sender[2] == OUTGOING or is_tagged(extra):
                continue  # a tagged frame on the NIC belongs to a VLAN's network
            kind = struct.unpack_from("!H", frame, 12)[0] if len(frame) > 14 else 0
            if kind == PROBE:
                probe = read_probe(frame)
                if probe is not None:
                    self.ears.take_probe(probe)
            elif kind == ARP:
                answer = read_arp(frame)
                if answer is not None:
                    self.ears.take_arp(*answer)


def is_tagged(extra: list[Any]) -> bool:
    """Whether the kernel took a VLAN tag off a frame (packet(7), PACKET_AUXDATA)."""
    for level, kind, data in extra:
        if (level, kind) == (SOL_PACKET, AUXDATA) and len(data) >= 4:
            return bool(struct.unpack_from("=I", data)[0] & VLAN_VALID)
    return False


def check(checks: list[Json], wait: float) -> list[Json]:
    """Probe all networks at once. Returns an entry for each, with what was heard in `observed`."""
    results, ports = [], []
    for entry in checks:
        try:
            ports.append(Port(entry))
        except OSError as error:
            why = f"there is no device {entry['device']}" if isinstance(error, FileNotFoundError) else str(error)
            results.append(result(KIND, entry, "failed", f"{why} on this host: zctl converge"))
    if ports:
        listen(ports, wait)
    for port in ports:
        if port.unsent:
            reason = f"{port.device} does not send: {port.unsent}"
            results.append(result(KIND, port.check, "failed", reason, **port.ears.observed()))
        else:
            results.append(result(KIND, port.check, "unchanged", "", **port.ears.observed()))
        port.socket.close()
    return results


def listen(ports: list[Port], wait: float) -> None:
    """Send and hear until everybody has heard everybody, or until the time is over."""
    begin = time.monotonic()
    last_news, seen, round_at, finished = begin, 0, begin, 0.0
    while True:
        now = time.monotonic()
        if now >= round_at:
            for port in ports:
                port.send(now - begin)
            round_at = now + INTERVAL
        ready = select.select([port.socket for port in ports], [], [], max(0.0, round_at - time.monotonic()))[0]
        for port in ports:
            if port.socket in ready:
                port.hear()
        news = sum(port.ears.news for port in ports)
        if news > seen:
            seen, last_news = news, time.monotonic()
        if not finished and now - begin >= ARP_TIMES[-1] + INTERVAL and all(p.ears.is_finished for p in ports):
            finished = now
        if finished and now >= finished + FAREWELL:
            return
        if now >= max(begin + wait, last_news + AFTER_NEWS):
            return
