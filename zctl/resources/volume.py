"""A disk of a VM, or one that waits for a VM."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, inspect, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.plan import hoststate
from zctl.plan.fragments import Fragment, Tombstone
from zctl.resources.base import OnDelete, Resource, attr, ref
from zctl.resources.disk_offering import DiskOffering
from zctl.resources.host import Host
from zctl.resources.image import Image
from zctl.resources.internal import Outstanding
from zctl.resources.primary_storage import PrimaryStorage
from zctl.resources.vm import Vm
from zctl.units import format_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


class Volume(Resource, table=True):
    """A disk of a VM, or one that waits for a VM."""

    concerns = ("storage",)

    vm_id: str | None = ref("vm", None, help="the VM it is plugged into", listed="list", on_delete="detach")
    primary_storage_id: str | None = ref(
        "primary-storage",
        None,
        help="where it lies; an adopted disk may lie on none",
        when="create",
        listed="list",
        auto=True,
        impact="data-moving",
        instead="make a volume on the other storage, copy the data inside the VM, then delete this one",
    )
    host_id: str | None = ref("host", None, help="the host that has it, for local storage", when="never", listed="wide")
    image_id: str | None = ref("image", None, help="the image it overlays", when="never", listed="wide")
    disk_offering_id: str | None = ref(
        "disk-offering", None, help="its size by offering", when="create", on_delete="detach"
    )
    kind: Literal["root", "data"] = attr(
        "data", help="what it is to its VM", when="never", listed="list", choices=("root", "data")
    )
    size: int | None = attr(
        None,
        help="virtual size; may grow, never shrinks once the file is there",
        listed="list",
        unit="bytes",
        auto=True,
        ge=2**20,
        le=2**50,
    )
    format: str = attr("qcow2", help="format of the file", when="never", sa_type=String(16))
    file: str | None = attr(
        None,
        help="adopted: what the domain has as its source; zctl never removes it",
        when="never",
        text=True,
        max_length=1024,
    )
    target: str | None = attr(
        None, help="adopted: its name in the domain, such as sda", when="never", sa_type=String(16)
    )
    device: int = attr(0, help="its place among the VM's disks, from 0", when="never", listed="wide")
    state: Literal["NotInstantiated", "Creating", "Ready"] = attr(
        "NotInstantiated",
        help="whether the file is there; a data volume is made when it is first plugged in",
        when="never",
        listed="list",
        choices=("NotInstantiated", "Creating", "Ready"),
        observed=True,
    )

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Size by the offering, storage by the VM's or the only one there is, place by the VM."""
        from zctl.resources.room import choose_storage, require_room

        if self.disk_offering_id:
            offering = db.get(DiskOffering, self.disk_offering_id)
            assert offering is not None
            if self.size is not None and self.size != offering.size:
                raise Invalid(
                    "both a size and an offering of another size are given",
                    resource=self.label,
                    remedy="give one of them",
                )
            self.size = offering.size
        if self.size is None:
            raise Invalid("the volume has no size", resource=self.label, remedy="give --size or --disk-offering")
        vm = db.get(Vm, self.vm_id) if self.vm_id else None
        if self.primary_storage_id is None:
            self.primary_storage_id = choose_storage(db, self.label, vm).id
        if vm is not None:
            require_room(db, self.label, self.primary_storage_id, vm.host_id, self.size)
            self.plug(db, vm)
        return []

    def plug(self, db: Session, vm: Vm) -> None:
        """Make it a disk of that VM. Raises Refused when the file lies on another host."""
        if self.file is not None and not self.file.startswith("/"):
            raise Refused(
                f"its source {self.file} is not a file of the host",
                resource=self.label,
                remedy="zctl plugs in adopted disks by their path only; use virsh attach-device",
            )
        held = select(Outstanding).where(col(Outstanding.uuid) == self.id, col(Outstanding.host_id) != vm.host_id)
        for row in db.scalars(held):
            host = db.get(Host, row.host_id)
            if "vm" in row.concerns.split(",") and host is not None:
                raise Refused(
                    f"{host.label} has not let go of it yet",
                    resource=self.label,
                    remedy=f"zctl converge --host {host.name}, when it answers",
                )
        storage = db.get(PrimaryStorage, self.primary_storage_id) if self.primary_storage_id else None
        if storage is None or storage.kind == "local":
            if self.host_id not in (None, vm.host_id):
                raise Refused(
                    f"its file lies on another host than {vm.label}",
                    resource=self.label,
                    remedy="local volumes can only be plugged into VMs of their host",
                )
            self.host_id = vm.host_id
        devices = set(
            db.scalars(select(col(Volume.device)).where(col(Volume.vm_id) == vm.id, col(Volume.id) != self.id))
        )
        self.device = next(n for n in range(0 if self.kind == "root" else 1, len(devices) + 2) if n not in devices)
        self.vm_id = vm.id
        if self.state == "NotInstantiated":
            self.state = "Creating"

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Grow it, and plug it into another VM, or into none."""
        from zctl.resources.room import require_room

        if self.size is None:
            offering = db.get(DiskOffering, self.disk_offering_id) if self.disk_offering_id else None
            self.size = offering.size if offering else before(self, "size")
        if "size" in changed and self.file is not None:
            raise Refused(
                "an adopted disk is not resized by zctl",
                resource=self.label,
                remedy=f"resize {self.file} on its host and tell the guest by virsh blockresize",
                field="size",
            )
        if "size" in changed:
            old = before(self, "size") or 0
            if self.state != "NotInstantiated" and (self.size or 0) < old:
                raise Refused(
                    f"it has {format_size(old)} and cannot shrink to {format_size(self.size)}: that would cut off data",
                    resource=self.label,
                    remedy="make a smaller volume and copy the data inside the guest",
                    field="size",
                )
            if self.state != "NotInstantiated" and self.primary_storage_id and self.file is None:
                require_room(db, self.label, self.primary_storage_id, self.host_id, (self.size or 0) - old)
        if "vm_id" not in changed:
            return []
        if self.kind == "root":
            raise Refused("a root volume stays with its VM", resource=self.label, field="vm")
        old_vm, vm = before(self, "vm_id"), self.vm_id
        touched: list[Resource] = [row for row in (db.get(Vm, old_vm) if old_vm else None,) if row is not None]
        if vm is not None:
            new = db.get(Vm, vm)
            assert new is not None
            self.vm_id = None
            self.move(db, [row for row in touched if isinstance(row, Vm)], new)
            touched.append(new)
        return touched

    def move(self, db: Session, old: list[Vm], new: Vm) -> None:
        """Plug it into a VM. Raises Refused when another host has it, or the VM's host has no room for it."""
        from zctl.resources.room import require_room

        if any(vm.host_id != new.host_id for vm in old):
            raise Refused(
                f"it is plugged into {old[0].label} on another host, which has to let go first",
                resource=self.label,
                remedy=f"zctl volume detach {self.name} (in a manifest: vm: null), then plug it in",
                field="vm",
            )
        if self.primary_storage_id and self.file is None:
            wanted = self.size or 0 if self.state == "NotInstantiated" else 0
            require_room(db, self.label, self.primary_storage_id, new.host_id, wanted)
        self.plug(db, new)

    def exported(self, snapshot: Snapshot, spec: dict[str, Any]) -> dict[str, Any] | None:
        """By its offering while it has that one's size; the root volume comes with its VM."""
        vm = snapshot.get(Vm, self.vm_id)
        if self.file is not None:
            return None
        if self.kind == "root":
            return {} if vm is not None and not vm.adopted else None
        if vm is None or vm.adopted:
            spec.pop("vm", None)
        offering = snapshot.get(DiskOffering, self.disk_offering_id)
        spec.pop("size" if offering is not None and offering.size == self.size else "disk_offering", None)
        return spec

    def storage_name(self, snapshot: Snapshot, key: str) -> dict[str, str]:
        """The name of its storage under a key, or nothing."""
        storage = snapshot.get(PrimaryStorage, self.primary_storage_id)
        return {key: storage.name} if storage else {}

    @property
    def delete_note(self) -> str:
        """Files of adopted disks are their owner's."""
        return "" if self.file is None else f"{self.file} stays"

    def path(self, storage: PrimaryStorage) -> str:
        """Where the file is on the hosts."""
        return f"{storage.path}/volumes/{self.id}.qcow2"

    def check_delete(self, db: Session) -> None:
        """A VM's root volume goes with the VM only; a plugged one is unplugged first."""
        if self.vm_id is not None:
            vm = db.get(Vm, self.vm_id)
            what = "the root volume of" if self.kind == "root" else "plugged into"
            remedy = "delete the VM" if self.kind == "root" else f"zctl volume detach {self.name}"
            raise Refused(f"it is {what} {vm.label if vm else 'a VM'}", resource=self.label, remedy=remedy)

    def on_parent_delete(self, field: str) -> OnDelete:
        """The root volume goes with its VM, a data volume is unplugged."""
        return "owned" if field == "vm_id" and self.kind == "root" else super().on_parent_delete(field)

    def home(self, snapshot: Snapshot) -> str | None:
        """The host that makes or holds the file: its own, its VM's, or for an unplugged shared one any that has it."""
        if self.host_id:
            return self.host_id
        vm = snapshot.get(Vm, self.vm_id)
        if vm:
            return vm.host_id
        storage = snapshot.get(PrimaryStorage, self.primary_storage_id)
        return next(iter(sorted(storage.scope(snapshot))), None) if storage else None

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """The disk files of the host."""
        found = []
        for row in snapshot.all(Volume):
            if row.state == "NotInstantiated" or row.file is not None or row.home(snapshot) != host:
                continue
            storage = snapshot.need(PrimaryStorage, row.primary_storage_id)
            image = snapshot.get(Image, row.image_id)
            found.append(
                Fragment(
                    "storage",
                    "volumes",
                    hoststate.Volume(
                        uuid=row.id,
                        name=row.name,
                        storage=storage.id,
                        path=row.path(storage),
                        size=row.size or 0,
                        made=row.state == "Ready",
                        backing=image_path(image, storage) if image else None,
                        backing_format=image.format if image else None,
                    ),
                )
            )
        return found + images_for(snapshot, host)

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The host of its file, and its VM's domain."""
        home = self.home(snapshot)
        if home is None or self.state == "NotInstantiated":
            return {}
        return {home: [u for u in (self.id, self.vm_id, self.primary_storage_id, self.image_id) if u]}

    def keeper(self, snapshot: Snapshot) -> str | None:
        """The host of its file, or its VM's; all keep one that waits for a VM on a storage that they share."""
        vm = snapshot.get(Vm, self.vm_id)
        home = self.host_id or (vm.host_id if vm else None)
        return None if self.state == "NotInstantiated" else home

    def recorded(self) -> dict[str, Any]:
        """Whether there is to be a file; by the time of the record there is one."""
        return {"state": "NotInstantiated" if self.state == "NotInstantiated" else "Ready"}

    def purge(self, snapshot: Snapshot) -> list[Tombstone]:
        """Its file."""
        home = self.home(snapshot)
        storage = snapshot.get(PrimaryStorage, self.primary_storage_id)
        if home is None or storage is None or self.file is not None or self.state == "NotInstantiated":
            return []
        return [
            Tombstone(
                home, "storage", {"uuid": self.id, "name": self.name, "storage": storage.id, "path": self.path(storage)}
            )
        ]

    def absorb(self, db: Session, host: str, observed: dict[str, Any]) -> None:
        """The file is there, unless the host says otherwise."""
        if observed.get("present", True):
            self.state = "Ready"


def before(row: Volume, field: str) -> Any:
    """What a changed field held when the row was read."""
    old = inspect(row).attrs[field].history.deleted
    return old[0] if old else getattr(row, field)


def image_path(image: Image, storage: PrimaryStorage) -> str:
    """Where an image is cached on a storage."""
    return f"{storage.path}/images/{image.id}.{image.format}"


def images_for(snapshot: Snapshot, host: str) -> list[Fragment]:
    """The images that the disks of the host overlay, once for each storage."""
    pairs = {
        (row.image_id, row.primary_storage_id)
        for row in snapshot.all(Volume)
        if row.image_id and row.primary_storage_id and row.state != "NotInstantiated" and row.home(snapshot) == host
    }
    found = []
    for image_id, storage_id in sorted(pairs):
        image, storage = snapshot.need(Image, image_id), snapshot.need(PrimaryStorage, storage_id)
        found.append(
            Fragment(
                "storage",
                "images",
                hoststate.Image(
                    uuid=image.id,
                    name=image.name,
                    storage=storage.id,
                    path=image_path(image, storage),
                    source=image.source,
                    checksum=image.checksum,
                    format=image.format,
                ),
            )
        )
    return found
