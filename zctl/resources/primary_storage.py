"""A folder on the hosts that holds images and volumes: local to each, or shared by all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, func, select
from sqlmodel import col

from zctl.errors import Refused
from zctl.plan import hoststate
from zctl.plan.fragments import Fragment, Tombstone
from zctl.resources.base import Computed, Resource, attr, now, ref
from zctl.resources.internal import StorageHost
from zctl.resources.places import host_ids, hosts_of_network, is_on_host

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

MARKER = ".zctl-storage"
NOT_A_HOME = ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sbin", "/sys", "/usr", "/var")


def _capacity(column: Any) -> Any:
    def values(db: Session, ids: list[str]) -> dict[str, Any]:
        rows = db.execute(
            select(col(StorageHost.storage_id), func.min(column), func.sum(column), col(PrimaryStorage.kind))
            .join(PrimaryStorage, col(PrimaryStorage.id) == col(StorageHost.storage_id))
            .group_by(col(StorageHost.storage_id), col(PrimaryStorage.kind))
        )
        return {key: int(total if kind == "local" else least) for key, least, total, kind in rows if least is not None}

    return values


class PrimaryStorage(Resource, table=True):
    """A folder on the hosts that holds images and volumes: local to each, or shared by all."""

    concerns = ("storage",)
    quiet = frozenset({"description", "overcommit"})

    zone_id: str = ref("zone", help="the zone it belongs to", when="create", listed="list", on_delete="cascade")
    cluster_id: str | None = ref(
        "cluster",
        None,
        help="only the hosts of this cluster have it; none: all of the zone",
        when="create",
        listed="wide",
        on_delete="cascade",
    )
    kind: Literal["local", "shared-mount-point"] = attr(
        "local",
        help="a folder of each host, or one file system mounted on all of them",
        when="create",
        listed="list",
        choices=("local", "shared-mount-point"),
    )
    path: str = attr(
        help="absolute path of the folder on the hosts",
        when="create",
        listed="list",
        sa_type=String(255),
        regex=r"^(/[A-Za-z0-9._@+-]+)+$",
    )
    overcommit: float = attr(2.0, help="bytes of virtual disk given out for each real one", gt=0, le=100)

    computed = {
        "total": Computed(
            "size of the file system, summed over hosts for local ones", _capacity(col(StorageHost.total))
        ),
        "free": Computed("what is free of it as last seen", _capacity(col(StorageHost.free))),
    }

    def check(self, db: Session) -> None:
        """Two storages cannot own one folder, and a system folder is nobody's storage."""
        if self.path in NOT_A_HOME or ".." in self.path.split("/"):
            raise Refused(
                f"path {self.path} cannot hold a storage",
                resource=self.label,
                remedy="give a folder of its own, such as /var/lib/zctl/storage",
            )
        for other in db.scalars(select(PrimaryStorage).where(col(PrimaryStorage.id) != self.id)):
            nested = (
                other.path == self.path
                or f"{other.path}/".startswith(f"{self.path}/")
                or f"{self.path}/".startswith(f"{other.path}/")
            )
            if nested and other.zone_id == self.zone_id and self.cluster_id in (None, other.cluster_id):
                raise Refused(
                    f"path {self.path} overlaps that of {other.label} ({other.path})",
                    resource=self.label,
                    remedy="give each storage a folder of its own",
                )

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """The storages that the host has."""
        return [
            Fragment("storage", "storages", hoststate.Storage(uuid=row.id, name=row.name, kind=row.kind, path=row.path))
            for row in snapshot.all(PrimaryStorage)
            if is_on_host(snapshot, row.zone_id, row.cluster_id, host)
        ]

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Every host that has it."""
        return {host: [self.id] for host in host_ids(hosts_of_network(snapshot, self.zone_id, self.cluster_id))}

    def leftovers(self, snapshot: Snapshot, host: str) -> list[Tombstone]:
        """What it leaves on one host without volumes: cached images, and the marker that says whose the folder is."""
        from zctl.resources.image import Image
        from zctl.resources.volume import image_path

        files = [(image.id, image.name, image_path(image, self)) for image in snapshot.all(Image)]
        files.append((self.id, self.name, f"{self.path}/{MARKER}"))
        return [
            Tombstone(host, "storage", {"uuid": key, "name": name, "storage": self.id, "path": path})
            for key, name, path in files
        ]

    def purge(self, snapshot: Snapshot) -> list[Tombstone]:
        """Its cached images and markers, on every host or once where they share it."""
        hosts = sorted(self.scope(snapshot))
        return [
            grave for host in (hosts if self.kind == "local" else hosts[:1]) for grave in self.leftovers(snapshot, host)
        ]

    def absorb(self, db: Session, host: str, observed: dict[str, Any]) -> None:
        """Remember capacity, and which file system the host saw."""
        if "total_bytes" not in observed:
            return
        row = db.get(StorageHost, (self.id, host)) or StorageHost(storage_id=self.id, host_id=host)
        row.total, row.free = observed["total_bytes"], observed["free_bytes"]
        row.token = observed.get("token") or row.token
        row.seen_at = now()
        db.add(row)
