"""zctl plan without a file: every host compared with what it should be; nothing on it, and nothing here, is changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from zctl.actions import jobs
from zctl.actions.context import Context
from zctl.actions.converge import looking, plan_run
from zctl.actions.rows import read_keeping
from zctl.errors import Misuse
from zctl.inventory import lease, outstanding
from zctl.inventory.outstanding import EVERYTHING, Scope
from zctl.inventory.snapshot import load
from zctl.inventory.store import drop_tags, record, touch
from zctl.plan.drift import Difference, Drift, compare
from zctl.plan.hoststate import CONCERNS
from zctl.resources.base import now
from zctl.resources.host import Host
from zctl.resources.internal import Outstanding
from zctl.resources.lookup import find
from zctl.resources.registry import resource_class
from zctl.run.runner import end_leftovers, execute, require_ansible

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot
    from zctl.resources.base import Resource


POLL_SECONDS = 0.3


@dataclass(frozen=True)
class Selection:
    """What is looked at: hosts by name (none: all), and of them all, one type, or some resources."""

    hosts: tuple[str, ...] = ()
    noun: str = ""
    names: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether everything on the hosts is meant."""
        return not self.noun


@dataclass
class Accepted:
    """What was taken over from hosts, and what could not be."""

    taken: list[Difference] = field(default_factory=list)
    left: list[Difference] = field(default_factory=list)


def scope_of(db: Session, snapshot: Snapshot, selection: Selection) -> Scope:
    """Host id -> uuid -> concerns of what is selected. Raises NotFound and Misuse."""
    if selection.names and not selection.noun:
        raise Misuse("--name needs to know the type", remedy="add --noun, such as --noun vm")
    chosen = {find(db, Host, name).id for name in selection.hosts} or {row.id for row in snapshot.all(Host)}
    if not chosen:
        raise Misuse("there are no hosts", remedy="zctl host create NAME --cluster CLUSTER --address ADDRESS")
    if selection.whole:
        return {key: {EVERYTHING: ",".join(CONCERNS)} for key in sorted(chosen)}
    cls = resource_class(selection.noun)
    rows = [find(db, cls, name) for name in selection.names] or list(snapshot.all(cls))
    scope: Scope = {}
    for row in rows:
        outstanding.collect_scope(snapshot, snapshot.get(cls, row.id) or row, scope)
    return {key: uuids for key, uuids in scope.items() if key in chosen}


def drift(context: Context, selection: Selection) -> Drift:
    """Compare hosts with the inventory by Ansible's check mode, while no other zctl process works on them."""
    require_ansible()
    with context.inventory.read() as db:
        snapshot = load(db)
        # The daily comparison of a cloud that has no hosts yet finds nothing amiss.
        ids = [] if selection == Selection() and not snapshot.all(Host) else sorted(scope_of(db, snapshot, selection))
    if not ids:
        return Drift()
    deadline = time.monotonic() + context.config.lock_timeout
    while (found := look(context, selection, ids, patient=time.monotonic() < deadline)) is None:
        time.sleep(POLL_SECONDS)
    return found


def look(context: Context, selection: Selection, ids: list[str], *, patient: bool) -> Drift | None:
    """One comparison under the hosts' leases; None when another process is about to change them and we are patient."""
    timeout = context.config.lock_timeout
    with lease.hold(context.inventory, ids, "plan", timeout, context.say, end_leftovers):
        begun = now()
        with context.inventory.read() as db:
            snapshot = load(db)
            scope = scope_of(db, snapshot, selection)
            waiting = outstanding.load(db, ids)
            keeping = read_keeping(db, snapshot, begun)
            if patient and jobs.others_at_work(db, ids):
                return None
        runs, skipped = [], {}
        for key in ids:
            host = snapshot.get(Host, key)
            if host is None:
                continue
            if host.state == "Maintenance":
                skipped[host.name] = "it is in maintenance (zctl host enable)"
                continue
            wanted = [Outstanding(host_id=key, uuid=uuid, concerns=words) for uuid, words in scope[key].items()]
            run = plan_run(context, snapshot, host, wanted, None)
            if run is not None:
                runs.append(looking(keeping.added(run, host, ())))
        results = execute(runs, context.run_settings(check=True), context.watch) if runs else {}
    names = {row.id: row.name for row in snapshot.all(Host)}
    found = compare(results.values(), {names[key]: {row.uuid for row in rows} for key, rows in waiting.items()})
    found.problems |= skipped
    found.differences = [named(snapshot, entry) for entry in found.differences]
    return found


def named(snapshot: Snapshot, entry: Difference) -> Difference:
    """The difference by the name that the inventory has: a lease goes by its VM's name on the host."""
    row = snapshot.get(resource_class(entry.noun), entry.uuid)
    return entry if row is None else replace(entry, name=row.name)


def accept(context: Context, differences: Iterable[Difference]) -> Accepted:
    """Take the hosts' values into the inventory where a resource type knows how; the rest is told.

    What hangs on them is brought to the hosts afterwards: the lease of a card that is gone goes too.
    """
    done, job = Accepted(), None
    scope: Scope = {}
    with context.inventory.write() as db:
        snapshot = load(db)
        targets: list[Resource] = []
        for entry in differences:
            row = db.get(resource_class(entry.noun), entry.uuid)
            touched = row.accept(db, entry.field, entry.actual) if row is not None and entry.field else None
            if row is None or not touched:
                done.left.append(entry)
                continue
            for changed in touched:
                outstanding.collect_scope(snapshot, changed, scope)
                if changed in db.deleted:
                    drop_tags(db, [changed.id])
                else:
                    touch(db, changed)
            record(db, row, f"took over from {entry.host}: {entry.field} {entry.actual}", context.reason)
            targets.append(row)
            done.taken.append(entry)
        if context.dry_run:
            db.rollback()
        elif scope:
            job = jobs.begin(db, context, "accept", targets[:50], scope, undo=[])
    if job is not None:
        jobs.carry_out(context, job)
    return done
