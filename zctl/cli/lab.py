"""Throwaway real hosts on this machine, to try zctl without hardware."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from zctl.errors import Misuse, ZctlError

app = typer.Typer(name="lab", help=__doc__, no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Option("--name", help="Which lab; several can exist side by side.")]
Host = Annotated[str, typer.Argument(help="The host's name: h1, h2, ..., k1, ...", metavar="HOST")]
Output = Annotated[str, typer.Option("-o", "--output", help="table, json or yaml.")]


def say(line: str) -> None:
    """Progress goes to stderr, so that stdout can be piped."""
    print(f"lab: {line}", file=sys.stderr, flush=True)


@app.command()
def up(
    name: Name = "lab",
    hosts: Annotated[int, typer.Option("--hosts", help="How many hosts it shall have at least.")] = 3,
    full_kernel: Annotated[
        int,
        typer.Option(
            "--full-kernel", help="How many more hosts it shall have that are slow machines with a kernel of their own."
        ),
    ] = 0,
    bare: Annotated[
        bool, typer.Option("--bare", help="Hosts with Python and sshd only, to test installation.")
    ] = False,
) -> None:
    """Bring a lab up, or back up: missing hosts are added, hosts that are off are switched on."""
    from zctl.lab.lab import Lab

    lab = Lab.up(name, hosts, bare=bare, full_kernel=full_kernel, say=say)
    say(f"{name} is up: {', '.join(f'{host.name} {host.address}' for host in lab.hosts)}")


@app.command("cloud-image")
def cloud_image() -> None:
    """Build the guest image with cloud-init, unless it is there, and print its path."""
    from zctl.lab.guest_image import cloud_guest_image

    print(cloud_guest_image(say).qcow2)


@app.command()
def down(
    name: Name = "lab",
    everything: Annotated[bool, typer.Option("--all", help="Every lab of this machine.")] = False,
) -> None:
    """Remove a lab and all that it made on this machine; downloads stay cached."""
    from zctl.lab.lab import Lab

    for one in Lab.names() if everything else [name]:
        if not Lab.down(one, say=say):
            say(f"there is no lab {one}: nothing to do")


@app.command()
def status(
    name: Annotated[str, typer.Option("--name", help="Which lab; default: all.")] = "", output: Output = "table"
) -> None:
    """Show labs and their hosts: addresses, states, keys."""
    from zctl.lab.lab import Lab

    labs = [Lab.open(one).status() for one in ([name] if name else Lab.names())]
    if output == "json":
        print(json.dumps(labs[0] if name else labs, indent=2))
    elif output == "yaml":
        import yaml

        print(yaml.safe_dump(labs[0] if name else labs, sort_keys=False), end="")
    elif output == "table":
        _table(labs)
    else:
        raise Misuse(f"there is no output format '{output}' here", remedy="use table, json or yaml")


def _table(labs: list[dict[str, object]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("LAB", "HOST", "STATE", "ADDRESS", "DATA NETWORK", "GATEWAY"):
        table.add_column(head, overflow="fold")
    for lab in labs:
        hosts, data = lab["hosts"], lab["data"]
        assert isinstance(hosts, list) and isinstance(data, dict)
        for host in hosts:
            row = (lab["name"], host["name"], host["state"], host["address"], data["cidr"], data["gateway"])
            table.add_row(*(str(value) for value in row))
    Console().print(table)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def ssh(context: typer.Context, host: Host, name: Name = "lab") -> None:
    """Log in to a host, or run a command there: zctl lab ssh h1 -- ip address"""
    from zctl.lab.lab import Lab

    argv = Lab.open(name).ssh_argv(host, *context.args)
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606


@app.command()
def reboot(host: Host, name: Name = "lab") -> None:
    """Power-cycle a host: hard off and on again, its disk stays."""
    from zctl.lab.lab import Lab

    Lab.open(name).reboot(host, say=say)


@app.command()
def kill(host: Host, name: Name = "lab") -> None:
    """Cut a host's power; it stays off until the next 'zctl lab up'."""
    from zctl.lab.lab import Lab

    Lab.open(name).kill(host, say=say)


def main() -> None:
    """Entry for `python -m zctl.lab`: errors are one line, 1 for failed and 2 for misuse."""
    try:
        app(prog_name="zctl lab")
    except ZctlError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
