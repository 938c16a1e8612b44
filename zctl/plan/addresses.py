"""Choosing addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address


def first_free(ranges: Iterable[tuple[str, str]], taken: set[str]) -> str | None:
    """The lowest address of the ranges (first and last address of each, in their order) that is not taken."""
    for start, end in ranges:
        for number in range(int(IPv4Address(start)), int(IPv4Address(end)) + 1):
            address = str(IPv4Address(number))
            if address not in taken:
                return address
    return None


def last_usable(start: IPv4Address, end: IPv4Address, taken: set[str | None]) -> str | None:
    """The highest address of a range that is not taken."""
    for number in range(int(end), int(start) - 1, -1):
        if str(IPv4Address(number)) not in taken:
            return str(IPv4Address(number))
    return None


def is_inside(ranges: Iterable[tuple[str, str]], address: str) -> bool:
    """Whether an address lies in one of the ranges."""
    value = IPv4Address(address)
    return any(IPv4Address(start) <= value <= IPv4Address(end) for start, end in ranges)
