"""Addresses of an l3-network that zctl may give to VMs."""

from __future__ import annotations

from collections.abc import Set
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import String, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.plan.addresses import SET_ASIDE, is_host_address, is_inside, last_usable
from zctl.resources.base import Computed, Input, Resource, attr, ref
from zctl.resources.l3_network import L3Network, usual_form
from zctl.resources.l3_rules import parse_address, parse_subnet, parse_subnet6

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


def _sizes(db: Session, ids: list[str]) -> dict[str, Any]:
    rows = db.execute(select(col(IpRange.id), col(IpRange.start), col(IpRange.end)))
    return {key: int(ip_address(end)) - int(ip_address(start)) + 1 for key, start, end in rows}


class IpRange(Resource, table=True):
    """Addresses of an l3-network that zctl may give to VMs."""

    l3_network_id: str = ref(
        "l3-network", help="the l3-network it belongs to", when="create", listed="list", on_delete="owned"
    )
    start: str = attr("", help="first address", when="create", listed="list", sa_type=String(39), auto=True)
    end: str = attr("", help="last address", when="create", listed="list", sa_type=String(39), auto=True)

    inputs = {"cidr": Input(str, "a block instead of start and end; network and broadcast address are left out")}
    computed = {"addresses": Computed("how many addresses it spans", _sizes)}

    @property
    def first(self) -> Any:
        """The first address."""
        return ip_address(self.start)

    @property
    def last(self) -> Any:
        """The last address."""
        return ip_address(self.end)

    @property
    def ip_version(self) -> int:
        """4 or 6."""
        return int(self.first.version)

    def has(self, text: str) -> bool:
        """Whether an address is one of its own."""
        return is_inside([(self.start, self.end)], text)

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """Addresses are stored in their usual form."""
        return usual_form(value) if field in ("start", "end") and value else value

    @classmethod
    def of(cls, network: L3Network, name: str, text: str) -> Self:
        """A range given with its network, as START-END or a CIDR."""
        start, _, end = (part.strip() for part in text.partition("-"))
        start, end = (usual_form(part) for part in (start if end else "", end))
        row = cls.build(name=name, l3_network_id=network.id, start=start, end=end)
        row.fill(network, "" if end else text)
        return row

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Turn a CIDR into first and last address."""
        network = db.get(L3Network, self.l3_network_id)
        assert network is not None
        self.fill(network, inputs.get("cidr") or "")
        return []

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """A CIDR is first and last address written otherwise: neither can change."""
        network = db.get(L3Network, self.l3_network_id)
        assert network is not None
        if inputs.get("cidr") and not self.spans(network, inputs["cidr"]):
            raise Refused(
                "cidr cannot be changed after creation",
                resource=self.label,
                remedy="make another ip-range beside it, then delete this one",
                field="cidr",
            )
        return []

    def holds(self, snapshot: Snapshot, inputs: dict[str, Any]) -> bool:
        """Whether it spans the block asked for."""
        network = snapshot.need(L3Network, self.l3_network_id)
        return not inputs.get("cidr") or self.spans(network, inputs["cidr"])

    def encloses(self, other: IpRange) -> bool:
        """Whether all addresses of another range are among its own."""
        return self.has(other.start) and self.has(other.end)

    def spans(self, network: L3Network, cidr: str) -> bool:
        """Whether its addresses are those of that block."""
        other = IpRange.of(network, "", cidr)
        return (other.start, other.end) == (self.start, self.end)

    def check_delete(self, db: Session) -> None:
        """A range whose addresses are in use stays."""
        from zctl.resources.pool import holders

        network = db.get(L3Network, self.l3_network_id)
        assert network is not None
        for ip, row in sorted(holders(db, network).items()):
            if self.has(ip):
                raise Refused(
                    f"its address {ip} belongs to {row.label}",
                    resource=self.label,
                    remedy=f"delete that {row.noun} first",
                )

    def fill(self, network: L3Network, cidr: str) -> None:
        """Set start and end from a CIDR where one is given, without the subnet's own network and broadcast address."""
        if cidr:
            if self.start or self.end:
                raise Invalid("both a CIDR and start or end are given", resource=self.label, remedy="give one of them")
            block = parse_block(self.label, cidr)
            subnet = self.subnet(network, block)
            first, last = block.network_address, block.broadcast_address
            first += first == subnet.network_address
            if block.version == 4:
                last -= last == subnet.broadcast_address
            elif block == subnet:
                last -= SET_ASIDE
            self.start, self.end = str(first), str(last)
        if not (self.start and self.end):
            raise Invalid("the range has no addresses", resource=self.label, remedy="give --cidr, or --start and --end")

    def check(self, db: Session) -> None:
        """Inside the subnet, in order, and apart from every other range on the same l2-network."""
        network = db.get(L3Network, self.l3_network_id)
        assert network is not None
        start, end = (parse_address(self.label, text, "address") for text in (self.start, self.end))
        subnet = self.subnet(network, start)
        if start.version != end.version or start not in subnet or end not in subnet:
            raise Refused(f"{self.start}-{self.end} is not inside {subnet} of {network.label}", resource=self.label)
        if start > end:
            raise Refused(f"start {start} comes after end {end}", resource=self.label, remedy="exchange them")
        self.check_ends(subnet)
        siblings = (
            select(IpRange, L3Network)
            .join(L3Network, col(L3Network.id) == col(IpRange.l3_network_id))
            .where(col(L3Network.l2_network_id) == network.l2_network_id, col(IpRange.id) != self.id)
        )
        for other, its_network in db.execute(siblings):
            if other.ip_version == start.version and other.first <= end and start <= other.last:
                raise Refused(
                    f"{start}-{end} overlaps {other.start}-{other.end} of {other.label} ({its_network.label})",
                    resource=self.label,
                    remedy="ranges on one l2-network must not share addresses",
                )
        if network.dhcp_ip is None and start.version == 4:
            network.dhcp_ip = last_usable(start, end, {network.gateway})
            if network.dhcp_ip is None:
                raise Refused(
                    "the range has no address to spare for the DHCP service",
                    resource=self.label,
                    remedy="give a larger range, or the network a --dhcp-ip",
                )
            db.add(network)

    def check_ends(self, subnet: Any) -> None:
        """No address that has a meaning of its own is in it."""
        if all(is_host_address(str(subnet), text) for text in (self.start, self.end)):
            return
        words = "network or broadcast address" if subnet.version == 4 else "first address, or one of the last 128,"
        raise Refused(
            f"{self.start}-{self.end} holds the {words} of {subnet}",
            resource=self.label,
            remedy="begin one later, end one earlier" if subnet.version == 4 else "begin later, end earlier",
        )

    def subnet(self, network: L3Network, like: Any) -> Any:
        """The network's subnet of the same family as an address or block."""
        if like.version == 4:
            return parse_subnet(network.label, network.cidr)
        if network.cidr6 is None:
            raise Refused(
                f"{like} is IPv6, and {network.label} has no IPv6 subnet",
                resource=self.label,
                remedy="make an l3-network with --cidr6",
            )
        return parse_subnet6(network.label, network.cidr6)

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The hosts of its network, whose services begin with the first range."""
        network = snapshot.get(L3Network, self.l3_network_id)
        return network.scope(snapshot) if network else {}


def parse_block(label: str, text: str) -> Any:
    """A block of any size, or Invalid."""
    try:
        return ip_network(text, strict=True)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a CIDR: {error}", resource=label) from None
