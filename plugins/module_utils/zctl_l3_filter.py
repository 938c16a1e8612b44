"""The filter that keeps each host's DHCP service, and its address, to the host itself. Pure.

Every host has the same DHCP address. So DHCP, and ARP for that address, never pass a bridge's way out; no foreign
DHCP server answers our guests, and ours answers nobody on the wire. Stateless, in nftables' bridge family.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

RULES = {
    "from_outside": (
        "iifname @uplinks udp dport { 67, 68 } drop",
        "iifname . arp saddr ip @own_addresses drop",
        "iifname . arp daddr ip @own_addresses drop",
    ),
    "to_outside": (
        "oifname @uplinks udp dport { 67, 68 } drop",
        "oifname . arp saddr ip @own_addresses drop",
        "oifname . arp daddr ip @own_addresses drop",
        "oifname . ether saddr @own_senders drop",
    ),
}
HOOKS = {"from_outside": ("prerouting", -310), "to_outside": ("postrouting", 310)}
TYPES = {"uplinks": "ifname", "own_addresses": "ifname . ipv4_addr", "own_senders": "ifname . ether_addr"}


@dataclass(frozen=True)
class Filter:
    """What the filter of one inventory holds; `rules` counts those of each chain with its hook."""

    uplinks: frozenset[str] = frozenset()
    own_addresses: frozenset[tuple[str, str]] = frozenset()
    own_senders: frozenset[tuple[str, str]] = frozenset()
    rules: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    def covers(self, other: Filter) -> bool:
        """Whether it keeps in all that the other does."""
        return (
            self.rules == other.rules
            and self.uplinks >= other.uplinks
            and self.own_addresses >= other.own_addresses
            and self.own_senders >= other.own_senders
        )


def table_name(inventory: str) -> str:
    """The nftables table of one inventory's networks."""
    return f"zctl_l3_{inventory.replace('-', '')[:8]}"


def wanted_filter(networks: list[dict[str, Any]], macs: dict[str, str]) -> Filter:
    """The filter for these networks; `macs` are those of their namespaces, by uuid."""
    if not networks:
        return Filter()
    return Filter(
        frozenset(entry["uplink"] for entry in networks),
        frozenset((entry["uplink"], entry["dhcp_ip"]) for entry in networks),
        frozenset((entry["uplink"], macs[entry["uuid"]]) for entry in networks),
        {chain: (*HOOKS[chain], len(rules)) for chain, rules in RULES.items()},
    )


def parse_filter(text: str) -> Filter:
    """The filter that `nft -j list table` shows; an empty one for no text."""
    sets: dict[str, frozenset[Any]] = {name: frozenset() for name in TYPES}
    chains: dict[str, tuple[str, int]] = {}
    counts: dict[str, int] = {}
    for item in json.loads(text)["nftables"] if text else []:
        if "set" in item and item["set"]["name"] in TYPES:
            elements = item["set"].get("elem", [])
            sets[item["set"]["name"]] = frozenset(tuple(e["concat"]) if isinstance(e, dict) else e for e in elements)
        elif "chain" in item:
            chains[item["chain"]["name"]] = (item["chain"].get("hook", ""), item["chain"].get("prio", 0))
        elif "rule" in item:
            counts[item["rule"]["chain"]] = counts.get(item["rule"]["chain"], 0) + 1
    rules = {name: (*hook, counts.get(name, 0)) for name, hook in chains.items()}
    return Filter(sets["uplinks"], sets["own_addresses"], sets["own_senders"], rules)


def render_filter(inventory: str, wanted: Filter) -> str:
    """Input for `nft -f`, which takes the place of the table in one step; without networks the table goes."""
    table = f"table bridge {table_name(inventory)}"
    lines = [f"{table} {{}}", f"delete {table}"]
    if not wanted.uplinks:
        return "\n".join(lines) + "\n"
    elements = {
        "uplinks": [f'"{name}"' for name in sorted(wanted.uplinks)],
        "own_addresses": [f'"{name}" . {address}' for name, address in sorted(wanted.own_addresses)],
        "own_senders": [f'"{name}" . {mac}' for name, mac in sorted(wanted.own_senders)],
    }
    lines.append(f"{table} {{")
    lines += [f"  set {name} {{ type {TYPES[name]}; elements = {{ {', '.join(e)} }} }}" for name, e in elements.items()]
    for chain, (hook, priority) in HOOKS.items():
        lines.append(f"  chain {chain} {{")
        lines.append(f"    type filter hook {hook} priority {priority}; policy accept;")
        lines += [f"    {rule}" for rule in RULES[chain]]
        lines.append("  }")
    return "\n".join([*lines, "}"]) + "\n"
