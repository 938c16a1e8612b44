"""install and gc: the machine that zctl runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zctl.cli.call import FORMATS, Call, command_apps

if TYPE_CHECKING:
    from zctl.actions.install import Installed

SHELLS = ("bash", "zsh", "fish")


def install(
    call: Call,
    cron: Annotated[bool, typer.Option("--cron", help="Use cron instead of systemd's timers.")] = False,
    check: Annotated[bool, typer.Option("--check", help="The same as --dry-run.")] = False,
    remove: Annotated[
        bool, typer.Option("--uninstall", help="Remove all that install made, but not the data.")
    ] = False,
) -> None:
    """Set up this machine as a management node: user, folders, timers, log rotation, completion. Needs root."""
    from zctl.actions import install as actions

    dry_run = call.dry_run or check
    if remove:
        call.confirm("remove zctl's timers and files from this machine, but not its data?")
        done = actions.uninstall(dry_run=dry_run)
    else:
        done = actions.install(cron=cron, completions=completions(), dry_run=dry_run)
    show(call, done, dry_run=dry_run)


def completions() -> dict[str, str]:
    """The completion script of each shell."""
    from typer._completion_shared import get_completion_script

    return {
        shell: get_completion_script(prog_name="zctl", complete_var="_ZCTL_COMPLETE", shell=shell) for shell in SHELLS
    }


def show(call: Call, done: Installed, *, dry_run: bool) -> None:
    """Tell what was done, or would be with all its texts."""
    from zctl.cli.call import warn
    from zctl.cli.output import dump

    if call.output in ("json", "yaml"):
        dump(call.output, {"dry_run": dry_run, **done.as_dict()})
        return
    for what, diff in done.done:
        if dry_run:
            print(what)
            print("".join(f"{line}\n" for line in diff), end="")
        else:
            call.done(what)
    for note in done.notes:
        warn(note)
    counted = f"{len(done.done)} changes" if done.done else "unchanged"
    call.done(f"management node: {counted}{' to make' if done.done and dry_run else ''}")


def gc(
    call: Call,
    events_days: Annotated[int, typer.Option("--events-days", help="Keep events so many days.", min=1)] = 90,
    jobs_days: Annotated[
        int, typer.Option("--jobs-days", help="Keep ended jobs, and folders of failed runs, so many days.", min=1)
    ] = 30,
) -> None:
    """Remove old events, ended jobs, what dead processes left in files, and nodes silent for 30 days."""
    from zctl.actions.garbage import collect
    from zctl.cli.output import dump

    found = collect(call.context(resume=False), events_days, jobs_days).as_dict()
    if call.output in ("json", "yaml"):
        dump(call.output, found)
        return
    words = ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for noun, number in found.items() if number)
    call.done(f"{'would remove' if call.dry_run else 'removed'} {words}" if words else "nothing to remove")


def apps() -> dict[str, typer.Typer]:
    """A Typer application for each of the commands."""
    return command_apps({"install": (install, True, FORMATS), "gc": (gc, True, FORMATS)})
