"""What can be done to a VM beside create, update and delete."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from zctl.actions import jobs
from zctl.actions.context import Context
from zctl.actions.crud import fresh, scope_of
from zctl.errors import Refused
from zctl.inventory.store import record, touch
from zctl.plan.hoststate import HostState
from zctl.resources.lookup import find
from zctl.resources.vm import Vm
from zctl.resources.volume import Volume

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.actions.converge import Patch


def change(
    context: Context, verb: str, names: list[str], edit: Callable[[Session, Vm], None], patch: Patch | None = None
) -> list[Vm]:
    """Edit VMs in one transaction and bring the change to their hosts in one run."""
    with context.inventory.write() as db:
        vms = [find(db, Vm, name) for name in names]
        for vm in vms:
            edit(db, vm)
            if not context.dry_run:
                touch(db, vm)
                record(db, vm, verb, context.reason)
        if context.dry_run:
            context.say(f"would {verb} {', '.join(vm.label for vm in vms)}")
            db.rollback()
            return vms
        scope = scope_of(db, list(vms))
        job = jobs.begin(db, context, f"vm {verb}", list(vms), scope, undo=[])
    jobs.carry_out(context, job, patch)
    return [fresh(context, vm) for vm in vms]


def start(context: Context, names: list[str]) -> list[Vm]:
    """Bring VMs to Running. A destroyed one is refused; one without a host is placed anew."""

    def edit(db: Session, vm: Vm) -> None:
        from zctl.resources.room import choose_host, choose_storage, require_vm_room

        if vm.power == "Destroyed":
            raise Refused("it is destroyed", resource=vm.label, remedy=f"zctl vm recover {vm.name}")
        if vm.host_id is None:
            vm.host_id = choose_host(db, vm, choose_storage(db, vm.label, vm), 0, []).id
        require_vm_room(db, vm)
        vm.power = "Running"
        if vm.state != "Running":
            vm.state = "Starting"

    return change(context, "start", names, edit)


def stop(context: Context, names: list[str], *, force: bool = False, timeout: int | None = None) -> list[Vm]:
    """Bring VMs to Stopped: the guest is asked, and forced off after its stop timeout (at once with force)."""

    def edit(_db: Session, vm: Vm) -> None:
        if vm.power == "Destroyed":
            raise Refused("it is destroyed", resource=vm.label, remedy=f"zctl vm recover {vm.name}")
        vm.power = "Stopped"
        if vm.state == "Running":
            vm.state = "Stopping"

    return change(context, "stop", names, edit, patience(0 if force else timeout))


def patience(seconds: int | None) -> Patch | None:
    """A patch of the host state that overrides how long stops wait, for one run."""
    if seconds is None:
        return None

    def patch(state: HostState) -> HostState:
        vms = [vm.model_copy(update={"stop_timeout": seconds}) for vm in state.vm.vms]
        return state.model_copy(update={"vm": state.vm.model_copy(update={"vms": vms})})

    return patch


def reboot(context: Context, names: list[str], *, force: bool = False) -> list[Vm]:
    """Restart VMs, once: the request carries a token that is kept in the domain's mark."""

    def edit(_db: Session, vm: Vm) -> None:
        if vm.power != "Running":
            raise Refused(f"it is meant to be {vm.power}", resource=vm.label, remedy=f"zctl vm start {vm.name}")
        vm.reboot_token = str(uuid.uuid4())

    return change(context, "reboot", names, edit, patience(0 if force else None))


def restart_pending(context: Context, vm_ids: list[str]) -> list[Vm]:
    """Restart those of the VMs that run and have something that waits for their next start; returns them."""
    with context.inventory.read() as db:
        found = [db.get(Vm, vm_id) for vm_id in vm_ids]
    waiting = [vm.id for vm in found if vm and vm.pending and vm.power == "Running" and vm.state == "Running"]
    return reboot(context, waiting) if waiting else []


def destroy(context: Context, names: list[str]) -> list[Vm]:
    """Stop VMs at once and put them aside: disks and addresses stay, `recover` brings them back, `delete` ends them."""

    def edit(_db: Session, vm: Vm) -> None:
        if vm.power == "Destroyed":
            raise Refused(
                "it is destroyed already", resource=vm.label, remedy=f"zctl vm delete {vm.name} removes it for good"
            )
        vm.power = "Destroyed"

    return change(context, "destroy", names, edit, patience(0))


def recover(context: Context, names: list[str]) -> list[Vm]:
    """Bring destroyed VMs back as stopped ones."""

    def edit(db: Session, vm: Vm) -> None:
        from zctl.resources.room import require_vm_room

        if vm.power != "Destroyed":
            raise Refused(f"it is {vm.power}, not destroyed", resource=vm.label)
        vm.power = "Stopped"
        vm.state = "Stopped"
        require_vm_room(db, vm)

    return change(context, "recover", names, edit)


def attach(context: Context, volume_name: str, vm_name: str) -> Volume:
    """Plug a volume into a VM; its file is made when it is the first time."""
    from zctl.resources.room import require_room

    def edit(db: Session, volume: Volume) -> Vm:
        vm = find(db, Vm, vm_name)
        if volume.vm_id is not None:
            raise Refused(
                "it is plugged into a VM already", resource=volume.label, remedy=f"zctl volume detach {volume.name}"
            )
        if volume.state == "NotInstantiated":
            assert volume.primary_storage_id is not None
            require_room(db, volume.label, volume.primary_storage_id, vm.host_id, volume.size or 0)
        volume.plug(db, vm)
        return vm

    return change_volume(context, "volume attach", volume_name, edit)


def detach(context: Context, volume_name: str) -> Volume:
    """Unplug a data volume; its data stay."""

    def edit(db: Session, volume: Volume) -> Vm:
        vm = db.get(Vm, volume.vm_id) if volume.vm_id else None
        if vm is None:
            raise Refused("it is not plugged into a VM", resource=volume.label)
        if volume.kind == "root":
            raise Refused(
                f"it is the root volume of {vm.label}", resource=volume.label, remedy="a root volume stays with its VM"
            )
        volume.vm_id = None
        return vm

    return change_volume(context, "volume detach", volume_name, edit)


def change_volume(context: Context, verb: str, name: str, edit: Callable[[Session, Volume], Vm]) -> Volume:
    """Edit a volume in one transaction and bring it and its VM to the host."""
    with context.inventory.write() as db:
        volume = find(db, Volume, name)
        vm = edit(db, volume)
        if context.dry_run:
            context.say(f"would {verb} {volume.name} ({vm.label})")
            db.rollback()
            return volume
        touch(db, volume)
        record(db, volume, f"{verb.removeprefix('volume ')} {vm.name}", context.reason)
        job = jobs.begin(db, context, verb, [volume], scope_of(db, [volume, vm]), undo=[])
    jobs.carry_out(context, job)
    return fresh(context, volume)
