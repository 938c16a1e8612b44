# SPDX-License-Identifier: Apache-2.0
"""Rules of security groups as lines of nftables. Pure.

Rules of equal verdict in a row become few lines with interval sets, so that a packet's cost does not grow with them.
A rule holds `direction`, `protocol`, `first` and `last` port, `cidr` or `group`, and `allow`.
"""

from __future__ import annotations

import ipaddress
from itertools import groupby
from typing import Any

Json = dict[str, Any]
NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}
NFT_WORDS = {"icmp": "icmp", "tcp": "tcp", "udp": "udp", "icmpv6": "ipv6-icmp"}
SIDES = {"ingress": "saddr", "egress": "daddr"}
HEADERS = {4: "ip", 6: "ip6"}
EVERYWHERE = {"0.0.0.0/0": 4, "::/0": 6}


def short(uuid: str) -> str:
    """What names in nftables hold of a UUID."""
    return uuid.replace("-", "")[:10]


def members_set(group: str, version: int) -> str:
    """The set with the addresses of a group's members."""
    return f"m{version}_{short(group)}"


def rule_lines(rules: list[Json], direction: str) -> list[str]:
    """The lines of one group's chain for one direction: the same verdicts for the same packets, in order."""
    lines = []
    own = [rule for rule in rules if rule["direction"] == direction]
    for allow, run in groupby(own, key=lambda rule: bool(rule["allow"])):
        verdict = "accept" if allow else "drop"
        lines += [f"{match} {verdict}".strip() for match in matches(list(run), SIDES[direction])]
    return lines


def matches(run: list[Json], side: str) -> list[str]:
    """What matches the packets that any of these rules matches; a single empty text matches all."""
    if any(is_plain(rule) for rule in run):
        return [""]
    found = []
    bases: dict[str, list[Json]] = {}
    nets: dict[int, list[tuple[Any, Json]]] = {4: [], 6: []}
    for rule in run:
        if rule.get("group"):
            for version in (4, 6):
                if fits(rule, version):
                    member = f"{HEADERS[version]} {side} @{members_set(rule['group'], version)}"
                    bases.setdefault(member, []).append(rule)
        elif rule.get("cidr") in EVERYWHERE:
            bases.setdefault(f"ether type {HEADERS[EVERYWHERE[rule['cidr']]]}", []).append(rule)
        elif rule.get("cidr"):
            net = ipaddress.ip_network(rule["cidr"])
            nets[net.version].append((net, rule))
        else:
            bases.setdefault("", []).append(rule)
    for base, entries in sorted(bases.items()):
        found += [f"{base} {words}".strip() for words in protocol_matches(entries)]
    for version, pairs in nets.items():
        found += network_matches(pairs, f"{HEADERS[version]} {side}")
    return found


def is_plain(rule: Json) -> bool:
    """Whether a rule matches every packet."""
    return rule["protocol"] == "all" and not rule.get("cidr") and not rule.get("group")


def fits(rule: Json, version: int) -> bool:
    """Whether a rule can match packets of that version of IP."""
    return rule["protocol"] not in ("icmp", "icmpv6") or (rule["protocol"] == "icmp") == (version == 4)


def protocol_matches(rules: list[Json]) -> list[str]:
    """What matches the protocols and ports of any of these rules."""
    if any(rule["protocol"] == "all" for rule in rules):
        return [""]
    whole = sorted({NFT_WORDS[rule["protocol"]] for rule in rules if rule.get("first") is None})
    found = [f"meta l4proto {{ {', '.join(whole)} }}"] if whole else []
    ranges = port_ranges(rules)
    if ranges:
        found.append(f"meta l4proto . th dport {{ {', '.join(f'{p} . {r}' for p, r in ranges)} }}")
    return found


def port_ranges(rules: list[Json]) -> list[tuple[str, str]]:
    """Protocols with ports, merged where they touch, because sets of intervals must not overlap."""
    found = []
    ported = sorted((r["protocol"], r["first"], r["last"]) for r in rules if r.get("first") is not None)
    for protocol, entries in groupby(ported, key=lambda entry: entry[0]):
        merged: list[list[int]] = []
        for _, first, last in entries:
            if merged and first <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], last)
            else:
                merged.append([first, last])
        found += [(protocol, str(first) if first == last else f"{first}-{last}") for first, last in merged]
    return found


def network_matches(pairs: list[tuple[Any, Json]], header: str) -> list[str]:
    """What matches rules with a CIDR. Networks within others go to sets of their own: elements must not overlap."""
    found = []
    whole = [net for net, rule in pairs if rule["protocol"] == "all"]
    if whole:
        collapsed = ", ".join(str(net) for net in ipaddress.collapse_addresses(whole))
        found.append(f"{header} {{ {collapsed} }}")
    rest: dict[Any, list[Json]] = {}
    for net, rule in pairs:
        if rule["protocol"] != "all":
            rest.setdefault(net, []).append(rule)
    for layer in layers(list(rest)):
        plain = [
            f"{net} . {word}"
            for net in layer
            for word in sorted({NFT_WORDS[rule["protocol"]] for rule in rest[net] if rule.get("first") is None})
        ]
        ported = [f"{net} . {protocol} . {ports}" for net in layer for protocol, ports in port_ranges(rest[net])]
        if plain:
            found.append(f"{header} . meta l4proto {{ {', '.join(plain)} }}")
        if ported:
            found.append(f"{header} . meta l4proto . th dport {{ {', '.join(ported)} }}")
    return found


def layers(nets: list[Any]) -> list[list[Any]]:
    """Networks of one version, so grouped that none within a group lies in another. They nest or are apart."""
    found: list[list[Any]] = []
    around: list[Any] = []
    for net in sorted(nets, key=lambda net: (int(net.network_address), net.prefixlen)):
        while around and not net.subnet_of(around[-1]):
            around.pop()
        if len(found) == len(around):
            found.append([])
        found[len(around)].append(net)
        around.append(net)
    return found


def rule_matches(rule: Json, protocol: int, remote: Any, port: int, members: dict[str, set[str]]) -> bool:
    """Whether a packet that begins a connection is one that a rule speaks of. `members` are addresses by group."""
    if rule["protocol"] != "all" and NUMBERS[rule["protocol"]] != protocol:
        return False
    if rule.get("first") is not None and not rule["first"] <= port <= rule["last"]:
        return False
    if rule.get("group"):
        return str(remote) in members.get(rule["group"], set())
    if rule.get("cidr"):
        net = ipaddress.ip_network(rule["cidr"])
        return remote.version == net.version and remote in net
    return True
