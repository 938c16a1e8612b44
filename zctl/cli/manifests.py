"""plan, apply and export: the cloud as text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zctl.cli.call import FORMATS, Call, command_apps
from zctl.cli.drift import Hosts, Names, Noun, plan_drift, selection_of
from zctl.errors import Invalid, Misuse, ZctlError

if TYPE_CHECKING:
    from zctl.actions.intent import Options
    from zctl.plan.changes import Plan
    from zctl.plan.manifest import Manifest

PREFIX = "ZCTL_VAR_"
Files = Annotated[
    list[str] | None,
    typer.Option(
        "--file", "-F", "-f", help="Manifest, folder of manifests, or - for stdin; may be repeated.", show_default=False
    ),
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--var", help="NAME=VALUE of a variable; may be repeated.", metavar="NAME=VALUE", show_default=False),
]
VariableFiles = Annotated[
    list[str] | None,
    typer.Option("--var-file", help="YAML file with variables; may be repeated, later ones win.", show_default=False),
]
SetName = Annotated[str, typer.Option("--set", help="Name of the set that owns what the manifests describe.")]
Prune = Annotated[bool, typer.Option("--prune", help="Remove what the set owns and no document describes.")]
TakeOver = Annotated[bool, typer.Option("--take-over", help="Take resources that belong to another set.")]
Detailed = Annotated[
    bool, typer.Option("--detailed-exitcode", help="Exit 2 when something would change, 1 when something is refused.")
]


def read_manifest(files: list[str], var: list[str] | None, var_file: list[str] | None, set_name: str) -> Manifest:
    """The documents with their variables: the Set's, over them files, the environment, and the command line."""
    from zctl.plan.manifest import read

    variables: dict[str, Any] = {}
    for path in var_file or []:
        variables |= variables_in(path)
    variables |= {key.removeprefix(PREFIX): value for key, value in os.environ.items() if key.startswith(PREFIX)}
    given = {}
    for text in var or []:
        name, mark, value = text.partition("=")
        if not (mark and name):
            raise Misuse(f"--var {text!r} is not NAME=VALUE")
        given[name] = value
    from zctl.actions.apply import document_classes

    return read(files, list(document_classes()), set_name=set_name, variables=variables, given=given)


def variables_in(path: str) -> dict[str, Any]:
    """The variables of one file: a YAML mapping."""
    from zctl.plan.yaml_text import documents

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from None
    found = [value for value, _line in documents(text, path) if value is not None]
    if len(found) > 1 or not all(isinstance(value, dict) for value in found):
        raise Invalid(f"{path} is not one mapping of variables", remedy="write NAME: VALUE on each line")
    return dict(found[0]) if found else {}


def options_of(manifest: Manifest, prune: bool, take_over: bool) -> Options:
    """How the documents are applied. Raises Misuse for pruning without a set."""
    from zctl.actions.intent import Options

    if prune and not manifest.set_name:
        raise Misuse(
            "--prune needs to know what the manifests own",
            remedy="add a document of kind Set with a name, or --set NAME",
        )
    return Options(manifest.set_name, prune, take_over)


def plan(
    call: Call,
    files: Files = None,
    var: Variables = None,
    var_file: VariableFiles = None,
    set_name: SetName = "",
    prune: Prune = False,
    take_over: TakeOver = False,
    out: Annotated[str, typer.Option("--out", help="Save the plan for zctl apply.", metavar="PATH")] = "",
    detailed: Detailed = False,
    host: Hosts = None,
    noun: Noun = "",
    name: Names = None,
) -> None:
    """Say what an apply of manifests would change; without manifests, how hosts differ from the inventory."""
    try:
        if not files:
            if var or var_file or set_name or prune or take_over or out:
                raise Misuse("no manifest is given", remedy="zctl plan -f FILE; zctl plan alone compares the hosts")
            plan_drift(call, selection_of(host, noun, name), detailed=detailed)
            return
        if host or noun or name:
            raise Misuse("--host, --noun and --name select what is compared on hosts", remedy="leave -f out, or them")
        if call.read_from == "replica":
            call.progress.say("a plan of manifests is worked out on the primary, in a transaction that is undone")
        manifest = read_manifest(files, var, var_file, set_name)
        plan_documents(call, manifest, options_of(manifest, prune, take_over), out, detailed=detailed)
    except ZctlError as error:
        if detailed:  # 2 means that something would change, and nothing else
            error.exit_code = 1
        raise


def plan_documents(call: Call, manifest: Manifest, options: Options, out: str, *, detailed: bool) -> None:
    """Show what an apply would change, and save it when asked to."""
    from zctl.actions.apply import plan as run
    from zctl.actions.saved_plan import save

    context = call.context(resume=False)
    found = run(context, manifest, options)
    show(call, found)
    refuse(found)
    if out:
        save(context, Path(out), manifest, options, found)
        call.done(f"saved; zctl apply {out} does exactly this")
    if detailed and not found.is_empty:
        raise typer.Exit(2)


def show(call: Call, found: Plan, *, done: bool = False) -> None:
    """Print a plan, or what was done of it, as the output format says."""
    from zctl.cli.output import dump
    from zctl.cli.plan_text import lines, markdown

    if call.output in ("json", "yaml"):
        dump(call.output, found.as_dict())
    elif call.output == "markdown":
        print(markdown(found))
    elif call.output == "name":
        for change in found.changes:
            print(f"{change.noun}/{change.name}")
    else:
        for line in lines(found, done=done and not call.dry_run):
            print(line)


def apply(
    call: Call,
    saved: Annotated[
        str | None, typer.Argument(help="Plan saved by zctl plan --out.", metavar="[PLAN]", show_default=False)
    ] = None,
    files: Files = None,
    var: Variables = None,
    var_file: VariableFiles = None,
    set_name: SetName = "",
    prune: Prune = False,
    take_over: TakeOver = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Read the hosts first, also if nothing changed.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Restart VMs for which a change waits.")] = False,
) -> None:
    """Create, change and remove resources as manifests say, in one run; or do what a saved plan says."""
    from zctl.actions import apply as actions

    if saved:
        if files or var or var_file or set_name or prune or take_over:
            raise Misuse("a saved plan has its documents and options in it", remedy="give the plan alone, or -f FILE")
        apply_saved(call, saved, refresh=refresh, restart=restart)
        return
    if not files:
        raise Misuse("neither a manifest nor a plan is given", remedy="zctl apply -f FILE, or zctl apply PLAN")
    manifest = read_manifest(files, var, var_file, set_name)
    options = options_of(manifest, prune, take_over)
    context = call.context()
    judge = None
    if prune and not call.dry_run:
        going = actions.removals(actions.plan(context, manifest, options))
        if going:
            names = ", ".join(change.label for change in going[:12])
            call.confirm(f"remove {names}" + (f" and {len(going) - 12} more" if len(going) > 12 else "") + "?")
        judge = actions.same_removals(going)
    done = actions.apply(context, manifest, options, judge=judge, refresh=refresh, restart=restart)
    show_applied(call, done)
    refuse(done)


def refuse(found: Plan) -> None:
    """End with exit code 1 when something of a plan cannot be done."""
    from zctl.errors import Refused

    if found.refused:
        raise Refused(f"{len(found.refused)} of the changes cannot be made", remedy="see the lines marked with !")


def apply_saved(call: Call, path: str, *, refresh: bool, restart: bool) -> None:
    """Do what a plan file says, or refuse."""
    from zctl.actions import apply as actions
    from zctl.actions import saved_plan

    context = call.context()
    plan_file = saved_plan.load(context, Path(path))
    going = [name for action, _noun, name, _fields in plan_file.forecast if action == "remove"]
    if going:
        call.confirm(f"remove {', '.join(going[:12])}" + (f" and {len(going) - 12} more" if going[12:] else "") + "?")
    check = saved_plan.judge(plan_file)
    agreed = False

    def judge(plan: Plan) -> None:
        nonlocal agreed
        check(plan)
        agreed = True

    try:
        done = actions.apply(
            context, plan_file.manifest, plan_file.options, judge=judge, refresh=refresh, restart=restart
        )
    finally:
        if agreed and plan_file.forecast and not call.dry_run:
            saved_plan.remember(context, plan_file)
    show_applied(call, done)


def show_applied(call: Call, done: Plan) -> None:
    """Tell what an apply did, or would do."""
    if not call.quiet or call.output in ("json", "yaml", "name"):
        show(call, done, done=True)


def export(
    call: Call,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only this kind, such as Vm; may be repeated.", show_default=False),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="Only those with KEY=VALUE or KEY!=VALUE; may be repeated.", metavar="K=V"),
    ] = None,
) -> None:
    """Write the inventory as manifests that change nothing when they are applied."""
    from zctl.actions.export import export as run

    with call.inventory.read() as db:
        for text in run(db, kinds or [], filters or []):
            print(text, end="")


def apps() -> dict[str, typer.Typer]:
    """A Typer application for each of the commands."""
    return command_apps(
        {
            "plan": (plan, False, (*FORMATS, "markdown")),
            "apply": (apply, True, (*FORMATS, "markdown")),
            "export": (export, False, FORMATS),
        },
        reading=("plan", "export"),
    )
