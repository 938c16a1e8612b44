"""Create, update and delete for every noun."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from zctl.actions import jobs
from zctl.actions.context import Context
from zctl.actions.release import release
from zctl.inventory import outstanding, removal, store
from zctl.inventory.outstanding import Scope
from zctl.inventory.snapshot import load
from zctl.resources.base import Resource
from zctl.resources.lookup import find

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

T = TypeVar("T", bound=Resource)


class DryRun(Exception):
    """Leaves a transaction so that nothing of it is stored."""


def scope_of(db: Session, rows: list[Resource]) -> Scope:
    """What the rows concern on hosts. Reads the whole inventory only when one of them can matter to a host."""
    if not any(outstanding.is_relevant(type(row)) for row in rows):
        return {}
    snapshot = load(db)
    scope: Scope = {}
    for row in rows:
        if row.noun == "host":
            if getattr(row, "state", "") != "Connecting":  # nobody has heard of a new one, so they do when it is there
                outstanding.collect_scope(snapshot, row, scope)
            scope |= outstanding.everything(row.id)
        elif outstanding.is_relevant(type(row)):
            outstanding.collect_scope(snapshot, row, scope)
    for row in rows:
        if row.version == 1 or row.renamed:
            outstanding.collect_news(snapshot, row, scope)
    # A disk that leaves a VM is noted on that VM's host until it has let go: nobody else may have it before.
    for disk in (row for row in rows if row.noun == "volume"):
        for host in {getattr(row, "host_id", None) for row in rows if row.noun == "vm"}:
            if host is not None:
                outstanding.note(scope, host, disk.id, ("vm",))
    return scope


def create(context: Context, cls: type[T], values: dict[str, Any]) -> T:
    """Make a resource and bring it to the hosts; when that fails it is undone. Raises ZctlError."""
    job = None
    try:
        with context.inventory.write() as db:
            row, made = store.create(db, cls, values, context.reason)
            scope = scope_of(db, made)
            if context.dry_run:
                context.say(forecast("create", made, scope))
                raise DryRun
            if scope:
                job = jobs.begin(db, context, f"{cls.noun} create", [row], scope, undo=[row])
    except DryRun:
        return row
    if job is not None:
        jobs.carry_out(context, job)
    return fresh(context, row)


def update(
    context: Context, cls: type[T], name: str, values: dict[str, Any], tags: dict[str, str] | None = None
) -> tuple[T, dict[str, tuple[Any, Any]]]:
    """Change a resource in place and bring the change to the hosts. Returns the row and what changed (old, new)."""
    job = None
    try:
        with context.inventory.write() as db:
            row = find(db, cls, name)
            if tags:
                values = values | {"tags": store.merge_tags(db, row, tags)}
            changes, made = store.update(db, row, values, context.reason)
            new = [part for part in made if part.version == 1]  # only these can be undone by deleting them
            touched = reaches_hosts(cls, changes)
            scope = scope_of(db, [row, *made]) if touched or made else {}
            if context.dry_run:
                context.say(forecast("update", [row, *made], scope))
                raise DryRun
            if scope:
                job = jobs.begin(db, context, f"{cls.noun} update", [row], scope, undo=new)
            changes |= {part.label: (None, "new" if part in new else "changed") for part in made}
    except DryRun:
        return row, changes
    if job is not None:
        jobs.carry_out(context, job)
    return fresh(context, row), changes


def reaches_hosts(cls: type[Resource], changes: Iterable[str]) -> bool:
    """Whether hosts have to hear of a change of these fields; tags, and what the type calls quiet, stay here."""
    return any(not change.startswith("tag ") and change not in cls.quiet for change in changes)


def delete(context: Context, cls: type[Resource], names: list[str], *, cascade: bool = False) -> list[Resource]:
    """Delete resources with what belongs to them, from the inventory at once, from the hosts as they can be reached."""
    job = None
    if not context.dry_run:
        release_hosts(context, cls, names, cascade)
    try:
        with context.inventory.write() as db:
            roots: list[Resource] = [find(db, cls, name) for name in names]
            snapshot = load(db)
            work = removal.work_out(db, roots, cascade)
            if context.dry_run:
                context.say("would delete " + ", ".join(row.label for row in work.rows))
                raise DryRun
            scope = removal.delete(db, work, snapshot, context.reason)
            if scope:
                job = jobs.begin(db, context, f"{cls.noun} delete", roots, scope, undo=[])
    except DryRun:
        return work.rows
    if job is not None:
        jobs.carry_out(context, job)
    return work.rows


def release_hosts(context: Context, cls: type[Resource], names: list[str], cascade: bool) -> None:
    """Clean the hosts that a delete would take along, while they are still known."""
    if cls.noun not in ("host", "cluster", "zone"):
        return
    with context.inventory.read() as db:
        roots: list[Resource] = [find(db, cls, name) for name in names]
        rows = removal.work_out(db, roots, cascade).rows
    release(
        context,
        [row.id for row in rows if row.noun == "host"],
        [row.id for row in rows if row.noun == "primary-storage"],
    )


def preview_delete(context: Context, cls: type[Resource], names: list[str], *, cascade: bool) -> list[str]:
    """The labels of all that a delete would take along. Raises NotFound or Refused as the delete would."""
    with context.inventory.read() as db:
        roots: list[Resource] = [find(db, cls, name) for name in names]
        rows = removal.work_out(db, roots, cascade).rows
        return [row.label + (f" ({row.delete_note})" if row.delete_note else "") for row in rows]


def fresh(context: Context, row: T) -> T:
    """The row as it is stored now."""
    with context.inventory.read() as db:
        return db.get(type(row), row.id) or row


def forecast(verb: str, rows: list[Resource], scope: Scope) -> str:
    """What a dry run says."""
    return f"would {verb} {', '.join(row.label for row in rows)}" + (
        f"; {len(scope)} hosts would be contacted" if scope else ""
    )
