"""A bridge on every host and its way to the others: a physical NIC, or VXLAN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sqlalchemy import String, select
from sqlmodel import col

from zctl.errors import Refused
from zctl.plan import hoststate
from zctl.plan.fragments import Fragment
from zctl.plan.names import bridge_name, multicast_group, vxlan_name
from zctl.resources.base import Resource, attr, ref
from zctl.resources.places import host_ids, hosts_of_network, is_on_host

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


class L2Network(Resource, table=True):
    """A bridge on every host and its way to the others: a physical NIC, or VXLAN."""

    concerns = ("network",)

    zone_id: str = ref("zone", help="the zone it belongs to", when="create", listed="list", on_delete="cascade")
    cluster_id: str | None = ref(
        "cluster",
        None,
        help="only the hosts of this cluster have it; none: all of the zone",
        when="create",
        listed="wide",
        on_delete="cascade",
    )
    kind: Literal["no-vlan", "vxlan"] = attr(
        "no-vlan",
        help="plain Ethernet on a NIC, or a tunnel between the hosts",
        when="create",
        listed="list",
        choices=("no-vlan", "vxlan"),
    )
    physical_interface: str | None = attr(
        None,
        help="NIC of the hosts; needed for no-vlan, for vxlan the management NIC when not given",
        when="create",
        listed="list",
        sa_type=String(15),
        regex=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$",
    )
    vni: int | None = attr(
        None,
        help="VXLAN network identifier; chosen when not given",
        when="create",
        listed="list",
        auto=True,
        ge=1,
        le=2**24 - 1,
        unique=True,
    )
    mtu: int | None = attr(
        None, help="greatest packet; for vxlan 50 less than the NIC's when not given", ge=576, le=65535
    )

    def prepare(self, db: Session, inputs: dict[str, object]) -> list[Resource]:
        """Choose a free VNI."""
        if self.kind == "vxlan" and self.vni is None:
            taken = set(db.scalars(select(col(L2Network.vni))))
            self.vni = next(vni for vni in range(1, 2**24) if vni not in taken)
        return []

    def check(self, db: Session) -> None:
        """A no-vlan network is a NIC's; a NIC carries one of them."""
        if self.kind == "no-vlan":
            if not self.physical_interface:
                raise Refused(
                    "a no-vlan network needs a NIC",
                    resource=self.label,
                    remedy="add --physical-interface, such as eth1",
                )
            if self.vni is not None:
                raise Refused(
                    "a no-vlan network has no VNI", resource=self.label, remedy="leave --vni out, or use --kind vxlan"
                )
            same_nic = select(L2Network).where(
                col(L2Network.id) != self.id,
                col(L2Network.kind) == "no-vlan",
                col(L2Network.zone_id) == self.zone_id,
                col(L2Network.physical_interface) == self.physical_interface,
            )
            for other in db.scalars(same_nic):
                if self.cluster_id in (None, other.cluster_id) or other.cluster_id is None:
                    raise Refused(
                        f"NIC {self.physical_interface} already carries {other.label}",
                        resource=self.label,
                        remedy="use that network, another NIC, or --kind vxlan",
                    )

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """The bridges of the host."""
        return [
            Fragment(
                "network",
                "l2_networks",
                hoststate.L2Network(
                    uuid=row.id,
                    name=row.name,
                    kind=row.kind,
                    bridge=bridge_name(row.id),
                    interface=row.physical_interface,
                    vni=row.vni,
                    device=vxlan_name(row.id) if row.kind == "vxlan" else None,
                    group=multicast_group(row.vni) if row.vni else None,
                    mtu=row.mtu,
                ),
            )
            for row in L2Network.on_host(snapshot, host).values()
        ]

    @staticmethod
    def on_host(snapshot: Snapshot, host: str) -> dict[str, L2Network]:
        """The networks that the host has, by id."""
        rows = snapshot.all(L2Network)
        return {row.id: row for row in rows if is_on_host(snapshot, row.zone_id, row.cluster_id, host)}

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Every host that has it."""
        return {host: [self.id] for host in host_ids(hosts_of_network(snapshot, self.zone_id, self.cluster_id))}

    @property
    def uplink(self) -> str:
        """The bridge's port that leads out of the host."""
        return vxlan_name(self.id) if self.kind == "vxlan" else (self.physical_interface or "")
