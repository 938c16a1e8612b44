"""Giving hosts the rows to keep: each run carries those of its scope, and what all hosts keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl.inventory.outstanding import EVERYTHING
from zctl.inventory.tags import all_tags
from zctl.resources.event import Event
from zctl.resources.internal import Outstanding
from zctl.resources.rows import state_of
from zctl.run.render import ROWS
from zctl.run.values import HostRun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot
    from zctl.resources.host import Host

LAST_EVENTS = 5000
"""Hosts are told with each run of the deletions among so many: what is shared is deleted without a run"""


@dataclass(frozen=True)
class Keeping:
    """What is read of the inventory beside the snapshot, for all runs of one call."""

    snapshot: Snapshot
    tags: dict[str, dict[str, str]]
    deleted: frozenset[str]
    at: datetime

    def added(self, run: HostRun, host: Host, waiting: Iterable[Outstanding]) -> HostRun:
        """The same run, which also brings the host what it keeps."""
        gone = {row.uuid for row in waiting if row.uuid != EVERYTHING and self.snapshot.class_of(row.uuid) is None}
        kept = state_of(self.snapshot, self.tags, host, run.scope, gone | self.deleted, self.at)
        steps = run.steps if ROWS in run.steps else (*run.steps, ROWS)
        return replace(run, state={**run.state, ROWS: kept}, steps=steps)


def read_keeping(db: Session, snapshot: Snapshot, at: datetime) -> Keeping:
    """Read tags, and what was deleted lately. `at` is a time before the snapshot was read, UTC."""
    recent = select(col(Event.resource_id), col(Event.what)).order_by(col(Event.at).desc()).limit(LAST_EVENTS)
    deleted = frozenset(key for key, what in db.execute(recent) if key and what == "deleted")
    return Keeping(snapshot, all_tags(db), deleted, at)


def only_sums(run: HostRun) -> HostRun:
    """The run without the rows themselves: to compare, their sums are enough."""
    if ROWS not in run.state:
        return run
    return replace(run, state={**run.state, ROWS: {**run.state[ROWS], "packed": "", "packed_shared": ""}})
