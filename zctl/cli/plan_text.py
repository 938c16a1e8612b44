"""Plans as text for people and as Markdown for merge requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zctl.cli.output import size_columns, text_of
from zctl.plan.changes import Change, Plan
from zctl.resources.registry import resource_class

WIDTH = 80
PARTS = {
    "kvm_host": "host",
    "network": "networks",
    "storage": "disks",
    "l3_services": "leases",
    "metadata": "metadata",
    "security": "filters",
    "eip": "public addresses",
    "vm": "VMs",
}


def lines(plan: Plan, *, done: bool = False) -> Iterator[str]:
    """A plan, or what was done of it, as lines of at most 80 columns where its values allow."""
    if done:
        for change in plan.changes:
            words = ", ".join(f"{name}: {old or '-'} -> {new or '-'}" for name, old, new in shown_fields(change))
            yield f"{change.mark} {change.label}" + (f"  {words}" if change.action == "update" else "")
        yield sum_of(plan)
        return
    for change in plan.changes:
        yield from change_lines(change)
    if plan.changes:
        yield ""
    yield from host_lines(plan)
    yield summary(plan)


def sum_of(plan: Plan) -> str:
    """What was done, in one line."""
    removed = f", removed {plan.count('remove')}" if plan.count("remove") else ""
    return f"created {plan.count('create')}, updated {plan.count('update')}{removed}, unchanged {plan.unchanged}"


def change_lines(change: Change) -> Iterator[str]:
    """One resource: its mark, name and impact, then its fields."""
    if change.action == "refuse":
        yield f"! {change.label}  [{change.worst}]" if change.worst != "live" else f"! {change.label}"
        yield f"    {change.why}"
        if change.remedy:
            yield f"    what to do: {change.remedy}"
        return
    yield with_impact(f"{change.mark} {change.label}", "" if change.action == "update" else change.worst)
    if change.why:
        yield f"    {change.why}"
    for name, old, new in shown_fields(change):
        if change.action == "create":
            yield f"    {name}: {new}"
        else:
            yield with_impact(f"    {name}: {old or '-'} -> {new or '-'}", change.impact.get(name, "live"))


def shown_fields(change: Change) -> Iterator[tuple[str, str, str]]:
    """(field, old, new) as text; sizes as people write them."""
    sizes = size_columns(resource_class(change.noun))
    for name, (old, new) in change.fields.items():
        texts = text_of(old, name in sizes), text_of(new, name in sizes)
        # Two sizes that look alike when rounded are told in bytes.
        yield (name, *texts) if texts[0] != texts[1] else (name, text_of(old), text_of(new))


def with_impact(text: str, impact: str) -> str:
    """The text with the impact at the right edge."""
    return f"{text}{impact:>{max(len(impact) + 2, WIDTH - len(text))}}" if impact else text


def host_lines(plan: Plan) -> Iterator[str]:
    """The hosts that are touched, with what of them; hosts with the same parts share a line."""
    groups: dict[str, list[str]] = {}
    for host, parts in plan.hosts.items():
        words = ", ".join(PARTS.get(part, part) for part in parts) or "everything"
        groups.setdefault(words, []).append(host)
    for words, hosts in groups.items():
        names = ", ".join(hosts[:8]) + (f" and {len(hosts) - 8} more" if len(hosts) > 8 else "")
        yield f"{'host' if len(hosts) == 1 else 'hosts'} {names}: {words}"


def summary(plan: Plan) -> str:
    """One line for the sum."""
    if plan.is_empty:
        return f"nothing to change: {plan.unchanged} resources are as they should be"
    words = [
        f"{plan.count('create', 'later')} to create",
        f"{plan.count('update')} to change",
        f"{plan.count('remove')} to remove",
        f"{plan.unchanged} unchanged",
    ]
    if plan.refused:
        words.append(f"{len(plan.refused)} refused")
    touched = f"; {len(plan.hosts)} hosts, about {plan.seconds:.0f} s" if plan.hosts else "; no host is contacted"
    return ", ".join(words) + touched


def markdown(plan: Plan, title: str = "zctl plan") -> str:
    """A plan as a comment for a merge request."""
    made = [f"### {title}", "", f"**{summary(plan)}**", ""]
    if plan.changes:
        made += ["| | resource | change | impact |", "|---|---|---|---|"]
        for change in plan.changes:
            if change.action == "update":
                for name, old, new in shown_fields(change):
                    words = cell(f"{name}: {old or '-'} → {new or '-'}")
                    made.append(f"| `~` | {cell(change.label)} | {words} | {change.impact.get(name, 'live')} |")
                continue
            words = change.why or ", ".join(f"{name}: {new}" for name, _old, new in shown_fields(change))
            made.append(f"| `{change.mark}` | {cell(change.label)} | {cell(words)} | {change.worst} |")
        made.append("")
    hosts = list(host_lines(plan))
    return "\n".join([*made, *(f"- {cell(line)}" for line in hosts), *([""] if hosts else [])])


def cell(text: Any) -> str:
    """Text that cannot break out of a table cell or become markup."""
    escaped = str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    for mark in "`*_<>[]":
        escaped = escaped.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return escaped
