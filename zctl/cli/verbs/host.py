"""zctl host create, check, maintenance, enable, adopt."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of
from zctl.cli.nouns import given_values, report
from zctl.resources.base import Resource
from zctl.resources.host import Host

Name = Annotated[str, typer.Argument(help="Name.", autocompletion=names_of("host"), show_default=False)]


def create(call: Call, cls: type[Resource], **values: Any) -> None:
    """Add a host: pin its SSH key, prepare it, look at what it has."""
    from zctl.actions import hosts

    given, tags = given_values(values)
    context = call.context()
    pinned = hosts.pin_host_key(context, given)
    row = hosts.create(context, pinned | ({"tags": tags} if tags else {}))
    report(call, Host, row, f"created: {row.cpus} CPUs, {row.virtualization}, {row.state}" if not call.dry_run else "")


def check(call: Call, name: Name) -> None:
    """Say in plain words what is missing on a host; changes nothing there."""
    from zctl.actions import hosts
    from zctl.cli.output import dump

    found = hosts.check(call.context(resume=False), name)
    if call.output in ("json", "yaml"):
        dump(call.output, {"host": name, "problems": found})
    else:
        for line in found:
            print(f"- {line}")
        call.done(f"host {name}: {len(found)} problems" if found else f"host {name} has all it needs")
    if found:
        raise typer.Exit(1)


def maintenance(call: Call, name: Name) -> None:
    """Leave a host alone: nothing is placed or done there until it is enabled."""
    from zctl.actions import hosts

    report(call, Host, hosts.set_maintenance(call.context(), name, True), "in maintenance")


def enable(call: Call, name: Name) -> None:
    """End a host's maintenance and do there what has waited."""
    from zctl.actions import hosts

    report(call, Host, hosts.set_maintenance(call.context(), name, False), "enabled")


def adopt(
    call: Call,
    names: Annotated[
        list[str] | None, typer.Argument(help="Hosts.", autocompletion=names_of("host"), show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All connected hosts.")] = False,
    domain: Annotated[
        list[str] | None, typer.Option("--domain", help="Only this domain: name, HOST/NAME or UUID; repeatable.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="Not this domain; repeatable.")] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="DOMAIN=VM: what a VM is to be called; repeatable.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option("--network", help="BRIDGE=L3-NETWORK: what a bridge carries; repeatable.")
    ] = None,
) -> None:
    """Take over VMs that zctl did not make, in place: nothing stops, nothing is copied."""
    from zctl.actions.adopt import adopt as take_over
    from zctl.cli.adoption import pairs, show
    from zctl.plan.adoption import Choice

    choice = Choice(tuple(domain or ()), tuple(exclude or ()), pairs("--name", name), pairs("--network", network))
    found = take_over(call.context(), names or [], every, choice)
    show(call, found)
    if not found.complete:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the verbs to the noun."""
    add_command(app, "check", check)
    add_command(app, "maintenance", maintenance, mutating=True)
    add_command(app, "enable", enable, mutating=True)
    add_command(app, "adopt", adopt, mutating=True)
