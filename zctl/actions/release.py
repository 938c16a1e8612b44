"""Letting go of hosts that are about to be deleted: what zctl made there and can make again goes, data stay."""

from __future__ import annotations

from zctl.actions.context import Context
from zctl.actions.converge import connection_of
from zctl.inventory import lease
from zctl.inventory.snapshot import load
from zctl.plan.hoststate import HostState, Named, PurgedFile, StorageState, VmState
from zctl.resources.host import Host
from zctl.resources.primary_storage import PrimaryStorage
from zctl.resources.vm import Vm
from zctl.run.render import EARLY_REMOVAL, ROWS
from zctl.run.runner import end_leftovers, execute
from zctl.run.values import HostRun


def release(context: Context, hosts: list[str], storages: list[str]) -> None:
    """Remove networks, services, stopped domains and empty storages from hosts that answer; what fails is a warning.

    A host that does not answer is let go as it is: its part is lost with it.
    """
    with context.inventory.read() as db:
        snapshot = load(db)
    runs = []
    for key in hosts:
        host = snapshot.get(Host, key)
        if host is None or host.state not in ("Connected", "Maintenance"):
            continue
        domains = [Named(uuid=vm.id, name=vm.name) for vm in snapshot.by(Vm, "host_id", key)]
        files = [
            PurgedFile(**grave.entry)
            for storage in snapshot.all(PrimaryStorage)
            if key in storage.scope(snapshot)
            and (storage.kind == "local" or (storage.id in storages and key == min(hosts)))
            for grave in storage.leftovers(snapshot, key)
        ]
        state = HostState(
            inventory=snapshot.inventory,
            host=Named(uuid=host.id, name=host.name),
            vm=VmState(purge=domains),
            storage=StorageState(purge=files),
        )
        first = (*((EARLY_REMOVAL,) if domains else ()), *(("storage",) if files else ()))
        steps = (*first, "network", "l3_services", "metadata", "security", "eip", ROWS)
        values = state.model_dump() | {ROWS: {"gone": True}}
        runs.append(HostRun(connection_of(context, host), values, None, steps))
    if not runs:
        return
    ids = sorted(run.connection.uuid for run in runs)
    with lease.hold(context.inventory, ids, "host delete", context.config.lock_timeout, context.say, end_leftovers):
        results = execute(runs, context.run_settings(), context.watch)
    for found in results.values():
        failed = [f"{entry.kind} {entry.name}: {entry.reason}" for entry in found.results if entry.result == "failed"]
        words = found.unreachable or found.failure or "; ".join(failed)
        if words:
            context.warn(f"host {found.host} is deleted, but not all of zctl's is gone from it: {words}")
