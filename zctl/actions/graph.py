"""The inventory as a graph: what there is, what lies on what, and what leads where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zctl.inventory.snapshot import load
from zctl.plan.graph import Edge, Graph, Node
from zctl.resources.cluster import Cluster
from zctl.resources.eip import Eip
from zctl.resources.host import Host
from zctl.resources.l2_network import L2Network
from zctl.resources.l3_network import L3Network
from zctl.resources.load_balancer import LoadBalancer
from zctl.resources.load_balancer_target import LoadBalancerTarget
from zctl.resources.lookup import find
from zctl.resources.nat_gateway import NatGateway
from zctl.resources.nic import Nic
from zctl.resources.port_forwarding import PortForwarding
from zctl.resources.vip import Vip
from zctl.resources.vm import Vm
from zctl.resources.zone import Zone

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot
    from zctl.resources.base import Resource


def graph(db: Session, zone: str = "") -> Graph:
    """The graph of everything, or of one zone."""
    chosen = find(db, Zone, zone).id if zone else ""
    whole = graph_of(load(db))
    return whole.within(chosen) if chosen else whole


def graph_of(snapshot: Snapshot) -> Graph:
    """The graph of a snapshot, by names, so that it does not matter when what was made. Pure."""
    made = Maker(snapshot)
    made.places()
    made.networks()
    made.ways()
    made.edges.sort(key=lambda edge: (made.names[edge.source], made.names[edge.target], edge.label))
    return Graph(tuple(made.nodes), tuple(made.edges))


def by_name(rows: list[Resource]) -> list[Resource]:
    """Rows in the order of their names."""
    return sorted(rows, key=lambda row: row.name)


class Maker:
    """Gathers boxes and lines."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.names: dict[str, str] = {}

    def add(self, row: Resource, detail: str | None = "", parent: str | None = "", public: bool = False) -> None:
        """A box."""
        self.nodes.append(Node(row.id, row.noun, row.name, detail or "", parent or "", public))
        self.names[row.id] = row.label

    def lead(self, source: Resource, target: str | None, label: str | None = "") -> None:
        """A line, if there is something to lead to."""
        if target:
            self.edges.append(Edge(source.id, target, label or ""))

    def places(self) -> None:
        """Zones, clusters, hosts and VMs with the networks of their cards."""
        snapshot = self.snapshot
        for cls, field in ((Zone, ""), (Cluster, "zone_id"), (Host, "cluster_id"), (Vm, "host_id")):
            for row in by_name(list(snapshot.all(cls))):
                detail = getattr(row, "state", "")
                if isinstance(row, Host):
                    detail = f"{row.address} {row.state}"
                above = getattr(row, field) if field else ""
                if isinstance(row, Vm):
                    above = row.host_id or row.cluster_id
                self.add(row, detail, above)
        for nic in snapshot.all(Nic):
            vm = snapshot.need(Vm, nic.vm_id)
            self.lead(vm, nic.l3_network_id, nic.ip)

    def networks(self) -> None:
        """l2-networks and what lies on them."""
        for l2 in by_name(list(self.snapshot.all(L2Network))):
            assert isinstance(l2, L2Network)
            words = [l2.kind, f"VLAN {l2.vlan}" if l2.vlan else "", f"VNI {l2.vni}" if l2.vni else ""]
            detail = " ".join(word for word in (*words, l2.physical_interface) if word)
            self.add(l2, detail, l2.cluster_id or l2.zone_id)
        for l3 in by_name(list(self.snapshot.all(L3Network))):
            assert isinstance(l3, L3Network)
            words = [l3.cidr, "public" if l3.public else "", "gateway on hosts" if l3.gateway_on == "hosts" else ""]
            self.add(l3, ", ".join(word for word in words if word), l3.l2_network_id, l3.public)

    def ways(self) -> None:
        """What leads in and out: each below its public network."""
        for row in by_name(list(self.snapshot.all(Eip))):
            assert isinstance(row, Eip)
            self.service(row, row.vip_id)
            self.lead_to_card(row, row.nic_id)
        for row in by_name(list(self.snapshot.all(NatGateway))):
            assert isinstance(row, NatGateway)
            host = self.snapshot.get(Host, row.host_id)
            self.service(row, row.vip_id, f"on {host.name}" if host else "")
            self.lead(row, row.l3_network_id, "way out of")
        for row in by_name(list(self.snapshot.all(PortForwarding))):
            assert isinstance(row, PortForwarding)
            self.service(row, row.vip_id, f"{row.protocol} {row.ports}")
            self.lead_to_card(row, row.nic_id, str(row.private_port or ""))
        for row in by_name(list(self.snapshot.all(LoadBalancer))):
            assert isinstance(row, LoadBalancer)
            self.service(row, row.vip_id, f"{row.protocol} {row.port}")
            for target in self.snapshot.by(LoadBalancerTarget, "load_balancer_id", row.id):
                self.lead_to_card(row, target.nic_id, str(target.port))
        used = {getattr(row, "vip_id", None) for cls in self.snapshot.types() for row in self.snapshot.all(cls)}
        for vip in by_name(list(self.snapshot.all(Vip))):
            if vip.id not in used:
                self.service(vip, vip.id)

    def service(self, row: Resource, vip_id: str | None, more: str = "") -> None:
        """A box below its public network, with its address."""
        vip = self.snapshot.get(Vip, vip_id)
        self.add(row, f"{vip.ip if vip else ''} {more}".strip(), vip.l3_network_id if vip else "")

    def lead_to_card(self, row: Resource, nic_id: str | None, port: str = "") -> None:
        """A line to the VM of a card, with the card's address."""
        nic = self.snapshot.get(Nic, nic_id)
        if nic is not None:
            self.lead(row, nic.vm_id, f"{nic.ip}:{port}" if port else nic.ip)
