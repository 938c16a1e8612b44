"""Making an inventory out of nothing but the hosts, or taking in what an older one lacks.

The rows are written in one transaction and keep their UUIDs, so that the marks on hosts match. Nothing on a host is
changed but its records.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import col

from zctl.actions.absorb import absorb
from zctl.actions.context import Context
from zctl.actions.converge import looking, plan_run, tell
from zctl.actions.drift import Selection, drift
from zctl.actions.rebuild_read import Survey
from zctl.errors import Invalid, Refused, ZctlError
from zctl.inventory import lease
from zctl.inventory.engine import Inventory, shown, sqlite_path
from zctl.inventory.outstanding import EVERYTHING, Scope, everything
from zctl.inventory.schema import initialise
from zctl.inventory.snapshot import load
from zctl.inventory.store import record as note_event
from zctl.inventory.store import set_tags
from zctl.plan.drift import Drift
from zctl.resources.base import Resource, attrs, references
from zctl.resources.event import Event
from zctl.resources.host import Host
from zctl.resources.internal import Info, Outstanding
from zctl.resources.rebuild import OWN, Merged, merge, unrecorded
from zctl.resources.registry import all_classes
from zctl.resources.rows import HISTORY, Record, row_of
from zctl.run.render import ROWS
from zctl.run.runner import end_leftovers, execute

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Json = dict[str, Any]
AT_ONCE = 500


@dataclass
class Proposal:
    """What a rebuild would write: the records, and all that is to be told before.

    `fresh` says that there is no inventory yet, or an empty one. `newer` are rows of which hosts keep a later version.
    """

    survey: Survey
    fresh: bool
    merged: Merged
    newer: list[str] = field(default_factory=list)
    deleted: int = 0

    @property
    def records(self) -> list[Record]:
        """The records to make rows of, those first that others refer to."""
        order = {cls.noun: place for place, cls in enumerate(all_classes())}
        return sorted(
            self.merged.records.values(),
            key=lambda one: (order.get(one.noun, len(order)), one.created_at, one.uuid),
        )


@dataclass
class Rebuilt:
    """What came of it. `left_out` are records that became no row, with the reason."""

    inventory: str
    hosts: list[str]
    unread: dict[str, str]
    rows: dict[str, int] = field(default_factory=dict)
    taken: list[Json] = field(default_factory=list)
    left_out: list[Json] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    newer: list[str] = field(default_factory=list)
    unrecorded: list[Json] = field(default_factory=list)
    drift: Drift | None = None


def exists(url: str) -> bool:
    """Whether a database holds an inventory of this schema. Raises DatabaseError for one of another schema."""
    from sqlalchemy import inspect

    path = sqlite_path(url)
    if path is not None and not path.exists():
        return False
    inventory = Inventory(url)
    with inventory.read() as db:
        known = inspect(db.get_bind()).get_table_names()
    if "alembic_version" not in known:
        return False
    inventory.check_schema()
    return True


def is_empty(db: Session) -> bool:
    """Whether an inventory holds nothing."""
    return not any(db.scalar(select(func.count()).select_from(cls)) for cls in all_classes() if cls.noun not in HISTORY)


def identity_of(context: Context) -> str:
    """The UUID of the inventory that is there; empty when there is none, or an empty one."""
    if not exists(context.config.url):
        return ""
    with context.inventory.read() as db:
        return "" if is_empty(db) else context.inventory.identity(db)


def propose(context: Context, survey: Survey) -> Proposal:
    """What would be written. Raises Refused when the inventory that is there is another one than the hosts'."""
    mine = identity_of(context)
    if mine and mine != survey.inventory:
        raise Refused(
            f"{shown(context.config.url)} holds inventory {mine}; the hosts keep {survey.inventory}",
            remedy="give a new database with --db, or zctl host adopt",
        )
    merged = merge(survey.said, with_left=bool(mine))
    proposal = Proposal(survey, not mine, merged)
    if mine:
        with context.inventory.read() as db:
            leave_known(db, proposal)
    return proposal


def leave_known(db: Session, proposal: Proposal) -> None:
    """Take out what the inventory has, and what its user has deleted since."""
    records = proposal.merged.records
    for cls in all_classes():
        for key, version in db.execute(select(col(cls.id), col(cls.version))):
            known = records.pop(key, None)
            if known is not None and known.age[0] > version:
                proposal.newer.append(f"{known.label}: version {known.age[0]} on hosts, {version} here")
    ids = sorted(records)
    for begin in range(0, len(ids), AT_ONCE):
        asked = select(col(Event.resource_id)).where(
            col(Event.what) == "deleted", col(Event.resource_id).in_(ids[begin : begin + AT_ONCE])
        )
        for deleted in set(db.scalars(asked)):
            if deleted and records.pop(deleted, None):
                proposal.deleted += 1


def outcome_of(proposal: Proposal) -> Rebuilt:
    """What is known before anything is written."""
    survey = proposal.survey
    found = Rebuilt(survey.inventory, [one.source for one in survey.said], dict(survey.unread))
    found.notes = [*proposal.merged.notes]
    if proposal.merged.gone:
        found.notes.append(
            f"{len(proposal.merged.gone)} rows that only some hosts keep were deleted since, and stay so"
        )
    if proposal.deleted:
        found.notes.append(f"{proposal.deleted} rows on hosts were deleted here, and stay so")
    found.newer = proposal.newer
    known = merge(survey.said, with_left=True)
    found.unrecorded = [{"host": host, "vm": name, "uuid": uuid} for host, name, uuid in unrecorded(survey.said, known)]
    check_rows(proposal, found)
    return found


def check_rows(proposal: Proposal, found: Rebuilt) -> None:
    """Count what can be made, and tell of what cannot by its own declaration."""
    for record in proposal.records:
        try:
            row = row_of(record)
        except Invalid as error:
            found.left_out.append({"record": record.label, "uuid": record.uuid, "reason": error.what})
            del proposal.merged.records[record.uuid]
            continue
        count(found, row)


def count(found: Rebuilt, row: Resource) -> None:
    """A row that is taken."""
    found.rows[row.noun] = found.rows.get(row.noun, 0) + 1
    found.taken.append({"noun": row.noun, "name": row.name, "uuid": row.id})


def carry_out(context: Context, proposal: Proposal, found: Rebuilt) -> None:
    """Write the rows, look at the hosts, and compare; `found` tells what came of it. Raises ZctlError."""
    found.rows, found.taken = {}, []
    if proposal.fresh:
        initialise(context.config.url)
    with context.inventory.write() as db:
        if proposal.fresh:
            become(db, proposal.survey.inventory)
        elif context.inventory.identity(db) != proposal.survey.inventory:
            raise Refused("another inventory has taken the place of this one meanwhile", remedy="look again and repeat")
        made = write_rows(db, proposal.records, found, context.reason)
        if proposal.fresh:
            bury(db, proposal.merged)
        snapshot = load(db)
        elsewhere = unkept(snapshot, proposal.survey, made)
    context.say(f"{len(made)} rows written; looking at the hosts")
    observe(context)
    if elsewhere:
        tell(context, "records of rows taken in", only=elsewhere)
    if snapshot.all(Host):
        found.drift = drift(context, Selection())


def become(db: Session, inventory: str) -> None:
    """Give an inventory that holds nothing the UUID that the marks on hosts carry. Raises Refused when it holds any."""
    if not is_empty(db):
        raise Refused("the inventory is not empty any more", remedy="look again and repeat")
    info = db.get(Info, 1)
    assert info is not None
    info.inventory = inventory
    db.add(info)
    db.flush()


def bury(db: Session, merged: Merged) -> None:
    """Write down again that rows were deleted, so that the hosts that keep them still are told by their next run."""
    for record in merged.gone.values():
        with contextlib.suppress(Invalid):
            note_event(db, row_of(record), "deleted", "before the inventory was made anew from hosts")


def write_rows(db: Session, records: list[Record], found: Rebuilt, reason: str | None) -> list[Resource]:
    """Make the rows. One that has lost what it belongs to, or clashes with another, is told and left out."""
    present = {key for cls in all_classes() if cls.noun not in HISTORY for key in db.scalars(select(col(cls.id)))}
    made = []
    for record in records:
        try:
            row = row_of(record)
            attach(row, present)
            store(db, row, record)
        except ZctlError as error:
            found.left_out.append({"record": record.label, "uuid": record.uuid, "reason": error.what})
            continue
        note_event(db, row, "taken in from hosts", reason)
        present.add(row.id)
        made.append(row)
        count(found, row)
    return made


def attach(row: Resource, present: set[str]) -> None:
    """Cut references that a row can do without to what is not there. Raises Invalid for one that it needs."""
    for name, about in references(type(row)).items():
        target = getattr(row, name)
        if target is None or target in present:
            continue
        if about.on_delete != "detach" and not attrs(type(row))[name].observed:
            raise Invalid(f"the {about.ref} {target} that it belongs to is not there", resource=row.label)
        setattr(row, name, None)


def store(db: Session, row: Resource, record: Record) -> None:
    """Insert one row with its tags, or nothing of it. Raises Invalid when it clashes with another row."""
    try:
        with db.begin_nested():
            db.add(row)
            db.flush()
            set_tags(db, row, record.tags)
            db.flush()
    except IntegrityError:
        raise Invalid("another row has its name, address or place already", resource=row.label) from None


def unkept(snapshot: Any, survey: Survey, made: list[Resource]) -> Scope:
    """The rows taken in of which their own host keeps no record in its place."""
    scope: Scope = {}
    kept = {one.host: one.records[OWN] for one in survey.said}
    for row in made:
        host = row.keeper(snapshot)
        if host is not None and row.id not in kept.get(host, {}) and host in kept:
            scope.setdefault(host, {})[row.id] = ROWS
    return scope


def observe(context: Context) -> None:
    """Look at all hosts for what only they can tell: their facts, the states of VMs, which storage is which."""
    with context.inventory.read() as db:
        snapshot = load(db)
    hosts = snapshot.all(Host)
    if not hosts:
        return
    ids = sorted(host.id for host in hosts)
    with lease.hold(context.inventory, ids, "db rebuild", context.config.lock_timeout, context.say, end_leftovers):
        runs = []
        for host in hosts:
            concerns = everything(host.id)[host.id][EVERYTHING]
            run = plan_run(
                context, snapshot, host, [Outstanding(host_id=host.id, uuid=EVERYTHING, concerns=concerns)], None
            )
            if run is not None:
                runs.append(looking(run))
        results = execute(runs, context.run_settings(check=True), context.watch)
        for answer in results.values():
            # What a change would bring about has not been brought about: only what was read counts.
            answer.results = [
                entry
                for entry in answer.results
                if entry.kind in ("host", "storage", "eip") or (entry.kind == "vm" and entry.result == "unchanged")
            ]
        with context.inventory.write() as db:
            absorb(db, results, {})
