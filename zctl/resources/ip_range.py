"""Addresses of an l3-network that zctl may give to VMs."""

from __future__ import annotations

from collections.abc import Set
from ipaddress import IPv4Address, ip_network
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import String, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.plan.addresses import last_usable
from zctl.resources.base import Computed, Input, Resource, attr, ref
from zctl.resources.l3_network import L3Network, parse_address, parse_subnet

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


def _sizes(db: Session, ids: list[str]) -> dict[str, Any]:
    rows = db.execute(select(col(IpRange.id), col(IpRange.start), col(IpRange.end)))
    return {key: int(IPv4Address(end)) - int(IPv4Address(start)) + 1 for key, start, end in rows}


class IpRange(Resource, table=True):
    """Addresses of an l3-network that zctl may give to VMs."""

    l3_network_id: str = ref(
        "l3-network", help="the l3-network it belongs to", when="create", listed="list", on_delete="owned"
    )
    start: str = attr("", help="first address", when="create", listed="list", sa_type=String(39), auto=True)
    end: str = attr("", help="last address", when="create", listed="list", sa_type=String(39), auto=True)

    inputs = {"cidr": Input(str, "a block instead of start and end; network and broadcast address are left out")}
    computed = {"addresses": Computed("how many addresses it spans", _sizes)}

    @classmethod
    def of(cls, network: L3Network, name: str, text: str) -> Self:
        """A range given with its network, as START-END or a CIDR."""
        start, _, end = (part.strip() for part in text.partition("-"))
        row = cls.build(name=name, l3_network_id=network.id, start=start if end else "", end=end)
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
        first, last = IPv4Address(self.start), IPv4Address(self.end)
        return first <= IPv4Address(other.start) and IPv4Address(other.end) <= last

    def spans(self, network: L3Network, cidr: str) -> bool:
        """Whether its addresses are those of that block."""
        other = IpRange.of(network, "", cidr)
        return (other.start, other.end) == (self.start, self.end)

    def check_delete(self, db: Session) -> None:
        """A range whose addresses are in use stays."""
        from zctl.resources.nic import Nic

        for nic in db.scalars(select(Nic).where(col(Nic.l3_network_id) == self.l3_network_id).order_by(col(Nic.name))):
            if nic.ip and IPv4Address(self.start) <= IPv4Address(nic.ip) <= IPv4Address(self.end):
                raise Refused(
                    f"its address {nic.ip} belongs to {nic.label}", resource=self.label, remedy="delete that card first"
                )

    def fill(self, network: L3Network, cidr: str) -> None:
        """Set start and end from a CIDR where one is given, without the subnet's own network and broadcast address."""
        subnet = ip_network(network.cidr)
        if cidr:
            if self.start or self.end:
                raise Invalid("both a CIDR and start or end are given", resource=self.label, remedy="give one of them")
            block = parse_block(self.label, cidr)
            first, last = block.network_address, block.broadcast_address
            first += first == subnet.network_address
            last -= last == subnet.broadcast_address
            self.start, self.end = str(first), str(last)
        if not (self.start and self.end):
            raise Invalid("the range has no addresses", resource=self.label, remedy="give --cidr, or --start and --end")

    def check(self, db: Session) -> None:
        """Inside the subnet, in order, and apart from every other range on the same l2-network."""
        network = db.get(L3Network, self.l3_network_id)
        assert network is not None
        subnet = parse_subnet(network.label, network.cidr)
        start, end = (parse_address(self.label, text, "address") for text in (self.start, self.end))
        if start.version != 4 or end.version != 4 or start not in subnet or end not in subnet:
            raise Refused(f"{self.start}-{self.end} is not inside {subnet} of {network.label}", resource=self.label)
        if start > end:
            raise Refused(f"start {start} comes after end {end}", resource=self.label, remedy="exchange them")
        if subnet.network_address in (start, end) or subnet.broadcast_address in (start, end):
            raise Refused(
                f"{start}-{end} holds the network or broadcast address of {subnet}",
                resource=self.label,
                remedy="begin one later, end one earlier",
            )
        siblings = (
            select(IpRange, L3Network)
            .join(L3Network, col(L3Network.id) == col(IpRange.l3_network_id))
            .where(col(L3Network.l2_network_id) == network.l2_network_id, col(IpRange.id) != self.id)
        )
        for other, its_network in db.execute(siblings):
            if IPv4Address(other.start) <= end and start <= IPv4Address(other.end):
                raise Refused(
                    f"{start}-{end} overlaps {other.start}-{other.end} of {other.label} ({its_network.label})",
                    resource=self.label,
                    remedy="ranges on one l2-network must not share addresses",
                )
        if network.dhcp_ip is None:
            network.dhcp_ip = last_usable(start, end, {network.gateway})
            if network.dhcp_ip is None:
                raise Refused(
                    "the range has no address to spare for the DHCP service",
                    resource=self.label,
                    remedy="give a larger range, or the network a --dhcp-ip",
                )
            db.add(network)

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The hosts of its network, whose services begin with the first range."""
        network = snapshot.get(L3Network, self.l3_network_id)
        return network.scope(snapshot) if network else {}


def parse_block(label: str, text: str) -> Any:
    """An IPv4 block of any size, or Invalid."""
    try:
        block = ip_network(text, strict=True)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a CIDR: {error}", resource=label) from None
    if block.version != 4:
        raise Invalid(f"{text} is IPv6, which ranges do not carry yet", resource=label)
    return block
