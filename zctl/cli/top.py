"""Commands that belong to no noun: init, apply, converge, refresh, render, wait, version."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of
from zctl.errors import HostError, Misuse


def version(call: Call) -> None:
    """Print the version."""
    from zctl import __version__

    print(__version__)


def init(call: Call) -> None:
    """Make the inventory, or bring its schema up to date. An existing one keeps all it holds."""
    from zctl.inventory.engine import shown
    from zctl.inventory.schema import initialise

    done = initialise(call.config.url)
    call.done(f"inventory {shown(call.config.url)}: {done}")


def apply(
    call: Call,
    files: Annotated[
        list[str],
        typer.Option(
            "--file",
            "-F",
            "-f",
            help="Manifest, folder of manifests, or - for stdin; may be repeated.",
            show_default=False,
        ),
    ],
) -> None:
    """Create and update resources from manifests, in one run."""
    from zctl.actions.apply import apply as run
    from zctl.plan.manifest import read
    from zctl.resources.registry import all_classes

    kinds = [cls.__name__ for cls in all_classes() if cls.manifest and not cls.read_only]
    documents = read(files, kinds)
    done = run(call.context(), documents)
    if call.output in ("json", "yaml"):
        from zctl.cli.output import dump

        dump(
            call.output,
            {
                "created": done.created,
                "updated": {k: {f: list(map(str, v)) for f, v in c.items()} for k, c in done.updated.items()},
                "unchanged": done.unchanged,
            },
        )
        return
    print_applied(call, done)


def print_applied(call: Call, done: Any) -> None:
    """One line for each change, one for the sum."""
    from zctl.cli.output import text_of

    would = "would be " if call.dry_run else ""
    if not call.quiet:
        for label in done.created:
            print(f"+ {label}")
        for label, changes in done.updated.items():
            print(
                f"~ {label}: "
                + ", ".join(
                    f"{key} {text_of(old) or '-'} -> {text_of(new) or '-'}" for key, (old, new) in changes.items()
                )
            )
        print(
            f"{would}created {len(done.created)}, {would}updated {len(done.updated)}, unchanged {len(done.unchanged)}"
        )


def converge(
    call: Call,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="Only this host; may be repeated.", autocompletion=names_of("host")),
    ] = None,
) -> None:
    """Bring hosts to what the inventory wants, whatever state they are in."""
    from zctl.actions import jobs
    from zctl.actions.converge import converge as run
    from zctl.resources.host import Host
    from zctl.resources.lookup import find

    context = call.context()
    with context.inventory.read() as db:
        chosen = {find(db, Host, name).id for name in host or []}
    ids = jobs.host_ids(context, lambda row: not chosen or row.id in chosen)
    if not ids:
        raise Misuse("there are no hosts", remedy="zctl host create NAME --cluster CLUSTER --address ADDRESS")
    if call.dry_run:
        call.done(f"would bring {len(ids)} hosts to their state")
        return
    report = run(context, ids, "converge", full=True)
    failed = []
    for key, found in report.hosts.items():
        counts = {
            word: sum(entry.result == word for entry in found.results)
            for word in ("changed", "unchanged", "removed", "failed")
        }
        words = (
            found.unreachable
            or found.failure
            or ", ".join(f"{number} {word}" for word, number in counts.items() if number)
        )
        call.done(f"host {found.host}: {words or 'nothing to do'}")
        for entry in found.results:
            if entry.result == "failed":
                call.done(f"  {entry.kind} {entry.name}: {entry.reason}")
        if not found.ok:
            failed.append(report.hosts[key].host)
    for key, why in report.skipped.items():
        call.done(f"host {key[:8]}: {why}")
    if failed:
        raise HostError(
            "not all is as it should be",
            resource=f"host {', '.join(failed)}",
            remedy="mend what is named above, then zctl converge",
        )


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
    made = {}
    for name, body, mutating in (
        ("version", version, False),
        ("init", init, False),
        ("apply", apply, True),
        ("converge", converge, True),
        ("refresh", refresh, False),
        ("render", render, False),
        ("wait", wait, False),
    ):
        app = typer.Typer(
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        add_command(app, name, body, mutating=mutating)
        made[name] = app
    return made
