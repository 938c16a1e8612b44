"""What anti-spoofing and the security groups of a network card say of a packet. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from zctl.plan.security_rule import ports_of
from zctl.resources.security_group import groups_of, members, rules_in_force

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot
    from zctl.plan.trace import Packet
    from zctl.resources.nic import Nic
    from zctl.resources.security_group import SecurityGroup
    from zctl.resources.security_group_rule import SecurityGroupRule

METADATA = "169.254.169.254"


@dataclass(frozen=True)
class Verdict:
    """Whether something lets a packet pass, why, and what would change that."""

    passes: bool
    words: str
    remedy: str = ""


def is_filtered(snapshot: Snapshot, nic: Nic) -> bool:
    """Whether the host has a filter for the card."""
    return nic.anti_spoofing or bool(groups_of(snapshot, nic)) or "deny" in (nic.ingress_policy, nic.egress_policy)


def verdict(snapshot: Snapshot, nic: Nic, direction: str, packet: Packet) -> Verdict:
    """What a card's groups and policies say of a packet that begins a connection."""
    remote = packet.src if direction == "ingress" else packet.dst
    if direction == "egress" and (packet.dst, packet.protocol, packet.port) == (METADATA, "tcp", 80):
        return Verdict(True, "what it asks the metadata service is always let through")
    groups = groups_of(snapshot, nic)
    for group in groups:
        for rule in rules_in_force(snapshot, group.id):
            if rule.direction == direction and matches(snapshot, rule, packet, remote):
                what = f"security-group {group.name}, rule {rule.name} (priority {rule.priority}): {rule.line}"
                remedy = f"zctl security-group-rule update {rule.name}, or put one that allows it before it"
                return Verdict(rule.action == "allow", what, "" if rule.action == "allow" else remedy)
        if group.member_access and is_member(snapshot, group, remote):
            return Verdict(True, f"security-group {group.name}: {remote} is a member, as the card is")
    policy = getattr(nic, f"{direction}_policy") or ("deny" if direction == "ingress" and groups else "allow")
    word = f"the card's {direction} policy is {policy}"
    if not groups:
        remedy = f"zctl nic update {nic.name} --{direction}-policy allow"
        return Verdict(policy == "allow", f"it is in no security-group; {word}", "" if policy == "allow" else remedy)
    names = ", ".join(group.name for group in groups)
    port = f" --ports {packet.port}" if packet.port else ""
    add = f"zctl security-group-rule create --security-group {groups[0].name} --direction {direction}"
    remedy = f"{add} --protocol {packet.protocol}{port} --cidr {remote}/32"
    words = f"no rule of {'security-group' if len(groups) == 1 else 'security-groups'} {names} speaks of it; {word}"
    return Verdict(policy == "allow", words, "" if policy == "allow" else remedy)


def matches(snapshot: Snapshot, rule: SecurityGroupRule, packet: Packet, remote: str) -> bool:
    """Whether a rule speaks of a packet."""
    if rule.protocol not in ("all", packet.protocol):
        return False
    first, last = ports_of(rule.ports)
    if first is not None and last is not None and not first <= packet.port <= last:
        return False
    if rule.remote_group_id:
        return any(remote in nic.addresses for nic in members(snapshot, rule.remote_group_id))
    if rule.cidr:
        block, address = ip_network(rule.cidr), ip_address(remote)
        return block.version == address.version and address in block
    return True


def is_member(snapshot: Snapshot, group: SecurityGroup, remote: str) -> bool:
    """Whether an address is of a card in the group."""
    return any(remote in nic.addresses for nic in members(snapshot, group.id))
