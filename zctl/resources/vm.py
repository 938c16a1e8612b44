"""A virtual machine: CPUs, memory, disks and network cards on a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, select
from sqlmodel import col

from zctl.errors import Invalid
from zctl.plan import hoststate
from zctl.plan.fragments import Fragment, Tombstone
from zctl.plan.names import bridge_name, tap_name
from zctl.resources.base import HOSTNAME_PATTERN, HOSTNAME_RULE, Computed, Input, OnDelete, Resource, attr, ref
from zctl.resources.host import Host
from zctl.resources.instance_offering import MIB, InstanceOffering

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

Power = Literal["Running", "Stopped", "Destroyed"]
Boot = Literal["disk", "network", "disk,network", "network,disk"]
BOOTS = ("disk", "network", "disk,network", "network,disk")
VmStates = Literal["Created", "Starting", "Running", "Stopping", "Stopped", "Migrating", "Destroyed", "Unknown"]


def _addresses(db: Session, ids: list[str]) -> dict[str, Any]:
    from zctl.resources.nic import Nic

    found: dict[str, list[str]] = {}
    for vm_id, ip in db.execute(select(col(Nic.vm_id), col(Nic.ip)).order_by(col(Nic.vm_id), col(Nic.device))):
        found.setdefault(vm_id, []).append(ip or "-")
    return {key: " ".join(addresses) for key, addresses in found.items()}


def _cards(db: Session, ids: list[str]) -> dict[str, Any]:
    from zctl.resources.l3_network import L3Network
    from zctl.resources.nic import Nic

    query = select(col(Nic.vm_id), col(L3Network.name), col(Nic.bridge), col(Nic.ip), col(Nic.mac)).outerjoin(
        L3Network, col(L3Network.id) == col(Nic.l3_network_id)
    )
    found: dict[str, list[str]] = {}
    for vm_id, network, bridge, ip, mac in db.execute(query.order_by(col(Nic.vm_id), col(Nic.device))):
        found.setdefault(vm_id, []).append(f"{network or bridge}={ip or '-'} ({mac})")
    return found


def _volumes(db: Session, ids: list[str]) -> dict[str, Any]:
    from zctl.resources.volume import Volume

    found: dict[str, list[str]] = {}
    columns = (col(Volume.vm_id), col(Volume.name), col(Volume.device), col(Volume.target))
    query = select(*columns).where(col(Volume.vm_id).is_not(None))
    for vm_id, name, device, target in db.execute(query.order_by(col(Volume.device))):
        found.setdefault(str(vm_id), []).append(f"{name} ({target or disk_name(device)})")
    return found


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
            update=True,
        ),
        "disks": Input(list[str], "disk-offering of a data volume; may be repeated", default=[], option="--disk"),
        "root_size": Input(int, "size of the root volume; the image's when not given", unit="bytes"),
        "storage": Input(str, "primary-storage of its volumes; the only one when not given", ref="primary-storage"),
    }
    computed = {
        "ip": Computed("its addresses, in the order of the network cards", _addresses),
        "nics": Computed("its network cards: network, address, MAC", _cards, listed="show"),
        "volumes": Computed("its disks", _volumes, listed="show"),
    }

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Size, storage, host, root and data volumes, network cards."""
        from zctl.resources.room import choose_host, choose_storage
        from zctl.resources.vm_parts import disks, nics, root_volume

        self.fill_size(db)
        self.domain = f"z-{self.name}"
        wanted = inputs.get("networks") or []
        storage = choose_storage(db, self.label, self, inputs.get("storage"))
        root = root_volume(db, self, storage, inputs.get("root_size"))
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

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str]) -> list[Resource]:
        """Follow a new offering; add network cards for networks it shall be on, refuse silent removal."""
        from zctl.resources.vm_parts import missing_nics

        if "instance_offering_id" in changed:
            self.cpus = self.cpus if "cpus" in changed else None
            self.memory = self.memory if "memory" in changed else None
            self.fill_size(db)
        return missing_nics(db, self, inputs["networks"]) if inputs.get("networks") is not None else []

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

    def absorb(self, db: Session, host: str, observed: dict[str, Any]) -> None:
        """Take over the state as seen, and what waits for a restart."""
        if self.host_id != host:
            return
        if self.power == "Destroyed" and observed.get("state") == "Stopped":
            self.state = "Destroyed"
        else:
            self.state = observed.get("state") or "Unknown"
        if "pending" in observed:
            self.pending = sorted({"cpus" if word == "vcpus" else word for word in observed["pending"]})


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
