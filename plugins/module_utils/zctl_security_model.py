# SPDX-License-Identifier: Apache-2.0
"""What the security concern is about: cards with their addresses and groups, groups with their rules. Pure.

A model is {"nics": {uuid: nic}, "groups": {uuid: group}}, as the host's state has them.
"""

from __future__ import annotations

import ipaddress
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import in_scope
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_security_rules import rule_matches
except ImportError:
    from zctl_results import in_scope  # type: ignore[no-redef]
    from zctl_security_rules import rule_matches  # type: ignore[no-redef]

Json = dict[str, Any]
METADATA = "169.254.169.254"
# What a card needs to have an address at all, by direction: protocol, source port, destination port.
DHCP = {"egress": ((17, 68, 67), (17, 546, 547)), "ingress": ((17, 67, 68), (17, 547, 546))}
DIRECTIONS = ("ingress", "egress")


def merged(stored: Json, state: Json, scope: list[str] | None) -> Json:
    """The model to be: what the state has, and of what is written down that which is out of scope."""
    nics = {entry["uuid"]: entry for entry in state.get("nics") or []}
    groups = {entry["uuid"]: entry for entry in state.get("groups") or []}
    old_nics, old_groups = stored.get("nics") or {}, stored.get("groups") or {}
    nics.update({key: nic for key, nic in old_nics.items() if key not in nics and not in_scope(key, scope)})
    groups.update({key: group for key, group in old_groups.items() if key not in groups and not in_scope(key, scope)})
    model = {"nics": nics, "groups": groups}
    wanted = used_groups(model)
    return {"nics": nics, "groups": {key: group for key, group in groups.items() if key in wanted}}


def used_groups(model: Json) -> set[str]:
    """The groups that cards are in, and those that their rules speak of."""
    own = {key for nic in model["nics"].values() for key in nic["groups"]}
    return own | {
        rule["group"] for key in own for rule in model["groups"].get(key, {}).get("rules", []) if rule.get("group")
    }


def is_filtered(nic: Json) -> bool:
    """Whether anything of a card's traffic depends on groups or policies."""
    return bool(nic["groups"]) or "deny" in (nic["ingress_policy"], nic["egress_policy"])


def filtered(model: Json) -> list[Json]:
    """The cards whose connections are tracked, in a fixed order."""
    return [nic for _, nic in sorted(model["nics"].items()) if is_filtered(nic)]


def group_rules(group: Json) -> list[Json]:
    """A group's rules, with what its members may do among themselves as the last ones."""
    among = {"protocol": "all", "first": None, "last": None, "cidr": None, "group": group["uuid"], "allow": True}
    return [*group["rules"], *({**among, "direction": way} for way in DIRECTIONS if group["member_access"])]


def zones(model: Json) -> dict[str, int]:
    """Bridges whose addresses are a world of their own, with the zone that tells their connections from others'.

    A bridge that the host itself is on shares the host's own zone, so that the host knows its own connections.
    """
    found: dict[str, int] = {}
    for bridge in sorted({nic["bridge"] for nic in filtered(model) if nic["private"]}):
        number = sum(byte * 31**place for place, byte in enumerate(bridge.encode())) % 65535 + 1
        while number in found.values():
            number = number % 65535 + 1
        found[bridge] = number
    return found


def members_of(model: Json) -> dict[str, set[str]]:
    """Addresses by group."""
    return {key: set(group["members"]) for key, group in model["groups"].items()}


def admits(model: Json, nic: Json, direction: str, flow: Json, members: dict[str, set[str]]) -> bool:
    """Whether a card's groups let a connection begin. `flow` has protocol, src, dst, sport and dport."""
    remote = ipaddress.ip_address(flow["src" if direction == "ingress" else "dst"])
    protocol, port = flow["protocol"], flow["dport"]
    if (protocol, flow["sport"], port) in DHCP[direction]:
        return True
    if direction == "egress" and (protocol, flow["dst"], port) == (6, METADATA, 80):
        return True
    for key in nic["groups"]:
        group = model["groups"].get(key)
        for rule in group_rules(group) if group else []:
            if rule["direction"] == direction and rule_matches(rule, protocol, remote, port, members):
                return bool(rule["allow"])
    return bool(nic[f"{direction}_policy"] == "allow")


def view(model: Json, nic: Json) -> Json:
    """All that decides on a card's connections, as one value to compare."""
    groups = [model["groups"].get(key) for key in nic["groups"]]
    others = {
        rule["group"]: sorted(model["groups"].get(rule["group"], {}).get("members", []))
        for group in groups
        if group
        for rule in group_rules(group)
        if rule.get("group")
    }
    rules = [group_rules(group) for group in groups if group]
    return {"rules": rules, "others": others, "policies": [nic["ingress_policy"], nic["egress_policy"]]}


def only_grew(old: Json, new: Json) -> bool:
    """Whether a card's view admits all that it did: groups gained members that only allowing rules speak of."""
    denied = {r["group"] for rules in new["rules"] for r in rules if r.get("group") and not r["allow"]}
    return (
        old["rules"] == new["rules"]
        and old["policies"] == new["policies"]
        and all(set(addresses) <= set(new["others"].get(key, [])) for key, addresses in old["others"].items())
        and all(old["others"].get(key) == addresses for key, addresses in new["others"].items() if key in denied)
    )


def narrowed(old: Json, new: Json) -> list[Json]:
    """The cards of the new model for which connections may exist that it does not admit."""
    found = []
    for nic in filtered(new):
        before = old["nics"].get(nic["uuid"]) if old.get("nics") else None
        # A card without groups lets everything pass; a new one cannot have connections, but its address may.
        was = view(old, before) if before else {"rules": [], "others": {}, "policies": ["allow", "allow"]}
        if not only_grew(was, view(new, nic)):
            found.append(nic)
    return found


def unwanted(model: Json, cards: list[Json], flows: list[Json]) -> list[Json]:
    """Those of the connections that touch one of these cards and are not admitted any more."""
    numbers, members = zones(model), members_of(model)
    by_address = {
        (numbers.get(nic["bridge"], 0), address): nic for nic in cards for address in (*nic["addresses"], *exact(nic))
    }
    found = []
    for flow in flows:
        receiver, sender = (by_address.get((flow["zone"], flow[end])) for end in ("dst", "src"))
        if (receiver and not admits(model, receiver, "ingress", flow, members)) or (
            sender and not admits(model, sender, "egress", flow, members)
        ):
            found.append(flow)
    return found


def exact(nic: Json) -> list[str]:
    """The single addresses among those that a card may send from besides its own."""
    nets = [ipaddress.ip_network(text) for text in nic["allowed"]]
    return [str(net.network_address) for net in nets if net.num_addresses == 1]
