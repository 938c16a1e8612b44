"""Drift as text for people and as Markdown for reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zctl.cli.output import text_of
from zctl.cli.plan_text import cell
from zctl.plan.drift import Difference, Drift

SIZES = ("memory", "size")


def lines(drift: Drift) -> Iterator[str]:
    """Host by host: each resource that is not as it should be, then what is not zctl's."""
    for host in dict.fromkeys([*drift.hosts, *drift.problems]):
        found = [entry for entry in drift.differences if entry.host == host]
        foreign = [thing for thing in drift.foreign if thing["host"] == host]
        problem = drift.problems.get(host)
        if not found and not problem:
            yield f"host {host}: as it should be"
        else:
            yield f"host {host}:" + (f" {problem}" if problem else "")
        last = ""
        for entry in found:
            label = f"{entry.noun} {entry.name}"
            if label != last:
                yield f"  ~ {label}" + ("  (asked for, not done yet)" if entry.waits else "")
                last = label
            yield f"      {words_of(entry)}"
        for thing in foreign:
            yield f"  not zctl's: {thing_text(thing)}"
    yield summary(drift)


def words_of(entry: Difference) -> str:
    """One difference as a sentence."""
    if not entry.field:
        return entry.reason
    return f"{entry.field}: {value_text(entry.field, entry.actual)} -> {value_text(entry.field, entry.desired)}"


def value_text(field: str, value: Any) -> str:
    """A value; '-' where there is none."""
    return text_of(value, field in SIZES and isinstance(value, int)) or "-"


def thing_text(thing: dict[str, Any]) -> str:
    """A foreign thing with who seems to own it."""
    owner = f" ({thing['owner']})" if thing.get("owner") else ""
    return f"{thing.get('kind', 'thing')} {thing.get('name', '')}{owner}"


def summary(drift: Drift) -> str:
    """One line for the sum, with what to do."""
    count, where = len(drift.differences), len({entry.host for entry in drift.differences})
    unread = f"; {len(drift.problems)} could not be compared" if drift.problems else ""
    if not count:
        return f"no differences on {numbered(len(drift.hosts) - len(drift.problems), 'host')}{unread}"
    return (
        f"{numbered(count, 'difference')} on {where} of {numbered(len(drift.hosts), 'host')}{unread}\n"
        "zctl converge mends them; zctl converge --accept takes the hosts' values"
    )


def numbered(count: int, word: str) -> str:
    """A number of things: 1 host, 2 hosts."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def markdown(drift: Drift) -> str:
    """Drift as a comment or report."""
    made = ["### zctl drift", "", f"**{summary(drift).splitlines()[0]}**", ""]
    if drift.differences:
        made += ["| host | resource | difference |", "|---|---|---|"]
        made += [
            f"| {cell(entry.host)} | {cell(f'{entry.noun} {entry.name}')} | {cell(words_of(entry))} |"
            for entry in drift.differences
        ]
        made.append("")
    made += [f"- host {cell(host)}: {cell(problem)}" for host, problem in drift.problems.items()]
    return "\n".join(made)
