"""A traced packet that arrives on a public network, or asks for one of its addresses. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from zctl.actions.trace_way import Dropped, Way
from zctl.plan.names import bridge_name, namespace_name, public_veth_name
from zctl.resources.eip import Eip
from zctl.resources.l3_network import L3Network
from zctl.resources.load_balancer import LoadBalancer
from zctl.resources.load_balancer_target import LoadBalancerTarget
from zctl.resources.nat_gateway import NatGateway
from zctl.resources.nic import Nic
from zctl.resources.port_forwarding import PortForwarding
from zctl.resources.vip import Vip
from zctl.resources.vm import Vm

if TYPE_CHECKING:
    from zctl.plan.trace import Packet


class Arrival(Way):
    """What a packet for an address of the cloud comes by."""

    def arrive(self, packet: Packet) -> None:
        """Whoever has the address gets it; one that nobody in the cloud has is not ours to follow."""
        for vip in self.snapshot.by(Vip, "ip", packet.dst):
            return self.at_vip(vip, packet)
        for nic in self.snapshot.by(Nic, "ip", packet.dst):
            if nic.l3_network_id and nic.bridge is None:
                return self.at_card(nic, packet)
        for network in self.snapshot.all(L3Network):
            if ip_address(packet.dst) in ip_network(network.cidr) and network.gateway_on == "hosts":
                self.drop(
                    None, "outside", f"{packet.dst} is a private address of {network.label}, and no card has it",
                    "zctl nic list",
                )  # fmt: skip
        self.go(None, "outside", f"{packet.dst} is not of this cloud: who answers there is not known here")

    def at_card(self, nic: Nic, packet: Packet) -> None:
        """From outside to a card's own address: only a router on the wire can bring it."""
        network = self.network(nic)
        if network.gateway_on == "hosts":
            self.drop(
                None,
                "outside",
                f"{packet.dst} is a private address of {network.label}, to which nobody outside knows a way",
                f"zctl eip create NAME --network PUBLIC --vm {self.snapshot.need(Vm, nic.vm_id).name}, or a"
                " port-forwarding or load-balancer",
            )
        inside = ip_address(packet.src) in ip_network(network.cidr)
        words = "on the same wire" if inside else f"by the router of {network.label}, which is not zctl's to ask"
        self.go(None, "outside", words)
        self.deliver(nic, packet, None)

    def at_vip(self, vip: Vip, packet: Packet) -> None:
        """What answers on a public address."""
        for eip in self.snapshot.by(Eip, "vip_id", vip.id):
            return self.at_eip(eip, vip, packet)
        host = self.way_in(vip)
        if host is None:
            self.drop(
                None,
                "outside",
                f"nobody answers for {packet.dst}: {vip.label} is not used",
                f"zctl eip create NAME --vip {vip.name}, or a nat-gateway for it",
            )
        return self.at_shared(vip, packet, host[0], host[1])

    def at_eip(self, eip: Eip, vip: Vip, packet: Packet) -> None:
        """From the wire to the namespace on the host of an eip's card, and to the card."""
        nic = self.snapshot.get(Nic, eip.nic_id)
        if nic is None:
            self.drop(None, "outside", f"{eip.label} stands for no card", f"zctl eip attach {eip.name} --vm VM")
        host = self.host_of(nic, "has")
        self.public_port(host, vip, self.network(nic), eip.label)
        self.translate(host, eip, nic, packet, packet.src)

    def translate(self, host: str, eip: Eip, nic: Nic, packet: Packet, seen_as: str) -> None:
        """From an eip to its card, in the namespace."""
        name = namespace_name(self.network(nic).id)
        ask = self.router_table(self.network(nic), f"{packet.dst} : {nic.ip}")
        self.go(host, f"namespace {name}", f"{eip.label}: {packet.dst} becomes {nic.ip}", ask)
        self.deliver(nic, packet.to(nic.ip or "").seen_as(seen_as), host)

    def public_port(self, host: str, vip: Vip, network: L3Network, who: str) -> None:
        """The namespace's port on a public network."""
        public = self.snapshot.need(L3Network, vip.l3_network_id)
        port = public_veth_name(network.id, public.id)
        ask = {"what": "device", "device": port, "bridge": bridge_name(public.l2_network_id)}
        self.go(host, f"port {port} of {public.label}", f"{who} answers for {vip.ip}", ask)

    def way_in(self, vip: Vip) -> tuple[str, L3Network] | None:
        """The host and network of what shares a vip: a nat-gateway, port-forwardings, load balancers."""
        networks = [row.l3_network_id for row in self.snapshot.by(NatGateway, "vip_id", vip.id)]
        networks += [row.l3_network_id for row in self.snapshot.by(LoadBalancer, "vip_id", vip.id)]
        for rule in self.snapshot.by(PortForwarding, "vip_id", vip.id):
            networks.append(self.snapshot.need(Nic, rule.nic_id).l3_network_id or "")
        for key in networks:
            for gateway in self.snapshot.by(NatGateway, "l3_network_id", key):
                if gateway.host_id:
                    return gateway.host_id, self.snapshot.need(L3Network, key)
        return None

    def at_shared(self, vip: Vip, packet: Packet, host: str, network: L3Network, hairpin: str = "") -> None:
        """A vip on the way out of a network: its ports lead to cards. `hairpin` is what a card is seen as there."""
        self.public_port(host, vip, network, vip.label)
        place = f"namespace {namespace_name(network.id)}"
        if packet.protocol == "icmp":
            return self.go(host, place, f"it answers the ping for {vip.label} itself")
        for row in self.snapshot.by(LoadBalancer, "vip_id", vip.id):
            if (row.protocol, row.port) == (packet.protocol, packet.port):
                return self.balance(row, packet, host, network)
        for rule in self.snapshot.by(PortForwarding, "vip_id", vip.id):
            if rule.protocol == packet.protocol and rule.span[0] <= packet.port <= rule.span[1]:
                return self.forward(rule, packet, host, network, hairpin)
        self.drop(
            host,
            place,
            f"no port-forwarding and no load-balancer has {packet.protocol} {packet.port} of {vip.label}",
            f"zctl port-forwarding create NAME --vip {vip.name} --protocol {packet.protocol}"
            f" --ports {packet.port} --nic NIC",
        )

    def allowed(self, host: str, place: str, label: str, cidrs: list[str], packet: Packet, remedy: str) -> None:
        """Whether a client is among those that something is for."""
        if cidrs and not any(ip_address(packet.src) in ip_network(cidr) for cidr in cidrs):
            self.drop(host, place, f"{label} is only for {', '.join(cidrs)}, not for {packet.src}", remedy)

    def forward(self, rule: PortForwarding, packet: Packet, host: str, network: L3Network, hairpin: str) -> None:
        """A port that leads to one card."""
        nic = self.snapshot.need(Nic, rule.nic_id)
        place = f"namespace {namespace_name(network.id)}"
        cidrs = [rule.allowed_cidr] if rule.allowed_cidr else []
        remedy = f"zctl port-forwarding update {rule.name} --allowed-cidr CIDR"
        self.allowed(host, place, rule.label, cidrs, packet, remedy)
        port = packet.port if rule.span[0] != rule.span[1] else rule.private_port or packet.port
        ask = self.router_table(network, f"dnat to {nic.ip}")
        self.go(host, place, f"{rule.label}: {packet.target} becomes {nic.ip}:{port}", ask)
        self.deliver(nic, packet.to(nic.ip or "", port).seen_as(hairpin or packet.src), host)

    def balance(self, row: LoadBalancer, packet: Packet, host: str, network: L3Network) -> None:
        """A port that is shared out: it passes when one of the cards can be reached."""
        place = f"namespace {namespace_name(network.id)}"
        remedy = f"zctl load-balancer update {row.name} --allowed-cidr {packet.src}/32"
        self.allowed(host, place, row.label, row.allowed_cidrs, packet, remedy)
        targets = self.snapshot.by(LoadBalancerTarget, "load_balancer_id", row.id)
        if not targets:
            self.drop(
                host, place, f"{row.label} has no target", f"zctl load-balancer update {row.name} --target NIC:PORT"
            )
        ask = {"what": "health", "network": network.id, "balancer": row.id}
        words = f"{row.label}: haproxy asks one of {len(targets)} targets from {row.source_ip}"
        self.go(host, place, words, ask)
        failed = []
        for target in sorted(targets, key=lambda target: target.name):
            nic = self.snapshot.need(Nic, target.nic_id)
            inner = Way(self.snapshot)
            try:
                inner.deliver(nic, packet.to(nic.ip or "", target.port).seen_as(row.source_ip or ""), host)
            except Dropped:
                failed.append((nic, target.port, inner))
                continue
            self.steps += inner.steps
            for other, port, way in failed:
                self.notes.append(f"target {other.name}:{port} is not reached: {way.steps[-1].words}")
            return
        nic, port, inner = failed[0]
        self.notes += [f"target {n.name}:{p} is not reached: {w.steps[-1].words}" for n, p, w in failed[1:]]
        self.steps += inner.steps
        raise Dropped
