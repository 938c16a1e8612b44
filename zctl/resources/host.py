"""A Linux server that runs VMs, reached over SSH (or the machine zctl runs on)."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String

from zctl.errors import Refused
from zctl.resources.base import Resource, attr, ref

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

States = Literal["Connecting", "Connected", "Disconnected", "Maintenance"]
LOCAL = "local"


class Host(Resource, table=True):
    """A Linux server that runs VMs, reached over SSH (or the machine zctl runs on)."""

    concerns = ("kvm_host",)
    quiet = frozenset({"name", "description", "reserved_memory"})

    cluster_id: str = ref(
        "cluster", help="the cluster it belongs to", when="create", listed="list", on_delete="cascade"
    )
    address: str = attr(
        help="address or name for SSH; 'local' is the machine zctl runs on",
        listed="list",
        sa_type=String(255),
        unique=True,
        regex=r"^[A-Za-z0-9][A-Za-z0-9.:_-]*$",
    )
    port: int = attr(22, help="SSH port", ge=1, le=65535)
    user: str = attr(
        "root",
        help="SSH user; another than root works through sudo",
        sa_type=String(63),
        regex=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$",
    )
    sudo_password: str | None = attr(
        None,
        help="password for sudo where it asks for one, as ENC(...) from zctl secret encrypt; empty: none",
        text=True,
        max_length=1024,
        secret=True,
    )
    key: str | None = attr(
        None, help="private key file; none: ZCTL_SSH_KEY, the configured one or what ssh finds itself", text=True
    )
    host_key: str | None = attr(
        None,
        help="the host's public SSH key as in known_hosts; pinned at creation when not given",
        auto=True,
        text=True,
        max_length=1024,
    )
    virt_type: Literal["auto", "kvm", "qemu"] = attr(
        "auto",
        help="hardware virtualization, emulation, or found out by starting a machine",
        choices=("auto", "kvm", "qemu"),
    )
    reserved_memory: int | None = attr(None, help="memory kept for the host itself", unit="bytes", ge=0)
    state: States = attr(
        "Connecting",
        help="how it stands with the host",
        when="never",
        listed="list",
        choices=("Connecting", "Connected", "Disconnected", "Maintenance"),
        observed=True,
    )
    problem: str | None = attr(
        None, help="what is wrong with it", when="never", listed="wide", text=True, max_length=1000, observed=True
    )
    cpus: int | None = attr(None, help="logical CPUs found", when="never", listed="list", observed=True)
    memory: int | None = attr(None, help="memory found", when="never", listed="list", unit="bytes", observed=True)
    virtualization: str | None = attr(
        None, help="kvm or qemu, as found or set", when="never", listed="wide", sa_type=String(8), observed=True
    )
    facts: dict[str, Any] = attr(
        default_factory=dict, help="what was found on it", when="never", json=True, observed=True
    )

    def check(self, db: Session) -> None:
        """A key file must exist, so that the mistake shows here and not as a refused login."""
        if self.key and not PurePosixPath(self.key).is_absolute():
            raise Refused(f"key {self.key} is not an absolute path", resource=self.label, remedy="give the full path")

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The host itself, and the hosts that are told of its address in the tunnels that they share."""
        from zctl.resources.l2_network import L2Network

        found = {self.id: [self.id]}
        for network in snapshot.by(L2Network, "peers", "static"):
            hosts = network.hosts(snapshot)
            for other in hosts if self.id in hosts else ():
                found.setdefault(other, []).append(network.id)
        return found

    def recorded(self) -> dict[str, Any]:
        """Only its maintenance is anybody's wish."""
        return {"state": self.state} if self.state == "Maintenance" else {}

    def absorb(self, db: Session, host: str, observed: dict[str, Any]) -> None:
        """Take over what the probe found."""
        self.cpus = observed.get("cpus", self.cpus)
        self.memory = observed.get("memory_bytes", self.memory)
        self.virtualization = observed.get("virt_type", self.virtualization)
        self.facts = {key: value for key, value in observed.items() if key != "problems"}
