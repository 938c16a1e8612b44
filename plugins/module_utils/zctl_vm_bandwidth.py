"""How fast a network card may send and receive: libvirt's <bandwidth>. Pure.

libvirt counts in 1000 bytes a second and as the guest sees it: inbound is what the guest receives.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

STEP = 8000  # bits a second that libvirt's unit is
NONE = (None, None)
DIRECTIONS = ("inbound", "outbound")
Limits = tuple[int | None, int | None]  # Python 3.9 reads this
"""For inbound and outbound, in libvirt's unit; None is without a limit"""


def wanted(nic: dict[str, Any]) -> Limits:
    """The limits of a card of the host state."""
    inbound, outbound = (nic.get(word) for word in DIRECTIONS)
    return inbound and -(-inbound // STEP), outbound and -(-outbound // STEP)


def found(element: ET.Element) -> Limits:
    """The limits that an interface element has."""
    values = []
    for word in DIRECTIONS:
        limit = element.find(f"bandwidth/{word}")
        values.append(int(limit.get("average", "0")) or None if limit is not None else None)
    return values[0], values[1]


def render(limits: Limits, element: ET.Element) -> None:
    """Set the limits in an interface element. What is as wanted stays, with a peak or burst that somebody has set."""
    if found(element) == limits:
        return
    for old in element.findall("bandwidth"):
        element.remove(old)
    if limits == NONE:
        return
    made = ET.SubElement(element, "bandwidth")
    for word, limit in zip(DIRECTIONS, limits):  # noqa: B905 - Python 3.9
        if limit is not None:
            ET.SubElement(made, word, {"average": str(limit)})


def words(limits: Limits) -> str:
    """The limits for people; an empty text without any."""
    said = (f"{word} {rate(limit)}" for word, limit in zip(DIRECTIONS, limits) if limit is not None)  # noqa: B905
    return ", ".join(said)


def rate(limit: int) -> str:
    """A limit in bits a second, as it is given to zctl."""
    bits = limit * STEP
    for unit, factor in (("G", 10**9), ("M", 10**6), ("K", 10**3)):
        if bits >= factor:
            return f"{bits // factor if bits % factor == 0 else bits / factor}{unit}"
    return str(bits)
