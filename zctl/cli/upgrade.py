"""upgrade: the inventory of an older zctl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zctl.cli.call import FORMATS, Call, command_apps
from zctl.errors import Misuse

if TYPE_CHECKING:
    from zctl.actions.upgrade import Standing
    from zctl.plan.drift import Drift

PREFIX = "zctl-before-upgrade"


def upgrade(
    call: Call,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be done.")] = False,
    hosts: Annotated[
        bool, typer.Option("--hosts", help="Compare the hosts with the inventory too; takes as long as zctl plan.")
    ] = False,
    no_dump: Annotated[bool, typer.Option("--no-dump", help="Make no dump first: there is one already.")] = False,
) -> None:
    """Bring the inventory's schema to this zctl, after a dump. Back leads only that dump, with the older zctl."""
    from zctl.actions import upgrade as actions

    if check or call.dry_run:
        standing = actions.look(call.config.url)
    else:
        call.confirm("upgrade the inventory? Older zctl cannot work with it afterwards")
        standing = actions.upgrade(call.config, None if no_dump else lambda: dump(call), call.progress.say)
    done = not (check or call.dry_run)
    show(call, standing, compare(call, standing, done=done) if hosts else None, done=done)


def dump(call: Call) -> str:
    """Dump the inventory; returns the command that restores it."""
    from zctl.actions.dump import SAFETY_KEEP, Wish, take
    from zctl.inventory.engine import Inventory

    wish = Wish(prefix=PREFIX, keep=SAFETY_KEEP)
    path = take(call.config, Inventory(call.config.url), wish, call.progress.say).dump.path
    return f"zctl restore_mysql --file {path}"


def show(call: Call, standing: Standing, drift: Drift | None, *, done: bool) -> None:
    """Tell how the inventory stands, or what became of it."""
    from zctl.cli.drift_text import summary
    from zctl.cli.output import dump as write

    if call.output in ("json", "yaml"):
        about_hosts = {} if drift is None else {"hosts": drift.as_dict()}
        write(call.output, {"upgraded": done and bool(standing.migrations), **standing.as_dict(), **about_hosts})
        return
    print(f"zctl       {standing.zctl}")
    print(f"inventory  {standing.inventory}")
    print(f"schema     {standing.schema}, this zctl has {standing.wanted}")
    for revision, about in standing.migrations:
        print(f"  {'+' if done else 'to do'} {revision} {about.rstrip('.')}")
    for name, version in standing.nodes.items():
        print(f"node       {name} runs zctl {version}: install {standing.zctl} there too")
    if standing.waiting:
        print(f"hosts      something waits for {', '.join(standing.waiting)}: zctl converge")
    if drift is not None:
        print("hosts      " + summary(drift).replace("\n", "\n           "))
    if not standing.migrations:
        call.done("the inventory is up to date")
    elif done:
        call.done("upgraded; zctl plan says whether the hosts need a converge")


def compare(call: Call, standing: Standing, *, done: bool) -> Drift:
    """How the hosts, and what zctl wrote down there, differ. Raises Misuse before the schema is this version's."""
    from zctl.actions.drift import Selection, drift

    if standing.migrations and not done:
        raise Misuse("hosts can be compared when the inventory is upgraded", remedy="zctl upgrade --hosts")
    return drift(call.context(resume=False), Selection())


def apps() -> dict[str, typer.Typer]:
    """A Typer application for each of the commands."""
    return command_apps({"upgrade": (upgrade, True, FORMATS)})
