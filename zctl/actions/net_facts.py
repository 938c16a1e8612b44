"""Asking hosts about their networks, by one task that changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zctl.actions.converge import connection_of
from zctl.plan.hoststate import HostState, Named
from zctl.resources.host import Host
from zctl.run.render import NET_FACTS
from zctl.run.runner import execute, require_ansible
from zctl.run.values import HostRun

if TYPE_CHECKING:
    from zctl.actions.context import Context
    from zctl.plan.snapshot import Snapshot

Ask = dict[str, Any]
Answers = dict[str, dict[str, Any]]


def read_facts(context: Context, snapshot: Snapshot, asks: dict[str, list[Ask]]) -> tuple[Answers, dict[str, str]]:
    """What hosts answer, by the questions' uuids; and by host's id why one does not. `problem` is what is wrong."""
    if not asks:
        return {}, {}
    require_ansible()
    runs = []
    for key in sorted(asks):
        host = snapshot.need(Host, key)
        state = HostState(inventory=snapshot.inventory, host=Named(uuid=host.id, name=host.name)).model_dump()
        state["net_facts"] = asks[key]
        runs.append(HostRun(connection_of(context, host), state, [], (NET_FACTS,)))
    found = execute(runs, context.run_settings(), context.watch)
    answers: Answers = {}
    silent: dict[str, str] = {}
    for key, result in found.items():
        if result.unreachable or result.failure:
            silent[key] = result.unreachable or result.failure
        for entry in result.results:
            answers[entry.uuid] = entry.observed or {"problem": entry.reason}
    return answers, silent
