"""Waiting until a resource is as wished."""

from __future__ import annotations

import time
from collections.abc import Callable

from zctl.actions import hosts
from zctl.actions.context import Context
from zctl.actions.reach import answering
from zctl.errors import Misuse, ZctlError
from zctl.inventory.listing import all_columns, fetch, matches, parse_filter, require_columns
from zctl.resources.base import Resource
from zctl.resources.host import Host
from zctl.resources.lookup import find
from zctl.resources.vm import Vm

POLL_SECONDS = 1.0


class TimedOut(ZctlError):
    """What was waited for did not come."""

    code = "timeout"


def wait(context: Context, cls: type[Resource], name: str, condition: str, timeout: float) -> None:
    """Wait for KEY=VALUE, or for a VM's address to answer ('ip'). Raises TimedOut, and NotFound when it is gone."""
    test = test_of(context, cls, name, condition)
    deadline = time.monotonic() + timeout
    while not test():
        if time.monotonic() >= deadline:
            with context.inventory.read() as db:
                row = find(db, cls, name)
                state = getattr(row, "state", None)
            raise TimedOut(
                f"{condition} did not come within {timeout:g} s" + (f"; it is {state}" if state else ""),
                resource=row.label,
            )
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def test_of(context: Context, cls: type[Resource], name: str, condition: str) -> Callable[[], bool]:
    """The function that says whether the condition holds now."""
    if condition == "ip":
        if cls is not Vm:
            raise Misuse(f"{cls.noun} has no address to wait for", remedy="wait for KEY=VALUE")
        return lambda: answering(context, name)
    key, equal, value = parse_filter(condition)
    require_columns(cls, [key])

    def holds() -> bool:
        if cls is Vm and key == "state":
            refresh_quietly(context, name)
        with context.inventory.read() as db:
            row = fetch(db, cls, all_columns(cls), find(db, cls, name).id)[0]
        return matches(row, key, equal, value)

    return holds


def refresh_quietly(context: Context, name: str) -> None:
    """Read the VM's host; what goes wrong there shows in the state."""
    with context.inventory.read() as db:
        vm = find(db, Vm, name)
        host = db.get(Host, vm.host_id) if vm.host_id else None
    if host is not None and host.state != "Maintenance":
        hosts.refresh(context, [host.name])
