"""zctl security-group export, import: rules as text that can be kept, compared and taken elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of
from zctl.errors import Invalid, NotFound
from zctl.resources.lookup import find
from zctl.resources.security_group import SecurityGroup

KINDS = ("SecurityGroup", "SecurityGroupRule")
Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names; all when none is given.", autocompletion=names_of("security-group"), show_default=False
    ),
]
File = Annotated[str, typer.Argument(help="YAML or JSON as export writes it, or - for stdin.", show_default=False)]


def export_rules(call: Call, names: Names = None) -> None:
    """Write security-groups with their rules as manifests."""
    from zctl.actions.export import export

    with call.inventory.read() as db:
        for name in [find(db, SecurityGroup, text).name for text in names or []] or [""]:
            for text in export(db, list(KINDS[:1]), [f"name={name}"] if name else []):
                print(text, end="")


def import_rules(call: Call, file: File) -> None:
    """Make security-groups and rules as a file says; every mistake in it is told before anything is changed."""
    from zctl.actions import apply as actions
    from zctl.actions.intent import Options
    from zctl.cli.manifests import read_manifest, refuse, show_applied

    manifest = read_manifest([file], None, None, "")
    for document in manifest.documents:
        if document.kind not in KINDS:
            raise Invalid(
                f"{document.kind} is not a kind that is imported here [{document.place}]",
                resource=file,
                remedy="zctl apply -f FILE takes every kind",
            )
    if not manifest.documents:
        raise NotFound("there are no rules in it", resource=file)
    done = actions.apply(call.context(), manifest, Options())
    show_applied(call, done)
    refuse(done)


def register(app: typer.Typer) -> None:
    """Add the verbs to the noun."""
    add_command(app, "export", export_rules)
    add_command(app, "import", import_rules, mutating=True)
