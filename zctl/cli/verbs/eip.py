"""zctl eip attach, detach."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of
from zctl.cli.nouns import report
from zctl.errors import Misuse
from zctl.resources.eip import Eip

Name = Annotated[str, typer.Argument(help="Name of the eip.", autocompletion=names_of("eip"), show_default=False)]


def attach(
    call: Call,
    name: Name,
    vm: Annotated[
        str, typer.Option("--vm", help="The VM whose first card it stands for.", autocompletion=names_of("vm"))
    ] = "",
    nic: Annotated[str, typer.Option("--nic", help="The card it stands for.", autocompletion=names_of("nic"))] = "",
) -> None:
    """Let a public address stand for a card; one that stands for another moves."""
    from zctl.actions import crud

    if bool(vm) == bool(nic):
        raise Misuse("give the card by --nic, or its VM by --vm")
    values: dict[str, Any] = {"vm": vm} if vm else {"nic": nic}
    row, _ = crud.update(call.context(), Eip, name, values)
    report(call, Eip, row, f"attached to {vm or nic}")


def detach(call: Call, name: Name) -> None:
    """Let a public address stand for no card; the address stays yours."""
    from zctl.actions import crud

    row, _ = crud.update(call.context(), Eip, name, {"nic": None})
    report(call, Eip, row, "detached")


def register(app: typer.Typer) -> None:
    """Add the verbs to the noun."""
    add_command(app, "attach", attach, mutating=True)
    add_command(app, "detach", detach, mutating=True)
