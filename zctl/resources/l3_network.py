"""A subnet with its gateway, DNS and DHCP, on an l2-network."""

from __future__ import annotations

import itertools
from collections.abc import Set
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, select
from sqlmodel import col

from zctl.plan import hoststate
from zctl.plan.addresses import dhcp_address, is_host_address, last_usable
from zctl.plan.fragments import Fragment
from zctl.plan.hoststate_metadata import MetadataNetwork
from zctl.plan.names import bridge_name, namespace_mac, namespace_name, veth_name
from zctl.resources.base import Input, Resource, attr, ref
from zctl.resources.dns_names import domain_of, names_on
from zctl.resources.host_routes import check_routes
from zctl.resources.l2_network import L2Network
from zctl.resources.l3_rules import (
    check_addresses,
    check_addresses6,
    check_names,
    check_neighbours,
    parse_subnet,
    parse_subnet6,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot
    from zctl.resources.ip_range import IpRange


class L3Network(Resource, table=True):
    """A subnet with its gateway, DNS and DHCP, on an l2-network."""

    concerns = ("l3_services", "metadata")

    l2_network_id: str = ref(
        "l2-network", help="the l2-network it lies on", when="create", listed="list", on_delete="cascade"
    )
    cidr: str = attr(help="the subnet, such as 10.1.0.0/24", when="create", listed="list", sa_type=String(43))
    gateway: str | None = attr(
        None,
        help="address of the router; none: VMs reach their own subnet only",
        when="create",
        listed="list",
        sa_type=String(39),
    )
    gateway_on: Literal["router", "hosts"] = attr(
        "router",
        help="who has the gateway's address: a router on the wire, or each host for its own VMs",
        when="create",
        listed="wide",
        choices=("router", "hosts"),
    )
    public: bool = attr(False, help="its addresses are known outside: vips are taken from it", listed="wide")
    dns: list[str] = attr(
        default_factory=list,
        help="addresses of DNS servers: asked by the network's own, or by the guests when it has none",
        json=True,
    )
    dns_service: bool = attr(True, help="whether the hosts answer for the names of its VMs, and ask dns for others")
    domain: str | None = attr(
        None,
        help="DNS domain of the guests; the network's name when it answers for names",
        auto=True,
        sa_type=String(253),
        regex=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$",
    )
    routes: list[str] = attr(
        default_factory=list,
        help="further routes that guests get by DHCP, such as '10.9.0.0/16 via 10.1.0.5'",
        json=True,
        option="--route",
    )
    dhcp_ip: str | None = attr(
        None,
        help="address of the DHCP service on every host; from the ranges when not given",
        when="create",
        listed="wide",
        auto=True,
        sa_type=String(39),
    )
    cidr6: str | None = attr(
        None,
        help="an IPv6 subnet of 64 bits beside it, such as fd00:1:2:3::/64; none: no IPv6",
        when="create",
        listed="wide",
        sa_type=String(43),
    )
    gateway6: str | None = attr(
        None,
        help="IPv6 address of the router, which --gateway-on tells of; a router's may be link-local",
        when="create",
        listed="wide",
        sa_type=String(39),
    )
    dhcp_ip6: str | None = attr(
        None,
        help="IPv6 address of the DHCP service on every host; chosen when not given",
        when="create",
        listed="show",
        auto=True,
        sa_type=String(39),
    )
    metadata_service: bool = attr(True, help="whether VMs are told who they are at 169.254.169.254, as on EC2")

    inputs = {
        "ranges": Input(
            list[str],
            "addresses for VMs: START-END or a CIDR; more by `zctl ip-range create`",
            default=[],
            option="--range",
        ),
    }

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """Subnets are stored in their usual form; an empty word in a list stands for none."""
        if field in ("routes", "dns") and value:
            return [" ".join(text.split()) for text in value if text]
        if field == "cidr" and value:
            return str(parse_subnet("l3-network", value))
        if field == "cidr6" and value:
            return str(parse_subnet6("l3-network", value))
        return usual_form(value) if field in ("gateway6", "dhcp_ip6") and value else value

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Make the ranges given with the network."""
        from zctl.resources.ip_range import IpRange

        self.cidr = str(parse_subnet(self.label, self.cidr))
        for field in ("cidr6", "gateway6", "dhcp_ip6"):
            setattr(self, field, self.canonical(field, getattr(self, field)))
        self.complete()
        made = [
            IpRange.of(self, f"{self.name}-{number}"[-63:], text)
            for number, text in enumerate(inputs.get("ranges") or [], start=1)
        ]
        if self.cidr6 and self.dhcp_ip6 is None:
            ranges = [row for row in made if row.ip_version == 6 and is_host_address(self.cidr6, row.end)]
            first = next(iter(ranges), None)
            if first is not None:
                self.dhcp_ip6 = last_usable(first.first, first.last, {self.gateway6})
            self.dhcp_ip6 = self.dhcp_ip6 or dhcp_address(self.cidr6, self.gateway6)
        return list(made)

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Make the ranges that are asked for and missing."""
        self.complete()
        from zctl.resources.ip_range import IpRange

        if inputs.get("ranges") is None:
            return []
        present = list(db.scalars(select(IpRange).where(col(IpRange.l3_network_id) == self.id)))
        names = set(db.scalars(select(col(IpRange.name))))
        made: list[Resource] = []
        for row in (IpRange.of(self, "", text) for text in inputs["ranges"]):
            smaller = next((there for there in present if self.came_with(there) and row.encloses(there)), None)
            if any((row.start, row.end) == (there.start, there.end) for there in present):
                continue
            if smaller is not None:
                smaller.start, smaller.end = row.start, row.end
                made.append(smaller)
            else:
                numbered = (f"{self.name}-{number}"[-63:] for number in itertools.count(1))
                row.name = next(name for name in numbered if name not in names)
                names.add(row.name)
                made.append(row)
        return made

    def complete(self) -> None:
        """Who answers for names does so in a domain."""
        for field in ("routes", "dns"):
            setattr(self, field, self.canonical(field, getattr(self, field)))
        if self.dns_service and not self.domain:
            self.domain = domain_of(self.name)

    def holds(self, snapshot: Snapshot, inputs: dict[str, Any]) -> bool:
        """Whether it has just the ranges asked for."""
        from zctl.resources.ip_range import IpRange

        present = {(row.start, row.end) for row in snapshot.by(IpRange, "l3_network_id", self.id)}
        wanted = {(row.start, row.end) for row in (IpRange.of(self, "", text) for text in inputs.get("ranges") or [])}
        return wanted <= present and not self.surplus(snapshot, inputs)

    def surplus(self, snapshot: Snapshot, inputs: dict[str, Any]) -> list[Any]:
        """Ranges that came with the network and are not asked for any more."""
        from zctl.resources.ip_range import IpRange

        if inputs.get("ranges") is None:
            return []
        wanted = [IpRange.of(self, "", text) for text in inputs["ranges"]]
        return [
            row
            for row in snapshot.by(IpRange, "l3_network_id", self.id)
            if self.came_with(row) and not any(one.encloses(row) for one in wanted)
        ]

    def came_with(self, row: IpRange) -> bool:
        """Whether a range was given with the network, which its name tells."""
        number = row.name.rpartition("-")[2]
        return row.manifest_set is None and number.isdigit() and row.name == f"{self.name}-{number}"[-63:]

    def check(self, db: Session) -> None:
        """Gateway and DHCP address lie in the subnet; networks on one l2 do not overlap."""
        check_addresses(self)
        check_addresses6(self)
        check_names(db, self)
        check_routes(self.label, self.routes, parse_subnet(self.label, self.cidr))
        check_neighbours(db, self)

    @property
    def service_addresses(self) -> list[str]:
        """The addresses that no card or vip can have."""
        return [text for text in (self.gateway, self.dhcp_ip, self.gateway6, self.dhcp_ip6) if text]

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """The networks whose bridge is on the host and that have addresses to give."""
        present = set(L2Network.on_host(snapshot, host))
        found = []
        for row in snapshot.all(L3Network):
            if row.l2_network_id not in present or row.dhcp_ip is None:
                continue
            l2 = snapshot.need(L2Network, row.l2_network_id)
            found.append(
                Fragment(
                    "l3_services",
                    "l3_networks",
                    hoststate.L3Network(
                        uuid=row.id,
                        name=row.name,
                        l2=l2.id,
                        bridge=bridge_name(l2.id),
                        uplink=l2.uplink,
                        namespace=namespace_name(row.id),
                        veth=veth_name(row.id),
                        cidr=row.cidr,
                        gateway=row.gateway,
                        gateway_here=row.gateway_on == "hosts",
                        dhcp_ip=row.dhcp_ip,
                        mac=namespace_mac(host, row.id),
                        dns=row.dns,
                        domain=row.domain,
                        mtu=l2.mtu,
                        metadata=row.metadata_service,
                        cidr6=row.cidr6,
                        gateway6=row.gateway6,
                        dhcp_ip6=row.dhcp_ip6,
                        dns_service=row.dns_service,
                        routes=row.routes,
                        names=names_on(snapshot, row, host) if row.dns_service else {},
                    ),
                )
            )
            if row.metadata_service:
                told = MetadataNetwork(uuid=row.id, name=row.name, namespace=namespace_name(row.id))
                found.append(Fragment("metadata", "l3_networks", told))
        return found

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Every host that has its l2-network.

        With metadata the host itself too, which may need a package for them, and the cards, whose VMs are told of the
        network. A namespace's port may be made anew: what public addresses have set up there comes along.
        """
        from zctl.resources.eip import Eip
        from zctl.resources.nat_gateway import NatGateway
        from zctl.resources.nic import Nic
        from zctl.resources.vm import Vm

        l2 = snapshot.get(L2Network, self.l2_network_id)
        ways = [way.id for way in snapshot.by(NatGateway, "l3_network_id", self.id)]
        own = [self.id, *ways]
        found = {host: [*own, host] if self.metadata_service else [*own] for host in l2.hosts(snapshot)} if l2 else {}
        for nic in snapshot.by(Nic, "l3_network_id", self.id):
            vm = snapshot.get(Vm, nic.vm_id)
            if vm is not None and vm.host_id in found:
                told = [nic.id] if self.metadata_service else []
                found[vm.host_id] += [*told, *(eip.id for eip in snapshot.by(Eip, "nic_id", nic.id))]
        return found


def usual_form(text: str) -> str:
    """An address as it is stored; what is none is left for a rule to refuse."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text
