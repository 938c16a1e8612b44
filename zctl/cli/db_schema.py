"""The schema of the inventory's database: bringing it up to date."""

from __future__ import annotations

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.top import init


def migrate(call: Call) -> None:
    """Bring the schema up to date, as zctl init does. An existing inventory keeps all it holds."""
    init(call)


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    add_command(app, "migrate", migrate)
