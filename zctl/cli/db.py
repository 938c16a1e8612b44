"""Look after the inventory's database."""

from __future__ import annotations

from importlib import import_module

import typer

# Each has a function `add(app)` that registers its verbs.
PARTS = ("zctl.cli.db_schema", "zctl.cli.db_dumps", "zctl.cli.db_rebuild", "zctl.cli.db_servers")


def group() -> None:
    """Nothing of its own: it is there for the verbs."""


def apps() -> dict[str, typer.Typer]:
    """The application with its verbs."""
    app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(help=__doc__)(group)
    for part in PARTS:
        import_module(part).add(app)
    return {"db": app}
