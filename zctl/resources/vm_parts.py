"""The volumes and network cards that are made with a VM. Not a noun."""

from __future__ import annotations

import re
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.resources.disk_offering import DiskOffering
from zctl.resources.image import Image
from zctl.resources.l3_network import L3Network, usual_form
from zctl.resources.lookup import find
from zctl.resources.nic import Nic
from zctl.resources.primary_storage import PrimaryStorage
from zctl.resources.vm import Vm
from zctl.resources.volume import Volume
from zctl.units import format_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot
    from zctl.resources.base import Resource


def free_name(db: Session, cls: type[Volume | Nic], name: str, vm: Vm) -> str:
    """That name, or a longer one while it is a part's of a VM that was called so."""
    is_taken = db.scalars(select(col(cls.id)).where(col(cls.name) == name)).first()
    return f"{name}-{vm.id[:8]}" if is_taken else name


def require_service(db: Session, vm: Vm, networks: list[str]) -> None:
    """Raise Refused when nobody would tell the VM its keys and user data."""
    if not (networks and (vm.keypairs or vm.user_data)):
        return
    found = [find(db, L3Network, text.partition("=")[0]) for text in networks]
    if not any(network.metadata_service for network in found):
        raise Refused(
            "none of its networks has a metadata service, which tells a VM its keys and user data",
            resource=vm.label,
            remedy=f"zctl l3-network update {found[0].name} --metadata-service",
        )


def root_volume(db: Session, vm: Vm, storage: PrimaryStorage, size: int | None, name: str | None = None) -> Volume:
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
        name=name or free_name(db, Volume, f"{vm.name}-root", vm),
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
    names = set(db.scalars(select(col(Volume.name)))) if offerings else set()
    for number, text in enumerate(offerings, start=1):
        offering = find(db, DiskOffering, text)
        name = next(name for n in count(number) if (name := f"{vm.name}-data{n}") not in names)
        names.add(name)
        made.append(
            Volume.build(
                name=name,
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


def card_of(text: str) -> tuple[str, dict[str, str]]:
    """Network and addresses of NAME, NAME=ADDRESS or NAME=IPV4,IPV6."""
    name, _, given = text.partition("=")
    return name, {"ip6" if ":" in part else "ip": usual_form(part) for part in given.split(",") if part}


def has_all(nic: Nic, addresses: dict[str, str]) -> bool:
    """Whether a card has these addresses."""
    return all(getattr(nic, field) == address for field, address in addresses.items())


def nics(db: Session, vm: Vm, networks: list[str], groups: list[str]) -> list[Resource]:
    """A network card for each NAME or NAME=ADDRESS, in these groups; addresses are allocated when the rows are made."""
    made: list[Resource] = []
    for number, text in enumerate(networks):
        name, addresses = card_of(text)
        network = find(db, L3Network, name)
        card = free_name(db, Nic, f"{vm.name}-nic{number}", vm)
        nic = Nic.build(name=card, vm_id=vm.id, l3_network_id=network.id, device=number, **addresses)
        made.append(nic)
        if groups:
            from zctl.resources.security_parts import given_groups, memberships

            made += memberships(nic, given_groups(db, groups))
    return made


def revise_root(db: Session, vm: Vm, inputs: dict[str, Any]) -> list[Resource]:
    """The root volume, when it is to grow. Raises Refused for what cannot be done to it."""
    wanted, name, place = inputs.get("root_size"), inputs.get("root_name"), inputs.get("storage")
    if not (wanted or name or place):
        return []
    root = db.scalars(select(Volume).where(col(Volume.vm_id) == vm.id, col(Volume.kind) == "root")).first()
    if root is None:
        return []
    if name and root.name != name:
        raise Refused(
            f"its root volume is called {root.name}",
            resource=vm.label,
            remedy=f"zctl volume update {root.name} --name {name}",
            field="root_name",
        )
    if place and find(db, PrimaryStorage, place).id != root.primary_storage_id:
        raise Refused(
            "its volumes cannot move to another storage",
            resource=vm.label,
            remedy="make new volumes there and copy the data inside the VM",
            field="storage",
        )
    if not wanted or root.size == wanted:
        return []
    root.size = wanted
    root.revise(db, {}, {"size"}, {"size"})
    return [root]


def missing_disks(db: Session, vm: Vm, offerings: list[str]) -> list[Resource]:
    """A new data volume for each disk-offering that the VM has too few volumes of."""
    if not offerings:
        return []
    data = select(col(Volume.disk_offering_id)).where(col(Volume.vm_id) == vm.id, col(Volume.kind) == "data")
    have = Counter(db.scalars(data.where(col(Volume.manifest_set).is_(None))))
    names = set(db.scalars(select(col(Volume.name))))
    made: list[Resource] = []
    for text in offerings:
        offering = find(db, DiskOffering, text)
        if have[offering.id] > 0:
            have[offering.id] -= 1
            continue
        name = next(name for n in count(1) if (name := f"{vm.name}-data{n}") not in names)
        names.add(name)
        made.append(Volume.build(name=name, vm_id=vm.id, disk_offering_id=offering.id))
    return made


def missing_nics(db: Session, vm: Vm, networks: list[str]) -> list[Resource]:
    """Network cards for the networks named that the VM is not on yet."""
    if not networks:
        return []
    query = select(Nic).where(col(Nic.vm_id) == vm.id, col(Nic.manifest_set).is_(None)).order_by(col(Nic.device))
    left = list(db.scalars(query))
    missing = []
    for text in addressed_first(networks):
        name, addresses = card_of(text)
        network = find(db, L3Network, name)
        match = next((n for n in left if n.l3_network_id == network.id and has_all(n, addresses)), None)
        if match is not None:
            left.remove(match)
        else:
            missing.append(text)
    made: list[Resource] = []
    for text in sorted(missing, key=networks.index):
        name, addresses = card_of(text)
        network = find(db, L3Network, name)
        made.append(Nic.build(name="", vm_id=vm.id, l3_network_id=network.id, **addresses))
    return made


def regroup(db: Session, vm: Vm, groups: list[str] | None) -> list[Resource]:
    """Put all cards that came with the VM into these groups."""
    if groups is None:
        return []
    from zctl.resources.security_parts import revise_memberships

    cards = db.scalars(select(Nic).where(col(Nic.vm_id) == vm.id, col(Nic.manifest_set).is_(None)))
    return [part for nic in cards for part in revise_memberships(db, nic, groups)]


def groups_hold(snapshot: Snapshot, vm: Vm, groups: list[str] | None) -> bool:
    """Whether all cards that came with the VM are in just these groups. Pure."""
    if groups is None:
        return True
    from zctl.resources.security_parts import memberships_hold

    cards = [nic for nic in snapshot.by(Nic, "vm_id", vm.id) if nic.manifest_set is None]
    return all(memberships_hold(snapshot, nic, groups) for nic in cards)


def addressed_first(networks: list[str]) -> list[str]:
    """Entries with an address before those that any card of their network satisfies."""
    return sorted(networks, key=lambda text: "=" not in text)


def surplus_nics(snapshot: Snapshot, vm: Vm, inputs: dict[str, Any]) -> list[Nic]:
    """The cards that no entry of `networks` asks for. Pure."""
    if inputs.get("networks") is None:
        return []
    left = [nic for nic in snapshot.by(Nic, "vm_id", vm.id) if nic.manifest_set is None]
    left.sort(key=lambda nic: nic.device)
    for text in addressed_first(inputs["networks"]):
        name, addresses = card_of(text)
        match = next((n for n in left if is_on(snapshot, n, name) and has_all(n, addresses)), None)
        if match is not None:
            left.remove(match)
    return left


def is_on(snapshot: Snapshot, nic: Nic, network: str) -> bool:
    """Whether a card is on the network with that name or UUID."""
    row = snapshot.get(L3Network, nic.l3_network_id)
    return row is not None and network in (row.name, row.id)


def surplus_disks(snapshot: Snapshot, vm: Vm, inputs: dict[str, Any]) -> list[Volume]:
    """The data volumes that came with the VM and that no entry of `disks` asks for. Pure."""
    if inputs.get("disks") is None:
        return []
    wanted = Counter(inputs["disks"])
    own = re.compile(re.escape(vm.name) + r"-data\d+$")
    found = []
    for volume in sorted(snapshot.by(Volume, "vm_id", vm.id), key=lambda volume: volume.device):
        offering = snapshot.get(DiskOffering, volume.disk_offering_id)
        if offering is None or volume.manifest_set is not None or not own.match(volume.name):
            continue
        key = next((name for name in (offering.name, offering.id) if wanted[name] > 0), None)
        if key is None:
            found.append(volume)
        else:
            wanted[key] -= 1
    return found


def parts_hold(snapshot: Snapshot, vm: Vm, inputs: dict[str, Any]) -> bool:
    """Whether the VM has just the parts that these inputs ask for. Pure."""
    nics = [nic for nic in snapshot.by(Nic, "vm_id", vm.id) if nic.manifest_set is None]
    volumes = snapshot.by(Volume, "vm_id", vm.id)
    if not groups_hold(snapshot, vm, inputs.get("security_groups")):
        return False
    networks, offerings = inputs.get("networks"), inputs.get("disks")
    if networks is not None and (len(networks) != len(nics) or surplus_nics(snapshot, vm, inputs)):
        return False
    if offerings is not None:
        made = [v for v in volumes if v.kind == "data" and v.disk_offering_id and v.manifest_set is None]
        if surplus_disks(snapshot, vm, inputs) or len(made) != len(offerings):
            return False
    root = next((v for v in volumes if v.kind == "root"), None)
    if root is None:
        return True
    storage = snapshot.get(PrimaryStorage, root.primary_storage_id)
    return (
        inputs.get("root_size") in (None, root.size)
        and inputs.get("root_name") in (None, root.name)
        and (inputs.get("storage") is None or (storage is not None and inputs["storage"] in (storage.name, storage.id)))
    )


def accept_part(db: Session, vm: Vm, field: str, actual: Any) -> list[Resource] | None:
    """A data disk or card that somebody took out of the domain is taken out of the inventory too; the disk's data stay.

    Something that was put in is not taken over: it needs a name and an owner.
    """
    from zctl.resources.vm_columns import disk_name

    kind, _, key = field.partition(" ")
    if actual is not None:
        return None
    if kind == "disk":
        for volume in db.scalars(select(Volume).where(col(Volume.vm_id) == vm.id, col(Volume.kind) == "data")):
            if (volume.target or disk_name(volume.device)) == key:
                volume.vm_id = None
                return [volume, vm]
        return None
    nic = db.scalars(select(Nic).where(col(Nic.vm_id) == vm.id, col(Nic.mac) == key)).first()
    if nic is None:
        return None
    from zctl.resources.eip import Eip
    from zctl.resources.port_forwarding import PortForwarding
    from zctl.resources.security_group_member import SecurityGroupMember as Member

    if db.scalars(select(PortForwarding).where(col(PortForwarding.nic_id) == nic.id)).first() is not None:
        return None  # who wants the rule gone says so
    eips = list(db.scalars(select(Eip).where(col(Eip.nic_id) == nic.id)))
    for eip in eips:
        eip.nic_id = None
    for member in db.scalars(select(Member).where(col(Member.nic_id) == nic.id)):
        db.delete(member)
    db.flush()
    db.delete(nic)
    return [nic, *eips, vm]
