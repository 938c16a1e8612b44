"""The inventory out of nothing but the hosts: `zctl db rebuild --from-hosts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zctl.cli.call import Call, add_command, warn
from zctl.errors import HostError, Misuse, Refused

if TYPE_CHECKING:
    from zctl.actions.context import Context
    from zctl.actions.rebuild import Proposal, Rebuilt
    from zctl.run.values import Connection


def rebuild(
    call: Call,
    from_hosts: Annotated[bool, typer.Option("--from-hosts", help="Out of the records that hosts keep.")] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            help="A host to begin with, as [USER@]ADDRESS[:PORT]; may be repeated. Its records tell of the others.",
            metavar="ADDRESS",
        ),
    ] = None,
    key: Annotated[str, typer.Option("--key", help="Private key file for SSH.", metavar="FILE")] = "",
    inventory: Annotated[
        str, typer.Option("--inventory", help="UUID of the inventory, when hosts know several.", metavar="UUID")
    ] = "",
) -> None:
    """Make the inventory anew out of what hosts keep of it, or take in what an older one lacks. No host is changed."""
    from zctl.actions.rebuild import carry_out, identity_of, outcome_of, propose
    from zctl.actions.rebuild_read import survey

    if not from_hosts:
        raise Misuse("from what?", remedy="--from-hosts is the only source; zctl restore_mysql restores a dump")
    context = context_of(call)
    mine = identity_of(context)
    found = survey(context, targets_of(context, host or [], key, bool(mine)), inventory or mine)
    proposal = propose(context, found)
    outcome = outcome_of(proposal)
    call.progress.stop()
    if not call.dry_run and (proposal.records or not proposal.fresh):
        if proposal.records and not proposal.fresh:
            tell_plan(call, outcome)
            call.confirm(f"take {len(proposal.records)} rows into the inventory?")
        carry_out(context, proposal, outcome)
        call.progress.stop()
    show(call, proposal, outcome)
    if proposal.fresh and not proposal.records:
        raise Refused(
            "the hosts keep no record that a row could be made of; nothing was written",
            remedy="docs/rebuild.md tells how to take over VMs that only carry a mark",
        )
    if outcome.unread:
        raise HostError(
            "could not be read, and only others' records tell of it",
            resource=f"host {', '.join(outcome.unread)}",
            remedy="repeat this when it is back: what is missing is taken in then",
        )


def beyond(call: Call) -> list[dict[str, str]]:
    """What the hosts keep and the inventory does not know: noun, name and uuid of each."""
    from zctl.actions.rebuild import identity_of, outcome_of, propose
    from zctl.actions.rebuild_read import survey

    context = context_of(call)
    mine = identity_of(context)
    return outcome_of(propose(context, survey(context, targets_of(context, [], "", True), mine))).taken


def context_of(call: Call) -> Context:
    """What actions need, also where there is no inventory yet."""
    from zctl.actions.context import Context
    from zctl.inventory.engine import Inventory

    config = call.config
    return Context(
        config,
        Inventory(config.url),
        call.progress.say,
        warn,
        call.progress.watch,
        call.reason or None,
        call.dry_run,
    )


def targets_of(context: Context, named: list[str], key: str, known: bool) -> list[Connection]:
    """The hosts that are named; else those of the inventory that is there. Raises Misuse when there are none."""
    from dataclasses import replace

    from sqlalchemy import select

    from zctl.actions.converge import connection_of
    from zctl.actions.rebuild_read import parse_target
    from zctl.resources.host import Host

    if named:
        return [parse_target(text, key or context.config.ssh_key) for text in named]
    found = []
    if known:
        with context.inventory.read() as db:
            found = [connection_of(context, row) for row in db.scalars(select(Host).order_by(Host.name))]
    if not found:
        raise Misuse("which host? There is no inventory to tell", remedy="--host [USER@]ADDRESS[:PORT]; one is enough")
    return [replace(connection, key=key) for connection in found] if key else found


def tell_plan(call: Call, outcome: Rebuilt) -> None:
    """What would be taken in, before the question."""
    if call.output == "table":
        for entry in outcome.taken:
            call.done(f"+ {entry['noun']} {entry['name']}")


def show(call: Call, proposal: Proposal, outcome: Rebuilt) -> None:
    """Print what came of it, as the output format says."""
    from zctl.cli.output import dump

    if call.output in ("json", "yaml"):
        dump(call.output, as_dict(proposal, outcome, call.dry_run))
    elif call.output == "name":
        for entry in outcome.taken:
            print(f"{entry['noun']}/{entry['name']}")
    else:
        for line in lines(call, proposal, outcome):
            print(line)


def as_dict(proposal: Proposal, outcome: Rebuilt, dry_run: bool) -> dict[str, Any]:
    """For programs. `differences` is nothing when no host was compared."""
    return {
        "inventory": outcome.inventory,
        "new": proposal.fresh,
        "dry_run": dry_run,
        "hosts": outcome.hosts,
        "unread": outcome.unread,
        "rows": outcome.rows,
        "taken": outcome.taken,
        "left_out": outcome.left_out,
        "notes": outcome.notes,
        "newer": outcome.newer,
        "unrecorded": outcome.unrecorded,
        "differences": None if outcome.drift is None else len(outcome.drift.differences),
        "problems": {} if outcome.drift is None else outcome.drift.problems,
    }


def lines(call: Call, proposal: Proposal, outcome: Rebuilt) -> list[str]:
    """For people."""
    from zctl.cli.drift_text import summary

    made = [f"inventory {outcome.inventory}, read from {', '.join(outcome.hosts)}"]
    made += [f"  host {name} was not read: {why}" for name, why in outcome.unread.items()]
    would = "would be " if call.dry_run else ""
    if call.dry_run and not proposal.fresh:
        made += [f"  + {entry['noun']} {entry['name']}" for entry in outcome.taken]
    made += [f"  {noun}: {number} {would}taken in" for noun, number in outcome.rows.items()]
    if not outcome.rows:
        made.append("  nothing to take in")
    made += [f"  left out: {entry['record']}: {entry['reason']}" for entry in outcome.left_out]
    made += [f"  note: {words}" for words in outcome.notes]
    made += [f"  changed on hosts since, left as it is here: {words}" for words in outcome.newer]
    made += [
        f"  vm {entry['vm']} ({entry['uuid']}) on {entry['host']} has no record: zctl host adopt, see docs/rebuild.md"
        for entry in outcome.unrecorded
    ]
    if outcome.drift is not None:
        made.append(summary(outcome.drift))
    return made


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    add_command(app, "rebuild", rebuild, mutating=True)
