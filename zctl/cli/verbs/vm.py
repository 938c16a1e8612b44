"""zctl vm create, update, start, stop, reboot, destroy, recover, console, ssh, reset-ssh-key."""

from __future__ import annotations

import base64
import inspect
import os
import sys
from typing import Annotated, Any

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of
from zctl.cli.nouns import create as create_row
from zctl.cli.nouns import make_changes, report
from zctl.errors import Misuse
from zctl.resources.base import Resource
from zctl.resources.vm import Vm

Names = Annotated[
    list[str], typer.Argument(help="Names, or beginnings of UUIDs.", autocompletion=names_of("vm"), show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Do not wait for the guest.")]
UPDATE_OPTIONS = [
    inspect.Parameter(
        "restart",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[
            bool, typer.Option("--restart", help="Restart it at once when something waits for its next start.")
        ],
    )
]


def take_user_data(label: str, values: dict[str, Any]) -> None:
    """Put what is in the file that --user-data names in its place; an empty name takes user data away."""
    from zctl.cli.verbs.keypair import read_file
    from zctl.resources.user_data import MARK

    if values.get("user_data"):
        raw = read_file(label, values["user_data"])
        if not raw:
            raise Misuse("the user data are empty", resource=label, remedy="give a file with something in it")
        values["user_data"] = MARK + base64.b64encode(raw).decode()


def create(call: Call, cls: type[Resource], **values: Any) -> None:
    """Make a VM."""
    take_user_data(f"vm {values['name']}", values)
    create_row(call, cls, **values)


def update(call: Call, cls: type[Resource], target: str, restart: bool, **values: Any) -> None:
    """Change a VM while it runs as far as that goes, and say what waits for its next start."""
    from zctl.actions import vms

    take_user_data(f"vm {target}", values)
    row, words = make_changes(call, cls, target, values)
    assert isinstance(row, Vm)
    if restart and not call.dry_run:
        for restarted in vms.restart_pending(call.context(resume=False), [row.id]):
            row, words = restarted, f"{words}; restarted"
    report(call, Vm, row, words)
    if row.pending and not call.dry_run:
        call.done(f"{'; '.join(row.pending)} (now: zctl vm reboot {row.name})")


def tell(call: Call, vms: list[Vm], what: str) -> None:
    """Show each VM."""
    for vm in vms:
        report(call, Vm, vm, what)


def start(call: Call, names: Names) -> None:
    """Start VMs."""
    from zctl.actions import vms

    tell(call, vms.start(call.context(), names), "started")


def stop(
    call: Call,
    names: Names,
    force: Force = False,
    timeout: Annotated[
        int | None, typer.Option("--timeout", help="Seconds to wait for the guest before it is forced off.", min=0)
    ] = None,
) -> None:
    """Stop VMs: the guest is asked first, and forced off after its stop timeout."""
    from zctl.actions import vms

    tell(call, vms.stop(call.context(), names, force=force, timeout=timeout), "stopped")


def reboot(call: Call, names: Names, force: Force = False) -> None:
    """Restart running VMs."""
    from zctl.actions import vms

    tell(call, vms.reboot(call.context(), names, force=force), "rebooted")


def destroy(call: Call, names: Names) -> None:
    """Stop VMs at once and put them aside; disks and addresses stay until they are deleted."""
    from zctl.actions import vms

    call.confirm(f"destroy {', '.join(names)}?")
    tell(call, vms.destroy(call.context(), names), "destroyed (zctl vm recover brings it back)")


def recover(call: Call, names: Names) -> None:
    """Bring destroyed VMs back, stopped."""
    from zctl.actions import vms

    tell(call, vms.recover(call.context(), names), "recovered")


def console(call: Call, name: Annotated[str, typer.Argument(help="Name.", autocompletion=names_of("vm"))]) -> None:
    """Talk to a VM's serial console; Ctrl-] ends it."""
    from zctl.actions.console import open_console

    open_console(call.context(resume=False), name)


def ssh(
    call: Call,
    name: Annotated[str, typer.Argument(help="Name.", autocompletion=names_of("vm"), show_default=False)],
    command: Annotated[
        list[str] | None, typer.Argument(help="What to run there, behind --; a login shell without it.")
    ] = None,
    login: Annotated[str, typer.Option("--login", "-l", help="User; the image's, or root.", show_default=False)] = "",
    identity: Annotated[str, typer.Option("--identity", "-i", help="Private key file.", show_default=False)] = "",
    port: Annotated[int, typer.Option("--port", help="Port of the VM's SSH server.", min=1, max=65535)] = 22,
) -> None:
    """Log in to a VM through its host, or run a command there; the VM needs no address reachable from here."""
    from zctl.actions.guest_ssh import Login, ssh_argv

    argv = ssh_argv(call.context(resume=False), name, Login(login, port, identity), command or [])
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606


def reset_ssh_key(
    call: Call,
    name: Annotated[str, typer.Argument(help="Name.", autocompletion=names_of("vm"), show_default=False)],
    keys: Annotated[
        list[str],
        typer.Option(
            "--ssh-key", help="Keypair; may be repeated.", autocompletion=names_of("keypair"), show_default=False
        ),
    ],
    login: Annotated[
        str, typer.Option("--login", "-l", help="Whose keys; the image's user, or root.", show_default=False)
    ] = "",
) -> None:
    """Give a VM other SSH keys: at once when its guest agent runs, else at the next boot of its cloud-init."""
    from zctl.actions.guest_ssh import reset_key

    vm, is_done = reset_key(call.context(), name, keys, login)
    if is_done:
        report(call, Vm, vm, f"has the keys {', '.join(vm.keypairs)} now")
        return
    report(call, Vm, vm, f"gets the keys {', '.join(vm.keypairs)} at its next boot: no guest agent answers")
    if not call.dry_run:
        call.done(
            f"cloud-init will take it for a new instance: it runs user data again and makes new host keys"
            f" (now: zctl vm reboot {vm.name})"
        )


def register(app: typer.Typer) -> None:
    """Add the verbs to the noun."""
    for verb in (start, stop, reboot, destroy, recover):
        add_command(app, verb.__name__, verb, mutating=True)
    add_command(app, "console", console)
    add_command(app, "ssh", ssh)
    add_command(app, "reset-ssh-key", reset_ssh_key, mutating=True)
