# SPDX-License-Identifier: Apache-2.0
"""A router of public addresses as IPv4 and IPv6 each see it, so that all else is done once for both. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import in_scope
except ImportError:
    from zctl_results import in_scope  # type: ignore[no-redef]

Json = dict[str, Any]
INSIDE = "eth0"
LISTS = ("eips", "snats", "exits", "forwards", "balancers")
SYSCTLS6 = {
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv6.conf.default.accept_ra": "0",
}
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.arp_ignore": "1",  # an address is answered for on its own port only
    "net.ipv4.conf.all.send_redirects": "0",
    f"net.ipv4.conf.{INSIDE}.send_redirects": "0",
    "net.ipv4.ip_nonlocal_bind": "1",  # one address that cannot come does not keep load balancers from the others
}


class Family(NamedTuple):
    """How one of the two families is written."""

    table: str
    kind: str
    length: int
    arriving: str
    everybody: str


FAMILIES = {
    4: Family("ip", "ipv4_addr", 32, "icmp type echo-request", "224.0.0.0/4, 255.255.255.255"),
    6: Family(
        "ip6",
        "ipv6_addr",
        128,
        "icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert }",
        "fe80::/10, ff00::/8",
    ),
}


def entries(router: Json) -> list[Json]:
    """All that a router has of its own, each with a uuid."""
    return [entry for name in LISTS for entry in router.get(name) or []]


def version_of(text: str | None) -> int:
    """The family of an address; without one it is IPv4's, as the way out by another host is."""
    return 6 if ":" in (text or "") else 4


def with_length(address: str) -> str:
    """An address as it lies on a port."""
    return f"{address}/{FAMILIES[version_of(address)].length}"


def views(router: Json) -> list[Json]:
    """The router as each family that its network has sees it."""
    return [view(router, version) for version in ((4, 6) if router.get("cidr6") else (4,))]


def view(router: Json, version: int) -> Json:
    """What concerns one family, in the shape of a router of that family alone."""
    lists = {
        name: [entry for entry in router.get(name) or [] if version_of(entry.get("ip")) == version] for name in LISTS
    }
    used = {entry.get("public") for entries_of in lists.values() for entry in entries_of}
    suffix = "6" if version == 6 else ""
    publics = [
        {**link, "cidr": link.get(f"cidr{suffix}"), "gateway": link.get(f"gateway{suffix}")}
        for link in router["publics"]
        if link["uuid"] in used
    ]
    near = {ip: mac for ip, mac in (router.get("neighbours") or {}).items() if version_of(ip) == version}
    rest = {"neighbours": near, "cidr": router[f"cidr{suffix}"], "version": version}
    ports = [link["port"] for link in router["publics"]]
    return {**router, **lists, **rest, "publics": publics, "ports": ports, "is_used": bool(entries(router))}


def sysctls(router: Json) -> dict[str, str]:
    """The kernel's settings in a namespace."""
    six = any(version_of(entry.get("ip")) == 6 for entry in entries(router))
    return {**SYSCTLS, **(SYSCTLS6 if six else {})}


def link_local(mac: str) -> str:
    """The address by which a port asks for its neighbours (RFC 4291)."""
    digits = bytes.fromhex(mac.replace(":", ""))
    identity = bytes([digits[0] ^ 2]) + digits[1:3] + b"\xff\xfe" + digits[3:]
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identity))


def left_neighbours(before: Json, after: Json) -> dict[str, str]:
    """The cards that are still reached from a router when some of its eips have gone: a way out reaches all of them."""
    lost = {eip["private_ip"] for eip in before.get("eips") or []} - {eip["private_ip"] for eip in after["eips"]}
    if after["snats"]:
        lost = {ip for ip in lost if version_of(ip) == 6}
    return {ip: mac for ip, mac in (before.get("neighbours") or {}).items() if ip not in lost}


def merged(inventory: str, stored: Json | None, desired: Json | None, scope: list[str] | None) -> Json:
    """A router as it is to be: what is in scope as desired, all else as it is written down."""
    before, after = stored or {}, desired or {}
    router = {**(desired or before), "inventory": inventory}
    for name in LISTS:
        kept = [entry for entry in before.get(name) or [] if not in_scope(entry["uuid"], scope)]
        come = [entry for entry in after.get(name) or [] if in_scope(entry["uuid"], scope)]
        router[name] = sorted([*kept, *come], key=lambda entry: entry["uuid"])
    if desired is None:  # nothing of it is in scope but what goes
        router["neighbours"] = left_neighbours(before, router)
    links = {link["uuid"]: link for link in [*before.get("publics", []), *after.get("publics", [])]}
    return trimmed({**router, "publics": [links[key] for key in sorted(links)]})


def trimmed(router: Json) -> Json:
    """A router without the ports and neighbours that nothing of it needs (any more)."""
    used = {entry["public"] for entry in entries(router) if "public" in entry}
    router = {**router, "publics": [link for link in router["publics"] if link["uuid"] in used]}
    if not router["snats"]:  # the way out knows all cards of its network, any other host those that have an eip
        router["neighbours"] = {eip["private_ip"]: eip["mac"] for eip in router["eips"]}
    return router
