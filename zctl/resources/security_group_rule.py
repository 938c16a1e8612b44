"""What a security group lets through, or does not: direction, protocol, ports and the other side."""

from __future__ import annotations

from collections.abc import Set
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, select
from sqlmodel import col

from zctl.errors import Refused
from zctl.plan.security_rule import (
    ACTIONS,
    DIRECTIONS,
    PROTOCOLS,
    canonical_cidr,
    canonical_ports,
    check_sense,
    rule_text,
)
from zctl.resources.base import Resource, attr, ref
from zctl.resources.security_group import SecurityGroup

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

SAME = ("direction", "protocol", "ports", "cidr", "remote_group_id")


class SecurityGroupRule(Resource, table=True):
    """What a security group lets through, or does not: direction, protocol, ports and the other side."""

    auto_name = True
    default_sort = "name"

    security_group_id: str = ref(
        "security-group", help="the group it belongs to", when="create", listed="list", on_delete="owned"
    )
    priority: int = attr(
        0,
        help="its place in the group, from 1; the first rule that matches decides; the last place when not given",
        listed="list",
        auto=True,
        ge=0,
        le=100000,
    )
    direction: Literal["ingress", "egress"] = attr(
        help="ingress: towards the card; egress: from it", listed="list", choices=DIRECTIONS
    )
    protocol: Literal["all", "tcp", "udp", "icmp", "icmpv6"] = attr(
        "all", help="protocol", listed="list", choices=PROTOCOLS
    )
    ports: str | None = attr(
        None, help="START-END or one, of tcp and udp; none: all", listed="list", sa_type=String(11)
    )
    cidr: str | None = attr(
        None,
        help="network of the other side; with no remote group either: everybody",
        listed="list",
        sa_type=String(43),
    )
    remote_group_id: str | None = ref(
        "security-group", None, help="group whose members are the other side", listed="list", on_delete="cascade"
    )
    action: Literal["allow", "deny"] = attr("allow", help="what becomes of it", listed="list", choices=ACTIONS)
    enabled: bool = attr(True, help="a disabled rule is as if it were not there", listed="list")

    @property
    def line(self) -> str:
        """The rule in words, the other side's group left out."""
        return rule_text(self.action, self.direction, self.protocol, self.ports, self.cidr)

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """Ports and networks are stored in their usual form, and none as none."""
        if field == "ports":
            return canonical_ports(value, cls.noun) if value else None
        if field == "cidr":
            return canonical_cidr(value, cls.noun) if value else None
        return value

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Find a name and a place; the rules from there on move up by one."""
        group = db.get(SecurityGroup, self.security_group_id)
        assert group is not None
        if not self.name:
            names = set(db.scalars(select(col(SecurityGroupRule.name))))
            self.name = next(name for n in count(1) if (name := f"{group.name[:70]}-{n}") not in names)
        self.ports = self.canonical("ports", self.ports)
        self.cidr = self.canonical("cidr", self.cidr)
        others = siblings(db, self)
        self.priority = min(self.priority or len(others) + 1, len(others) + 1)
        for other in others:
            if other.priority >= self.priority:
                other.priority += 1
                other.version += 1
        return []

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Move it to its new place; the others close up around it."""
        if "priority" not in changed:
            return []
        others = siblings(db, self)
        self.priority = min(max(self.priority, 1), len(others) + 1)
        return renumbered([*others[: self.priority - 1], self, *others[self.priority - 1 :]], self)

    def deleted(self, db: Session) -> None:
        """The ones after it move down by one."""
        for row in renumbered(siblings(db, self), None):
            row.version += 1

    def check(self, db: Session) -> None:
        """It makes sense, and no other rule of the group speaks of the same packets."""
        check_sense(self.label, self.protocol, self.ports, self.cidr, self.remote_group_id)
        for other in siblings(db, self):
            if all(getattr(other, name) == getattr(self, name) for name in SAME):
                raise Refused(
                    f"{other.label} (priority {other.priority}, {other.action}) speaks of the same packets",
                    resource=self.label,
                    remedy=f"zctl security-group-rule update {other.name}",
                )

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The hosts of its group's members."""
        group = snapshot.get(SecurityGroup, self.security_group_id)
        return group.scope(snapshot) if group else {}


def siblings(db: Session, rule: SecurityGroupRule) -> list[SecurityGroupRule]:
    """The other rules of its group, in order."""
    query = select(SecurityGroupRule).where(
        col(SecurityGroupRule.security_group_id) == rule.security_group_id, col(SecurityGroupRule.id) != rule.id
    )
    return sorted(db.scalars(query), key=lambda row: (row.priority, row.name))


def renumbered(rules: list[SecurityGroupRule], but: SecurityGroupRule | None) -> list[Resource]:
    """Give rules consecutive places; returns those that changed."""
    found: list[Resource] = []
    for number, row in enumerate(rules, start=1):
        if row.priority != number:
            row.priority = number
            if row is not but:
                found.append(row)
    return found
