"""Rules that say what may reach network cards, and what these may reach."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlmodel import col

from zctl.plan import hoststate_security
from zctl.plan.fragments import Fragment
from zctl.plan.security_rule import ports_of
from zctl.resources.base import Computed, Input, Resource, attr

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot
    from zctl.resources.nic import Nic


def _cards(db: Session, ids: list[str]) -> dict[str, Any]:
    from zctl.resources.nic import Nic
    from zctl.resources.security_group_member import SecurityGroupMember as Member

    query = select(col(Member.security_group_id), col(Nic.name)).join(Nic, col(Nic.id) == col(Member.nic_id))
    found: dict[str, list[str]] = {}
    for group, name in db.execute(query.order_by(col(Nic.name))):
        found.setdefault(group, []).append(name)
    return {key: " ".join(names) for key, names in found.items()}


def _sizes(db: Session, ids: list[str]) -> dict[str, Any]:
    from zctl.resources.security_group_rule import SecurityGroupRule as Rule

    query = select(col(Rule.security_group_id), func.count()).group_by(col(Rule.security_group_id))
    found = {key: number for key, number in db.execute(query)}  # noqa: C416 - rows are no plain tuples
    return {key: found.get(key, 0) for key in ids}


class SecurityGroup(Resource, table=True):
    """Rules that say what may reach network cards, and what these may reach."""

    concerns = ("security",)

    member_access: bool = attr(
        True, help="whether its members may reach each other, where no rule of it says otherwise", listed="list"
    )

    inputs = {
        "rules": Input(
            list[str],
            "a rule, first ones first: [deny] ingress|egress PROTOCOL [PORT|START-END] [from|to CIDR|group:NAME];"
            " may be repeated",
            option="--rule",
        ),
    }
    computed = {
        "rule_count": Computed("how many rules it has", _sizes),
        "nics": Computed("the cards in it", _cards, listed="show"),
    }

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Make the rules given with it."""
        from zctl.resources.security_parts import rules_of_lines

        return rules_of_lines(db, self, inputs.get("rules") or [])

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Make its rules just the ones given, in that order."""
        from zctl.resources.security_parts import renamed_members, revise_rules

        renamed = renamed_members(db, group=self) if "name" in changed else []
        return [*renamed, *(revise_rules(db, self, inputs["rules"]) if inputs.get("rules") is not None else [])]

    def holds(self, snapshot: Snapshot, inputs: dict[str, Any]) -> bool:
        """Whether its rules are just these."""
        from zctl.resources.security_parts import lines_hold

        return lines_hold(snapshot, self, inputs)

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """The groups that cards on the host are in, and those that their rules speak of."""
        from zctl.resources.security_group_rule import SecurityGroupRule

        own = {group.id for nic in cards_on(snapshot, host) for group in groups_of(snapshot, nic)}
        rules = {key: rules_in_force(snapshot, key) for key in own}
        wanted = own | {rule.remote_group_id for found in rules.values() for rule in found if rule.remote_group_id}

        def value(rule: SecurityGroupRule) -> hoststate_security.SecurityRule:
            first, last = ports_of(rule.ports)
            return hoststate_security.SecurityRule(
                direction=rule.direction,
                protocol=rule.protocol,
                first=first,
                last=last,
                cidr=rule.cidr,
                group=rule.remote_group_id,
                allow=rule.action == "allow",
            )

        return [
            Fragment(
                "security",
                "groups",
                hoststate_security.SecurityGroup(
                    uuid=key,
                    name=snapshot.need(SecurityGroup, key).name,
                    member_access=snapshot.need(SecurityGroup, key).member_access,
                    rules=[value(rule) for rule in rules.get(key, [])],
                    members=sorted(address for nic in members(snapshot, key) for address in nic.addresses),
                ),
            )
            for key in sorted(wanted)
        ]

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The hosts of its members, and of the members of groups with rules about it."""
        return snapshot.once((type(self), self.id), lambda: self.reach(snapshot))

    def reach(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The scope, which each of its members asks for."""
        from zctl.resources.security_group_rule import SecurityGroupRule

        asking = {rule.security_group_id for rule in snapshot.by(SecurityGroupRule, "remote_group_id", self.id)}
        return {host: [self.id] for key in {self.id, *asking} for host in hosts_of(snapshot, key)}


def rules_in_force(snapshot: Snapshot, group: str) -> list[Any]:
    """The enabled rules of a group, in order. Pure."""
    from zctl.resources.security_group_rule import SecurityGroupRule

    found = [rule for rule in snapshot.by(SecurityGroupRule, "security_group_id", group) if rule.enabled]
    return sorted(found, key=lambda rule: rule.priority)


def members(snapshot: Snapshot, group: str) -> list[Nic]:
    """The cards in a group. Pure."""
    from zctl.resources.nic import Nic
    from zctl.resources.security_group_member import SecurityGroupMember

    links = snapshot.by(SecurityGroupMember, "security_group_id", group)
    return [nic for link in links if (nic := snapshot.get(Nic, link.nic_id)) is not None]


def groups_of(snapshot: Snapshot, nic: Nic) -> list[SecurityGroup]:
    """The groups that a card is in, in the order in which they are asked. Pure."""
    from zctl.resources.security_group_member import SecurityGroupMember

    links = sorted(snapshot.by(SecurityGroupMember, "nic_id", nic.id), key=lambda link: link.place)
    return [snapshot.need(SecurityGroup, link.security_group_id) for link in links]


def hosts_of(snapshot: Snapshot, group: str) -> set[str]:
    """The hosts of a group's members. Pure."""
    from zctl.resources.vm import Vm

    rows = (snapshot.get(Vm, nic.vm_id) for nic in members(snapshot, group))
    return {vm.host_id for vm in rows if vm is not None and vm.host_id}


def cards_on(snapshot: Snapshot, host: str) -> list[Nic]:
    """The cards on a host that zctl plugged in itself. Pure."""
    from zctl.resources.nic import Nic
    from zctl.resources.vm import Vm

    return [
        nic
        for vm in snapshot.by(Vm, "host_id", host)
        for nic in snapshot.by(Nic, "vm_id", vm.id)
        if nic.bridge is None and nic.mac
    ]
