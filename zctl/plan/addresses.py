"""Choosing addresses, of either family. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Set
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
# RFC 4291, RFC 2526: the first address is any router's, the last 128 are set aside.
SET_ASIDE = 128
# Below are routers and services, as everywhere; the DHCP service takes the last of these.
FIRST_SHARED, LAST_SHARED, DHCP = 0x100, 0xFFFFFFFF, 0xFE


def first_free(ranges: Iterable[tuple[str, str]], taken: Set[str]) -> str | None:
    """The lowest address of the ranges (first and last address of each, in their order) that is not taken."""
    for start, end in ranges:
        kind = type(ip_address(start))
        for number in range(int(ip_address(start)), int(ip_address(end)) + 1):
            address = str(kind(number))
            if address not in taken:
                return address
    return None


def last_usable(start: Address, end: Address, taken: Set[str | None]) -> str | None:
    """The highest address of a range that is not taken."""
    for number in range(int(end), int(start) - 1, -1):
        address = str(type(end)(number))
        if address not in taken:
            return address
    return None


def is_inside(ranges: Iterable[tuple[str, str]], address: str) -> bool:
    """Whether an address lies in one of the ranges of its family."""
    value = ip_address(address)
    of_family = [(ip_address(start), ip_address(end)) for start, end in ranges]
    return any(start.version == value.version and int(start) <= int(value) <= int(end) for start, end in of_family)


def is_host_address(subnet: str, address: str) -> bool:
    """Whether an address lies in the subnet and is none that has a meaning of its own there."""
    net, value = ip_network(subnet), ip_address(address)
    if value not in net or value == net.network_address:
        return False
    last = int(net.broadcast_address) - (SET_ASIDE if isinstance(net, IPv6Network) else 1)
    return int(value) <= last


def shared_range(subnet: str) -> tuple[str, str]:
    """What addresses are taken from in an IPv6 subnet without ranges."""
    net = IPv6Network(subnet)
    return str(net[FIRST_SHARED]), str(net[LAST_SHARED])


def whole_range(subnet: str) -> tuple[str, str]:
    """First and last address of an IPv6 subnet that somebody may have."""
    net = IPv6Network(subnet)
    return str(net[1]), str(net[-1 - SET_ASIDE])


def dhcp_address(subnet: str, gateway: str | None) -> str:
    """The address of the DHCP service in an IPv6 subnet, where nobody chose another."""
    net = IPv6Network(subnet)
    return next(str(net[number]) for number in (DHCP, DHCP - 1) if str(net[number]) != gateway)
