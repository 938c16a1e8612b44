"""zctl volume attach, detach."""

from __future__ import annotations

from typing import Annotated

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of
from zctl.cli.nouns import report
from zctl.resources.volume import Volume

Name = Annotated[str, typer.Argument(help="Name of the volume.", autocompletion=names_of("volume"), show_default=False)]


def attach(
    call: Call,
    name: Name,
    vm: Annotated[str, typer.Option("--vm", help="The VM it is plugged into.", autocompletion=names_of("vm"))],
) -> None:
    """Plug a volume into a VM, running or not."""
    from zctl.actions import vms

    report(call, Volume, vms.attach(call.context(), name, vm), f"attached to {vm}")


def detach(call: Call, name: Name) -> None:
    """Unplug a data volume; its data stay."""
    from zctl.actions import vms

    report(call, Volume, vms.detach(call.context(), name), "detached")


def register(app: typer.Typer) -> None:
    """Add the verbs to the noun."""
    add_command(app, "attach", attach, mutating=True)
    add_command(app, "detach", detach, mutating=True)
