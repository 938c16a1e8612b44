"""A VM's network card: its MAC and its address on one l3-network."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, UniqueConstraint, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.plan import hoststate
from zctl.plan.addresses import first_free, is_inside
from zctl.plan.fragments import Fragment
from zctl.resources.base import Resource, attr, ref
from zctl.resources.ip_range import IpRange
from zctl.resources.l3_network import L3Network, parse_address
from zctl.resources.vm import Vm

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

MAC_PATTERN = r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$"


class Nic(Resource, table=True):
    """A VM's network card: its MAC and its address on one l3-network."""

    __table_args__ = (UniqueConstraint("l3_network_id", "ip", name="one_nic_per_address"),)
    concerns = ("l3_services",)
    auto_name = True

    vm_id: str = ref("vm", help="the VM it belongs to", when="create", listed="list", on_delete="owned")
    l3_network_id: str | None = ref(
        "l3-network",
        None,
        help="the network it is on; an adopted card may be on none that zctl knows",
        when="create",
        listed="list",
        needed=True,
    )
    ip: str | None = attr(
        None, help="its address; a free one when not given", when="create", listed="list", auto=True, sa_type=String(39)
    )
    mac: str | None = attr(
        None,
        help="its MAC; made when not given, never changed",
        when="create",
        listed="list",
        auto=True,
        sa_type=String(17),
        unique=True,
        regex=MAC_PATTERN,
    )
    bridge: str | None = attr(
        None,
        help="adopted: what it is plugged into, such as br0 or network:default; left as it is",
        when="never",
        sa_type=String(255),
    )
    device: int = attr(0, help="its place among the VM's cards, from 0", when="never", listed="wide")

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Allocate device number, name, MAC and address. The database's unique constraints settle races."""
        vm = db.get(Vm, self.vm_id)
        assert vm is not None
        devices = set(db.scalars(select(col(Nic.device)).where(col(Nic.vm_id) == self.vm_id, col(Nic.id) != self.id)))
        self.device = next(n for n in range(len(devices) + 1) if n not in devices)
        self.name = self.name or f"{vm.name}-nic{self.device}"
        self.mac = self.mac or free_mac(db)
        network = db.get(L3Network, self.l3_network_id or "")
        assert network is not None
        self.ip = self._free_address(db, network, self.ip)
        return []

    def exported(self, snapshot: Snapshot, spec: dict[str, Any]) -> dict[str, Any] | None:
        """Cards of adopted VMs stay with these."""
        vm = snapshot.get(Vm, self.vm_id)
        return None if vm is None or vm.adopted or self.bridge is not None else spec

    def check(self, db: Session) -> None:
        """The VM's host must have the network."""
        from zctl.resources.room import network_problem

        vm, network = db.get(Vm, self.vm_id), db.get(L3Network, self.l3_network_id) if self.l3_network_id else None
        if vm and network and (problem := network_problem(db, vm, network)):
            raise Refused(problem, resource=self.label)

    def _free_address(self, db: Session, network: L3Network, wanted: str | None) -> str:
        ranges = [
            (r.start, r.end)
            for r in db.scalars(
                select(IpRange)
                .where(col(IpRange.l3_network_id) == network.id)
                .order_by(col(IpRange.created_at), col(IpRange.name))
            )
        ]
        reserved = {address for address in (network.gateway, network.dhcp_ip) if address}
        taken = {
            ip for ip in db.scalars(select(col(Nic.ip)).where(col(Nic.l3_network_id) == network.id)) if ip
        } | reserved
        if wanted is None:
            found = first_free(ranges, taken)
            if found is None:
                why = "no address is left" if ranges else "it has no ip-range"
                raise Refused(
                    f"{why} on {network.label}",
                    resource=self.label,
                    remedy=f"zctl ip-range create NAME --l3-network {network.name} --start A --end B",
                )
            return found
        if parse_address(self.label, wanted, "address").version != 4:
            raise Invalid(f"{wanted} is not an IPv4 address", resource=self.label)
        if wanted in reserved:
            raise Refused(f"{wanted} is the gateway or DHCP address of {network.label}", resource=self.label)
        if not is_inside(ranges, wanted):
            raise Refused(f"{wanted} is in no ip-range of {network.label}", resource=self.label)
        holder = db.scalars(select(Nic).where(col(Nic.l3_network_id) == network.id, col(Nic.ip) == wanted)).first()
        if holder is not None:
            raise Refused(f"{wanted} belongs to {holder.label}", resource=self.label)
        return wanted

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """The DHCP leases of the VMs on the host."""
        return [
            Fragment(
                "l3_services",
                "leases",
                hoststate.Lease(uuid=nic.id, name=vm.name, mac=nic.mac, ip=nic.ip),
                nic.l3_network_id or "",
            )
            for vm in snapshot.by(Vm, "host_id", host)
            for nic in snapshot.by(Nic, "vm_id", vm.id)
            if nic.ip and nic.mac and nic.bridge is None
        ]

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The host of its VM: the lease and the domain."""
        vm = snapshot.get(Vm, self.vm_id)
        return {vm.host_id: [self.id, self.vm_id]} if vm and vm.host_id else {}


def free_mac(db: Session) -> str:
    """A random address in QEMU's range that no card has: among many cards two random ones do meet."""
    while True:
        mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
        if db.scalars(select(col(Nic.id)).where(col(Nic.mac) == mac)).first() is None:
            return mac
