"""zctl plan and zctl apply: documents to rows in one transaction, then one run for all hosts concerned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl.actions import hosts, jobs
from zctl.actions.context import Context
from zctl.actions.converge import converge
from zctl.actions.crud import DryRun
from zctl.actions.intent import Checked, Intent, Options
from zctl.actions.release import release
from zctl.errors import Conflict, HostError, ZctlError
from zctl.inventory import outstanding
from zctl.plan.changes import Change, Plan, estimate
from zctl.plan.manifest import Document, Manifest, in_dependency_order
from zctl.resources.base import Resource, references
from zctl.resources.host import Host
from zctl.resources.internal import Outstanding
from zctl.resources.lookup import look_up
from zctl.resources.registry import all_classes
from zctl.resources.spec import validate
from zctl.resources.vm import Vm

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.resources.job import Job

Judge = Callable[[Plan], None]


def document_classes() -> dict[str, type[Resource]]:
    """The types that manifests describe, by kind."""
    return {cls.__name__: cls for cls in all_classes() if cls.manifest and not cls.read_only}


def needs(cls: type[Resource]) -> set[str]:
    """The kinds that must be made before this one."""
    by_noun = {other.noun: other.__name__ for other in all_classes()}
    found = {by_noun[about.ref] for about in references(cls).values() if about.ref in by_noun}
    found |= {by_noun[given.ref] for given in cls.inputs.values() if given.ref in by_noun}
    if cls.noun in ("vm", "nic"):
        found |= {"SecurityGroup", "SecurityGroupRule"}
    if cls.noun == "vm":
        found |= {"L3Network", "IpRange", "DiskOffering", "PrimaryStorage", "Host"}
    if cls.noun == "nic":
        found |= {"IpRange"}
    return found - {cls.__name__}


def check_all(documents: list[Document]) -> list[Checked]:
    """Find every mistake that shows without the database; the documents come back in the order they can be made."""
    classes = document_classes()
    checked = []
    for entry in in_dependency_order(documents, {name: needs(cls) for name, cls in classes.items()}):
        cls = classes[entry.kind]
        try:
            checked.append(Checked(entry, cls, validate(cls, "update", entry.values)))
        except ZctlError as error:
            error.what = f"{error.what} [{entry.at(error.field)}]"
            raise
    return checked


def plan(context: Context, manifest: Manifest, options: Options) -> Plan:
    """What an apply would change. Nothing is stored, no host is contacted."""
    documents = check_all(manifest.documents)
    try:
        with context.inventory.write() as db:
            intent = Intent(db, options, context.reason)
            intent.work_out(documents)
            finish_plan(context, intent)
            raise DryRun
    except DryRun:
        return intent.plan


def finish_plan(context: Context, intent: Intent) -> None:
    """Add which hosts a run touches and how long it takes."""
    plan = intent.plan
    plan.hosts = intent.hosts()
    unseen = {row.name for row in intent.known.snapshot.all(Host) if row.state == "Connecting"}
    new = {change.name for change in plan.changes if change.noun == "host" and change.action == "create"}
    names = {row.id: row.name for row in intent.known.snapshot.all(Host)}
    domains = {host: sum("vm" in words for words in uuids.values()) for host, uuids in intent.scope.items()}
    waits = [change for change in plan.changes if change.action == "later"]
    if waits and domains:
        busiest = max(domains, key=lambda key: domains[key])
        domains[busiest] += sum(change.noun == "vm" for change in waits)
    fresh = len(new | {names[key] for key in intent.scope if names.get(key) in unseen})
    plan.seconds = estimate(domains, fresh, context.config.forks)


def apply(
    context: Context,
    manifest: Manifest,
    options: Options,
    *,
    judge: Judge | None = None,
    refresh: bool = False,
    restart: bool = False,
) -> Plan:
    """Create what is missing, change what differs, remove what a set no longer has. Returns what was done.

    `judge` sees the plan before anything is stored and may raise. A document that cannot be carried out stops all of
    them before anything is changed; what fails on a host stays wanted, and applying again finishes it.
    """
    documents = check_all(manifest.documents)
    if context.dry_run:
        found = plan(context, manifest, options)
        if judge:
            judge(found)
        return found
    if refresh:
        read_hosts(context)
    failures = finish_outstanding(context)
    documents = [pinned(context, entry) for entry in documents]
    if options.prune:
        release_pruned(context, documents, options, judge)
    intent = first_pass(context, documents, options, judge, failures)
    if intent.later or intent.unplugged:
        second_pass(context, documents, options, intent, failures)
    if restart:
        restart_pending(context, intent)
    if failures:
        raise together(failures)
    return intent.plan


def first_pass(
    context: Context, documents: list[Checked], options: Options, judge: Judge | None, failures: list[ZctlError]
) -> Intent:
    """Everything that can be decided now: one transaction, one run."""
    job: Job | None = None
    try:
        with context.inventory.write() as db:
            intent = Intent(db, options, context.reason)
            intent.work_out(documents)
            finish_plan(context, intent)
            if judge:
                judge(intent.plan)
            if intent.errors:
                raise together(intent.errors)
            if not intent.scope and not intent.plan.changes:
                raise DryRun
            job = begin(db, context, intent)
    except DryRun:
        return intent
    run(context, job, failures)
    return intent


def begin(db: Session, context: Context, intent: Intent) -> Job | None:
    """Write down what is going to be done."""
    if not intent.scope:
        return None
    return jobs.begin(db, context, "apply", intent.touched[:50], intent.scope, undo=[])


def run(context: Context, job: Job | None, failures: list[ZctlError]) -> None:
    """Bring a job to its hosts; what fails there is kept for the end, so that the rest goes on."""
    if job is None:
        return
    try:
        jobs.carry_out(context, job)
    except HostError as error:
        failures.append(error)


def second_pass(
    context: Context, documents: list[Checked], options: Options, first: Intent, failures: list[ZctlError]
) -> None:
    """What had to wait: VMs for hosts that were new, disks that had to be unplugged before they could be deleted."""
    if first.unplugged:
        with context.inventory.read() as db:
            held = set(db.scalars(select(col(Outstanding.uuid))))
            guests = [db.get(Vm, key) for key in first.unplugged.values()]
        kept = any(text.startswith("removal of disk") for vm in guests if vm for text in vm.pending)
        if kept or held.intersection(first.unplugged):
            failures.append(
                HostError(
                    "disks that were to be deleted are still plugged in",
                    resource="apply",
                    remedy="apply again when their hosts answer and their guests have let go (vm show: pending)",
                )
            )
            options = replace(options, prune=False)
    with context.inventory.write() as db:
        intent = Intent(db, options, context.reason)
        intent.work_out(documents if options.prune else [entry for entry, _error in first.later], documents)
        failures += [*intent.errors, *(error for _entry, error in intent.later)]
        job = begin(db, context, intent)
    run(context, job, failures)
    done = {(change.noun, change.name) for change in intent.plan.changes}
    rest = [
        change
        for change in first.plan.changes
        if change.action != "later" and not (change.action == "remove" and (change.noun, change.name) in done)
    ]
    first.plan.changes = rest + intent.plan.changes
    first.touched += intent.touched


def together(errors: list[ZctlError]) -> ZctlError:
    """The first of several errors, saying how many more there are."""
    first = errors[0]
    if len(errors) > 1:
        first.what = f"{first.what} (and {len(errors) - 1} more: {', '.join(e.resource for e in errors[1:6])})"
        first.remedy = first.remedy or "zctl plan -f FILE lists all of them"
    return first


def pinned(context: Context, entry: Checked) -> Checked:
    """A new host's document with its SSH key."""
    if entry.document.kind != "Host" or entry.given.get("host_key"):
        return entry
    with context.inventory.read() as db:
        if look_up(db, Host, entry.given["name"]) is not None:
            return entry
    values = hosts.pin_host_key(context, entry.document.values)
    return replace(entry, document=replace(entry.document, values=values))


def release_pruned(context: Context, documents: list[Checked], options: Options, judge: Judge | None) -> None:
    """Clean the hosts that are about to be pruned, while they are still known."""
    try:
        with context.inventory.write() as db:
            intent = Intent(db, options)
            intent.work_out(documents)
            if judge:
                judge(intent.plan)
            raise DryRun
    except DryRun:
        if intent.errors:
            return
    going = {noun: [row.id for row in intent.removed if row.noun == noun] for noun in ("host", "primary-storage")}
    if going["host"]:
        release(context, going["host"], going["primary-storage"])


def read_hosts(context: Context) -> None:
    """See the hosts as they are now before anything is compared; those that do not answer are warned of."""
    for name, problem in hosts.refresh(context, []).items():
        context.warn(f"host {name}: {problem}")


def restart_pending(context: Context, intent: Intent) -> None:
    """Restart the VMs of this apply for which something waits."""
    from zctl.actions import vms

    vms.restart_pending(context, [row.id for row in intent.touched if row.noun == "vm"])


def removals(plan: Plan) -> list[Change]:
    """What a plan would remove."""
    return [change for change in plan.changes if change.action == "remove"]


def same_removals(expected: list[Change]) -> Judge:
    """A judge that refuses to remove anything but what was agreed to."""
    agreed = {change.label for change in expected}

    def judge(plan: Plan) -> None:
        new = [change.label for change in removals(plan) if change.label not in agreed]
        if new:
            raise Conflict(f"{new[0]} would be removed too", remedy="somebody changed the inventory: look again")

    return judge


def finish_outstanding(context: Context) -> list[ZctlError]:
    """Bring to the hosts what earlier runs could not; returns what is in the way."""
    with context.inventory.read() as db:
        waiting = sorted(set(db.scalars(select(col(Outstanding.host_id)))))
        waiting = [key for key in waiting if (host := db.get(Host, key)) is not None and host.state != "Maintenance"]
    if not waiting:
        return []
    context.say(f"{len(waiting)} hosts have something outstanding from before")
    report = converge(context, waiting, "apply")
    problems = ((key, report.problem(key, {outstanding.EVERYTHING})) for key in waiting)
    return [
        jobs.first_error([(report.hosts[key].host if key in report.hosts else key, problem)])
        for key, problem in problems
        if problem is not None
    ]
