"""Jobs: written before anything is done, carried out, resumed after a crash, undone when they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlmodel import col

from zctl.actions.context import Context
from zctl.actions.converge import Patch, Report, converge
from zctl.errors import Conflict, HostError, Refused, ZctlError
from zctl.inventory import nodes, outstanding, removal
from zctl.inventory.lease import LIFETIME, is_alive, is_dead, owner, shown_owner
from zctl.inventory.outstanding import Scope
from zctl.inventory.snapshot import load
from zctl.inventory.store import record
from zctl.plan.names import noun_of_kind
from zctl.resources.base import Resource
from zctl.resources.clock import clock
from zctl.resources.host import Host
from zctl.resources.job import Job
from zctl.resources.lookup import find
from zctl.resources.registry import resource_class
from zctl.run.runner import end_leftovers
from zctl.run.values import Result

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def begin(db: Session, context: Context, verb: str, targets: list[Resource], scope: Scope, undo: list[Resource]) -> Job:
    """Write down, in the transaction of the intent, what is going to be done on which hosts and what undoes it."""
    job = Job.build(
        name="job",
        verb=verb,
        state="Running",
        owner=owner(),
        heartbeat_at=clock(db),
        reason=context.reason,
        targets=[{"kind": row.noun, "uuid": row.id, "name": row.name} for row in targets],
        hosts={host: own_part(uuids) for host, uuids in scope.items()},
        undo=[{"kind": row.noun, "uuid": row.id} for row in undo],
    )
    job.name = f"{verb.replace(' ', '-')}-{job.id[:8]}"
    db.add(job)
    outstanding.store(db, scope)
    nodes.beat(db)
    return job


def own_part(uuids: dict[str, str]) -> list[str]:
    """What a job has to bring to a host. Nothing is left of one that only has to hear of it."""
    return sorted(key for key, concerns in uuids.items() if not outstanding.is_news(concerns))


def carry_out(context: Context, job: Job, patch: Patch | None = None) -> Report:
    """Bring a job to the hosts and end it. Raises HostError with the first cause when a part of it failed.

    What the job made is undone when it says so; deletions that a host cannot hear of yet wait for it.
    """
    try:
        own = sorted(host for host, uuids in job.hosts.items() if uuids)
        report = converge(context, own, job.verb, patch=patch, hear=sorted({*job.hosts} - {*own}))
        problems = list(find_problems(report, job))
        tell_of_deaf(context, report, job)
    except ZctlError as error:
        end(context, job, "Failed", str(error))
        undo(context, job)
        raise
    if not problems:
        end(context, job, "Done")
        return report
    if is_removal(job) and all(isinstance(problem, str) for _host, problem in problems):
        for host, problem in problems:
            context.warn(f"host {host}: {problem}; what is left there is removed when it is back")
        end(context, job, "Done", "clean-up waits: " + "; ".join(host for host, _ in problems))
        return report
    cause = first_error(problems)
    end(context, job, "Failed", str(cause))
    if job.undo:
        undo(context, job)
        cause.remedy = "what had been made was undone"
    elif any(isinstance(problem, str) for _host, problem in problems):
        cause.remedy = "the part of that host is done by the next run that reaches it: zctl converge"
    raise cause


def find_problems(report: Report, job: Job) -> list[tuple[str, Result | str]]:
    """(host name, cause) for each host on which this job's own part is not done."""
    found: list[tuple[str, Result | str]] = []
    apart = bystanders(job)
    for host, uuids in job.hosts.items():
        problem = report.problem(host, set(uuids)) if uuids else None
        if problem is not None and not (host in apart and isinstance(problem, str)):
            name = report.hosts[host].host if host in report.hosts else host[:8]
            found.append((name, problem))
    return found


def bystanders(job: Job) -> set[str]:
    """The hosts that only hear of what the job makes elsewhere, such as the way out of a new card's network."""
    made = {entry["uuid"] for entry in job.undo}
    places = {host for host, uuids in job.hosts.items() if made.intersection(uuids)}
    return set(job.hosts) - places if places else {host for host, uuids in job.hosts.items() if not uuids}


def tell_of_deaf(context: Context, report: Report, job: Job) -> None:
    """Warn of hosts that only had to hear of what this job did, and did not."""
    for host in sorted(bystanders(job)):
        if isinstance(words := report.problem(host, set(job.hosts[host])), str):
            name = report.hosts[host].host if host in report.hosts else host[:8]
            context.warn(f"host {name} has not heard of it yet and does when it is back: {words}")


def first_error(problems: list[tuple[str, Result | str]]) -> HostError:
    """The error to show: the cause on the first host, and on how many others something failed too."""
    host, problem = problems[0]
    more = f" (and {len(problems) - 1} more hosts)" if len(problems) > 1 else ""
    if isinstance(problem, str):
        return HostError(f"{problem}{more}", resource=f"host {host}")
    return HostError(f"{problem.reason} [host {host}]{more}", resource=f"{noun_of_kind(problem.kind)} {problem.name}")


def is_removal(job: Job) -> bool:
    """Whether the job deletes: that succeeds at once, whatever the hosts say."""
    return job.verb.endswith(" delete")


def undo(context: Context, job: Job) -> None:
    """Remove what a failed job had made, from the inventory and, as far as they can be reached, from the hosts."""
    if not job.undo:
        return
    with context.inventory.write() as db:
        rows = [row for entry in job.undo if (row := db.get(resource_class(entry["kind"]), entry["uuid"])) is not None]
        snapshot = load(db)
        for row in rows:
            if row.noun == "volume":
                row.vm_id = None
        work = removal.work_out(db, rows, cascade=True)
        scope = removal.delete(db, work, snapshot, f"undo of {job.name}")
        outstanding.store(db, scope)
    try:
        converge(context, sorted(scope), f"undo of {job.verb}")
    except ZctlError as error:
        context.warn(f"undo of {job.name} waits: {error}")


def end(context: Context, job: Job, state: str, error: str | None = None) -> None:
    """Close a job. Raises Conflict when another node has taken it over meanwhile: the outcome is that one's to tell."""
    with context.inventory.write() as db:
        row = db.get(Job, job.id)
        if row is None:
            return
        if row.owner != job.owner:
            raise Conflict(
                f"this process gave no sign of life for over {LIFETIME.seconds} s, so "
                f"{shown_owner(row.owner)} took over what it was doing",
                resource=job.label,
                remedy=f"zctl job show {job.name} tells how it ends",
            )
        row.state, row.error = state, (error or None) and str(error)[:4000]  # type: ignore[assignment]
        row.ended_at = clock(db)
        db.add(row)
        for target in job.targets:
            target_row = db.get(resource_class(target["kind"]), target["uuid"])
            if target_row is not None and state == "Failed":
                record(db, target_row, f"{job.verb} failed: {error}"[:1000], job.reason, job.id)


def orphans(db: Session) -> list[Job]:
    """Running jobs whose process is gone."""
    found, present = [], clock(db)
    for job in db.scalars(select(Job).where(col(Job.state) == "Running").order_by(col(Job.created_at))):
        if job.owner != owner() and not is_alive(job.owner, job.heartbeat_at, present):
            found.append(job)
    return found


def others_at_work(db: Session, hosts: list[str]) -> bool:
    """Whether a living process has a job on one of these hosts that it has not ended."""
    lost = {job.id for job in orphans(db)}
    return any(
        job.owner != owner() and job.id not in lost and set(hosts).intersection(job.hosts)
        for job in db.scalars(select(Job).where(col(Job.state) == "Running"))
    )


def claim(context: Context, job: Job) -> bool:
    """Make an orphan ours; False when another process was faster. What its process left running is ended."""
    end_leftovers(job.owner)
    with context.inventory.write() as db:
        taken = db.execute(
            update(Job)
            .where(col(Job.id) == job.id, col(Job.owner) == job.owner, col(Job.state) == "Running")
            .values(owner=owner(), heartbeat_at=clock(db))
        )
    if taken.rowcount:  # type: ignore[attr-defined]
        job.owner = owner()
    return job.owner == owner()


def resume_orphans(context: Context) -> int:
    """Finish, or undo, what dead processes left behind; returns how many jobs. Their failures are warnings."""
    with context.inventory.read() as db:
        found = orphans(db)
    count = 0
    for job in found:
        if claim(context, job):
            count += 1
            context.say(f"resuming {job.name}, left by {shown_owner(job.owner)}")
            try:
                carry_out(context, job)
            except ZctlError as error:
                context.warn(f"{job.name}: {error}")
    return count


def resume(context: Context, name: str) -> Report:
    """Carry out one job again, by name. Raises Refused while its process lives or when it is done."""
    with context.inventory.read() as db:
        job = find(db, Job, name)
    if job.state in ("Done", "Cancelled"):
        raise Refused(f"it is {job.state}", resource=job.label, remedy="there is nothing to resume")
    if job.state == "Failed" and job.undo:
        raise Refused("it failed and was undone", resource=job.label, remedy=f"give the command again: {job.verb}")
    if job.state == "Running":
        if is_dead(job.owner) is False:
            raise Refused(
                f"it is being worked on by {shown_owner(job.owner)}", resource=job.label, remedy="wait for it"
            )
        if not claim(context, job):
            raise Conflict("another process has just taken it", resource=job.label)
    return carry_out(context, job)


def cancel(context: Context, name: str) -> Job:
    """Give up a job whose process is gone: what it made is undone, what it asked for on hosts stays outstanding."""
    with context.inventory.read() as db:
        job = find(db, Job, name)
    if job.state != "Running":
        raise Refused(f"it is {job.state}", resource=job.label, remedy="only a running job can be cancelled")
    if is_dead(job.owner) is False:
        raise Refused(
            f"it is being worked on by {shown_owner(job.owner)}",
            resource=job.label,
            remedy="end that process first; it undoes what it made",
        )
    if not claim(context, job):
        raise Conflict("another process has just taken it", resource=job.label)
    end(context, job, "Cancelled")
    undo(context, job)
    return job


def host_ids(context: Context, choose: Callable[[Host], bool] = lambda _host: True) -> list[str]:
    """The ids of the hosts for which `choose` says yes."""
    with context.inventory.read() as db:
        return [host.id for host in db.scalars(select(Host).order_by(Host.name)) if choose(host)]
