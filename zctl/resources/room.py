"""How much room hosts and storages have, read from the inventory. Not a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlmodel import col

from zctl.errors import Invalid, NotYet, Refused
from zctl.plan.placement import Demand, Room, place, reserved_memory, shortages
from zctl.resources.cluster import Cluster
from zctl.resources.host import Host
from zctl.resources.internal import StorageHost
from zctl.resources.l2_network import L2Network
from zctl.resources.l3_network import L3Network
from zctl.resources.lookup import find
from zctl.resources.primary_storage import PrimaryStorage
from zctl.resources.vm import Vm
from zctl.resources.volume import Volume
from zctl.resources.zone import Zone
from zctl.units import format_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

UNSEEN = ("Connecting", "Disconnected")
"""States of hosts that may have room as soon as they are reached"""


def choose_storage(db: Session, label: str, vm: Vm | None, name: str | None = None) -> PrimaryStorage:
    """The storage named, else that of the VM's root volume, else the only one there is."""
    if name:
        return find(db, PrimaryStorage, name)
    if vm is not None:
        root = db.scalars(select(Volume).where(col(Volume.vm_id) == vm.id, col(Volume.kind) == "root")).first()
        if root is not None and root.primary_storage_id:
            storage = db.get(PrimaryStorage, root.primary_storage_id)
            assert storage is not None
            return storage
    reachable = [
        row
        for row in db.scalars(select(PrimaryStorage).order_by(col(PrimaryStorage.name)))
        if vm is None or _may_use(db, vm, row)
    ]
    if len(reachable) == 1:
        return reachable[0]
    if not reachable:
        raise Refused(
            "there is no primary-storage it could use",
            resource=label,
            remedy="zctl primary-storage create NAME --zone ZONE --path /var/lib/zctl/storage",
        )
    raise Invalid(
        f"there are several primary-storages: {', '.join(row.name for row in reachable)}",
        resource=label,
        remedy="say which by --storage (volumes: --primary-storage)",
    )


def _may_use(db: Session, vm: Vm, storage: PrimaryStorage) -> bool:
    cluster_id = vm.cluster_id
    if vm.host_id:
        host = db.get(Host, vm.host_id)
        cluster_id = host.cluster_id if host else cluster_id
    if cluster_id is None:
        return True
    cluster = db.get(Cluster, cluster_id)
    return cluster is not None and storage.zone_id == cluster.zone_id and storage.cluster_id in (None, cluster.id)


def rooms(db: Session, storage: PrimaryStorage | None, exclude_vm: str = "") -> list[Room]:
    """The room of every host, with the disk room that it has on the storage."""
    used = {
        key: (int(cpus or 0), int(memory or 0))
        for key, cpus, memory in db.execute(
            select(col(Vm.host_id), func.sum(col(Vm.cpus)), func.sum(col(Vm.memory)))
            .where(col(Vm.power) != "Destroyed", col(Vm.id) != exclude_vm)
            .group_by(col(Vm.host_id))
        )
    }
    disks = _disk_rooms(db, storage) if storage else {}
    found = []
    for host, cluster, zone in db.execute(
        select(Host, Cluster, Zone)
        .join(Cluster, col(Cluster.id) == col(Host.cluster_id))
        .join(Zone, col(Zone.id) == col(Cluster.zone_id))
        .order_by(col(Host.name))
    ):
        reserve = reserved_memory(host.reserved_memory, cluster.reserved_memory, zone.reserved_memory)
        problems = _host_problems(host, cluster, storage)
        total, disk_used, trouble = disks.get(host.id, (None, 0, ""))
        found.append(
            Room(
                host.id,
                host.name,
                (host.cpus or 0) * cluster.cpu_overcommit or 1e-9,
                used.get(host.id, (0, 0))[0],
                max(1, int(((host.memory or 0) - reserve) * cluster.memory_overcommit)),
                used.get(host.id, (0, 0))[1],
                total,
                disk_used,
                tuple(problems + ([trouble] if trouble else [])),
            )
        )
    return found


def _host_problems(host: Host, cluster: Cluster, storage: PrimaryStorage | None) -> list[str]:
    problems = (
        [] if host.state == "Connected" else [f"is {host.state}" + (f" ({host.problem})" if host.problem else "")]
    )
    if storage and (storage.zone_id != cluster.zone_id or storage.cluster_id not in (None, cluster.id)):
        problems.append(f"does not have {storage.label}")
    return problems


def _disk_rooms(db: Session, storage: PrimaryStorage) -> dict[str, tuple[int | None, int, str]]:
    """For each host: bytes that may be given out, bytes given out, and what is wrong with the storage there."""
    query = (
        select(col(Volume.host_id), func.sum(col(Volume.size)))
        .where(col(Volume.primary_storage_id) == storage.id, col(Volume.state) != "NotInstantiated")
        .group_by(col(Volume.host_id))
    )
    given: dict[str | None, int] = {key: int(size or 0) for key, size in db.execute(query)}
    seen = list(
        db.scalars(
            select(StorageHost)
            .where(col(StorageHost.storage_id) == storage.id)
            .order_by(col(StorageHost.seen_at), col(StorageHost.host_id))
        )
    )
    token = next((row.token for row in seen if row.token), None)
    found: dict[str, tuple[int | None, int, str]] = {}
    for row in seen:
        total = int(row.total * storage.overcommit) if row.total else None
        foreign = storage.kind != "local" and row.token != token
        trouble = f"sees another file system at {storage.path} than the other hosts" if foreign else ""
        found[row.host_id] = (total, given.get(row.host_id if storage.kind == "local" else None, 0), trouble)
    return found


def choose_host(db: Session, vm: Vm, storage: PrimaryStorage, disk: int, networks: list[str]) -> Host:
    """The host named, or the best one; raises Refused with what is short where."""
    found = rooms(db, storage, vm.id)
    if vm.host_id:
        found = [room for room in found if room.host == vm.host_id]
    elif vm.cluster_id:
        members = set(db.scalars(select(col(Host.id)).where(col(Host.cluster_id) == vm.cluster_id)))
        found = [room for room in found if room.host in members]
    wanted = [find(db, L3Network, text.partition("=")[0]) for text in networks]
    found = [_with_networks(db, room, wanted) for room in found]
    choice = place(found, Demand(vm.cpus or 1, vm.memory or 0, disk))
    if choice.host is None:
        reasons = ". ".join(choice.reasons) or "there are no hosts"
        unseen = db.scalars(select(col(Host.id)).where(col(Host.state).in_(UNSEEN)))
        raise (NotYet if {room.host for room in found}.intersection(unseen) else Refused)(
            f"no host has room: {reasons}",
            resource=vm.label,
            remedy="free something, add a host, or raise the cluster's overcommit",
        )
    host = db.get(Host, choice.host)
    assert host is not None
    return host


def _with_networks(db: Session, room: Room, networks: list[L3Network]) -> Room:
    from dataclasses import replace

    host = db.get(Host, room.host)
    lacks = tuple(problem for network in networks if host and (problem := _not_on_host(db, host, network)))
    return replace(room, problems=room.problems + lacks) if lacks else room


def _not_on_host(db: Session, host: Host, network: L3Network) -> str:
    l2, cluster = db.get(L2Network, network.l2_network_id), db.get(Cluster, host.cluster_id)
    assert l2 is not None and cluster is not None
    if l2.zone_id == cluster.zone_id and l2.cluster_id in (None, cluster.id):
        return ""
    return f"does not have {network.label}"


def network_problem(db: Session, vm: Vm, network: L3Network) -> str:
    """Why a VM cannot have a card on that network, or an empty string."""
    host = db.get(Host, vm.host_id) if vm.host_id else None
    if host is None:
        return ""
    problem = _not_on_host(db, host, network)
    return f"{host.label} of {vm.label} {problem}" if problem else ""


def require_vm_room(db: Session, vm: Vm) -> None:
    """Raise Refused when a VM that shall not be destroyed has no room on its host."""
    if vm.host_id is None or vm.power == "Destroyed":
        return
    room = next(room for room in rooms(db, None, vm.id) if room.host == vm.host_id)
    lacks = [text for text in shortages(room, Demand(vm.cpus or 1, vm.memory or 0)) if text not in room.problems]
    if lacks:
        raise Refused(
            f"no room on host {room.name}: {'; '.join(lacks)}",
            resource=vm.label,
            remedy="free something there, or raise the cluster's overcommit",
        )


def require_room(db: Session, label: str, storage_id: str, host_id: str | None, size: int) -> None:
    """Raise Refused when a storage has no room for a volume of that size."""
    storage = db.get(PrimaryStorage, storage_id)
    assert storage is not None
    found = _disk_rooms(db, storage)
    total, used, trouble = found.get(host_id or "", (None, 0, ""))
    if host_id is None and found:
        total, used, trouble = min(found.values(), key=lambda entry: entry[0] or 0)
    if trouble:
        raise Refused(trouble, resource=label)
    if total is None or used + size > total:
        free = format_size(max(0, (total or 0) - used)) or "none"
        unseen = db.scalars(select(col(Host.id)).where(col(Host.state).in_(UNSEEN))).first()
        raise (NotYet if total is None and unseen else Refused)(
            f"no room on {storage.label}: needs {format_size(size)}, {free} of {format_size(total)} is free",
            resource=label,
            remedy="free something, or raise the storage's --overcommit",
        )
