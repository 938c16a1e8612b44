"""What the namespaces of a host translate between private and public networks. Pure. Not a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zctl.plan import hoststate, hoststate_balancer
from zctl.plan.fragments import Fragment
from zctl.plan.names import (
    bridge_name,
    namespace_mac,
    namespace_name,
    public_mac,
    public_mark,
    public_port_name,
    public_veth_name,
    tap_name,
)
from zctl.resources.l2_network import L2Network
from zctl.resources.l3_network import L3Network
from zctl.resources.nic import Nic
from zctl.resources.vip import Vip
from zctl.resources.vm import Vm

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot


def routers(snapshot: Snapshot, host: str) -> list[Fragment]:
    """One router for each private network of the host with something to translate, or with a way out."""
    from zctl.resources.nat_gateway import NatGateway

    found: dict[str, list[hoststate.Eip]] = {}
    for vm in snapshot.by(Vm, "host_id", host):
        if vm.power == "Running":
            for nic in snapshot.by(Nic, "vm_id", vm.id):
                for eip in eips_of(snapshot, nic):
                    found.setdefault(nic.l3_network_id or "", []).append(eip)
    present = L2Network.on_host(snapshot, host)
    for row in snapshot.all(NatGateway):
        if snapshot.need(L3Network, row.l3_network_id).l2_network_id in present and row.host_id:
            found.setdefault(row.l3_network_id, [])
    return [
        Fragment("eip", "routers", router(snapshot, host, snapshot.need(L3Network, key), eips))
        for key, eips in found.items()
    ]


def eips_of(snapshot: Snapshot, nic: Nic) -> list[hoststate.Eip]:
    """The addresses that stand for a card."""
    from zctl.resources.eip import Eip

    found = []
    for row in snapshot.by(Eip, "nic_id", nic.id):
        vip = snapshot.need(Vip, row.vip_id)
        private = nic.ip6 if vip.ip_version == 6 else nic.ip
        if vip.ip and private and nic.mac:
            found.append(
                hoststate.Eip(
                    uuid=row.id,
                    name=row.name,
                    ip=vip.ip,
                    public=vip.l3_network_id,
                    private_ip=private,
                    mac=nic.mac,
                    tap=tap_name(nic.id),
                )
            )
    return found


def router(snapshot: Snapshot, host: str, network: L3Network, eips: list[hoststate.Eip]) -> hoststate.Router:
    """The router of one network on one host."""
    made = hoststate.Router(
        uuid=network.id,
        name=network.name,
        namespace=namespace_name(network.id),
        mac=namespace_mac(host, network.id),
        bridge=bridge_name(network.l2_network_id),
        cidr=network.cidr,
        cidr6=network.cidr6,
        gateway_here=network.gateway_on == "hosts",
        eips=sorted(eips, key=lambda eip: eip.uuid),
        neighbours={eip.private_ip: eip.mac for eip in eips},
    )
    lead_out(snapshot, host, network, made)
    used = {eip.public for eip in made.eips} | {snat.public for snat in made.snats}
    used |= {rule.public for rule in made.forwards} | {rule.public for rule in made.balancers}
    publics = sorted(used)
    made.publics = [link(snapshot, host, network, snapshot.need(L3Network, key)) for key in publics]
    return made


def lead_out(snapshot: Snapshot, host: str, network: L3Network, made: hoststate.Router) -> None:
    """The way out of a network: here, with all that comes in by it, or by the host that has it."""
    from zctl.resources.nat_gateway import NatGateway
    from zctl.resources.port_forwarding import PortForwarding

    for row in snapshot.by(NatGateway, "l3_network_id", network.id):
        vip = snapshot.need(Vip, row.vip_id)
        if row.host_id != host:
            if row.host_id:
                mac = namespace_mac(row.host_id, network.id)
                made.exits.append(hoststate.Exit(uuid=row.id, name=row.name, mac=mac))
            continue
        made.snats.append(hoststate.Snat(uuid=row.id, name=row.name, ip=vip.ip or "", public=vip.l3_network_id))
        nics = [nic for nic in snapshot.by(Nic, "l3_network_id", network.id) if nic.ip and nic.mac and not nic.bridge]
        made.neighbours |= {nic.ip or "": nic.mac or "" for nic in nics}
        for nic in nics:
            for rule in snapshot.by(PortForwarding, "nic_id", nic.id):
                own = snapshot.need(Vip, rule.vip_id)
                made.forwards.append(
                    hoststate.Forward(
                        uuid=rule.id,
                        name=rule.name,
                        ip=own.ip or "",
                        public=own.l3_network_id,
                        protocol=rule.protocol,
                        start=rule.span[0],
                        end=rule.span[1],
                        private_ip=nic.ip or "",
                        private_start=rule.private_port or rule.span[0],
                        allowed=rule.allowed_cidr,
                    )
                )
    made.forwards.sort(key=lambda entry: entry.uuid)
    if made.snats:
        made.balancers = balancers(snapshot, network)


def balancers(snapshot: Snapshot, network: L3Network) -> list[hoststate_balancer.Balancer]:
    """The load balancers of a network, for the host that is its way out."""
    from zctl.resources.load_balancer import LoadBalancer

    found = []
    for row in snapshot.by(LoadBalancer, "l3_network_id", network.id):
        vip = snapshot.need(Vip, row.vip_id)
        found.append(
            hoststate_balancer.Balancer(
                uuid=row.id,
                name=row.name,
                ip=vip.ip or "",
                public=vip.l3_network_id,
                port=row.port,
                source=row.source_ip or "",
                algorithm=row.algorithm,
                interval=row.health_check_interval,
                timeout=row.health_check_timeout,
                rise=row.healthy_threshold,
                fall=row.unhealthy_threshold,
                idle_timeout=row.idle_timeout,
                proxy_protocol=row.proxy_protocol,
                allowed=sorted(row.allowed_cidrs),
                targets=targets(snapshot, row.id),
            )
        )
    return sorted(found, key=lambda entry: entry.uuid)


def targets(snapshot: Snapshot, balancer: str) -> list[hoststate_balancer.Target]:
    """The cards that get a load balancer's connections, whether their VMs run or not: health checks tell."""
    from zctl.resources.load_balancer_target import LoadBalancerTarget

    found = []
    for row in snapshot.by(LoadBalancerTarget, "load_balancer_id", balancer):
        nic = snapshot.need(Nic, row.nic_id)
        found.append(hoststate_balancer.Target(uuid=row.id, name=nic.name, ip=nic.ip or "", port=row.port))
    return sorted(found, key=lambda entry: (entry.ip, entry.port))


def link(snapshot: Snapshot, host: str, network: L3Network, public: L3Network) -> hoststate.PublicLink:
    """The port of a network's namespace on a public network."""
    l2 = snapshot.need(L2Network, public.l2_network_id)
    return hoststate.PublicLink(
        uuid=public.id,
        name=public.name,
        bridge=bridge_name(l2.id),
        uplink=l2.uplink,
        veth=public_veth_name(network.id, public.id),
        port=public_port_name(public.id),
        mac=public_mac(snapshot.inventory, host, network.id, public.id),
        cidr=public.cidr,
        gateway=public.gateway,
        cidr6=public.cidr6,
        gateway6=public.gateway6,
        mtu=l2.mtu,
        mark=public_mark(public.id),
    )
