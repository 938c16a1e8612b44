"""Draw the cloud."""

from __future__ import annotations

from typing import Annotated

import typer

from zctl.cli.call import Call, command_apps
from zctl.cli.complete import names_of

DRAWINGS = ("table", "text", "mermaid", "svg", "json", "yaml")


def graph(
    call: Call,
    zone: Annotated[str, typer.Option("--zone", help="Only this zone.", autocompletion=names_of("zone"))] = "",
) -> None:
    """Draw zones, clusters, hosts, VMs, networks and what leads to them: -o text (the default), mermaid or svg.

    The same inventory gives the same bytes. JSON and YAML have the boxes and lines. Contacts no host.
    """
    from zctl.actions.graph import graph as read

    with call.inventory.read() as db:
        found = read(db, zone)
    if call.output in ("json", "yaml"):
        from zctl.cli.output import dump

        dump(call.output, found.as_dict())
    elif call.output == "svg":
        from zctl.plan.graph_svg import svg

        print(svg(found), end="")
    elif call.output == "mermaid":
        from zctl.plan.graph import mermaid

        print(mermaid(found), end="")
    else:
        from zctl.plan.graph import text

        print(text(found), end="")


def apps() -> dict[str, typer.Typer]:
    """The application."""
    return command_apps({"graph": (graph, False, DRAWINGS)}, reading=("graph",))
