# SPDX-License-Identifier: Apache-2.0
"""The kernel's table of connections, by netlink: read, and single ones removed.

conntrack(8) would be a process for each connection removed.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble
except ImportError:
    from zctl_system import Trouble  # type: ignore[assignment]

Json = dict[str, Any]
NETFILTER = 12  # linux/netlink.h, linux/netfilter/nfnetlink_conntrack.h
GET, DELETE = 0x101, 0x102
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
DONE, ERROR = 3, 2
ORIGINAL, ID, ZONE = 1, 12, 18
ADDRESSES, PROTOCOL = 1, 2
AT_ONCE = 50
ENOENT = 2


def attributes(data: bytes) -> dict[int, bytes]:
    """Netlink's attributes by number; their own flags are left out."""
    found, place = {}, 0
    while place + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, place)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[place + 4 : place + length]
        place += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes, nested: bool = False) -> bytes:
    """One attribute as netlink wants it."""
    return struct.pack("=HH", len(value) + 4, kind | (0x8000 if nested else 0)) + value + bytes(-len(value) % 4)


def parse(payload: bytes) -> Json | None:
    """One connection, by the packet that began it; None for what has no IP addresses."""
    found = attributes(payload[4:])
    tuple_ = attributes(found.get(ORIGINAL, b""))
    ends, protocol = attributes(tuple_.get(ADDRESSES, b"")), attributes(tuple_.get(PROTOCOL, b""))
    first = 1 if 1 in ends else 3
    if first not in ends or first + 1 not in ends or 1 not in protocol:
        return None
    return {
        "family": payload[0],
        "src": str(ipaddress.ip_address(ends[first])),
        "dst": str(ipaddress.ip_address(ends[first + 1])),
        "protocol": protocol[1][0],
        "sport": int.from_bytes(protocol.get(2, b""), "big"),
        "dport": int.from_bytes(protocol.get(3, b""), "big"),
        "zone": int.from_bytes(found.get(ZONE, b""), "big"),
        "raw": {key: found[key] for key in (ORIGINAL, ID, ZONE) if key in found},
    }


def messages(data: bytes) -> list[tuple[int, bytes]]:
    """The messages of one answer: kind and payload."""
    found, place = [], 0
    while place + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, place)
        if length < 16:
            break
        found.append((kind, data[place + 16 : place + length]))
        place += (length + 3) & ~3
    return found


def ask(kind: int, flags: int, payload: bytes) -> bytes:
    """A request."""
    return struct.pack("=IHHII", len(payload) + 16, kind, flags | REQUEST, 1, 0) + payload


def error_of(payload: bytes) -> int:
    """The error number of an answer, 0 when it is a mere yes."""
    return -int(struct.unpack_from("=i", payload)[0])


def connections() -> list[Json]:
    """All connections that the kernel knows."""
    found: list[Json] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as link:
        link.sendall(ask(GET, DUMP, struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)))
        while True:
            for kind, payload in messages(link.recv(1 << 18)):
                if kind == DONE:
                    return found
                if kind == ERROR:
                    if number := error_of(payload):
                        raise Trouble(f"the table of connections cannot be read: {os.strerror(number)}")
                    return found
                if flow := parse(payload):
                    found.append(flow)


def forget(flows: list[Json]) -> None:
    """Remove connections. Packets that come after begin a new one, for which rules are asked again."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as link:
        for begin in range(0, len(flows), AT_ONCE):
            some = flows[begin : begin + AT_ONCE]
            for flow in some:
                named = (attribute(key, value, key == ORIGINAL) for key, value in flow["raw"].items())
                link.sendall(ask(DELETE, ACK, struct.pack("=BBH", flow["family"], 0, 0) + b"".join(named)))
            left = len(some)
            while left:
                for kind, payload in messages(link.recv(1 << 16)):
                    left -= 1
                    number = error_of(payload) if kind == ERROR else 0
                    if number not in (0, ENOENT):
                        raise Trouble(f"a connection cannot be cut: {os.strerror(number)}")
