# SPDX-License-Identifier: Apache-2.0
"""The nftables tables of the security concern as text, and what a listing of them says. Pure.

Table `bridge`: what cards may send from, and what their groups let through. Table `inet`, only when there are groups:
it marks packets of known connections, which the bridge family cannot tell on every kernel.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_security_model import (
        DIRECTIONS,
        METADATA,
        filtered,
        group_rules,
        zones,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_security_rules import (
        members_set,
        rule_lines,
        short,
    )
except ImportError:
    from zctl_results import difference  # type: ignore[no-redef]
    from zctl_security_model import (  # type: ignore[no-redef]
        DIRECTIONS,
        METADATA,
        filtered,
        group_rules,
        zones,
    )
    from zctl_security_rules import members_set, rule_lines, short  # type: ignore[no-redef]

Json = dict[str, Any]
KNOWN = "0x08000000"  # the bit of a packet's mark that says: of a connection that was let through
FORGET = "0xf7ffffff"
PROBE = "table bridge zctl_probe {\n chain known {\n  ct state established accept\n }\n}\n"
TYPES = {
    "guarded": "type ifname",
    "senders": "type ifname . ether_addr",
    "arp_senders": "typeof iifname . arp saddr ether . arp saddr ip",
    "sources4": "type ifname . ipv4_addr",
    "ranges4": "type ifname . ipv4_addr; flags interval",
    "sources6": "type ifname . ipv6_addr",
    "ranges6": "type ifname . ipv6_addr; flags interval",
    "targets6": "typeof iifname . @th,64,128",
    "routers6": "type ifname",
}
GUARD = (
    ("guard", (
        "iifname . ether saddr != @senders drop",
        "ether type arp goto guard_arp",
        "ether type ip goto guard_ip",
        "ether type ip6 goto guard_ip6",
        "drop",
    )),
    ("guard_arp", (
        "iifname . arp saddr ether . arp saddr ip @arp_senders accept",
        "iifname . arp saddr ether @senders iifname . arp saddr ip @ranges4 accept",
        "drop",
    )),
    ("guard_ip", (
        "udp sport 67 drop",
        "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
        "iifname . ip saddr @sources4 accept",
        "iifname . ip saddr @ranges4 accept",
        "drop",
    )),
    ("guard_ip6", (
        "udp sport 547 drop",
        "icmpv6 type { nd-router-advert, nd-redirect } drop",
        # A card asks whether an address is free before it has it; of another's that would take it from there.
        "ip6 saddr :: icmpv6 type { nd-router-solicit, mld2-listener-report } accept",
        "ip6 saddr :: icmpv6 type nd-neighbor-solicit iifname @routers6 accept",
        "ip6 saddr :: icmpv6 type nd-neighbor-solicit iifname . @th,64,128 @targets6 accept",
        "icmpv6 type nd-neighbor-advert iifname != @routers6 iifname . @th,64,128 != @targets6 drop",
        "iifname . ip6 saddr @sources6 accept",
        "iifname . ip6 saddr @ranges6 accept",
        "drop",
    )),
)  # fmt: skip
ALWAYS = {
    "egress": (
        "udp sport 68 udp dport 67 accept",
        "udp sport 546 udp dport 547 accept",
        f"ip daddr {METADATA} tcp dport 80 accept",
        "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept",
    ),
    "ingress": (
        "udp sport 67 udp dport 68 accept",
        "udp sport 547 udp dport 546 accept",
        "icmpv6 type { mld-listener-query, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept",
    ),
}
VERDICTS = {"allow": "accept", "deny": "drop"}


def table_name(inventory: str) -> str:
    """The tables of one inventory."""
    return f"zctl_security_{inventory.replace('-', '')[:8]}"


def render(inventory: str, model: Json, tracks_bridges: bool) -> str:
    """Input for `nft -f`, which takes the place of both tables in one step; what is not needed goes."""
    name = table_name(inventory)
    lines = [f"table bridge {name} {{}}", f"delete table bridge {name}"]
    lines += [f"table inet {name} {{}}", f"delete table inet {name}"]
    if model["nics"]:
        lines += [f"table bridge {name} {{", *guard_lines(model)]
        if filtered(model):
            lines += group_lines(model, tracks_bridges)
        lines.append("}")
    if filtered(model):
        lines += [f"table inet {name} {{", *mark_lines(model, tracks_bridges), "}"]
    return "\n".join(lines) + "\n"


def chain(name: str, rules: Any, hook: str = "") -> list[str]:
    """A chain; with a hook a base chain that accepts what no rule speaks of."""
    base = [f"  type filter hook {hook}; policy accept;"] if hook else []
    return [f" chain {name} {{", *base, *(f"  {rule}" for rule in rules), " }"]


def guard_lines(model: Json) -> list[str]:
    """What cards may send from: sets of (port, address), so that one lookup tells for any number of cards."""
    elements: dict[str, list[str]] = {name: [] for name in TYPES}
    for _, nic in sorted(model["nics"].items()):
        if nic["anti_spoofing"]:
            for name, entries in guard_elements(nic).items():
                elements[name] += entries
    lines = []
    for name, kind in TYPES.items():
        held = f" elements = {{ {', '.join(elements[name])} }};" if elements[name] else ""
        lines.append(f" set {name} {{ {kind};{held} }}")
    lines += chain("spoofing", ["iifname @guarded goto guard"], "prerouting priority -300")
    for name, rules in GUARD:
        lines += chain(name, rules)
    return lines


def guard_elements(nic: Json) -> dict[str, list[str]]:
    """One card's elements of the sets, each told once."""
    port, mac = f'"{nic["tap"]}"', nic["mac"]
    own = [ipaddress.ip_address(text) for text in nic["addresses"]] + [link_local(mac)]
    nets = [ipaddress.ip_network(text) for text in nic["allowed"]]
    own += [net.network_address for net in nets if net.num_addresses == 1 and net.network_address not in own]
    wide = ipaddress.collapse_addresses
    ranges = {
        version: [f"{port} . {net}" for net in wide(n for n in nets if n.version == version and n.num_addresses > 1)]
        for version in (4, 6)
    }
    return {
        "guarded": [port],
        "senders": [f"{port} . {mac}"],
        "arp_senders": [f"{port} . {mac} . {ip}" for ip in ("0.0.0.0", *(a for a in own if a.version == 4))],
        "sources4": [f"{port} . {ip}" for ip in own if ip.version == 4],
        "ranges4": ranges[4],
        "sources6": [f"{port} . {ip}" for ip in own if ip.version == 6],
        "ranges6": ranges[6],
        "targets6": [f"{port} . {int(ip):#034x}" for ip in own if ip.version == 6],
        "routers6": [port] if ranges[6] else [],
    }


def link_local(mac: str) -> ipaddress.IPv6Address:
    """The address that a card gives itself by its MAC (RFC 4291)."""
    digits = bytes.fromhex(mac.replace(":", ""))
    identity = bytes([digits[0] ^ 2]) + digits[1:3] + b"\xff\xfe" + digits[3:]
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identity)


def group_lines(model: Json, tracks_bridges: bool) -> list[str]:
    """Sets of members, a chain for each group and direction, a chain for each card and direction, and the way there."""
    cards = filtered(model)
    lines = []
    for key, group in sorted(model["groups"].items()):
        for version in (4, 6):
            addresses = sorted({a for a in group["members"] if ipaddress.ip_address(a).version == version})
            held = f" elements = {{ {', '.join(addresses)} }};" if addresses else ""
            lines.append(f" set {members_set(key, version)} {{ type ipv{version}_addr;{held} }}")
        for way in DIRECTIONS:
            lines += chain(f"g_{way}_{short(key)}", rule_lines(group_rules(group), way))
    known = ["ether type != { ip, ip6 } accept", f"meta mark & {KNOWN} == {KNOWN} accept"]
    lines += chain("known", [*known, *(["ct state established,related accept"] if tracks_bridges else [])])
    for way in DIRECTIONS:
        lines += chain(f"always_{way}", ALWAYS[way])
        for nic in cards:
            jumps = [f"jump g_{way}_{short(key)}" for key in nic["groups"] if key in model["groups"]]
            verdict = VERDICTS[nic[f"{way}_policy"]]
            lines += chain(f"n_{way}_{short(nic['uuid'])}", ["jump known", f"jump always_{way}", *jumps, verdict])
        ports = ", ".join(f'"{nic["tap"]}" : goto n_{way}_{short(nic["uuid"])}' for nic in cards)
        lines.append(f" map {way}_ports {{ type ifname : verdict; elements = {{ {ports} }}; }}")
    if tracks_bridges and zones(model):
        lines += chain("zoned", [f"ct zone set meta ibrname map {zone_map(model)}"], "prerouting priority -300")
    lines += chain("sending", ["iifname vmap @egress_ports"], "prerouting priority 200")
    forget = f"meta mark & {KNOWN} == {KNOWN} meta mark set meta mark & {FORGET}"
    lines += chain("receiving", ["oifname vmap @ingress_ports"], "postrouting priority 200")
    return lines + chain("forgetting", [forget], "postrouting priority 290")


def mark_lines(model: Json, tracks_bridges: bool) -> list[str]:
    """Marks packets of known connections: the host's own, and where the bridge family does not know them, all."""
    bridges = ", ".join(sorted({f'"{nic["bridge"]}"' for nic in filtered(model)}))
    mark = f"ct state established,related meta mark set meta mark | {KNOWN}"
    lines = chain("from_host", [f"oifname {{ {bridges} }} {mark}"], "output priority -150")
    if not tracks_bridges:
        if zones(model):
            lines += chain("zoned", [f"ct zone set iifname map {zone_map(model)}"], "prerouting priority -300")
        lines += chain("bridged", [f"iifname {{ {bridges} }} {mark}"], "prerouting priority -150")
    return lines


def zone_map(model: Json) -> str:
    """Bridges and zones as nft writes a map."""
    return "{ " + ", ".join(f'"{bridge}" : {number}' for bridge, number in zones(model).items()) + " }"


SECTION = re.compile(r"^\s*(table|chain|set|map) (.*?) ?\{")


def parts_of(listing: str) -> dict[str, list[str]]:
    """What a listing holds, by section: the rules of a chain, the elements of a set or map."""
    found: dict[str, list[str]] = {}
    section, elements = "", ""
    for line in listing.splitlines():
        text = line.strip()
        opened = SECTION.match(line)
        if opened and not elements:
            section = opened[2] if opened[1] == "table" else f"{opened[1]} {opened[2]}"
            found.setdefault(section, [])
        elif text.startswith("elements = {") or elements:
            elements += f" {text}"
            if text.endswith("}"):
                inner = elements.partition("{")[2].rpartition("}")[0]
                found[section] += [word.strip() for word in inner.split(",") if word.strip()]
                elements = ""
        elif text not in ("", "}"):
            found.setdefault(section, []).append(text)
    return found


def listing_differences(actual: str, wanted: str, model: Json) -> dict[str, list[Json]]:
    """Where the tables are not as they were loaded, by the uuid of the card or group concerned ('' when it is none)."""
    keys = {short(key): key for key in (*model["nics"], *model["groups"])}
    have, want = parts_of(actual), parts_of(wanted)
    found: dict[str, list[Json]] = {}
    for section in sorted({*have, *want}):
        before, after = have.get(section), want.get(section)
        if before == after:
            continue
        lost = [line for line in after or [] if line not in (before or [])]
        extra = [line for line in before or [] if line not in (after or [])]
        sides: dict[str, tuple[list[str], list[str]]] = {}
        for place, lines in ((0, extra), (1, lost)):
            for line in lines:
                sides.setdefault(owner_of(f"{section} {line}", keys), ([], []))[place].append(line)
        if not sides:
            word = "it is not there" if before is None else "its lines in another order or number"
            sides[owner_of(section, keys)] = ([word], ["as zctl loaded it"])
        for key, (added, missing) in sides.items():
            entry = difference(f"filter.{section}", "; ".join(added) or None, "; ".join(missing) or None)
            found.setdefault(key, []).append(entry)
    return found


def owner_of(text: str, keys: dict[str, str]) -> str:
    """The card or group that a line is about."""
    return next((keys[word] for word in re.findall(r"[0-9a-f]{10}", text) if word in keys), "")
