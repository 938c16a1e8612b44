"""Look after the inventory's database."""

from __future__ import annotations

from importlib import import_module

import typer

from zctl.cli.call import group_app

# Each has a function `add(app)` that registers its verbs.
PARTS = ("zctl.cli.db_schema", "zctl.cli.db_dumps", "zctl.cli.db_rebuild", "zctl.cli.db_servers")


def apps() -> dict[str, typer.Typer]:
    """The application with its verbs."""
    app = group_app(__doc__)
    for part in PARTS:
        import_module(part).add(app)
    return {"db": app}
