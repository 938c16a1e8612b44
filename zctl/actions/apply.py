"""zctl apply: documents to rows in one transaction, then one run for all hosts concerned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select
from sqlmodel import col

from zctl.actions import hosts, jobs
from zctl.actions.context import Context
from zctl.actions.converge import converge
from zctl.actions.crud import DryRun, reaches_hosts, scope_of
from zctl.errors import Invalid, NotFound, ZctlError
from zctl.inventory import outstanding, store
from zctl.plan.manifest import Document, in_dependency_order
from zctl.resources.base import Resource, references
from zctl.resources.host import Host
from zctl.resources.internal import Outstanding
from zctl.resources.lookup import look_up
from zctl.resources.registry import all_classes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass
class Applied:
    """What an apply did: one line a document."""

    created: list[str] = field(default_factory=list)
    updated: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)


def apply(context: Context, documents: list[Document]) -> Applied:
    """Create what is missing and change what differs. Hosts come first, because placing VMs needs to know them.

    Raises ZctlError; a document with a mistake stops all of them before anything is changed. What fails on a host
    stays wanted: applying again finishes it.
    """
    classes = {cls.__name__: cls for cls in all_classes() if cls.manifest and not cls.read_only}
    ordered = in_dependency_order(documents, {name: needs(cls) for name, cls in classes.items()})
    check_all(classes, ordered)
    done = Applied()
    early, late = split(ordered)
    for batch in (early, late):
        if batch:
            apply_batch(context, classes, batch, done)
    finish_outstanding(context)
    return done


def needs(cls: type[Resource]) -> set[str]:
    """The kinds that must be made before this one."""
    by_noun = {other.noun: other.__name__ for other in all_classes()}
    found = {by_noun[about.ref] for about in references(cls).values() if about.ref in by_noun}
    found |= {by_noun[given.ref] for given in cls.inputs.values() if given.ref in by_noun}
    if cls.noun == "vm":
        found |= {"L3Network", "IpRange", "DiskOffering", "PrimaryStorage", "Host"}
    return found - {cls.__name__}


def split(ordered: list[Document]) -> tuple[list[Document], list[Document]]:
    """Everything that hosts need, and what needs hosts: VMs, and what is made for VMs."""
    late = {"Vm", "Nic", "Volume"}
    return [d for d in ordered if d.kind not in late], [d for d in ordered if d.kind in late]


def check_all(classes: dict[str, type[Resource]], documents: list[Document]) -> None:
    """Find every mistake that shows without the database, before the first change."""
    from zctl.resources.spec import validate

    for document in documents:
        with located(document):
            validate(classes[document.kind], "create", document.values)


class located:
    """Adds file and line of a document to the errors raised within."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> Literal[False]:
        if isinstance(error, Invalid | NotFound | ZctlError) and not error.what.startswith(self.document.place):
            error.what = f"{error.what} [{self.document.place}]"
        return False


def apply_batch(context: Context, classes: dict[str, type[Resource]], documents: list[Document], done: Applied) -> None:
    """One transaction for a batch of documents, then one run."""
    pinned = {id(document): pin(context, document) for document in documents}
    job = None
    try:
        with context.inventory.write() as db:
            touched: list[Resource] = []
            for document in documents:
                with located(document):
                    touched += apply_one(db, context, classes[document.kind], pinned[id(document)], done)
            scope = scope_of(db, touched)
            if context.dry_run:
                raise DryRun
            if scope:
                job = jobs.begin(db, context, "apply", touched[:50], scope, undo=[])
    except DryRun:
        return
    if job is not None:
        jobs.carry_out(context, job)


def pin(context: Context, document: Document) -> dict[str, Any]:
    """A host's values with its SSH key, unless the inventory knows it already."""
    if document.kind != "Host" or document.values.get("host_key"):
        return document.values
    with context.inventory.read() as db:
        known = look_up(db, Host, str(document.values.get("name")))
    return document.values if known is not None else hosts.pin_host_key(context, document.values)


def apply_one(
    db: Session, context: Context, cls: type[Resource], values: dict[str, Any], done: Applied
) -> list[Resource]:
    """Create or update one resource; returns the rows that hosts may have to hear of."""
    row = db.scalars(select(cls).where(col(cls.name) == values.get("name"))).first()
    if row is None:
        row, made = store.create(db, cls, values, context.reason)
        done.created.append(row.label)
        return made
    given = {key: value for key, value in values.items() if key != "name"}
    changes, made = store.update(db, row, given, context.reason)
    if changes or made:
        done.updated[row.label] = changes | {part.label: (None, "new") for part in made}
    else:
        done.unchanged.append(row.label)
    return [row, *made] if made or reaches_hosts(cls, changes) else []


def finish_outstanding(context: Context) -> None:
    """Bring to the hosts what earlier runs could not."""
    if context.dry_run:
        return
    with context.inventory.read() as db:
        waiting = sorted(set(db.scalars(select(col(Outstanding.host_id)))))
        waiting = [key for key in waiting if (host := db.get(Host, key)) is not None and host.state != "Maintenance"]
    if not waiting:
        return
    context.say(f"{len(waiting)} hosts have something outstanding from before")
    report = converge(context, waiting, "apply")
    for key in waiting:
        problem = report.problem(key, {outstanding.EVERYTHING})
        if problem is not None:
            raise jobs.first_error([(report.hosts[key].host if key in report.hosts else key, problem)])
