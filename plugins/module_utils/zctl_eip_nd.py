# SPDX-License-Identifier: Apache-2.0
"""What IPv6 has instead of ARP (RFC 4861, 4862): asking who has an address, saying that it is here now. Pure."""

from __future__ import annotations

import ipaddress
import struct

ETHERTYPE = 0x86DD
_SOLICIT, _ADVERT = 135, 136
_ICMPV6 = 58
_HOPS = 255  # so that no other network can send such a thing
_ROUTER, _OVERRIDE = 0x80000000, 0x20000000
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_NOBODY = ipaddress.IPv6Address("::")
_HEADER = 40


def solicitation(mac: str, address: str) -> bytes:
    """Asks who has an address, as somebody who has none yet (duplicate address detection)."""
    target = ipaddress.IPv6Address(address)
    group = ipaddress.IPv6Address(int(ipaddress.IPv6Address("ff02::1:ff00:0")) | int(target) & 0xFFFFFF)
    return _frame(mac, _NOBODY, group, struct.pack("!BBHI", _SOLICIT, 0, 0, 0) + target.packed)


def advertisement(mac: str, address: str) -> bytes:
    """Tells everybody that an address is here, whoever had it before."""
    target = ipaddress.IPv6Address(address)
    option = bytes([2, 1]) + _raw(mac)
    body = struct.pack("!BBHI", _ADVERT, 0, 0, _ROUTER | _OVERRIDE) + target.packed + option
    return _frame(mac, target, _ALL_NODES, body)


def parse(packet: bytes) -> tuple[str, str] | None:
    """Address and MAC of whoever says that it has the address; None for anything else."""
    body = packet[14 + _HEADER :]
    if len(body) < 24 or packet[12:14] != struct.pack("!H", ETHERTYPE) or packet[20] != _ICMPV6:
        return None
    if body[0] != _ADVERT or packet[21] != _HOPS:
        return None
    return str(ipaddress.IPv6Address(body[8:24])), ":".join(f"{byte:02x}" for byte in packet[6:12])


def _raw(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _frame(mac: str, source: ipaddress.IPv6Address, target: ipaddress.IPv6Address, body: bytes) -> bytes:
    """An Ethernet frame with an ICMPv6 message to a multicast group."""
    pseudo = source.packed + target.packed + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, _HOPS) + source.packed + target.packed
    return b"\x33\x33" + target.packed[12:] + _raw(mac) + struct.pack("!H", ETHERTYPE) + header + body


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
