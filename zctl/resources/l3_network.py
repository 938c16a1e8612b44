"""A subnet with its gateway, DNS and DHCP, on an l2-network."""

from __future__ import annotations

import itertools
from collections.abc import Set
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.plan import hoststate
from zctl.plan.fragments import Fragment
from zctl.plan.names import bridge_name, namespace_name, veth_name
from zctl.resources.base import Input, Resource, attr, ref
from zctl.resources.l2_network import L2Network

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot
    from zctl.resources.ip_range import IpRange


class L3Network(Resource, table=True):
    """A subnet with its gateway, DNS and DHCP, on an l2-network."""

    concerns = ("l3_services",)

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
    dns: list[str] = attr(default_factory=list, help="addresses of DNS servers given to the guests", json=True)
    domain: str | None = attr(
        None,
        help="DNS domain of the guests",
        sa_type=String(253),
        regex=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$",
    )
    dhcp_ip: str | None = attr(
        None,
        help="address of the DHCP service on every host; from the ranges when not given",
        when="create",
        listed="wide",
        auto=True,
        sa_type=String(39),
    )

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
        """Subnets are stored in their usual form."""
        return str(parse_subnet("l3-network", value)) if field == "cidr" and value else value

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Make the ranges given with the network."""
        from zctl.resources.ip_range import IpRange

        self.cidr = str(parse_subnet(self.label, self.cidr))
        return [
            IpRange.of(self, f"{self.name}-{number}"[-63:], text)
            for number, text in enumerate(inputs.get("ranges") or [], start=1)
        ]

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Make the ranges that are asked for and missing."""
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
        subnet = parse_subnet(self.label, self.cidr)
        for word, text in (("gateway", self.gateway), ("DHCP address", self.dhcp_ip)):
            if text is None:
                continue
            address = parse_address(self.label, text, word)
            if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
                raise Refused(f"{word} {text} is not a host address of {subnet}", resource=self.label)
        if self.gateway and self.gateway == self.dhcp_ip:
            raise Refused(
                f"gateway and DHCP address are both {self.gateway}",
                resource=self.label,
                remedy="the DHCP service needs an address of its own",
            )
        for text in self.dns:
            parse_address(self.label, text, "DNS server")
        same_l2 = select(L3Network).where(
            col(L3Network.l2_network_id) == self.l2_network_id, col(L3Network.id) != self.id
        )
        for other in db.scalars(same_l2):
            if ip_network(other.cidr).overlaps(subnet) and (other.cidr != self.cidr or other.gateway != self.gateway):
                raise Refused(
                    f"{subnet} overlaps {other.cidr} of {other.label} on the same l2-network",
                    resource=self.label,
                    remedy="use another subnet, or the same subnet and gateway",
                )

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
                        dhcp_ip=row.dhcp_ip,
                        dns=row.dns,
                        domain=row.domain,
                        mtu=l2.mtu,
                    ),
                )
            )
        return found

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Every host that has its l2-network."""
        l2 = snapshot.get(L2Network, self.l2_network_id)
        return {host: [self.id] for host in l2.scope(snapshot)} if l2 else {}


def parse_subnet(label: str, text: str) -> Any:
    """An IPv4 subnet with room for guests, or Invalid."""
    try:
        subnet = ip_network(text, strict=True)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a subnet: {error}", resource=label, remedy="write it as 10.1.0.0/24") from None
    if subnet.version != 4:
        raise Invalid(
            f"{text} is IPv6, which l3-networks do not carry yet", resource=label, remedy="give an IPv4 subnet"
        )
    if not 8 <= subnet.prefixlen <= 29:
        raise Invalid(f"{text} is too large or too small", resource=label, remedy="use a prefix from /8 to /29")
    return subnet


def parse_address(label: str, text: str, word: str) -> Any:
    """An IP address, or Invalid."""
    try:
        return ip_address(text)
    except ValueError:
        raise Invalid(f"{word} {text!r} is not an IP address", resource=label) from None
