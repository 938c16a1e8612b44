"""Taking over VMs that zctl did not make: read the hosts, write the rows and a job, set the marks, prove it.

The rows are written before any mark is set. A process that dies in between leaves rows whose domains carry no mark:
the next adoption on that host finishes them. A domain that is refused on its host loses its rows again. Rows of
adopted VMs are never undone by a job, because that would remove their domains.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete
from sqlmodel import col

from zctl.actions import jobs
from zctl.actions.adopt_rows import build, known_of, outlook
from zctl.actions.context import Context
from zctl.actions.converge import connection_of
from zctl.actions.converge import tell as bring
from zctl.errors import Invalid, Misuse, NotFound, Refused
from zctl.inventory import lease
from zctl.inventory.snapshot import load
from zctl.inventory.store import record
from zctl.plan.adoption import Choice, Outcome, Place, Proposal, Refusal, is_chosen, propose
from zctl.plan.assemble import host_state, restrict
from zctl.plan.hoststate import HostState, Named
from zctl.resources.host import Host
from zctl.resources.internal import Outstanding
from zctl.resources.job import Job
from zctl.resources.l3_network import L3Network
from zctl.resources.lookup import find
from zctl.resources.nic import Nic
from zctl.resources.vm import Vm
from zctl.resources.volume import Volume
from zctl.run.render import ADOPT, ROWS
from zctl.run.runner import end_leftovers, execute, require_ansible
from zctl.run.values import HostResult, HostRun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

Json = dict[str, Any]


@dataclass
class Adoption:
    """What came of it: the VMs taken over, the domains refused, the hosts that did not answer."""

    adopted: list[Json] = field(default_factory=list)
    refused: list[Json] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    already: int = 0

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for was done."""
        return not (self.refused or self.unread)


@dataclass
class Intent:
    """What the transaction has written down: the marks to set, and the job."""

    job: Job | None
    snapshot: Snapshot
    vms: dict[str, list[str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


def adopt(context: Context, names: list[str], everything: bool, choice: Choice) -> Adoption:
    """Take over the chosen domains of the hosts. Raises ZctlError for a misspelt host, domain or network."""
    require_ansible()
    hosts = choose_hosts(context, names, everything, choice)
    result = Adoption()
    if context.dry_run:
        found = read_hosts(context, hosts, result)
        with context.inventory.read() as db:
            outcome, _unfinished = decide(load(db), found, choice, result)
            tell(result, outcome)
        return result
    ids = sorted(host.id for host in hosts)
    with lease.hold(context.inventory, ids, "host adopt", context.config.lock_timeout, context.say, end_leftovers):
        found = read_hosts(context, hosts, result)
        intent = write_down(context, found, choice, result)
        if intent.job is not None:
            marks = set_marks(context, hosts, intent)
            settle(context, intent, marks, result)
    if intent.job is not None:
        taken = {entry["uuid"] for entry in result.adopted}
        kept = {host: {key: ROWS for key in vms if key in taken} for host, vms in intent.vms.items()}
        bring(context, "records of VMs taken over", only={host: uuids for host, uuids in kept.items() if uuids})
    return result


def choose_hosts(context: Context, names: list[str], everything: bool, choice: Choice) -> list[Host]:
    """The hosts to read; every one named must be connected."""
    if bool(names) == everything:
        raise Misuse("which hosts?", remedy="name them, or give --all")
    with context.inventory.read() as db:
        for network in choice.networks.values():
            find(db, L3Network, network)
        if everything:
            hosts = [host for host in load(db).all(Host) if host.state == "Connected"]
        else:
            hosts = list({host.id: host for host in (find(db, Host, name) for name in names)}.values())
    if not hosts:
        raise NotFound("no host is connected", remedy="zctl host list shows their states")
    for host in hosts:
        if host.state != "Connected":
            raise Refused(f"it is {host.state}", resource=host.label, remedy="VMs are taken over on connected hosts")
    return hosts


def read_hosts(context: Context, hosts: list[Host], result: Adoption) -> dict[Place, list[Json]]:
    """What every domain on the hosts is; a host that does not answer is noted and left out."""
    with context.inventory.read() as db:
        inventory = context.inventory.identity(db)
    runs = []
    for host in hosts:
        state = HostState(inventory=inventory, host=Named(uuid=host.id, name=host.name))
        runs.append(HostRun(connection_of(context, host), state.model_dump(), None, (ADOPT,)))
    answers = execute(runs, context.run_settings(), context.watch)
    found: dict[Place, list[Json]] = {}
    for host in hosts:
        answer = answers[host.id]
        if answer.unreachable or answer.failure:
            result.unread[host.name] = answer.unreachable or answer.failure
            continue
        place = Place(host.id, host.name, host.cluster_id)
        found[place] = [entry.observed for entry in answer.results if entry.kind == "domain"]
    return found


def decide(
    snapshot: Snapshot, found: dict[Place, list[Json]], choice: Choice, result: Adoption
) -> tuple[Outcome, list[Vm]]:
    """What can be taken over, and the VMs whose adoption was begun and only lacks the mark."""
    unfinished = []
    for place, domains in found.items():
        for facts in domains:
            row = snapshot.get(Vm, facts["uuid"])
            if row and row.adopted and row.host_id == place.id and facts["mark"] is None:
                facts["unfinished"] = True
                if is_chosen(place, facts, choice):
                    unfinished.append(row)
    outcome = propose(found, known_of(snapshot), choice)
    again = {row.id for row in unfinished}
    outcome.refusals = [entry for entry in outcome.refusals if entry.uuid not in again]
    unknown = [] if result.unread else outcome.unknown
    if unknown:
        raise NotFound(
            f"there is no domain {', '.join(unknown)} on {', '.join(place.name for place in found)}",
            remedy="zctl host adopt --dry-run shows what is there",
        )
    result.already = len(outcome.ours)
    return outcome, unfinished


def write_down(context: Context, found: dict[Place, list[Json]], choice: Choice, result: Adoption) -> Intent:
    """Rows and job, in one transaction."""
    digests = {facts["uuid"]: facts["digest"] for domains in found.values() for facts in domains if "digest" in facts}
    with context.inventory.write() as db:
        outcome, unfinished = decide(load(db), found, choice, result)
        vms = list(unfinished)
        made: list[Proposal] = []
        for proposal in outcome.proposals:
            try:
                vms.append(store_rows(db, proposal, context.reason))
            except Invalid as error:
                outcome.refusals.append(
                    Refusal(proposal.place.name, proposal.facts["domain"], proposal.facts["uuid"], str(error))
                )
                continue
            made.append(proposal)
        outcome.proposals = made
        tell(result, outcome)
        for row in unfinished:
            words = ["its adoption had been begun before; it was finished"]
            host = next(place.name for place in found if place.id == row.host_id)
            result.adopted.append(
                {"host": host, "domain": row.domain, "vm": row.name, "uuid": row.id, "state": row.state, "notes": words}
            )
        scope: dict[str, dict[str, str]] = {}
        for vm in vms:
            scope.setdefault(vm.host_id or "", {})[vm.id] = "vm"
        snapshot = load(db)
        job = jobs.begin(db, context, "host adopt", list(vms), scope, undo=[]) if vms else None
    return Intent(job, snapshot, {host: list(uuids) for host, uuids in scope.items()}, digests)


def store_rows(db: Session, proposal: Proposal, reason: str | None) -> Vm:
    """The rows of one VM. Raises Invalid when a value cannot be kept; nothing is stored then."""
    vm, parts = build(db, proposal)
    db.add(vm)
    db.flush()
    for part in parts:
        db.add(part)
    db.flush()
    record(db, vm, f"adopted: domain {proposal.facts['domain']} on host {proposal.place.name}", reason)
    return vm


def set_marks(context: Context, hosts: list[Host], intent: Intent) -> dict[str, HostResult]:
    """Have each host set the marks of its VMs."""
    runs = []
    for host in hosts:
        wanted = set(intent.vms.get(host.id, []))
        if wanted:
            state = restrict(host_state(intent.snapshot, host), wanted).model_dump()
            state["digests"] = {uuid: text for uuid, text in intent.digests.items() if uuid in wanted}
            runs.append(HostRun(connection_of(context, host), state, None, (ADOPT,)))
    return execute(runs, context.run_settings(), context.watch)


def settle(context: Context, intent: Intent, marks: dict[str, HostResult], result: Adoption) -> None:
    """Keep what carries its mark, drop the rows of what was refused; what is not known waits for the next adoption."""
    assert intent.job is not None
    names = {entry["uuid"]: entry for entry in result.adopted}
    waits = []
    with context.inventory.write() as db:
        for host, answer in marks.items():
            done = {entry.uuid: entry for entry in answer.results}
            for uuid in intent.vms[host]:
                vm, entry = db.get(Vm, uuid), done.get(uuid)
                if vm is None:
                    continue
                if entry is None:
                    waits.append(f"{vm.name}: {answer.unreachable or answer.failure or 'no answer'}")
                elif entry.result != "failed":
                    vm.absorb(db, host, entry.observed)
                    db.add(vm)
                    forget(db, host, uuid)
                    continue
                else:
                    refused = {"host": answer.host, "domain": vm.domain, "uuid": uuid, "reason": entry.reason}
                    result.refused.append(refused)
                    drop_rows(db, vm)
                names.pop(uuid, None)
        result.adopted = list(names.values())
    for words in waits:
        context.warn(f"vm {words}; 'zctl host adopt' finishes it when the host is back")
    for answer in marks.values():
        if answer.unreachable or answer.failure:
            result.unread[answer.host] = answer.unreachable or answer.failure
    jobs.end(context, intent.job, "Failed" if waits else "Done", "; ".join(waits) or None)


def forget(db: Session, host: str, uuid: str) -> None:
    """Nothing is outstanding for this VM any more."""
    row = db.get(Outstanding, (host, uuid))
    if row is not None:
        db.delete(row)


def drop_rows(db: Session, vm: Vm) -> None:
    """Take a VM out of the inventory that could not be adopted; its domain is not touched.

    One that has been given disks by zctl since is kept: those are data that only the inventory knows.
    """
    snapshot = load(db)
    if any(volume.file is None for volume in snapshot.by(Volume, "vm_id", vm.id)):
        return
    forget(db, vm.host_id or "", vm.id)
    record(db, vm, "adoption refused on the host")
    db.flush()
    for cls in (Nic, Volume):
        db.execute(delete(cls).where(col(cls.vm_id) == vm.id))
    db.execute(delete(Vm).where(col(Vm.id) == vm.id))
    db.expire_all()


def tell(result: Adoption, outcome: Outcome) -> None:
    """The outcome as values for people and machines."""
    result.adopted += [outlook(proposal) for proposal in outcome.proposals]
    result.refused += [
        {"host": entry.host, "domain": entry.domain, "uuid": entry.uuid, "reason": entry.reason}
        for entry in outcome.refusals
    ]
