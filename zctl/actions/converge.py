"""Bringing hosts to what the inventory wants: leases, one run for all hosts, results back into the inventory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from zctl.actions import peers
from zctl.actions.absorb import absorb
from zctl.actions.context import Context
from zctl.actions.rows import only_sums, read_keeping
from zctl.errors import ZctlError
from zctl.inventory import lease, outstanding
from zctl.inventory.outstanding import EVERYTHING, Scope
from zctl.inventory.snapshot import load
from zctl.plan.assemble import host_state, in_order, restrict
from zctl.plan.hoststate import CONCERNS, HostState
from zctl.resources.base import now
from zctl.resources.host import Host
from zctl.resources.internal import Outstanding
from zctl.run.render import EARLY_REMOVAL, LOOK, ROWS
from zctl.run.runner import end_leftovers, execute, require_ansible
from zctl.run.values import Connection, HostResult, HostRun, Result
from zctl.secrets import opened

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot

NEWS = "news that came meanwhile"
Patch = Callable[[HostState], HostState]


@dataclass
class Report:
    """What a convergence came to: a result for each host contacted, and the hosts left out with the reason."""

    hosts: dict[str, HostResult] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def problem(self, host: str, uuids: set[str]) -> Result | str | None:
        """What went wrong on a host for resources with these uuids: the first cause, or None when all is well."""
        if host in self.skipped:
            return self.skipped[host]
        found = self.hosts.get(host)
        if found is None:
            return None
        if found.unreachable:
            return found.unreachable
        failed = (entry for entry in found.results if entry.result == "failed")
        own = next((entry for entry in failed if entry.uuid in uuids or EVERYTHING in uuids), None)
        return own or found.failure or None


def connection_of(context: Context, host: Host) -> Connection:
    """How to reach a host."""
    key = host.key or context.config.ssh_key
    password = opened(host.sudo_password or "", context.config.home)
    return Connection(host.name, host.id, host.address, host.port, host.user, key, host.host_key or "", password)


def plan_run(
    context: Context, snapshot: Snapshot, host: Host, waiting: list[Outstanding], patch: Patch | None
) -> HostRun | None:
    """One host's part of a run, or None when nothing is outstanding there."""
    if not waiting:
        return None
    state = host_state(snapshot, host)
    full = any(row.uuid == EVERYTHING for row in waiting)
    scope = None if full else {row.uuid for row in waiting}
    concerns = set(CONCERNS) if full else {word for row in waiting for word in row.concerns.split(",") if word}
    if scope is not None:
        state = restrict(state, scope)
    if patch:
        state = patch(state)
    steps = in_order(concerns)
    if state.vm.purge:
        steps = [EARLY_REMOVAL, *(step for step in steps if step != "vm" or state.vm.vms or full)]
    if not steps and ROWS in concerns:
        steps = [ROWS]
    if not steps:
        return None
    return HostRun(
        connection_of(context, host), state.model_dump(), None if scope is None else sorted(scope), tuple(steps)
    )


def converge(
    context: Context,
    hosts: list[str],
    purpose: str,
    *,
    full: bool = False,
    patch: Patch | None = None,
    only: Scope | None = None,
    hear: Collection[str] = (),
) -> Report:
    """Bring to the hosts whatever is outstanding there (`full`: everything). Waits for other zctl processes.

    `only` is noted as outstanding first, and nothing else is looked at then. The hosts `hear` only have to hear of what
    happens: those that another process is at work on are left to that one, which looks for news when it ends.

    What fails stays outstanding and is tried again by the next run that reaches the host.
    """
    require_ansible()
    report = Report()
    if not (hosts or hear):
        return report
    timeout = context.config.lock_timeout
    with lease.hold(
        context.inventory, sorted(hosts), purpose, timeout, context.say, end_leftovers, sorted({*hear} - {*hosts})
    ) as held:
        runs, waiting = prepare(context, held, full, patch, report, only)
        if runs:
            with context.inventory.read() as db:
                before = peers.known(db, runs)
            report.hosts = settled_hosts(context, runs) if full else {}
            rest = [run for run in runs if run.connection.uuid not in report.hosts]
            if rest:
                report.hosts |= execute(rest, context.run_settings(), context.watch)
            with context.inventory.write() as db:
                absorb(db, report.hosts, waiting)
                news = peers.note(db, runs, before)
    if not runs:
        return report
    if news:
        tell(context, "news of other hosts", only=news)
    else:
        came = late_news(context, {*held, *hear}, report)
        if came and purpose != NEWS:
            tell(context, NEWS, hear=came)
    return report


def late_news(context: Context, hosts: set[str], report: Report) -> list[str]:
    """The hosts that have news to hear which came while somebody was at work on them."""
    with context.inventory.read() as db:
        rows = [row for found in outstanding.load(db, sorted(hosts)).values() for row in found]
    deaf = {*report.skipped, *(key for key, host in report.hosts.items() if not host.ok)}
    return sorted({row.host_id for row in rows if outstanding.is_news(row.concerns)} - deaf)


def tell(context: Context, purpose: str, *, only: Scope | None = None, hear: Collection[str] = ()) -> None:
    """Let hosts hear of what happened elsewhere. One that is away hears of it when it is back."""
    try:
        found = converge(context, sorted(only or ()), purpose, only=only, hear=hear)
    except ZctlError as error:  # it is noted as outstanding: the run that brought the news is not the worse for it
        context.warn(f"other hosts have not heard of it yet: {error}; the next run tells them")
        return
    for result in found.hosts.values():
        failed = next((f"{entry.name}: {entry.reason}" for entry in result.results if entry.result == "failed"), "")
        if words := result.unreachable or result.failure or failed:
            context.warn(f"host {result.host} has not heard of it yet: {words}")


def settled_hosts(context: Context, runs: list[HostRun]) -> dict[str, HostResult]:
    """The results of the hosts for which nothing is to be done: they are as they should be, or do not answer.

    One module call tells, which costs a host less than the run that it spares. With removals that run is due anyway.
    """
    asked = [looking(run) for run in runs if EARLY_REMOVAL not in run.steps]
    found = execute(asked, context.run_settings(), context.watch) if asked else {}
    done = {key: result for key, result in found.items() if result.unreachable or (result.ok and result.is_clean)}
    for result in done.values():
        context.watch(result.host, "done")
    return done


def looking(run: HostRun) -> HostRun:
    """The same run, which only compares."""
    return replace(only_sums(run), steps=(LOOK, *run.steps))


def prepare(
    context: Context, hosts: list[str], full: bool, patch: Patch | None, report: Report, only: Scope | None = None
) -> tuple[list[HostRun], dict[str, list[Outstanding]]]:
    """The runs, from one reading of the inventory; hosts in maintenance are left out."""
    if full or only:
        with context.inventory.write() as db:
            for key in hosts:
                outstanding.store(db, {key: only[key]} if only else outstanding.everything(key))
    begun = now()
    with context.inventory.read() as db:
        snapshot = load(db)
        waiting = outstanding.load(db, hosts)
        keeping = read_keeping(db, snapshot, begun)
    if only:
        waiting = {key: [row for row in rows if row.uuid in only[key]] for key, rows in waiting.items()}
    runs = []
    for key in hosts:
        host = snapshot.get(Host, key)
        if host is None:
            continue
        if host.state == "Maintenance":
            report.skipped[key] = "the host is in maintenance; what was asked is done when it leaves (zctl host enable)"
        elif (
            not full and host.state == "Disconnected" and all(outstanding.is_news(row.concerns) for row in waiting[key])
        ):
            continue  # it hears of it with the run that brings it back
        elif run := plan_run(context, snapshot, host, waiting[key], patch):
            runs.append(keeping.added(run, host, waiting[key]))
    return runs, waiting
