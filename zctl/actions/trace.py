"""Telling a packet's way: by the inventory, and by what the hosts on it say."""

from __future__ import annotations

from typing import Any

from zctl.actions.context import Context
from zctl.actions.net_facts import read_facts
from zctl.actions.trace_ends import ends
from zctl.actions.trace_walk import walk
from zctl.inventory.snapshot import load
from zctl.plan.trace import Step, Trace
from zctl.resources.load_balancer import LoadBalancer


def trace(context: Context, source: str, target: str, protocol: str | None, offline: bool) -> Trace:
    """The way of the first packet of a connection."""
    with context.inventory.read() as db:
        snapshot = load(db)
    nic, packet = ends(snapshot, source, target, protocol)
    found = walk(snapshot, nic, packet)
    if offline:
        return found
    asks: dict[str, list[dict[str, Any]]] = {}
    for number, step in enumerate(found.steps):
        if step.ask:
            asks.setdefault(step.host_id, []).append({"uuid": str(number), **step.ask})
    answers, silent = read_facts(context, snapshot, asks)
    for number, step in enumerate(found.steps):
        if str(number) in answers:
            take(step, answers[str(number)])
    names = {row.id: row.label for row in snapshot.all(LoadBalancer)}
    for step in found.steps:
        label = names.get((step.ask or {}).get("balancer", ""))
        if label and not step.passes and not step.remedy:
            step.remedy = f"zctl load-balancer health {label.split()[-1]}"
    found.notes += [f"host {name_of(found, key)} could not be asked: {why}" for key, why in silent.items()]
    cut(found)
    return found


def take(step: Step, answer: dict[str, Any]) -> None:
    """What a host says of a step."""
    problem = str(answer.get("problem") or "")
    if "balancers" in answer and not problem:
        states = [entry["state"] for entry in answer["balancers"].get((step.ask or {})["balancer"], {}).values()]
        up = sum(state == "UP" for state in states)
        step.words += f"; {up} of {len(states)} UP"
        problem = "" if up else "no target is healthy"
        step.passes, step.checked = bool(up), True
        if problem:
            step.words += f": {problem}"
        return
    step.checked = True
    if problem:
        step.passes, step.words = False, f"{step.words}, but {problem}"
        step.remedy = f"zctl plan --host {step.host}, zctl converge --host {step.host}"


def name_of(found: Trace, host: str) -> str:
    """A host's name."""
    return next((step.host for step in found.steps if step.host_id == host), host)


def cut(found: Trace) -> None:
    """Nothing comes after the step that drops the packet."""
    for number, step in enumerate(found.steps, start=1):
        if not step.passes:
            del found.steps[number:]
            return
