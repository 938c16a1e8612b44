"""Commands that belong to no noun: init, refresh, render, wait, version."""

from __future__ import annotations

from typing import Annotated

import typer

from zctl.cli.call import FORMATS, Call, command_apps
from zctl.cli.complete import names_of
from zctl.errors import HostError


def version(call: Call) -> None:
    """Print the version."""
    from zctl import __version__

    if call.output in ("json", "yaml"):
        from zctl.cli.output import dump

        dump(call.output, {"version": __version__})
    else:
        print(__version__)


def init(call: Call) -> None:
    """Make the inventory, or bring its schema up to date. An existing one keeps all it holds."""
    from zctl.cli.output import report
    from zctl.inventory.engine import shown
    from zctl.inventory.head import HEAD
    from zctl.inventory.schema import initialise

    done, name = initialise(call.config.url), shown(call.config.url)
    values = {"database": name, "revision": HEAD, "changed": done != "unchanged", "done": done}
    report(call, values, f"inventory {name}: {done}")


def refresh(
    call: Call,
    names: Annotated[
        list[str] | None, typer.Argument(help="Hosts; none: all.", autocompletion=names_of("host"))
    ] = None,
) -> None:
    """Read the state of all VMs back from the hosts; changes nothing there."""
    from zctl.actions import hosts

    problems = hosts.refresh(call.context(), names or [])
    for name, problem in problems.items():
        call.done(f"host {name}: {problem}")
    if problems:
        raise HostError("could not be read", resource=f"host {', '.join(problems)}", remedy="zctl host check NAME")


def render(
    call: Call,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="New or empty folder.", show_default=False)],
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="Only this host; may be repeated.", autocompletion=names_of("host")),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write a folder anew that was rendered before.")] = False,
) -> None:
    """Write what a run would do as a folder that ansible-playbook runs without zctl. Contacts no host."""
    from pathlib import Path

    from zctl.actions.render_folder import render_folder

    done = render_folder(call.context(resume=False), Path(folder), host or [], force=force)
    if call.output in ("json", "yaml"):
        from zctl.cli.output import dump

        dump(call.output, {"folder": str(done.folder), "hosts": done.hosts, "files_changed": done.written})
        return
    call.done(f"folder {folder}: {len(done.hosts)} host(s), {done.written} files changed; see its README.md")


def wait(
    call: Call,
    noun: Annotated[str, typer.Argument(help="Resource type, such as vm.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Name.", show_default=False)],
    condition: Annotated[
        str, typer.Argument(help="KEY=VALUE, KEY!=VALUE, or ip: the VM's addresses answer.", show_default=False)
    ],
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds.", min=0)] = 300,
) -> None:
    """Wait until a resource is in a state, or a VM answers."""
    from zctl.actions.wait import wait as run
    from zctl.resources.registry import resource_class

    run(call.context(resume=False), resource_class(noun), name, condition, timeout)
    call.done(f"{noun} {name}: {condition}")


def apps() -> dict[str, typer.Typer]:
    """A Typer application for each of the commands."""
    return command_apps(
        {
            "version": (version, False, FORMATS),
            "init": (init, False, FORMATS),
            "refresh": (refresh, False, FORMATS),
            "render": (render, False, FORMATS),
            "wait": (wait, False, FORMATS),
        }
    )
