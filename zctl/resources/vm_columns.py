"""The computed columns of VMs. Not a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlmodel import col

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def addresses(db: Session, ids: list[str]) -> dict[str, Any]:
    """VM id -> its addresses, in the order of its cards."""
    from zctl.resources.nic import Nic

    found: dict[str, list[str]] = {}
    for vm_id, ip in db.execute(select(col(Nic.vm_id), col(Nic.ip)).order_by(col(Nic.vm_id), col(Nic.device))):
        found.setdefault(vm_id, []).append(ip or "-")
    return {key: " ".join(given) for key, given in found.items()}


def cards(db: Session, ids: list[str]) -> dict[str, Any]:
    """VM id -> network, address and MAC of each card."""
    from zctl.resources.l3_network import L3Network
    from zctl.resources.nic import Nic

    query = select(col(Nic.vm_id), col(L3Network.name), col(Nic.bridge), col(Nic.ip), col(Nic.ip6), col(Nic.mac))
    query = query.outerjoin(L3Network, col(L3Network.id) == col(Nic.l3_network_id))
    found: dict[str, list[str]] = {}
    for vm_id, network, bridge, ip, ip6, mac in db.execute(query.order_by(col(Nic.vm_id), col(Nic.device))):
        found.setdefault(vm_id, []).append(f"{network or bridge}={','.join(a for a in (ip, ip6) if a) or '-'} ({mac})")
    return found


def volumes(db: Session, ids: list[str]) -> dict[str, Any]:
    """VM id -> name and device of each disk."""
    from zctl.resources.volume import Volume

    found: dict[str, list[str]] = {}
    columns = (col(Volume.vm_id), col(Volume.name), col(Volume.device), col(Volume.target))
    query = select(*columns).where(col(Volume.vm_id).is_not(None))
    for vm_id, name, device, target in db.execute(query.order_by(col(Volume.device))):
        found.setdefault(str(vm_id), []).append(f"{name} ({target or disk_name(device)})")
    return found


def user_data_sizes(db: Session, ids: list[str]) -> dict[str, Any]:
    """VM id -> bytes of its user data."""
    return {key: len(raw) for key, raw in user_data(db, ids)}


def user_data_hashes(db: Session, ids: list[str]) -> dict[str, Any]:
    """VM id -> SHA-256 of its user data."""
    import hashlib

    return {key: hashlib.sha256(raw).hexdigest() for key, raw in user_data(db, ids)}


def user_data(db: Session, ids: list[str]) -> list[tuple[str, bytes]]:
    """The user data of the VMs that have any."""
    import base64

    from zctl.resources.vm import Vm

    query = select(col(Vm.id), col(Vm.user_data)).where(col(Vm.user_data).is_not(None))
    if len(ids) == 1:
        query = query.where(col(Vm.id) == ids[0])
    return [(key, base64.b64decode(text or "")) for key, text in db.execute(query)]


def disk_name(device: int) -> str:
    """vda, vdb ... vdz, vdaa: the kernel's way of counting disks."""
    letters = ""
    device += 1
    while device:
        device, rest = divmod(device - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return f"vd{letters}"


def free_disk_name(device: int, adopted: set[str | None]) -> str:
    """A disk's name; beside an adopted disk of that name the one with a letter more, so that it never moves."""
    name = disk_name(device)
    while name in adopted:
        device += 26
        name = disk_name(device)
    return name
