"""zctl job resume, cancel."""

from __future__ import annotations

from typing import Annotated

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of
from zctl.errors import Misuse


def resume(
    call: Call,
    name: Annotated[
        str, typer.Argument(help="Name; none: all that dead processes left.", autocompletion=names_of("job"))
    ] = "",
) -> None:
    """Finish, or undo, what a dead process left behind."""
    from zctl.actions import jobs

    if name:
        jobs.resume(call.context(resume=False), name)
        call.done(f"job {name} done")
    else:
        count = jobs.resume_orphans(call.context(resume=False))
        call.done(f"{count} jobs resumed" if count else "nothing to resume")


def cancel(
    call: Call, name: Annotated[str, typer.Argument(help="Name.", autocompletion=names_of("job"), show_default=False)]
) -> None:
    """Give up a job that a dead process left; what it made is undone."""
    from zctl.actions import jobs

    if call.dry_run:
        raise Misuse("cancelling has no dry run", resource=f"job {name}")
    jobs.cancel(call.context(resume=False), name)
    call.done(f"job {name} cancelled")


def register(app: typer.Typer) -> None:
    """Add the verbs to the noun."""
    add_command(app, "resume", resume, mutating=True)
    add_command(app, "cancel", cancel, mutating=True)
