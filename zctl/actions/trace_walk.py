"""A packet's way through the cloud by what the inventory wants there. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from zctl.actions.trace_filters import METADATA
from zctl.actions.trace_inbound import Arrival
from zctl.actions.trace_way import Dropped
from zctl.errors import Refused
from zctl.plan.names import bridge_name, namespace_name, tap_name
from zctl.plan.trace import Trace
from zctl.resources.eip import Eip
from zctl.resources.l3_network import L3Network
from zctl.resources.load_balancer import LoadBalancer
from zctl.resources.nat_gateway import NatGateway
from zctl.resources.nic import Nic
from zctl.resources.vip import Vip

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot
    from zctl.plan.trace import Packet

DHCP_PORT, DNS_PORT = 67, 53


def walk(snapshot: Snapshot, nic: Nic | None, packet: Packet) -> Trace:
    """The way of a packet that a card sends, or somebody outside when there is none. Raises Refused."""
    way = Walk(snapshot)
    try:
        if nic is None:
            way.enter(packet)
        else:
            way.leave(nic, packet)
    except Dropped:
        pass
    return Trace(packet, way.steps, list(dict.fromkeys(way.notes)))


class Walk(Arrival):
    """What a packet comes by from its sender on."""

    def enter(self, packet: Packet) -> None:
        """From outside; what is about nothing of the cloud is not ours to tell."""
        networks = [ip_network(network.cidr) for network in self.snapshot.all(L3Network)]
        if not any(ip_address(packet.dst) in network for network in networks):
            raise Refused(
                f"neither {packet.src} nor {packet.dst} is of this cloud",
                resource="net trace",
                remedy="give a VM, a nic, or an address of one of its networks (zctl l3-network list)",
            )
        self.arrive(packet)

    def leave(self, nic: Nic, packet: Packet) -> None:
        """From a card."""
        network, host = self.network(nic), self.host_of(nic, "sends")
        self.on_port(host, nic, f"sends {packet.text}")
        self.filters(host, nic, "egress", packet)
        if packet.dst == METADATA:
            return self.metadata(host, network, packet)
        if packet.dst == nic.ip:
            return self.go(host, nic.label, "it is the VM's own address: the packet does not leave it")
        if ip_address(packet.dst) in ip_network(network.cidr):
            return self.on_subnet(host, network, packet)
        if network.gateway is None:
            self.drop(
                host,
                network.label,
                f"it has no gateway, so the VM knows no way to {packet.dst}",
                "make the network with --gateway ADDRESS, with --gateway-on hosts where there is no router",
            )
        if network.gateway_on == "hosts":
            self.in_namespace(host, network, f"it is the gateway {network.gateway}", network.gateway)
            return self.by_namespace(host, nic, network, packet)
        return self.by_router(host, nic, network, packet)

    def metadata(self, host: str, network: L3Network, packet: Packet) -> None:
        """To the metadata service of the host."""
        if not network.metadata_service:
            self.drop(
                host, network.label, "it has no metadata", f"zctl l3-network update {network.name} --metadata-service"
            )
        self.in_namespace(host, network, f"{METADATA} is its own", METADATA)
        place = f"namespace {namespace_name(network.id)}"
        if (packet.protocol, packet.port) not in (("tcp", 80), ("icmp", 0)):
            self.drop(host, place, f"nothing listens on {packet.protocol} {packet.port}", "metadata is on tcp 80")
        self.go(host, place, "it answers" if packet.protocol == "icmp" else "the metadata service answers")

    def on_subnet(self, host: str, network: L3Network, packet: Packet) -> None:
        """To an address of the card's own subnet: by the bridge, or by the wire."""
        l2 = self.l2(network)
        if packet.dst in (network.dhcp_ip, network.gateway if network.gateway_on == "hosts" else None):
            return self.service(host, network, packet)
        for nic in self.snapshot.by(Nic, "ip", packet.dst):
            if nic.bridge is None and nic.l3_network_id and self.network(nic).l2_network_id == l2.id:
                return self.deliver(nic, packet, host)
        for vip in self.snapshot.by(Vip, "ip", packet.dst):
            if self.l2(self.snapshot.need(L3Network, vip.l3_network_id)).id == l2.id:
                self.go(host, f"bridge {bridge_name(l2.id)}", f"{vip.label} is on the same wire")
                return self.at_vip(vip, packet)
        for row in self.snapshot.by(LoadBalancer, "source_ip", packet.dst):
            if row.l3_network_id == network.id:
                self.drop(host, network.label, f"{packet.dst} is what load balancers ask from: nothing listens there")
        if l2.kind == "vxlan" and packet.dst != network.gateway:
            self.drop(
                host, l2.label, f"no card has {packet.dst}, and in a tunnel there is nobody else", "zctl nic list"
            )
        ask = {"what": "device", "device": l2.uplink, "bridge": bridge_name(l2.id)}
        who = "the router" if packet.dst == network.gateway else "whoever has the address"
        self.go(host, f"{l2.uplink} of bridge {bridge_name(l2.id)}", f"out to {who}, which is not zctl's", ask)
        return None

    def service(self, host: str, network: L3Network, packet: Packet) -> None:
        """To an address of the host's own namespace."""
        self.in_namespace(host, network, f"{packet.dst} is its own, on every host", packet.dst)
        listens = {("icmp", 0), ("udp", DHCP_PORT)}
        if getattr(network, "dns_service", False):
            listens |= {("udp", DNS_PORT), ("tcp", DNS_PORT)}
        place = f"namespace {namespace_name(network.id)}"
        if (packet.protocol, packet.port) not in listens:
            self.drop(host, place, f"nothing listens on {packet.protocol} {packet.port}")
        self.go(host, place, "it answers")

    def eip_of(self, nic: Nic) -> tuple[Eip, Vip] | None:
        """The eip that stands for a card."""
        for eip in self.snapshot.by(Eip, "nic_id", nic.id):
            vip = self.snapshot.need(Vip, eip.vip_id)
            if ":" not in (vip.ip or ""):
                return eip, vip
        return None

    def by_router(self, host: str, nic: Nic, network: L3Network, packet: Packet) -> None:
        """By a physical gateway; of a card with an eip the frames are handed to the namespace instead."""
        l2, own = self.l2(network), self.eip_of(nic)
        if own is not None:
            ask = self.table("eip", "bridge", [f'"{tap_name(nic.id)}" : '])
            words = f"{own[0].label} stands for the card: its frames to the router are handed to the namespace"
            self.go(host, f"bridge {bridge_name(l2.id)}", words, ask)
            return self.by_namespace(host, nic, network, packet)
        ask = {"what": "device", "device": l2.uplink, "bridge": bridge_name(l2.id)}
        words = f"out to the router {network.gateway}, which is not zctl's to ask"
        self.go(host, f"{l2.uplink} of bridge {bridge_name(l2.id)}", words, ask)
        return self.arrive(packet)

    def by_namespace(self, host: str, nic: Nic, network: L3Network, packet: Packet) -> None:
        """By the namespace: to an eip on the same host, or out by the card's eip or the nat-gateway."""
        own = self.eip_of(nic)
        seen = own[1].ip if own else network.dhcp_ip
        local = self.local_eip(host, network, packet.dst)
        if local is not None:
            return self.translate(host, local[0], local[1], packet, seen or "")
        if own is not None:
            eip, vip = own
            ask = self.router_table(network, f"{nic.ip} : {vip.ip}")
            place = f"namespace {namespace_name(network.id)}"
            self.go(host, place, f"{eip.label}: {nic.ip} becomes {vip.ip}", ask)
            return self.arrive(packet.seen_as(vip.ip or ""))
        return self.by_way_out(host, network, packet)

    def local_eip(self, host: str, network: L3Network, address: str) -> tuple[Eip, Nic] | None:
        """The eip with an address that the same namespace translates, and its card."""
        for vip in self.snapshot.by(Vip, "ip", address):
            for eip in self.snapshot.by(Eip, "vip_id", vip.id):
                nic = self.snapshot.get(Nic, eip.nic_id)
                if nic is not None and nic.l3_network_id == network.id and self.host_of(nic, "receives") == host:
                    return eip, nic
        return None

    def by_way_out(self, host: str, network: L3Network, packet: Packet) -> None:
        """By the network's nat-gateway, on this host or another."""
        found = self.snapshot.by(NatGateway, "l3_network_id", network.id)
        gateway = next((row for row in found if row.host_id), None)
        if gateway is None or gateway.host_id is None:
            self.drop(
                host,
                f"namespace {namespace_name(network.id)}",
                f"{network.label} has no nat-gateway and the card no eip: it has no way out",
                f"zctl nat-gateway create NAME --l3-network {network.name} --network PUBLIC, or an eip",
            )
        vip = self.snapshot.need(Vip, gateway.vip_id)
        home = gateway.host_id
        if home != host:
            self.between(host, home, self.l2(network))
            self.in_namespace(home, network, f"{gateway.label} is here")
        local = self.local_eip(home, network, packet.dst)
        if local is not None:
            return self.translate(home, local[0], local[1], packet, network.dhcp_ip or "")
        for other in self.snapshot.by(Vip, "ip", packet.dst):
            way = self.way_in(other) if not self.snapshot.by(Eip, "vip_id", other.id) else None
            if way is not None and way == (home, network):
                return self.at_shared(other, packet, home, network, network.dhcp_ip or "")
        ask = self.router_table(network, f"snat to {vip.ip}")
        place = f"namespace {namespace_name(network.id)}"
        self.go(home, place, f"{gateway.label}: {packet.src} becomes {vip.ip}", ask)
        return self.arrive(packet.seen_as(vip.ip or ""))
