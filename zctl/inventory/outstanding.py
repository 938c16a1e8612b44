"""What still has to be brought to which host: noted in the transaction that changes the inventory, gone when done."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl.plan.hoststate import CONCERNS
from zctl.resources.base import Resource
from zctl.resources.internal import Grave, Outstanding

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

EVERYTHING = "*"
NEWS = "news"
"""Beside the concerns of what a host only has to hear of: that it cannot be told is no failure of a job"""
Scope = dict[str, dict[str, str]]
"""host id -> uuid -> the concerns that look after it, joined by commas"""


def collect_scope(snapshot: Snapshot, row: Resource, scope: Scope) -> None:
    """Add what a row concerns on hosts: host -> uuid -> the concerns that look after it."""
    for host, uuids in row.scope(snapshot).items():
        for key in uuids:
            cls = type(row) if key == row.id else snapshot.class_of(key)
            note(scope, host, key, () if cls is None else cls.concerns if cls is type(row) else row.touched(cls))


def collect_news(snapshot: Snapshot, row: Resource, scope: Scope) -> None:
    """Add the hosts that only have to hear that a row has come, gone or been renamed."""
    for host, uuids in row.news(snapshot).items():
        for key in uuids:
            if key not in scope.get(host, {}):
                note(scope, host, key, ("l3_services", NEWS))


def is_news(concerns: str) -> bool:
    """Whether a host only has to hear of it."""
    return NEWS in concerns.split(",")


def note(scope: Scope, host: str, key: str, concerns: tuple[str, ...]) -> None:
    """Add one uuid to a scope."""
    entry = scope.setdefault(host, {})
    entry[key] = joined(entry.get(key, ""), ",".join(concerns))


def joined(one: str, other: str) -> str:
    """The concerns of both. What a host has to do is no mere news, though it is that too."""
    words = {*filter(None, one.split(",")), *filter(None, other.split(","))}
    if any(concerns and not is_news(concerns) for concerns in (one, other)):
        words.discard(NEWS)
    return ",".join(sorted(words))


def join(scope: Scope, more: Scope) -> None:
    """Add one scope to another; a uuid that is in both is looked after by the concerns of both."""
    for host, uuids in more.items():
        for key, concerns in uuids.items():
            note(scope, host, key, tuple(concerns.split(",")))


def everything(host: str) -> Scope:
    """A scope that asks for all of a host's state."""
    return {host: {EVERYTHING: ",".join(CONCERNS)}}


def store(db: Session, scope: Scope) -> None:
    """Remember in this transaction what has to be brought to which host."""
    for host, uuids in scope.items():
        present = {row.uuid: row for row in db.scalars(select(Outstanding).where(col(Outstanding.host_id) == host))}
        for key, concerns in uuids.items():
            row = present.get(key) or Outstanding(host_id=host, uuid=key)
            row.concerns = joined(row.concerns, concerns)
            row.token = str(uuid.uuid4())
            db.add(row)


def load(db: Session, hosts: list[str]) -> dict[str, list[Outstanding]]:
    """What is outstanding on each of the hosts, with the removals that wait there."""
    found: dict[str, dict[str, Outstanding]] = {host: {} for host in hosts}
    for row in db.scalars(select(Outstanding).where(col(Outstanding.host_id).in_(hosts))):
        found[row.host_id][row.uuid] = row
    for grave in db.scalars(select(Grave).where(col(Grave.host_id).in_(hosts))):
        key = grave.entry["uuid"]
        if key not in found[grave.host_id]:
            found[grave.host_id][key] = Outstanding(host_id=grave.host_id, uuid=key, concerns=grave.concern)
    return {host: list(rows.values()) for host, rows in found.items()}


def settle(db: Session, host: str, done: list[Outstanding]) -> None:
    """Forget what was done, unless it was noted again since it was read."""
    for row in done:
        current = db.get(Outstanding, (host, row.uuid))
        if current is not None and current.token == row.token:
            db.delete(current)


def is_relevant(cls: type[Resource]) -> bool:
    """Whether rows of this type can matter to a host at all."""
    return bool(cls.concerns) or cls.scope is not Resource.scope
