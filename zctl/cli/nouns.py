"""The commands of a noun, made from its declaration; special verbs lie in verbs/NOUN.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of
from zctl.errors import Misuse
from zctl.resources.base import Attr, Resource, attrs
from zctl.resources.registry import resource_class
from zctl.resources.spec import is_required, settable

Parameter = inspect.Parameter


def noun_app(noun: str) -> typer.Typer:
    """The Typer application of a noun."""
    cls = resource_class(noun)
    app = typer.Typer(
        rich_markup_mode=None,
        no_args_is_help=True,
        help=inspect.getdoc(cls),
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(lambda: None)
    module_name = f"zctl.cli.verbs.{noun.replace('-', '_')}"
    special = import_module(module_name) if find_spec(module_name) else None
    if not cls.read_only:
        creator = getattr(special, "create", create)
        parameters = [*create_parameters(cls), *getattr(special, "CREATE_OPTIONS", [])]
        add_command(app, "create", bound(creator, cls), parameters, mutating=True, help=f"Make a new {noun}.")
    add_command(app, "list", bound(list_rows, cls), [], listing=True, help=f"List every {noun}.")
    about = f"Show all there is to know of one {noun}."
    add_command(app, "show", bound(show, cls), [name_parameter(cls)], reading=True, help=about)
    if not cls.read_only:
        add_command(
            app,
            "update",
            bound(getattr(special, "update", update), cls),
            [*update_parameters(cls), *getattr(special, "UPDATE_OPTIONS", [])],
            mutating=True,
            help=f"Change one {noun} in place.",
        )
    add_command(
        app,
        "delete",
        bound(delete, cls),
        delete_parameters(cls),
        mutating=True,
        help=f"Delete one or more; refused while something else needs it. ({noun})",
    )
    if special is not None:
        special.register(app)
    return app


def bound(body: Callable[..., None], cls: type[Resource]) -> Callable[..., None]:
    """The body with its resource type filled in."""

    def run(call: Call, **values: Any) -> None:
        body(call, cls, **values)

    return run


def name_parameter(cls: type[Resource], name: str = "name", many: bool = False) -> Parameter:
    """The NAME argument: a name or UUID, completed from the inventory."""
    kind: Any = list[str] if many else str
    about = typer.Argument(
        help="Name, or the beginning of the UUID.", autocompletion=names_of(cls.noun), show_default=False
    )
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, about])


def delete_parameters(cls: type[Resource]) -> list[Parameter]:
    """Names, and whether what belongs to them goes too."""
    about = typer.Option("--cascade", help="Also delete what belongs to it and would be in the way.")
    return [
        name_parameter(cls, "names", many=True),
        Parameter("cascade", Parameter.KEYWORD_ONLY, annotation=Annotated[bool, about], default=False),
    ]


def create_parameters(cls: type[Resource]) -> list[Parameter]:
    """NAME and an option for each field and input."""
    found = []
    if "name" in settable(cls, "create"):
        argument = typer.Argument(help="Name: " + cls.name_rule + ".", show_default=False)
        default = {"default": ""} if cls.auto_name else {}
        found.append(Parameter("name", Parameter.KEYWORD_ONLY, annotation=Annotated[str, argument], **default))
    return found + field_parameters(cls, "create")


def update_parameters(cls: type[Resource]) -> list[Parameter]:
    """NAME, --name for a new one, and an option for each field that may change."""
    return [name_parameter(cls, "target"), *field_parameters(cls, "update")]


def field_parameters(cls: type[Resource], purpose: Any) -> list[Parameter]:
    """An option for each settable field, input and the tags."""
    found = []
    for public, field in settable(cls, purpose).items():
        if public == "name" and purpose == "create":
            continue
        found.append(field_parameter(cls, public, field, attrs(cls)[field], purpose))
    for name, given in cls.inputs.items():
        many = str(given.type).startswith("list")
        kind: Any = list[str] | None if many else (str | None)
        option = typer.Option(
            given.option or "--" + name.replace("_", "-"),
            help=sentence(given.help),
            show_default=False,
            autocompletion=names_of(given.ref) if given.ref else None,
        )
        found.append(Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, option], default=None))
    if cls.manifest:
        words = "KEY=VALUE; may be repeated." + (" KEY= takes it away." if purpose == "update" else "")
        found.append(
            Parameter(
                "tag",
                Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[list[str] | None, typer.Option("--tag", help=words, show_default=False)],
            )
        )
    return found


def field_parameter(cls: type[Resource], public: str, field: str, about: Attr, purpose: str) -> Parameter:
    """The option of one field. Values are checked by the declaration, so that all mistakes sound alike."""
    info = cls.model_fields[field]
    annotation, name = info.annotation, about.option or "--" + public.replace("_", "-")
    required = purpose == "create" and is_required(cls, public)
    words = sentence(about.help) + (" Required." if required else "")
    more: dict[str, Any] = {"help": words, "show_default": False}
    kind: Any = str | None
    if annotation is bool:
        kind, name = bool | None, f"{name}/--no-{public.replace('_', '-')}"
    elif about.unit != "bytes" and annotation in (int, int | None):
        kind = int | None
    elif annotation is float:
        kind = float | None
    elif about.ref:
        more["autocompletion"] = names_of(about.ref)
        more["metavar"] = "NAME"
    elif about.choices:
        more["autocompletion"] = one_of(about.choices)
        more["metavar"] = "|".join(about.choices)
    elif about.unit == "bytes":
        more["metavar"] = "SIZE"
    elif str(annotation).startswith("list"):
        kind = list[str] | None
    return Parameter(
        public, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, typer.Option(name, **more)], default=None
    )


def one_of(legal: tuple[str, ...]) -> Callable[[str], list[str]]:
    """A completer for fixed words."""
    return lambda incomplete: [text for text in legal if text.startswith(incomplete)]


def sentence(text: str) -> str:
    """Help text as a sentence."""
    return text[:1].upper() + text[1:] + "."


def given_values(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The options that were given, and the tags among them."""
    from zctl.inventory.store import parse_tag

    tags = dict(parse_tag(text) for text in values.pop("tag", None) or [])
    return {
        key: value
        for key, value in values.items()
        if value is not None and value != [] and not (key == "name" and value == "")
    }, tags


def create(call: Call, cls: type[Resource], **values: Any) -> None:
    """Make a resource."""
    from zctl.actions import crud

    given, tags = given_values(values)
    row = crud.create(call.context(), cls, given | ({"tags": tags} if tags else {}))
    report(call, cls, row, "created")


def report(call: Call, cls: type[Resource], row: Resource, what: str) -> None:
    """Show what a mutating verb made of a resource."""
    if call.dry_run:
        return
    if call.output in ("json", "yaml", "name"):
        show(call, cls, row.id)
    else:
        call.done(f"{row.label} {what}")


def list_rows(call: Call, cls: type[Resource]) -> None:
    """Print a list."""
    from zctl.cli.output import print_rows
    from zctl.inventory.listing import all_columns, default_columns, read_rows, require_columns

    columns = [word.strip() for word in call.columns.split(",") if word.strip()]
    if not columns:
        columns = all_columns(cls) if call.output in ("json", "yaml") else default_columns(cls, call.output == "wide")
    require_columns(cls, columns)
    with call.inventory.read() as db:
        rows = read_rows(
            db, cls, [*columns, "name"], call.filters or [], [word for word in call.sort.split(",") if word]
        )
    print_rows(call, cls, rows, columns)


def show(call: Call, cls: type[Resource], name: str) -> None:
    """Print one resource."""
    from zctl.cli.output import print_row
    from zctl.inventory.listing import read_row

    with call.inventory.read() as db:
        row = read_row(db, cls, name)
    print_row(call, cls, row)


def update(call: Call, cls: type[Resource], target: str, **values: Any) -> None:
    """Change a resource."""
    row, words = make_changes(call, cls, target, values)
    report(call, cls, row, words)


def make_changes(call: Call, cls: type[Resource], target: str, values: dict[str, Any]) -> tuple[Resource, str]:
    """Change a resource by the options given; returns it, and what became of it in words."""
    from zctl.actions import crud
    from zctl.cli.output import size_columns, text_of

    given, tags = given_values(values)
    if not given and not tags:
        raise Misuse(
            "nothing to change is given",
            resource=f"{cls.noun} {target}",
            remedy=f"zctl {cls.noun} update --help lists what can be changed",
        )
    row, changes = crud.update(call.context(), cls, target, given, tags)
    sizes = size_columns(cls)
    if not changes:
        return row, "unchanged: it is like that already"
    return row, "updated: " + ", ".join(
        f"{key} {text_of(old, key in sizes) or '-'} -> {text_of(new, key in sizes) or '-'}"
        for key, (old, new) in changes.items()
    )


def delete(call: Call, cls: type[Resource], names: list[str], cascade: bool) -> None:
    """Delete resources after a question that names all that goes."""
    from zctl.actions import crud

    going = crud.preview_delete(call.context(), cls, names, cascade=cascade)
    if cls.noun not in ("job", "event", "tag"):
        call.confirm(
            f"delete {', '.join(going[-12:])}" + (f" and {len(going) - 12} more" if len(going) > 12 else "") + "?"
        )
    gone = crud.delete(call.context(resume=False), cls, names, cascade=cascade)
    if call.output == "name":
        for row in gone:
            print(row.name)
    elif not call.dry_run:
        call.done(f"deleted {', '.join(row.label for row in gone[-12:])}")
