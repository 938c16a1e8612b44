"""One call of a command: the options that all commands share, the open inventory, and errors told once."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zctl.errors import Misuse, ZctlError

if TYPE_CHECKING:
    from zctl.actions.context import Context
    from zctl.config import Config
    from zctl.inventory.engine import Inventory

FORMATS = ("table", "wide", "json", "yaml", "name")


def _complete_format(incomplete: str) -> list[str]:
    return [name for name in FORMATS if name.startswith(incomplete)]


def _option(kind: Any, *names: str, help: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(*names, help=help, **more)]


SHARED: dict[str, tuple[Any, Any]] = {
    "output": (
        _option(str, "--output", "-o", help="table, wide, json, yaml or name.", autocompletion=_complete_format),
        "table",
    ),
    "quiet": (_option(bool, "--quiet", "-q", help="No progress, no confirmations of success."), False),
    "debug": (_option(bool, "--debug", help="Show traces and keep the files of runs."), False),
    "no_color": (_option(bool, "--no-color", help="No colours (also by NO_COLOR)."), False),
    "db": (_option(str, "--db", help="Inventory: a file or a SQLAlchemy URL (also by ZCTL_DB).", metavar="URL"), ""),
}
MUTATING: dict[str, tuple[Any, Any]] = {
    "yes": (_option(bool, "--yes", "-y", help="Answer questions with yes."), False),
    "dry_run": (_option(bool, "--dry-run", help="Say what would be done, change nothing."), False),
    "reason": (_option(str, "--reason", help="Why; kept in the event.", metavar="TEXT"), ""),
}
SOURCES = ("primary", "replica")
READING: dict[str, tuple[Any, Any]] = {
    "read_from": (
        _option(
            str,
            "--read-from",
            help="Of a database with several servers, read the primary, or a replica.",
            metavar="primary|replica",
            autocompletion=lambda incomplete: [name for name in SOURCES if name.startswith(incomplete)],
        ),
        "primary",
    ),
}
LISTING: dict[str, tuple[Any, Any]] = {
    "columns": (_option(str, "--columns", "-c", help="Columns, separated by commas.", metavar="A,B"), ""),
    "sort": (_option(str, "--sort", help="Columns to sort by, - before one reverses it.", metavar="A,-B"), ""),
    "filters": (
        _option(list[str], "--filter", "-f", help="KEY=VALUE or KEY!=VALUE; may be repeated.", metavar="K=V"),
        [],
    ),
    "no_header": (_option(bool, "--no-header", help="No line of column names."), False),
}


@dataclass
class Call:
    """What one call was given beyond its own arguments."""

    output: str = "table"
    quiet: bool = False
    debug: bool = False
    no_color: bool = False
    db: str = ""
    yes: bool = False
    dry_run: bool = False
    reason: str = ""
    columns: str = ""
    sort: str = ""
    filters: list[str] | None = None
    no_header: bool = False
    read_from: str = "primary"

    @cached_property
    def config(self) -> Config:
        """The settings."""
        from zctl.config import load

        return load(db=self.db, debug=self.debug)

    @cached_property
    def inventory(self) -> Inventory:
        """The open inventory; its schema has been checked."""
        from zctl.inventory.engine import Inventory

        if self.read_from not in SOURCES:
            raise Misuse(f"--read-from {self.read_from!r} is neither primary nor replica")
        inventory = Inventory(self.config.url, read_from=self.read_from, waiting=self.say)
        inventory.check_schema()
        return inventory

    @cached_property
    def progress(self) -> Any:
        """Where progress goes."""
        from zctl.cli.progress import Progress

        return Progress(quiet=self.quiet, color=not self.no_color)

    def say(self, words: str) -> None:
        """A line of progress. What shows it is loaded only then."""
        self.progress.say(words)

    def context(self, *, resume: bool = True) -> Context:
        """What actions need. Before anything new, what dead processes left is finished or undone."""
        from zctl.actions.context import Context
        from zctl.actions.jobs import resume_orphans

        context = Context(
            self.config, self.inventory, self.say, warn, self.progress.watch, self.reason or None, self.dry_run
        )
        if resume and not self.dry_run:
            resume_orphans(context)
        return context

    def confirm(self, question: str) -> None:
        """Ask before something is lost. Raises Misuse when nobody is there to answer."""
        if self.yes or self.dry_run:
            return
        if not sys.stdin.isatty():
            raise Misuse(f"{question} needs a yes", remedy="add --yes")
        self.progress.stop()
        if not typer.confirm(question, err=True):
            raise typer.Exit(1)

    def done(self, text: str) -> None:
        """Say that something was done, on stderr, unless asked to be quiet."""
        if not self.quiet:
            print(text, file=sys.stderr)


def warn(text: str) -> None:
    """A warning for people."""
    print(f"warning: {text}", file=sys.stderr)


def shared_options(*, mutating: bool, listing: bool, reading: bool) -> dict[str, tuple[Any, Any]]:
    """The options that a command gets beside its own: kind and default by name."""
    wanted = (LISTING if listing else {}) | (MUTATING if mutating else {}) | SHARED
    return wanted | (READING if reading or listing else {})


def shared_parameters(wanted: dict[str, tuple[Any, Any]]) -> list[inspect.Parameter]:
    """The same as parameters."""
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in wanted.items()
    ]


def add_command(
    app: typer.Typer,
    name: str,
    body: Callable[..., None],
    own: list[inspect.Parameter] | None = None,
    *,
    mutating: bool = False,
    listing: bool = False,
    reading: bool = False,
    help: str = "",
    formats: tuple[str, ...] = FORMATS,
) -> None:
    """Register `body(call, **own)` as a command with the shared options.

    `own` are its parameters; when not given they are taken from the function's signature. `reading`: it only reads, as
    those with `listing` do, so that it may be sent to a replica.
    """
    if own is None:
        signature = inspect.signature(body, eval_str=True)
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in list(signature.parameters.values())[1:]]
    shared = shared_options(mutating=mutating, listing=listing, reading=reading)
    parameters = own + shared_parameters(shared)

    def command(**values: Any) -> None:
        taken = {key: values.pop(key) for key in list(values) if key in shared}
        call = Call(**taken)
        with Guard(call):
            if call.output not in formats:
                raise Misuse(f"there is no output format {call.output!r}", remedy=f"formats: {', '.join(formats)}")
            body(call, **values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = help or inspect.getdoc(body)
    command.__name__ = name.replace("-", "_")
    app.command(name)(command)


def group_app(help: str) -> typer.Typer:
    """A Typer application for a word that only has verbs."""

    def group() -> None:
        """Nothing of its own: it is there for the verbs."""

    app = typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(help=help)(group)
    return app


def command_apps(
    commands: dict[str, tuple[Callable[..., None], bool, tuple[str, ...]]], reading: tuple[str, ...] = ()
) -> dict[str, typer.Typer]:
    """A Typer application for each command that belongs to no noun: name -> body, whether it mutates, formats.

    `reading` names those that may read from a replica.
    """
    made = {}
    for name, (body, mutating, formats) in commands.items():
        made[name] = typer.Typer(
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        add_command(made[name], name, body, mutating=mutating, reading=name in reading, formats=formats)
    return made


class Guard:
    """The one place where errors are told and become exit codes."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _trace: Any) -> Literal[False]:
        if "progress" in self.call.__dict__:
            self.call.progress.stop()
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0)
        if isinstance(error, KeyboardInterrupt):
            print(
                "interrupted; the next zctl command finishes or undoes what was begun (zctl job list)", file=sys.stderr
            )
            raise typer.Exit(1)
        if error is None or not isinstance(error, Exception) or is_typers(error):
            return False
        if self.call.debug:
            import traceback

            traceback.print_exception(error)
        if not isinstance(error, ZctlError):
            error = ZctlError(
                f"zctl itself went wrong: {type(error).__name__}: {error}",
                remedy="please report it with the trace above"
                if self.call.debug
                else "--debug shows where; please report it with that",
            )
        tell(error, self.call.output)
        raise typer.Exit(error.exit_code)


def is_typers(error: Exception) -> bool:
    """Whether an exception is the command line library's own way to end or to tell of misuse."""
    return type(error).__module__.split(".")[0] in ("typer", "click")


def tell(error: ZctlError, output: str) -> None:
    """Print an error: a line for people, JSON for programs, both on stderr."""
    if output == "json":
        import json

        print(json.dumps({"error": error.as_dict()}), file=sys.stderr)
        return
    head = f"{error.resource}: {error.what}" if error.resource else error.what
    print(f"error: {head}", file=sys.stderr)
    if error.remedy:
        print(f"  what to do: {error.remedy}", file=sys.stderr)
