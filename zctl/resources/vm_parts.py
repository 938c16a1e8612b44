"""The volumes and network cards that are made with a VM. Not a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.resources.disk_offering import DiskOffering
from zctl.resources.image import Image
from zctl.resources.l3_network import L3Network
from zctl.resources.lookup import find
from zctl.resources.nic import Nic
from zctl.resources.primary_storage import PrimaryStorage
from zctl.resources.vm import Vm
from zctl.resources.volume import Volume
from zctl.units import format_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.resources.base import Resource


def root_volume(db: Session, vm: Vm, storage: PrimaryStorage, size: int | None) -> Volume:
    """The overlay on the image that the VM boots from."""
    image = db.get(Image, vm.image_id) if vm.image_id else None
    assert image is not None
    if image.size and size and size < image.size:
        raise Invalid(
            f"root size {format_size(size)} is less than the image's {format_size(image.size)}",
            resource=vm.label,
            remedy="give a larger --root-size, or none",
        )
    if not (size or image.size):
        raise Invalid(f"the size of {image.label} is not known", resource=vm.label, remedy="give --root-size")
    return Volume.build(
        name=f"{vm.name}-root",
        vm_id=vm.id,
        primary_storage_id=storage.id,
        image_id=image.id,
        kind="root",
        size=size or image.size,
        device=0,
        state="Creating",
    )


def disks(db: Session, vm: Vm, storage: PrimaryStorage, offerings: list[str]) -> list[Volume]:
    """A data volume for each disk-offering named."""
    made = []
    for number, name in enumerate(offerings, start=1):
        offering = find(db, DiskOffering, name)
        made.append(
            Volume.build(
                name=f"{vm.name}-data{number}",
                vm_id=vm.id,
                primary_storage_id=storage.id,
                kind="data",
                disk_offering_id=offering.id,
                size=offering.size,
                device=number,
                state="Creating",
            )
        )
    return made


def nics(db: Session, vm: Vm, networks: list[str]) -> list[Resource]:
    """A network card for each NAME or NAME=ADDRESS; addresses are allocated when the rows are made."""
    made: list[Resource] = []
    for number, text in enumerate(networks):
        name, _, address = text.partition("=")
        network = find(db, L3Network, name)
        made.append(
            Nic.build(
                name=f"{vm.name}-nic{number}", vm_id=vm.id, l3_network_id=network.id, ip=address or None, device=number
            )
        )
    return made


def missing_nics(db: Session, vm: Vm, networks: list[str]) -> list[Resource]:
    """Network cards for the networks named that the VM is not on yet. Raises Refused when one would have to go."""
    present = list(db.scalars(select(Nic).where(col(Nic.vm_id) == vm.id).order_by(col(Nic.device))))
    left = list(present)
    made: list[Resource] = []
    for text in networks:
        name, _, address = text.partition("=")
        network = find(db, L3Network, name)
        match = next((n for n in left if n.l3_network_id == network.id and address in ("", n.ip)), None)
        if match is not None:
            left.remove(match)
            continue
        made.append(Nic.build(name="", vm_id=vm.id, l3_network_id=network.id, ip=address or None))
    if left:
        words = ", ".join(f"{nic.name} ({nic.ip})" for nic in left)
        raise Refused(
            f"it has network cards that are not asked for: {words}",
            resource=vm.label,
            remedy=f"delete them by name, such as zctl nic delete {left[0].name}, or name their network too",
        )
    return made
