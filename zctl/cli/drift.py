"""converge, and plan without a file: how hosts differ from the inventory, and the ways to end that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zctl.cli.call import FORMATS, Call, command_apps
from zctl.cli.complete import names_of
from zctl.errors import HostError, Misuse

if TYPE_CHECKING:
    from zctl.actions.converge import Report
    from zctl.actions.drift import Selection
    from zctl.plan.drift import Drift

Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", help="Only this host; may be repeated.", autocompletion=names_of("host")),
]
Noun = Annotated[str, typer.Option("--noun", help="Only resources of this type, such as vm.", metavar="NOUN")]
Names = Annotated[
    list[str] | None, typer.Option("--name", help="Only the resource with this name; may be repeated.", metavar="NAME")
]


def selection_of(host: list[str] | None, noun: str, name: list[str] | None) -> Selection:
    """What the options select."""
    from zctl.actions.drift import Selection

    return Selection(tuple(host or ()), noun, tuple(name or ()))


def plan_drift(call: Call, selection: Selection, *, detailed: bool) -> None:
    """Compare hosts with the inventory and tell the differences; exit 2 on any, when asked to."""
    from zctl.actions.drift import drift

    found = drift(call.context(resume=False), selection)
    show(call, found)
    require_all(found)
    if detailed and not found.is_empty:
        raise typer.Exit(2)


def require_all(found: Drift) -> None:
    """Raise HostError when a host could not be compared."""
    if found.problems:
        raise HostError("could not be compared", resource=f"host {', '.join(found.problems)}", remedy="zctl host check")


def show(call: Call, found: Drift) -> None:
    """Print drift as the output format says."""
    from zctl.cli.drift_text import lines, markdown
    from zctl.cli.output import dump

    if call.output in ("json", "yaml"):
        dump(call.output, found.as_dict())
    elif call.output == "markdown":
        print(markdown(found))
    elif call.output == "name":
        for label in dict.fromkeys(f"{entry.noun}/{entry.name}" for entry in found.differences):
            print(label)
    else:
        for line in lines(found):
            print(line)


def converge(
    call: Call,
    host: Hosts = None,
    noun: Noun = "",
    name: Names = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take the hosts' values into the inventory instead of mending them.")
    ] = False,
) -> None:
    """Bring hosts, or only some resources on them, to what the inventory wants, whatever state they are in."""
    selection = selection_of(host, noun, name)
    if accept:
        take_over(call, selection)
        return
    if call.dry_run:
        plan_drift(call, selection, detailed=False)
        return
    from zctl.actions.converge import converge as run
    from zctl.actions.drift import scope_of
    from zctl.inventory.snapshot import load
    from zctl.resources.host import Host

    context = call.context()
    with context.inventory.read() as db:
        scope = scope_of(db, load(db), selection)
    if not scope:
        raise Misuse("no host has any of what is selected", remedy=f"zctl {noun} list")
    only = None if selection.whole else scope
    with context.inventory.read() as db:
        names = {host.id: host.name for host in load(db).all(Host)}
    tell(call, run(context, sorted(scope), "converge", full=selection.whole, only=only), names)


def tell(call: Call, report: Report, names: dict[str, str]) -> None:
    """One line for each host, one for each failure."""
    failed = []
    for found in sorted(report.hosts.values(), key=lambda found: found.host):
        counts = {
            word: sum(entry.result == word for entry in found.results)
            for word in ("changed", "unchanged", "removed", "failed")
        }
        words = (
            found.unreachable
            or found.failure
            or ", ".join(f"{number} {word}" for word, number in counts.items() if number)
        )
        call.done(f"host {found.host}: {words or 'nothing to do'}")
        for entry in found.results:
            if entry.result == "failed":
                call.done(f"  {entry.kind} {entry.name}: {entry.reason}")
        if not found.ok:
            failed.append(found.host)
    for key, why in report.skipped.items():
        call.done(f"host {names.get(key, key[:8])}: {why}")
    if failed:
        raise HostError(
            "not all is as it should be",
            resource=f"host {', '.join(failed)}",
            remedy="mend what is named above, then zctl converge",
        )


def take_over(call: Call, selection: Selection) -> None:
    """Show how the hosts differ, ask, and take their values into the inventory."""
    from zctl.actions.drift import accept, drift
    from zctl.cli.drift_text import words_of

    context = call.context()
    found = drift(context, selection)
    show(call, found)
    if found.is_empty:
        require_all(found)
        return
    call.confirm(f"take {len(found.differences)} values from the hosts into the inventory?")
    done = accept(context, found.differences)
    would = "would take" if call.dry_run else "took"
    for entry in done.taken:
        call.done(f"{would} {entry.noun} {entry.name}: {entry.field} {entry.actual}")
    for entry in done.left:
        call.done(f"cannot take {entry.noun} {entry.name}: {words_of(entry)}")
    require_all(found)
    if done.left:
        raise HostError(
            f"{len(done.left)} differences have no place in the inventory",
            remedy="zctl converge mends them, or change the resource by its own verbs",
        )


def apps() -> dict[str, typer.Typer]:
    """A Typer application for each of the commands."""
    return command_apps({"converge": (converge, True, (*FORMATS, "markdown"))})
