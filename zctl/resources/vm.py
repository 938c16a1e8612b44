"""A virtual machine: CPUs, memory, disks and network cards on a host."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, Text, select
from sqlmodel import col

from zctl.errors import Invalid
from zctl.plan.fragments import Fragment, Tombstone
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
from zctl.resources.user_data import read_user_data, require_fit, words_of, written
from zctl.resources.vm_columns import addresses, cards, user_data_hashes, user_data_sizes, volumes
from zctl.resources.vm_state import domain_of, uuids_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

Power = Literal["Running", "Stopped", "Destroyed"]
Tokens = Literal["optional", "required"]
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
        observed=True,
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
    hostname: str | None = attr(
        None,
        help="host name that the guest is told; the VM's name when not given",
        sa_type=String(63),
        regex=HOSTNAME_PATTERN,
    )
    keypairs: list[str] = attr(
        default_factory=list,
        help="keypair that may log in, told by the metadata; may be repeated, the first is the guest's default",
        json=True,
        option="--ssh-key",
    )
    user_data: str | None = attr(
        None,
        help="text, script or archive for cloud-init, at most 16 KiB: a file or - on the command line, text or"
        " base64:... in manifests",
        listed="hidden",
        sa_type=Text,
        opaque=True,
    )
    metadata_tokens: Tokens = attr(
        "optional",
        help="whether metadata is told to requests without an IMDSv2 token",
        choices=("optional", "required"),
    )
    instance_generation: int = attr(
        0, help="counts the times that the guest was told it is a new instance", when="never", listed="hidden"
    )
    adopted: bool = attr(False, help="whether it was there before zctl and was taken over", when="never")
    virt_type: str | None = attr(
        None, help="kvm or qemu for an adopted VM; the host's when empty", when="never", sa_type=String(8)
    )
    domain: str | None = attr(None, help="its name in libvirt", when="never", sa_type=String(80), unique=True)
    reboot_token: str | None = attr(
        None, help="the last reboot asked for", when="never", listed="hidden", sa_type=String(36)
    )
    pending: list[str] = attr(
        default_factory=list, help="what takes effect at the next start", when="never", json=True, observed=True
    )

    inputs = {
        "networks": Input(
            list[str],
            "l3-network of a network card, NAME=ADDRESS or NAME=IPV4,IPV6; may be repeated",
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
        "security_groups": Input(
            list[str], "security-group that all its network cards are in; may be repeated", option="--security-group"
        ),
        "root_name": Input(str, "name of the root volume; NAME-root when not given"),
    }
    computed = {
        "ip": Computed("its addresses, in the order of the network cards", addresses),
        "nics": Computed("its network cards: network, address, MAC", cards, listed="show"),
        "volumes": Computed("its disks", volumes, listed="show"),
        "user_data_size": Computed("size of its user data", user_data_sizes, listed="show"),
        "user_data_sha256": Computed("SHA-256 of its user data", user_data_hashes, listed="show"),
    }

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """User data are stored as base64; an empty word in a list of keys stands for none."""
        if field == "user_data":
            return read_user_data(value)
        return [word for word in value if word] if field == "keypairs" and value else value

    @classmethod
    def opaque_words(cls, field: str, value: Any) -> str:
        """Size and hash of user data."""
        return words_of(value)

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Size, storage, host, root and data volumes, network cards."""
        from zctl.resources.room import choose_host, choose_storage
        from zctl.resources.vm_parts import disks, nics, require_service, root_volume

        self.fill_size(db)
        self.user_data = read_user_data(self.user_data)
        self.domain = f"z-{self.name}"
        if db.scalars(select(col(Vm.id)).where(col(Vm.domain) == self.domain)).first():
            self.domain += f"-{self.id[:8]}"  # a VM that was called so keeps its domain's name
        wanted = inputs.get("networks") or []
        require_service(db, self, wanted)
        storage = choose_storage(db, self.label, self, inputs.get("storage"))
        root = root_volume(db, self, storage, inputs.get("root_size"), inputs.get("root_name"))
        data = disks(db, self, storage, inputs.get("disks") or [])
        sizes = sum(volume.size or 0 for volume in (root, *data))
        self.host_id = choose_host(db, self, storage, sizes, wanted).id
        for volume in (root, *data):
            volume.host_id = self.host_id if storage.kind == "local" else None
        return [root, *data, *nics(db, self, wanted, inputs.get("security_groups") or [])]

    def fill_size(self, db: Session) -> None:
        """Take CPUs and memory from the offering where they are not given."""
        offering = db.get(InstanceOffering, self.instance_offering_id) if self.instance_offering_id else None
        self.cpus = self.cpus or (offering.cpus if offering else None)
        self.memory = self.memory or (offering.memory if offering else None)
        if not (self.cpus and self.memory):
            remedy = "give --instance-offering, or --cpus and --memory"
            raise Invalid("it has no size", resource=self.label, remedy=remedy)

    def check(self, db: Session) -> None:
        """A VM that shall run needs room on its host; its keys exist, and its user data are not too large."""
        from zctl.resources.keypair import known_names
        from zctl.resources.room import require_vm_room

        self.keypairs = known_names(db, self.label, self.keypairs)
        require_fit(self.label, self.user_data)
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
        from zctl.resources.keypair import known_names
        from zctl.resources.vm_parts import missing_disks, missing_nics, regroup, revise_root

        if changed & {"name", "hostname"}:
            self.__dict__["_renamed"] = True
        if "instance_offering_id" in changed:
            self.cpus = self.cpus if "cpus" in given else None
            self.memory = self.memory if "memory" in given else None
            self.fill_size(db)
        if self.cpus is None or self.memory is None:
            self.fill_size(db)
        self.keypairs = known_names(db, self.label, self.keypairs)  # a UUID is no other key than its name
        return [
            *revise_root(db, self, inputs),
            *missing_disks(db, self, inputs.get("disks") or []),
            *missing_nics(db, self, inputs.get("networks") or []),
            *regroup(db, self, inputs.get("security_groups")),
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
        if self.user_data:
            spec["user_data"] = written(self.user_data)
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
                domain_of(snapshot, row, virt),
            )
            for row in snapshot.by(Vm, "host_id", host)
        ]

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Its host: the domain, its disks with their storage and image, its leases and eips."""
        return {self.host_id: uuids_of(snapshot, self)} if self.host_id else {}

    def keeper(self, snapshot: Snapshot) -> str | None:
        """Its host."""
        return self.host_id

    def recorded(self) -> dict[str, Any]:
        """Nobody has looked at it yet."""
        return {"state": "Unknown"}

    def news(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """What its network cards have to tell."""
        from zctl.resources.dns_names import hosts_told_by

        return hosts_told_by(snapshot, self)

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
