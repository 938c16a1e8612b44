"""The filter that keeps each host's DHCP service, and its address, to the host itself. Pure.

Every host has the same DHCP address. So DHCP, and ARP for that address, never pass a bridge's way out; no foreign
DHCP server answers our guests, and ours answers nobody on the wire. The same holds for DHCPv6 and for neighbour
discovery of the addresses that every host has. Stateless, in nftables' bridge family.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_dns import METADATA
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_plan import own_addresses6
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference
except ImportError:
    from zctl_l3_dns import METADATA  # type: ignore[no-redef]
    from zctl_l3_plan import own_addresses6  # type: ignore[no-redef]
    from zctl_results import difference  # type: ignore[no-redef]

Json = dict[str, Any]
RULES = {
    "from_outside": (
        "iifname @uplinks udp dport { 67, 68 } drop",
        "iifname . arp saddr ip @own_addresses drop",
        "iifname . arp daddr ip @own_addresses drop",
        "iifname @uplinks6 udp dport { 546, 547 } drop",
        "iifname @routers6 icmpv6 type nd-router-advert drop",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } iifname . @th,64,128 @own_targets drop",
    ),
    "to_outside": (
        "oifname @uplinks udp dport { 67, 68 } drop",
        "oifname . arp saddr ip @own_addresses drop",
        "oifname . arp daddr ip @own_addresses drop",
        "oifname . ip saddr @own_addresses drop",
        "oifname . ether saddr @own_senders ether type != { ip, arp } drop",
        "oifname @uplinks6 udp dport { 546, 547 } drop",
        "oifname @routers6 icmpv6 type nd-router-solicit drop",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } oifname . @th,64,128 @own_targets drop",
    ),
    # The host itself is no guest: its way out comes neither from its namespaces nor from VMs.
    "to_host": (
        "iifname zv-* icmpv6 type nd-router-advert drop",
        "iifname zt-* icmpv6 type nd-router-advert drop",
    ),
}
HOOKS = {"from_outside": ("prerouting", -310), "to_outside": ("postrouting", 310), "to_host": ("input", 0)}
TYPES = {
    "uplinks": "type ifname",
    "own_addresses": "type ifname . ipv4_addr",
    "own_senders": "type ifname . ether_addr",
    "uplinks6": "type ifname",
    "routers6": "type ifname",
    "own_targets": "typeof iifname . @th,64,128",  # whom a neighbour is asked for
}


@dataclass(frozen=True)
class Filter:
    """What the filter of one inventory holds; `rules` has each chain's hook, priority and rules in words."""

    uplinks: frozenset[str] = frozenset()
    own_addresses: frozenset[tuple[str, str]] = frozenset()
    own_senders: frozenset[tuple[str, str]] = frozenset()
    rules: dict[str, tuple[str, int, tuple[str, ...]]] = field(default_factory=dict)
    uplinks6: frozenset[str] = frozenset()
    routers6: frozenset[str] = frozenset()
    own_targets: frozenset[tuple[str, str]] = frozenset()

    def covers(self, other: Filter) -> bool:
        """Whether it keeps in all that the other does."""
        return self.rules == other.rules and all(getattr(self, name) >= getattr(other, name) for name in TYPES)

    def joined(self, other: Filter) -> Filter:
        """This filter, which keeps in what the other does too."""
        sets = {name: getattr(self, name) | getattr(other, name) for name in TYPES}
        return Filter(rules=self.rules, **sets)


def table_name(inventory: str) -> str:
    """The nftables table of one inventory's networks."""
    return f"zctl_l3_{inventory.replace('-', '')[:8]}"


def wanted_filter(networks: list[dict[str, Any]], macs: dict[str, str]) -> Filter:
    """The filter for these networks; `macs` are those of their namespaces, by uuid."""
    if not networks:
        return Filter()
    six = [entry for entry in networks if entry.get("cidr6")]
    routed = {entry["uplink"] for entry in six if not entry.get("gateway_here")}
    return Filter(
        frozenset(entry["uplink"] for entry in networks),
        frozenset((entry["uplink"], address) for entry in networks for address in shared_addresses(entry)),
        frozenset((entry["uplink"], macs[entry["uuid"]]) for entry in networks),
        {chain: (*HOOKS[chain], rules) for chain, rules in RULES.items()},
        frozenset(entry["uplink"] for entry in six),
        frozenset(entry["uplink"] for entry in six if entry["uplink"] not in routed),
        frozenset((entry["uplink"], address) for entry in six for address in own_addresses6(entry)),
    )


def shared_addresses(network: Json) -> list[str]:
    """The addresses that a network's namespace has on every host."""
    gateway = [network["gateway"]] if network.get("gateway_here") else []
    return [network["dhcp_ip"], *gateway, *([METADATA] if network.get("metadata") else [])]


def parse_filter(text: str) -> Filter:
    """The filter that `nft -j list table` shows; an empty one for no text."""
    sets: dict[str, frozenset[Any]] = {name: frozenset() for name in TYPES}
    chains: dict[str, tuple[str, int]] = {}
    texts: dict[str, list[str]] = {}
    for item in json.loads(text)["nftables"] if text else []:
        if "set" in item and item["set"]["name"] in TYPES:
            elements = item["set"].get("elem", [])
            sets[item["set"]["name"]] = frozenset(element_of(item["set"]["name"], entry) for entry in elements)
        elif "chain" in item:
            chain = item["chain"]
            hook = f"{chain.get('hook', '')}{'' if chain.get('policy', 'accept') == 'accept' else ', policy drop'}"
            chains[chain["name"]] = (hook, chain.get("prio", 0))
        elif "rule" in item:
            texts.setdefault(item["rule"]["chain"], []).append(rule_words(item["rule"].get("expr", [])))
    rules = {name: (*hook, tuple(texts.get(name, []))) for name, hook in chains.items()}
    return Filter(rules=rules, **sets)


def element_of(name: str, entry: Any) -> Any:
    """An element of a set as `nft -j` shows it. Addresses as neighbour discovery has them are shown as numbers."""
    if not isinstance(entry, dict):
        return entry
    device, value = entry["concat"]
    if name == "own_targets":
        number = value if isinstance(value, int) else int(str(value), 0)
        return (device, str(ipaddress.IPv6Address(number)))
    return (device, value)


def rule_words(expressions: list[Json]) -> str:
    """A rule of `nft -j` as it is written; of what zctl never writes, the JSON.

    What only says that a header is there, which some versions of nft show and others do not, is left out.
    """
    words = []
    for entry in expressions:
        match = entry.get("match") if isinstance(entry, dict) else None
        if not isinstance(match, dict):
            words.append(" ".join(entry) if entry in ({"drop": None}, {"accept": None}) else json.dumps(entry))
            continue
        left, right = side_words(match.get("left")), side_words(match.get("right"))
        if (left, right) in IMPLIED:
            continue
        words.append(f"{left} {right}" if match.get("op", "==") == "==" else f"{left} {match['op']} {right}")
    return " ".join(words)


IMPLIED = {
    ("meta l4proto", "udp"),
    ("meta l4proto", "ipv6-icmp"),
    ("meta l4proto", "icmpv6"),
    ("meta protocol", "arp"),
    ("ether type", "arp"),
    ("meta protocol", "ip6"),
}


def side_words(value: Any) -> str:
    """One side of a comparison as it is written."""
    if not isinstance(value, dict) or len(value) != 1:
        return value if isinstance(value, str) else json.dumps(value)
    kind, inner = next(iter(value.items()))
    if kind == "meta":
        key = str(inner.get("key"))
        return key if key in ("iifname", "oifname") else f"meta {key}"
    if kind == "payload" and "field" in inner:
        return f"{inner.get('protocol')} {inner['field']}"
    if kind == "payload" and "base" in inner:
        return f"@{inner['base']},{inner.get('offset')},{inner.get('len')}"
    if kind == "concat":
        return " . ".join(side_words(part) for part in inner)
    if kind == "set":
        return f"{{ {', '.join(str(part) for part in inner)} }}"
    return json.dumps(value)


def own_differences(actual: Filter, network: Json, mac: str) -> list[Json]:
    """Where what the filter holds for one network is not as wanted."""
    if actual == Filter():
        return [difference("filter", None, table_name(network["inventory"]))]
    uplink = network["uplink"]
    addresses = [("own_addresses", (uplink, address)) for address in shared_addresses(network)]
    wanted = [("uplinks", uplink), *addresses, ("own_senders", (uplink, mac))]
    if network.get("cidr6"):
        wanted += [
            ("uplinks6", uplink),
            *(("own_targets", (uplink, own)) for own in own_addresses6(network)),
        ]
    lost = [(name, element) for name, element in wanted if element not in getattr(actual, name)]
    return [difference(f"filter.{name}", None, element_words(element)) for name, element in lost]


def shared_differences(actual: Filter, wanted: Filter, gone: Filter) -> list[Json]:
    """Where chains and rules are not as wanted, and elements of no network; `gone` are those that just go."""
    if Filter() in (actual, wanted):
        return []
    found = []
    for name in TYPES:
        strays = getattr(actual, name) - getattr(wanted, name) - getattr(gone, name)
        found += [difference(f"filter.{name}", element_words(element), None) for element in sorted(strays)]
    for chain in sorted({*actual.rules, *wanted.rules}):
        have, want = actual.rules.get(chain), wanted.rules.get(chain)
        if have == want:
            continue
        if have is None or want is None or have[:2] != want[:2]:
            found.append(difference(f"filter.{chain}", chain_words(have), chain_words(want)))
            continue
        extra = "; ".join(rule for rule in have[2] if rule not in want[2])
        lost = "; ".join(rule for rule in want[2] if rule not in have[2])
        order = "" if extra or lost else "its rules in another order or number"
        found.append(difference(f"filter.{chain}", extra or order or None, lost or None))
    return found


def element_words(element: Any) -> str:
    """An element of a set."""
    return " . ".join(element) if isinstance(element, tuple) else str(element)


def chain_words(chain: tuple[str, int, tuple[str, ...]] | None) -> str | None:
    """A chain by its place and size."""
    return f"{chain[0]} {chain[1]}, {len(chain[2])} rules" if chain else None


def render_filter(inventory: str, wanted: Filter) -> str:
    """Input for `nft -f`, which takes the place of the table in one step; without networks the table goes."""
    table = f"table bridge {table_name(inventory)}"
    lines = [f"{table} {{}}", f"delete {table}"]
    if not wanted.uplinks:
        return "\n".join(lines) + "\n"
    lines.append(f"{table} {{")
    for name, kind in TYPES.items():
        elements = ", ".join(written(name, element) for element in sorted(getattr(wanted, name)))
        held = f" elements = {{ {elements} }}" if elements else ""
        lines.append(f"  set {name} {{ {kind};{held} }}")
    for chain, (hook, priority) in HOOKS.items():
        lines.append(f"  chain {chain} {{")
        lines.append(f"    type filter hook {hook} priority {priority}; policy accept;")
        lines += [f"    {rule}" for rule in RULES[chain]]
        lines.append("  }")
    return "\n".join([*lines, "}"]) + "\n"


def written(name: str, element: Any) -> str:
    """An element of a set as nft reads it."""
    if not isinstance(element, tuple):
        return f'"{element}"'
    device, value = element
    return (
        f'"{device}" . {int(ipaddress.IPv6Address(value)):#034x}' if name == "own_targets" else f'"{device}" . {value}'
    )
