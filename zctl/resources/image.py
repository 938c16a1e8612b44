"""A disk image that VMs start from; cached once on each storage that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String

from zctl.resources.base import Resource, attr

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.fragments import Tombstone
    from zctl.plan.snapshot import Snapshot


class Image(Resource, table=True):
    """A disk image that VMs start from; cached once on each storage that needs it."""

    concerns = ("storage",)

    source: str = attr(
        help="file on this machine, or http(s) URL that the hosts can reach",
        when="create",
        listed="list",
        sa_type=String(1024),
    )
    checksum: str | None = attr(
        None,
        help="sha256:HEX of the file; needed for a URL, computed for a file when not given",
        when="create",
        auto=True,
        listed="wide",
        sa_type=String(71),
        regex=r"^sha256:[0-9a-f]{64}$",
    )
    format: Literal["qcow2", "raw"] = attr(
        "qcow2", help="format of the file", when="create", listed="list", choices=("qcow2", "raw"), auto=True
    )
    login: str | None = attr(
        None,
        help="user that `zctl vm ssh` logs in as; root when not given",
        sa_type=String(32),
        regex=r"^[a-z_][a-z0-9_-]{0,31}$",
    )
    size: int | None = attr(
        None, help="virtual size, the least a root volume may have", when="never", listed="list", unit="bytes"
    )
    file_size: int | None = attr(None, help="size of the file", when="never", unit="bytes")

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """A file's path is stored from the root on."""
        if field == "source" and isinstance(value, str) and not value.startswith(("http://", "https://")):
            return str(Path(value.removeprefix("file://")).expanduser().absolute())
        return value

    def prepare(self, db: Session, inputs: dict[str, object]) -> list[Resource]:
        """Look at the source before anything is written: missing, truncated or changed files end here."""
        from zctl.resources.image_source import inspect

        found = inspect(self.label, self.source, self.checksum)
        self.source, self.checksum = found.source, found.checksum
        self.format, self.size, self.file_size = found.format or self.format, found.virtual_size, found.file_size
        return []

    def purge(self, snapshot: Snapshot) -> list[Tombstone]:
        """Its cached copies, wherever there may be one."""
        from zctl.plan.fragments import Tombstone
        from zctl.resources.primary_storage import PrimaryStorage
        from zctl.resources.volume import image_path

        found = []
        for storage in snapshot.all(PrimaryStorage):
            hosts = sorted(storage.scope(snapshot))
            for host in hosts if storage.kind == "local" else hosts[:1]:
                entry = {"uuid": self.id, "name": self.name, "storage": storage.id, "path": image_path(self, storage)}
                found.append(Tombstone(host, "storage", entry))
        return found
