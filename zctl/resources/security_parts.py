"""The rules given with a security group, and the groups given with a card or a VM. Not a noun."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlmodel import col

from zctl.errors import Invalid
from zctl.plan.security_rule import parse_rule, rule_text
from zctl.resources.lookup import find
from zctl.resources.nic import Nic
from zctl.resources.security_group import SecurityGroup, groups_of
from zctl.resources.security_group_member import SecurityGroupMember
from zctl.resources.security_group_rule import SAME, SecurityGroupRule

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot
    from zctl.resources.base import Resource


def values_of_lines(db: Session, group: SecurityGroup, lines: list[str]) -> list[dict[str, Any]]:
    """The columns of rules written as lines. Raises Invalid and NotFound."""
    found: list[dict[str, Any]] = []
    for text in lines:
        values = parse_rule(text, group.label)
        name = values.pop("remote_group")
        values["remote_group_id"] = None
        if name:
            values["remote_group_id"] = group.id if name == group.name else find(db, SecurityGroup, name).id
        if any(all(other[key] == values[key] for key in SAME) for other in found):
            raise Invalid(f"rule {text!r} is there twice", resource=group.label, field="rules")
        found.append(values)
    return found


def rules_of_lines(db: Session, group: SecurityGroup, lines: list[str]) -> list[Resource]:
    """New rules, in order."""
    return [
        SecurityGroupRule.build(name="", security_group_id=group.id, priority=number, **values)
        for number, values in enumerate(values_of_lines(db, group, lines), start=1)
    ]


def revise_rules(db: Session, group: SecurityGroup, lines: list[str]) -> list[Resource]:
    """Make a group's rules just these; ones that are there already keep their names. Returns what is new or changed."""
    query = select(SecurityGroupRule).where(col(SecurityGroupRule.security_group_id) == group.id)
    present = sorted(db.scalars(query), key=lambda row: row.priority)
    wanted = values_of_lines(db, group, lines)
    found: list[Resource] = []
    kept = []
    for number, values in enumerate(wanted, start=1):
        row = next((r for r in present if all(getattr(r, key) == values[key] for key in SAME)), None)
        if row is None:
            found.append(SecurityGroupRule.build(name="", security_group_id=group.id, priority=number, **values))
            continue
        kept.append(row)
        if (row.priority, row.action, row.enabled) != (number, values["action"], True):
            row.priority, row.action, row.enabled = number, values["action"], True
            found.append(row)
    gone = [row for row in present if row not in kept]
    for row in gone:
        db.delete(row)
    if gone:
        db.flush()
    # New ones come last: each moves up what stands at its place, which is in order then.
    moved = [row for row in found if row in kept]
    for number, row in enumerate(sorted(kept, key=lambda row: row.priority), start=1):
        if row.priority != number:
            row.priority = number
            if row not in moved:
                moved.append(row)
    new = [row for row in found if row not in kept]
    return [*moved, *new] or ([group] if gone else [])


def lines_hold(snapshot: Snapshot, group: SecurityGroup, inputs: dict[str, Any]) -> bool:
    """Whether a group's rules are just the ones asked for, in that order. Pure."""
    if inputs.get("rules") is None:
        return True
    rows = sorted(snapshot.by(SecurityGroupRule, "security_group_id", group.id), key=lambda row: row.priority)
    have = []
    for row in rows:
        remote = snapshot.get(SecurityGroup, row.remote_group_id)
        side = f"group:{remote.name}" if remote else row.cidr
        have.append(rule_text(row.action, row.direction, row.protocol, row.ports, side))
    wanted = []
    for text in inputs["rules"]:
        values = parse_rule(text, group.label)
        side = f"group:{values['remote_group']}" if values["remote_group"] else values["cidr"]
        wanted.append(rule_text(values["action"], values["direction"], values["protocol"], values["ports"], side))
    return have == wanted and all(row.enabled for row in rows)


def given_groups(db: Session, names: Iterable[str]) -> list[SecurityGroup]:
    """The groups with these names, each once; an empty name stands for none. Raises NotFound."""
    found: list[SecurityGroup] = []
    for name in names:
        group = find(db, SecurityGroup, name) if name else None
        if group is not None and group not in found:
            found.append(group)
    return found


def memberships(nic: Nic, groups: list[SecurityGroup]) -> list[Resource]:
    """A new card's places in groups."""
    return [
        SecurityGroupMember.build(
            name=f"{nic.name}/{group.name}", nic_id=nic.id, security_group_id=group.id, place=place
        )
        for place, group in enumerate(groups)
    ]


def renamed_members(db: Session, nic: Nic | None = None, group: SecurityGroup | None = None) -> list[Resource]:
    """The places of a card, or in a group, that has a new name: theirs are made from it, and unique."""
    wanted = col(SecurityGroupMember.nic_id) == nic.id if nic else None
    if group is not None:
        wanted = col(SecurityGroupMember.security_group_id) == group.id
    assert wanted is not None
    found: list[Resource] = []
    for row in db.scalars(select(SecurityGroupMember).where(wanted)):
        card, place = nic or db.get(Nic, row.nic_id), group or db.get(SecurityGroup, row.security_group_id)
        assert card is not None and place is not None
        row.name = f"{card.name}/{place.name}"
        found.append(row)
    return found


def revise_memberships(db: Session, nic: Nic, names: list[str]) -> list[Resource]:
    """Put a card into just these groups, in that order. Returns new places, and the groups that it left or moved in.

    The groups are told because other hosts may have rules about their members.
    """
    wanted = given_groups(db, names)
    query = select(SecurityGroupMember).where(col(SecurityGroupMember.nic_id) == nic.id)
    present = {row.security_group_id: row for row in db.scalars(query)}
    found: list[Resource] = []
    for place, group in enumerate(wanted):
        row = present.pop(group.id, None)
        if row is None:
            found.append(
                SecurityGroupMember.build(
                    name=f"{nic.name}/{group.name}", nic_id=nic.id, security_group_id=group.id, place=place
                )
            )
        elif row.place != place:
            row.place = place
            found.append(row)
    for row in present.values():
        left = db.get(SecurityGroup, row.security_group_id)
        db.delete(row)
        if left is not None:
            found.append(left)
    db.flush()
    return found


def memberships_hold(snapshot: Snapshot, nic: Nic, names: list[str]) -> bool:
    """Whether a card is in just these groups, in that order. Pure."""
    wanted = list(dict.fromkeys(name for name in names if name))
    have = groups_of(snapshot, nic)
    return len(have) == len(wanted) and all(
        name in (group.name, group.id) for name, group in zip(wanted, have, strict=True)
    )
