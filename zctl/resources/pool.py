"""Addresses of an l3-network: who has which, and a free one from its ranges. Not a noun."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from sqlalchemy import select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.plan.addresses import first_free, is_host_address, is_inside, shared_range, whole_range
from zctl.resources.ip_range import IpRange
from zctl.resources.l3_network import L3Network
from zctl.resources.l3_rules import parse_address

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.resources.base import Resource

Version = Literal[4, 6]


def holders(db: Session, network: L3Network) -> dict[str, Resource]:
    """The resources that have an address of the network, by address."""
    from zctl.resources.load_balancer import LoadBalancer
    from zctl.resources.nic import Nic
    from zctl.resources.vip import Vip

    nics = db.scalars(select(Nic).where(col(Nic.l3_network_id) == network.id))
    vips = db.scalars(select(Vip).where(col(Vip.l3_network_id) == network.id))
    balancers = db.scalars(select(LoadBalancer).where(col(LoadBalancer.l3_network_id) == network.id))
    found: dict[str, Resource] = {row.source_ip: row for row in balancers if row.source_ip}
    for nic in nics:
        found |= dict.fromkeys(nic.addresses, nic)
    return found | {vip.ip: vip for vip in vips if vip.ip}


def ranges_of(db: Session, network: L3Network, version: Version) -> list[tuple[str, str]]:
    """First and last address of the network's ranges of one family, oldest first."""
    rows = select(IpRange).where(col(IpRange.l3_network_id) == network.id)
    ordered = rows.order_by(col(IpRange.created_at), col(IpRange.name))
    return [(row.start, row.end) for row in db.scalars(ordered) if ip_address(row.start).version == version]


def allocate(db: Session, label: str, network: L3Network, wanted: str | None, version: Version = 4) -> str:
    """The wanted address, or a free one. Raises Invalid and Refused. Writers take turns, so nobody else gets it.

    An IPv6 subnet without ranges is one range.
    """
    subnet = network.cidr if version == 4 else network.cidr6
    if subnet is None:
        raise Refused(f"{network.label} has no IPv6 subnet", resource=label, remedy="make an l3-network with --cidr6")
    ranges = ranges_of(db, network, version)
    reserved = set(network.service_addresses)
    taken = holders(db, network)
    if wanted is None:
        found = first_free(ranges or ([shared_range(subnet)] if version == 6 else []), set(taken) | reserved)
        if found is None:
            why = "no address is left" if ranges else "it has no ip-range"
            raise Refused(
                f"{why} on {network.label}",
                resource=label,
                remedy=f"zctl ip-range create NAME --l3-network {network.name} --start A --end B",
            )
        return found
    address = parse_address(label, wanted, "address")
    if address.version != version:
        raise Invalid(f"{wanted} is not an IPv{version} address", resource=label)
    wanted = str(address)
    if wanted in reserved:
        raise Refused(f"{wanted} is the gateway or DHCP address of {network.label}", resource=label)
    if version == 6 and not is_host_address(subnet, wanted):
        raise Refused(f"{wanted} is no address for a card in {subnet} of {network.label}", resource=label)
    if not is_inside(ranges or ([whole_range(subnet)] if version == 6 else []), wanted):
        raise Refused(f"{wanted} is in no ip-range of {network.label}", resource=label)
    if wanted in taken:
        raise Refused(f"{wanted} belongs to {taken[wanted].label}", resource=label)
    return wanted
