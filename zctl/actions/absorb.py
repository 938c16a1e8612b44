"""Taking the results of a run into the inventory: observed states, what is done, what still waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl.inventory import outstanding
from zctl.inventory.outstanding import EVERYTHING
from zctl.inventory.store import record
from zctl.plan.names import noun_of_kind
from zctl.resources.host import Host
from zctl.resources.internal import Grave, Outstanding, StorageHost
from zctl.resources.primary_storage import PrimaryStorage
from zctl.resources.registry import resource_class
from zctl.resources.vm import Vm
from zctl.run.render import ROWS
from zctl.run.values import HostResult, Result

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.resources.base import Resource

AT_ONCE = 500


def absorb(db: Session, hosts: dict[str, HostResult], waiting: dict[str, list[Outstanding]]) -> None:
    """Write one run's results. Called within one transaction, while the hosts' leases are held."""
    _held = rows_of(db, hosts)
    for key, found in hosts.items():
        host = db.get(Host, key)
        if host is None:
            continue
        reject_foreign_storage(db, key, found)
        failed = {entry.uuid for entry in found.results if entry.result == "failed"}
        for entry in found.results:
            if entry.concern == ROWS and entry.result != "failed":
                continue  # it tells of the record, not of the thing
            if entry.uuid not in failed:
                close_grave(db, key, entry)
            take_result(db, key, entry)
        take_domains(db, key, found)
        take_host_state(db, host, found)
        settle(db, key, found, waiting.get(key, []))


def rows_of(db: Session, hosts: dict[str, HostResult]) -> list[Resource]:
    """All rows that the results are about, read at once; while they are held, asking for one is no query."""
    wanted: dict[type[Resource], set[str]] = {Host: set(hosts)}
    for found in hosts.values():
        for entry in found.results:
            wanted.setdefault(resource_class(noun_of_kind(entry.kind)), set()).add(entry.uuid)
    rows: list[Resource] = []
    for cls, ids in wanted.items():
        ordered = sorted(ids)
        for begin in range(0, len(ordered), AT_ONCE):
            rows += db.scalars(select(cls).where(col(cls.id).in_(ordered[begin : begin + AT_ONCE])))
    return rows


def close_grave(db: Session, host: str, entry: Result) -> None:
    """A removal that is done, or for which nothing was left to do, is forgotten."""
    if entry.result != "removed" and (entry.result != "unchanged" or entry.observed):
        return
    for grave in db.scalars(select(Grave).where(col(Grave.host_id) == host, col(Grave.concern) == entry.concern)):
        if grave.entry["uuid"] == entry.uuid:
            db.delete(grave)


def take_result(db: Session, host: str, entry: Result) -> None:
    """One resource: what was seen of it goes to its row."""
    cls = resource_class(noun_of_kind(entry.kind))
    row = db.get(cls, entry.uuid)
    if row is None or entry.result == "removed":
        return
    if entry.result == "failed":
        record(db, row, f"failed: {entry.reason}")
    if entry.result != "failed" or entry.observed:
        row.absorb(db, host, entry.observed)
        db.add(row)


def take_domains(db: Session, host: str, found: HostResult) -> None:
    """The states of all our domains on the host, as read in one go."""
    seen = found.observed.get("vm")
    if seen is None:
        return
    states = {entry["uuid"]: entry for entry in seen}
    reported = {entry.uuid for entry in found.results if entry.kind == "vm"}
    for vm in db.scalars(select(Vm).where(col(Vm.host_id) == host)):
        if vm.id in reported:
            continue
        before = vm.state
        if vm.id not in states and vm.state in ("Created", "Starting"):
            continue  # another process has written it down and comes with it soon
        vm.absorb(db, host, states.get(vm.id, {"state": "Unknown"}))
        if vm.state != before:
            record(db, vm, f"seen {vm.state} (was {before})")


def take_host_state(db: Session, host: Host, found: HostResult) -> None:
    """Connected or not; the VMs of a host that does not answer are Unknown unless they were stopped."""
    before = host.state
    if found.unreachable:
        host.state, host.problem = "Disconnected", found.unreachable[:1000]
        for vm in db.scalars(
            select(Vm).where(col(Vm.host_id) == host.id, col(Vm.state).in_(("Running", "Starting", "Stopping")))
        ):
            vm.state = "Unknown"
    elif found.failure:
        host.problem = found.failure[:1000]
    else:
        failed = next((entry for entry in found.results if entry.kind == "host" and entry.result == "failed"), None)
        host.problem = failed.reason[:1000] if failed else None
        if host.state == "Disconnected" or (host.state == "Connecting" and not failed and host.cpus):
            host.state = "Connected"
    if host.state != before:
        record(db, host, f"is {host.state} (was {before})" + (f": {host.problem}" if host.problem else ""))
    db.add(host)


def reject_foreign_storage(db: Session, host: str, found: HostResult) -> None:
    """A shared storage must be the same file system on all hosts: another marker than the first host's is a failure."""
    for entry in found.results:
        token = entry.observed.get("token")
        if entry.kind != "storage" or not token:
            continue
        storage = db.get(PrimaryStorage, entry.uuid)
        if storage is None or storage.kind == "local":
            continue
        others = select(StorageHost).where(col(StorageHost.storage_id) == storage.id, col(StorageHost.host_id) != host)
        foreign = [row for row in db.scalars(others) if row.token and row.token != token]
        if foreign:
            other = db.get(Host, foreign[0].host_id)
            entry.result = "failed"
            entry.reason = (
                f"{storage.path} is another file system than on host {other.name if other else '?'}:"
                " mount the same one on all hosts, then zctl converge"
            )


def settle(db: Session, host: str, found: HostResult, waiting: list[Outstanding]) -> None:
    """Forget what is done. After a full run, single failures wait by themselves."""
    if found.unreachable or found.failure:
        return
    failed = {entry.uuid: entry.concern for entry in found.results if entry.result == "failed"}
    done = [row for row in waiting if row.uuid not in failed]
    outstanding.settle(db, host, done)
    if any(row.uuid == EVERYTHING for row in waiting) and failed:
        db.flush()
        outstanding.store(db, {host: failed})
