"""A bridge on every host and its way to the others: a physical NIC, a VLAN on one, or VXLAN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sqlalchemy import String, select
from sqlmodel import col

from zctl.errors import Refused
from zctl.plan import hoststate
from zctl.plan.fragments import Fragment
from zctl.plan.names import bridge_name, multicast_group, vlan_name, vxlan_name
from zctl.resources.base import Resource, attr, ref
from zctl.resources.l2_rules import check_hosts, tunnel_address
from zctl.resources.places import host_ids, hosts_of_network, is_on_host

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


class L2Network(Resource, table=True):
    """A bridge on every host and its way to the others: a physical NIC, a VLAN on one, or VXLAN."""

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
    kind: Literal["no-vlan", "vlan", "vxlan"] = attr(
        "no-vlan",
        help="plain Ethernet on a NIC, an 802.1Q VLAN on one, or a tunnel between the hosts",
        when="create",
        listed="list",
        choices=("no-vlan", "vlan", "vxlan"),
    )
    physical_interface: str | None = attr(
        None,
        help="NIC of the hosts; needed for no-vlan and vlan, for vxlan the management NIC when not given",
        when="create",
        listed="list",
        sa_type=String(15),
        regex=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$",
    )
    vlan: int | None = attr(
        None, help="VLAN id on the NIC, 1 to 4094; needed for vlan", when="create", listed="list", ge=1, le=4094
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
    peers: Literal["multicast", "static"] | None = attr(
        None,
        help="how vxlan hosts find each other: a multicast group, or a list that zctl keeps; multicast when not given",
        listed="wide",
        auto=True,
        choices=("multicast", "static"),
    )
    mtu: int | None = attr(
        None, help="greatest packet; for vxlan 50 less than the NIC's when not given", ge=576, le=65535
    )

    def prepare(self, db: Session, inputs: dict[str, object]) -> list[Resource]:
        """Choose a free VNI, and how hosts find each other."""
        if self.kind == "vxlan":
            self.peers = self.peers or "multicast"
        if self.kind == "vxlan" and self.vni is None:
            taken = set(db.scalars(select(col(L2Network.vni))))
            self.vni = next(vni for vni in range(1, 2**24) if vni not in taken)
        return []

    def check(self, db: Session) -> None:
        """A NIC carries one network without a VLAN, and one for each VLAN; what is not of its kind is refused."""
        if self.kind == "no-vlan":
            self._needs_nic("such as eth1")
        if self.kind == "vlan":
            self._needs_nic("the NIC that is connected to the trunk")
            if self.vlan is None:
                raise Refused("a vlan network needs a VLAN id", resource=self.label, remedy="add --vlan, 1 to 4094")
        for field, kind in (("vlan", "vlan"), ("vni", "vxlan"), ("peers", "vxlan")):
            if getattr(self, field) is not None and self.kind != kind:
                word = {"vlan": "VLAN id", "vni": "VNI", "peers": "peers"}[field]
                raise Refused(
                    f"a {self.kind} network has no {word}",
                    resource=self.label,
                    remedy=f"leave --{field} out, or use --kind {kind}",
                )
        if self.kind != "vxlan":
            self._shares_nic(db)
        check_hosts(db, self)

    def _needs_nic(self, example: str) -> None:
        if not self.physical_interface:
            raise Refused(
                f"a {self.kind} network needs a NIC",
                resource=self.label,
                remedy=f"add --physical-interface, {example}",
            )

    def _shares_nic(self, db: Session) -> None:
        same_nic = select(L2Network).where(
            col(L2Network.id) != self.id,
            col(L2Network.kind) == self.kind,
            col(L2Network.vlan) == self.vlan if self.vlan is not None else col(L2Network.vlan).is_(None),
            col(L2Network.zone_id) == self.zone_id,
            col(L2Network.physical_interface) == self.physical_interface,
        )
        for other in db.scalars(same_nic):
            if self.cluster_id in (None, other.cluster_id) or other.cluster_id is None:
                what = f"VLAN {self.vlan} of NIC" if self.kind == "vlan" else "NIC"
                raise Refused(
                    f"{what} {self.physical_interface} already carries {other.label}",
                    resource=self.label,
                    remedy=f"use that network, another {'VLAN or NIC' if self.vlan else 'NIC'}, or --kind vxlan",
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
                    vlan=row.vlan,
                    vni=row.vni,
                    device=row.device,
                    group=multicast_group(row.vni) if row.vni and row.peers != "static" else None,
                    peers=row.peers_of(snapshot, host),
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

    def hosts(self, snapshot: Snapshot) -> list[str]:
        """Ids of the hosts that have it."""
        return host_ids(hosts_of_network(snapshot, self.zone_id, self.cluster_id))

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Every host that has it, with the l3-networks on it, whose guests are told its MTU."""
        from zctl.resources.l3_network import L3Network

        found: dict[str, list[str]] = {host: [self.id] for host in self.hosts(snapshot)}
        for network in snapshot.by(L3Network, "l2_network_id", self.id):
            for host, uuids in network.scope(snapshot).items():
                found[host] += uuids
        return found

    def peers_of(self, snapshot: Snapshot, host: str) -> list[str]:
        """The tunnel addresses of the other hosts, where hosts are told of each other."""
        if self.peers != "static":
            return []
        hosts = hosts_of_network(snapshot, self.zone_id, self.cluster_id)
        found = {tunnel_address(row, self.physical_interface) for row in hosts if row.id != host}
        return sorted(address for address in found if address)

    @property
    def device(self) -> str | None:
        """The VLAN's or tunnel's device."""
        return {"vlan": vlan_name, "vxlan": vxlan_name}[self.kind](self.id) if self.kind != "no-vlan" else None

    @property
    def uplink(self) -> str:
        """The bridge's port that leads out of the host."""
        return self.device or self.physical_interface or ""
