"""zctl vm update, start, stop, reboot, destroy, recover, console."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from zctl.cli.call import Call, add_command
from zctl.cli.complete import names_of
from zctl.cli.nouns import make_changes, report
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


def update(call: Call, cls: type[Resource], target: str, restart: bool, **values: Any) -> None:
    """Change a VM while it runs as far as that goes, and say what waits for its next start."""
    from zctl.actions import vms

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


def register(app: typer.Typer) -> None:
    """Add the verbs to the noun."""
    for verb in (start, stop, reboot, destroy, recover):
        add_command(app, verb.__name__, verb, mutating=True)
    add_command(app, "console", console)
