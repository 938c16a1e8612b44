"""A virtual machine: CPUs, memory, disks and network cards on a host."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String

from zctl.errors import Invalid
from zctl.plan import hoststate
from zctl.plan.fragments import Fragment, Tombstone
from zctl.plan.names import bridge_name, tap_name
from zctl.resources.base import (
    HOSTNAME_PATTERN,
    HOSTNAME_RULE,
    Computed,
    Impact,
    Input,
    OnDelete,
    Resource,
    attr,
    ref,
)
from zctl.resources.host import Host
from zctl.resources.instance_offering import MIB, InstanceOffering
from zctl.resources.vm_columns import addresses, cards, free_disk_name, volumes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

Power = Literal["Running", "Stopped", "Destroyed"]
Boot = Literal["disk", "network", "disk,network", "network,disk"]
MEMORY_STEP = 128 * MIB
ACCEPTED = {
    "vcpus": "cpus",
    "memory": "memory",
    "state": "power",
    "autostart": "autostart",
    "description": "description",
    "boot": "boot",
}
"""What a host tells of a domain that the inventory can take over, and the column for it"""
BOOTS = ("disk", "network", "disk,network", "network,disk")
VmStates = Literal["Created", "Starting", "Running", "Stopping", "Stopped", "Migrating", "Destroyed", "Unknown"]


class Vm(Resource, table=True):
    """A virtual machine: CPUs, memory, disks and network cards on a host."""

    concerns = ("vm",)
    name_pattern = HOSTNAME_PATTERN
    name_rule = HOSTNAME_RULE

    state: VmStates = attr(
        "Created",
        help="state as last seen on the host",
        when="never",
        listed="list",
        choices=("Created", "Starting", "Running", "Stopping", "Stopped", "Migrating", "Destroyed", "Unknown"),
    )
    host_id: str | None = ref(
        "host",
        None,
        help="the host; chosen by room when not given",
        when="create",
        listed="list",
        auto=True,
        on_delete="detach",
        impact="data-moving",
        instead="zctl vm delete, then create it on the other host; its data volumes stay",
    )
    cluster_id: str | None = ref(
        "cluster",
        None,
        help="only hosts of this cluster may be chosen",
        when="create",
        listed="wide",
        on_delete="detach",
    )
    image_id: str | None = ref(
        "image",
        None,
        help="the image of its root volume; an adopted VM has none",
        when="create",
        listed="wide",
        needed=True,
        impact="replace",
        instead="make a new VM from the other image, move its data volumes over (zctl volume update NAME --vm NEW),"
        " then delete this one",
    )
    instance_offering_id: str | None = ref(
        "instance-offering", None, help="its size by offering", listed="wide", on_delete="detach"
    )
    cpus: int | None = attr(
        None, help="virtual CPUs; by the offering when not given", listed="list", auto=True, ge=1, le=1024
    )
    memory: int | None = attr(
        None,
        help="memory; by the offering when not given",
        listed="list",
        auto=True,
        unit="bytes",
        ge=16 * MIB,
        le=2**44,
    )
    power: Power = attr(
        "Running", help="the state it is meant to be in", listed="wide", choices=("Running", "Stopped", "Destroyed")
    )
    autostart: bool = attr(True, help="whether a running VM comes back when its host restarts")
    stop_timeout: int = attr(
        60, help="how long a stop waits for the guest before it is forced off", unit="seconds", ge=0, le=3600
    )
    boot: Boot = attr("disk", help="what it boots from, in order", choices=BOOTS)
    adopted: bool = attr(False, help="whether it was there before zctl and was taken over", when="never")
    virt_type: str | None = attr(
        None, help="kvm or qemu for an adopted VM; the host's when empty", when="never", sa_type=String(8)
    )
    domain: str | None = attr(None, help="its name in libvirt", when="never", sa_type=String(80), unique=True)
    reboot_token: str | None = attr(
        None, help="the last reboot asked for", when="never", listed="hidden", sa_type=String(36)
    )
    pending: list[str] = attr(default_factory=list, help="what takes effect at the next start", when="never", json=True)

    inputs = {
        "networks": Input(
            list[str],
            "l3-network of a network card, or NAME=ADDRESS; may be repeated",
            default=[],
            option="--network",
        ),
        "disks": Input(list[str], "disk-offering of a data volume; may be repeated", default=[], option="--disk"),
        "root_size": Input(int, "size of the root volume; the image's when not given", unit="bytes"),
        "storage": Input(
            str,
            "primary-storage of its volumes; the only one when not given",
            ref="primary-storage",
            impact="data-moving",
        ),
        "root_name": Input(str, "name of the root volume; NAME-root when not given"),
    }
    computed = {
        "ip": Computed("its addresses, in the order of the network cards", addresses),
        "nics": Computed("its network cards: network, address, MAC", cards, listed="show"),
        "volumes": Computed("its disks", volumes, listed="show"),
    }

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Size, storage, host, root and data volumes, network cards."""
        from zctl.resources.room import choose_host, choose_storage
        from zctl.resources.vm_parts import disks, nics, root_volume

        self.fill_size(db)
        self.domain = f"z-{self.name}"
        wanted = inputs.get("networks") or []
        storage = choose_storage(db, self.label, self, inputs.get("storage"))
        root = root_volume(db, self, storage, inputs.get("root_size"), inputs.get("root_name"))
        data = disks(db, self, storage, inputs.get("disks") or [])
        sizes = sum(volume.size or 0 for volume in (root, *data))
        self.host_id = choose_host(db, self, storage, sizes, wanted).id
        for volume in (root, *data):
            volume.host_id = self.host_id if storage.kind == "local" else None
        return [root, *data, *nics(db, self, wanted)]

    def fill_size(self, db: Session) -> None:
        """Take CPUs and memory from the offering where they are not given."""
        offering = db.get(InstanceOffering, self.instance_offering_id) if self.instance_offering_id else None
        self.cpus = self.cpus or (offering.cpus if offering else None)
        self.memory = self.memory or (offering.memory if offering else None)
        if not (self.cpus and self.memory):
            raise Invalid(
                "it has no size", resource=self.label, remedy="give --instance-offering, or --cpus and --memory"
            )

    def check(self, db: Session) -> None:
        """A VM that shall run needs room on its host."""
        from zctl.resources.room import require_vm_room

        require_vm_room(db, self)

    def on_parent_delete(self, field: str) -> OnDelete:
        """A host's running and adopted VMs keep it; stopped ones, and a lost host's, may start elsewhere."""
        if field == "host_id" and self.adopted:
            return "refuse"  # its disks and bridges are that host's
        if field == "host_id" and self.power == "Running" and self.state != "Unknown":
            return "refuse"
        return super().on_parent_delete(field)

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Follow a new offering; add the network cards and disks that are missing, grow the root volume."""
        from zctl.resources.vm_parts import missing_disks, missing_nics, revise_root

        if "instance_offering_id" in changed:
            self.cpus = self.cpus if "cpus" in given else None
            self.memory = self.memory if "memory" in given else None
            self.fill_size(db)
        if self.cpus is None or self.memory is None:
            self.fill_size(db)
        return [
            *revise_root(db, self, inputs),
            *missing_disks(db, self, inputs.get("disks") or []),
            *missing_nics(db, self, inputs.get("networks") or []),
        ]

    def holds(self, snapshot: Snapshot, inputs: dict[str, Any]) -> bool:
        """Whether it has just the disks and cards asked for, and its root volume is as asked for."""
        from zctl.resources.vm_parts import parts_hold

        return parts_hold(snapshot, self, inputs)

    def surplus(self, snapshot: Snapshot, inputs: dict[str, Any]) -> list[Any]:
        """Cards, and disks by offering, that are not asked for any more."""
        from zctl.resources.vm_parts import surplus_disks, surplus_nics

        return [*surplus_nics(snapshot, self, inputs), *surplus_disks(snapshot, self, inputs)]

    def impact(self, changes: dict[str, tuple[Any, Any]]) -> dict[str, Impact]:
        """What a running guest can take live, and what waits for its next start."""
        found = super().impact(changes)
        if changes.get("power", (self.power,))[0] != "Running":
            return dict.fromkeys(changes, "live")
        for name, (old, new) in changes.items():
            smaller = isinstance(old, int) and isinstance(new, int) and new < old
            odd = name == "memory" and isinstance(old, int) and isinstance(new, int) and (new - old) % MEMORY_STEP
            if (name in ("cpus", "memory") and (smaller or odd)) or name in ("boot", "power"):
                found[name] = "restart"
        return found

    def exported(self, snapshot: Snapshot, spec: dict[str, Any]) -> dict[str, Any] | None:
        """With its root volume's size and place; cards and data disks are documents of their own."""
        from zctl.resources.volume import Volume

        if self.adopted:
            return None
        offering = snapshot.get(InstanceOffering, self.instance_offering_id)
        for name in ("cpus", "memory"):
            if offering is not None and getattr(offering, name) == getattr(self, name):
                spec.pop(name, None)
        spec.pop("cluster", None)  # the host says it
        root = next((v for v in snapshot.by(Volume, "vm_id", self.id) if v.kind == "root"), None)
        if root is not None:
            spec["root_size"] = root.size
            spec |= {"root_name": root.name} if root.name != f"{self.name}-root" else {}
            spec |= root.storage_name(snapshot, "storage")
        return spec

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """The domains of the host."""
        virt = snapshot.need(Host, host).virtualization or "qemu"
        return [
            Fragment(
                "vm",
                "vms",
                hoststate.Vm(
                    uuid=row.id,
                    name=row.name,
                    domain=row.domain or f"z-{row.name}",
                    description=row.description,
                    vcpus=row.cpus or 1,
                    memory=row.memory or 0,
                    virt_type="kvm" if (row.virt_type or virt) == "kvm" else "qemu",
                    boot=row.boot.split(","),
                    adopted=row.adopted,
                    state="Running" if row.power == "Running" else "Stopped",
                    autostart=row.autostart and (row.adopted or row.power == "Running"),
                    stop_timeout=row.stop_timeout,
                    reboot=row.reboot_token,
                    disks=_disks(snapshot, row),
                    nics=_nics(snapshot, row),
                ),
            )
            for row in snapshot.by(Vm, "host_id", host)
        ]

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Its host: the domain, its disks with their storage and image, its leases."""
        from zctl.resources.nic import Nic
        from zctl.resources.volume import Volume

        if self.host_id is None:
            return {}
        found = {self.id}
        for volume in snapshot.by(Volume, "vm_id", self.id):
            found |= {key for key in (volume.id, volume.primary_storage_id, volume.image_id) if key}
        found |= {nic.id for nic in snapshot.by(Nic, "vm_id", self.id)}
        return {self.host_id: sorted(found)}

    def purge(self, snapshot: Snapshot) -> list[Tombstone]:
        """The domain and the root volume's file; data volumes stay."""
        from zctl.resources.volume import Volume

        if self.host_id is None:
            return []
        graves = [Tombstone(self.host_id, "vm", {"uuid": self.id, "name": self.name})]
        for volume in snapshot.by(Volume, "vm_id", self.id):
            if volume.kind == "root":
                graves += volume.purge(snapshot)
        return graves

    def accept(self, db: Session, field: str, actual: Any) -> list[Resource] | None:
        """Size, power, start-up and description as the domain has them; a disk or card that was taken out."""
        from zctl.resources.vm_parts import accept_part

        if field.startswith(("disk ", "nic ")):
            return accept_part(db, self, field, actual)
        column = ACCEPTED.get(field)
        if column is None or (actual is None and field != "description"):
            return None
        if column == "boot":
            actual = actual if isinstance(actual, str) else ",".join(actual)
        if (column == "boot" and actual not in BOOTS) or (column == "power" and actual not in ("Running", "Stopped")):
            return None
        setattr(self, column, actual)
        return [self]

    def absorb(self, db: Session, host: str, observed: dict[str, Any]) -> None:
        """Take over the state as seen, and what waits for a restart."""
        if self.host_id != host:
            return
        if self.power == "Destroyed" and observed.get("state") == "Stopped":
            self.state = "Destroyed"
        else:
            self.state = observed.get("state") or "Unknown"
        if "pending" in observed:
            self.pending = [f"{words} at the next start" for words in observed["pending"]]
        elif self.state == "Stopped":
            self.pending = []  # a guest that does not run waits for nothing


def _disks(snapshot: Snapshot, vm: Vm) -> list[hoststate.Disk]:
    from zctl.resources.primary_storage import PrimaryStorage
    from zctl.resources.volume import Volume

    volumes = sorted(snapshot.by(Volume, "vm_id", vm.id), key=lambda volume: volume.device)
    adopted = {volume.target for volume in volumes}
    return [
        hoststate.Disk(
            uuid=volume.id,
            format=volume.format,
            dev=volume.target or free_disk_name(volume.device, adopted),
            path=volume.file or volume.path(snapshot.need(PrimaryStorage, volume.primary_storage_id)),
        )
        for volume in volumes
    ]


def _nics(snapshot: Snapshot, vm: Vm) -> list[hoststate.Nic]:
    from zctl.resources.l2_network import L2Network
    from zctl.resources.l3_network import L3Network
    from zctl.resources.nic import Nic

    found = []
    for nic in sorted(snapshot.by(Nic, "vm_id", vm.id), key=lambda nic: nic.device):
        if nic.bridge is not None:  # adopted: plugged in where it was found
            found.append(hoststate.Nic(uuid=nic.id, mac=nic.mac or "", bridge=nic.bridge, tap="", ip=nic.ip))
            continue
        l2 = snapshot.need(L2Network, snapshot.need(L3Network, nic.l3_network_id).l2_network_id)
        found.append(
            hoststate.Nic(
                uuid=nic.id, mac=nic.mac or "", bridge=bridge_name(l2.id), tap=tap_name(nic.id), ip=nic.ip, mtu=l2.mtu
            )
        )
    return found
