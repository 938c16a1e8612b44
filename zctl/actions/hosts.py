"""Adding hosts, checking them, taking them out of service."""

from __future__ import annotations

from typing import Any

from zctl.actions import crud, jobs
from zctl.actions.context import Context
from zctl.actions.converge import connection_of, converge
from zctl.errors import HostError, Invalid, Refused
from zctl.inventory import outstanding
from zctl.inventory.store import record, touch
from zctl.plan.hoststate import HostState, KvmHost, Named
from zctl.resources.host import LOCAL, Host
from zctl.resources.lookup import find
from zctl.resources.spec import validate
from zctl.run.connection import fingerprint, scan_host_key
from zctl.run.runner import execute
from zctl.run.values import HostRun


def pin_host_key(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a new host with its SSH key: the one given, or the one it shows now, which is told to the user."""
    checked = validate(Host, "create", values)
    if checked.get("address") == LOCAL:
        return values
    name, given = checked["name"], checked.get("host_key")
    if given:
        fingerprint(given)
        return values
    if context.dry_run:
        return values
    key = scan_host_key(name, checked["address"], checked.get("port") or 22)
    context.say(f"host {name}: pinned SSH key {key.split()[0]} {fingerprint(key)}")
    return values | {"host_key": key}


def create(context: Context, values: dict[str, Any]) -> Host:
    """Add a host and prepare it; on failure it is not in the inventory."""
    row = crud.create(context, Host, values)
    if not context.dry_run and row.state != "Connected":
        raise HostError(
            row.problem or "it could not be probed", resource=row.label, remedy=f"zctl host check {row.name}"
        )
    return row


def check(context: Context, name: str) -> list[str]:
    """What is missing on a host, in plain words; the host is not changed."""
    with context.inventory.read() as db:
        host = find(db, Host, name)
        identity = context.inventory.identity(db)
    connection = connection_of(context, host)
    if not connection.is_local and not connection.host_key:
        raise Invalid(
            "it has no pinned SSH key", resource=host.label, remedy=f"zctl host update {host.name} --host-key KEY"
        )
    state = HostState(
        inventory=identity, host=Named(uuid=host.id, name=host.name), kvm_host=KvmHost(virt_type=host.virt_type)
    )
    found = execute(
        [HostRun(connection, state.model_dump(), [], ("kvm_host",))], context.run_settings(check=True), context.watch
    )[host.id]
    if found.unreachable or found.failure:
        return [found.unreachable or found.failure]
    return [text for entry in found.results for text in entry.observed.get("problems", [])]


def set_maintenance(context: Context, name: str, wanted: bool) -> Host:
    """Into maintenance from Connected only; out of it, what has waited is done."""
    with context.inventory.write() as db:
        host = find(db, Host, name)
        if wanted and host.state != "Connected":
            raise Refused(
                f"it is {host.state}", resource=host.label, remedy="only a connected host can go into maintenance"
            )
        if not wanted and host.state != "Maintenance":
            raise Refused(f"it is {host.state}, not in maintenance", resource=host.label)
        host.state = "Maintenance" if wanted else "Connected"
        job = None
        if not context.dry_run:
            touch(db, host)
            record(db, host, "into maintenance" if wanted else "out of maintenance", context.reason)
            if not wanted:
                job = jobs.begin(db, context, "host enable", [host], outstanding.everything(host.id), undo=[])
        else:
            db.rollback()
    if job is not None:
        jobs.carry_out(context, job)
    return crud.fresh(context, host)


def refresh(context: Context, names: list[str]) -> dict[str, str]:
    """Read the state of all VMs back from hosts (all of them when none is named). Returns host name -> problem."""
    with context.inventory.read() as db:
        chosen = {find(db, Host, name).id for name in names}
    ids = jobs.host_ids(context, lambda host: (not chosen or host.id in chosen) and host.state != "Maintenance")
    with context.inventory.write() as db:
        outstanding.store(db, {key: {"refresh": "vm"} for key in ids})
    report = converge(context, ids, "refresh")
    return {
        found.host: found.unreachable or found.failure
        for found in report.hosts.values()
        if found.unreachable or found.failure
    }
