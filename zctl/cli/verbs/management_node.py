"""zctl management-node watch."""

from __future__ import annotations

import typer

from zctl.cli.call import Call, add_command
from zctl.errors import Misuse


def watch(call: Call) -> None:
    """Say that this machine is alive, and take over jobs of dead processes and nodes. A timer calls it each minute."""
    from zctl.actions.watch import watch as run

    if call.dry_run:
        raise Misuse("watching has no dry run", remedy="zctl job list -f state=Running")
    count = run(call.context(resume=False))
    if call.output in ("json", "yaml"):
        from zctl.cli.output import dump

        dump(call.output, {"jobs_taken_over": count})
    elif count:
        call.done(f"{count} jobs taken over")


def register(app: typer.Typer) -> None:
    """Add the verb to the noun."""
    add_command(app, "watch", watch, mutating=True)
