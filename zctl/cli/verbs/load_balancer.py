"""zctl load-balancer health."""

from __future__ import annotations

from typing import Annotated

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of

Name = Annotated[str, typer.Argument(help="Name.", autocompletion=names_of("load-balancer"), show_default=False)]
COLUMNS = ("target", "ip", "state", "check", "seconds", "connections")


def health(call: Call, name: Name) -> None:
    """Tell of each target whether it is UP or DOWN, why, for how long, and its connections; asks the host."""
    from zctl.actions.balancer_health import health as read
    from zctl.cli.output import dump, print_table

    found = read(call.context(resume=False), name)
    if call.output in ("json", "yaml"):
        dump(call.output, found)
    elif call.output == "name":
        for entry in found:
            print(entry["target"])
    else:
        call.progress.stop()
        cells = [[str(entry[key] if entry[key] is not None else "") for key in COLUMNS] for entry in found]
        print_table(call, [key.upper() for key in COLUMNS], cells)


def register(app: typer.Typer) -> None:
    """Add the verb to the noun."""
    add_command(app, "health", health)
