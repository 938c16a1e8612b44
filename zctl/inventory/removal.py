"""Deleting rows with everything that hangs on them, refusing what is in use."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from zctl.errors import Refused
from zctl.inventory.outstanding import Scope, collect_news, collect_scope, note
from zctl.inventory.store import drop_tags, record, touch
from zctl.plan.fragments import Tombstone
from zctl.resources.base import Resource, references
from zctl.resources.internal import Grave
from zctl.resources.registry import all_classes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


@dataclass
class Removal:
    """What goes when some rows are deleted: the rows, children first, and the references that are cut."""

    rows: list[Resource] = field(default_factory=list)
    detached: list[tuple[Resource, str]] = field(default_factory=list)


def work_out(db: Session, roots: list[Resource], cascade: bool) -> Removal:
    """Find everything that hangs on the rows. Raises Refused naming what is in the way."""
    removal, seen = Removal(), set[str]()
    db.info["going"] = {root.id for root in roots}  # for check_delete: who goes too does not object

    def visit(row: Resource, is_root: bool) -> None:
        if row.id in seen:
            return
        seen.add(row.id)
        for cls in all_classes():
            for name, about in references(cls).items():
                if about.ref != row.noun:
                    continue
                for child in db.scalars(select(cls).where(getattr(cls, name) == row.id)):
                    what = child.on_parent_delete(name)
                    if child.id in seen or any(child.id == root.id for root in roots):
                        continue
                    if what == "refuse" or (what == "cascade" and not cascade):
                        hint = "delete it first" + (
                            ", or add --cascade to delete all that belongs to it" if what == "cascade" else ""
                        )
                        raise Refused(f"it is in use by {child.label}", resource=row.label, remedy=hint)
                    if what == "detach":
                        removal.detached.append((child, name))
                    else:
                        visit(child, False)
        if is_root and not goes_with_another(row, roots):
            row.check_delete(db)
        removal.rows.append(row)
        for companion in row.companions(db):
            visit(companion, False)

    for root in roots:
        visit(root, True)
    children_first(removal.rows)
    removal.detached = [(row, name) for row, name in removal.detached if row.id not in seen]
    return removal


def children_first(rows: list[Resource]) -> None:
    """Put what others of the rows refer to behind them: a companion may be shared with a row that was found later."""
    places = {row.id: float(place) for place, row in enumerate(rows)}
    changed = True
    while changed:
        changed = False
        for row in rows:
            for name in references(type(row)):
                target = getattr(row, name)
                if target in places and target != row.id and places[target] <= places[row.id]:
                    places[target], changed = places[row.id] + 0.001, True
    rows.sort(key=lambda row: places[row.id])


def goes_with_another(row: Resource, roots: list[Resource]) -> bool:
    """Whether the row belongs to another one that is deleted too, so that its own objections do not count."""
    going = {root.id for root in roots}
    return any(getattr(row, name) in going and row.on_parent_delete(name) != "refuse" for name in references(type(row)))


def delete(db: Session, removal: Removal, snapshot: Snapshot, reason: str | None) -> Scope:
    """Delete the rows of a removal; leaves a grave for data on hosts. Returns what is outstanding on which host."""
    scope: Scope = {}
    going = {row.id for row in removal.rows}
    graves: dict[str, Tombstone] = {}
    for row in removal.rows:
        collect_scope(snapshot, row, scope)
        graves |= {
            f"{grave.host}/{grave.concern}/{grave.entry.get('path') or grave.entry['uuid']}": grave
            for grave in row.purge(snapshot)
        }
    for row in removal.rows:
        collect_news(snapshot, row, scope)
    for row, name in removal.detached:
        collect_scope(snapshot, row, scope)
        setattr(row, name, None)
        touch(db, row)
    db.flush()
    for row in removal.rows:
        record(db, row, "deleted", reason)
        db.delete(row)
        db.flush()
    for row in removal.rows:
        row.deleted(db)
    drop_tags(db, list(going))
    for grave in graves.values():
        if grave.host in going:
            continue
        db.add(Grave(id=str(uuid.uuid4()), host_id=grave.host, concern=grave.concern, entry=grave.entry))
        note(scope, grave.host, grave.entry["uuid"], (grave.concern,))
    return {host: uuids for host, uuids in scope.items() if host not in going}
