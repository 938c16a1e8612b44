"""What subnets of l3-networks, and addresses in them, can be. Not a noun."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.plan.addresses import is_host_address

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.resources.base import Resource
    from zctl.resources.l3_network import L3Network


def parse_subnet(label: str, text: str) -> Any:
    """An IPv4 subnet with room for guests, or Invalid."""
    try:
        subnet = ip_network(text, strict=True)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a subnet: {error}", resource=label, remedy="write it as 10.1.0.0/24") from None
    if subnet.version != 4:
        raise Invalid(
            f"{text} is IPv6, which an l3-network has beside an IPv4 subnet",
            resource=label,
            remedy="give an IPv4 subnet as the CIDR, and this one as --cidr6",
        )
    if not 8 <= subnet.prefixlen <= 29:
        raise Invalid(f"{text} is too large or too small", resource=label, remedy="use a prefix from /8 to /29")
    return subnet


def parse_subnet6(label: str, text: str) -> Any:
    """An IPv6 subnet as router advertisements need it, or Invalid."""
    remedy = "write it as 2001:db8:1:2::/64, or take one from fd00::/8"
    try:
        subnet = ip_network(text, strict=True)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a subnet: {error}", resource=label, remedy=remedy) from None
    if subnet.version != 6:
        raise Invalid(f"cidr6 {text} is not IPv6", resource=label, remedy=remedy)
    if subnet.prefixlen != 64:
        raise Invalid(
            f"cidr6 {text} is a /{subnet.prefixlen}, router advertisements need a /64", resource=label, remedy=remedy
        )
    if subnet.is_multicast or subnet.is_link_local or subnet.is_loopback or subnet.is_unspecified:
        raise Invalid(f"cidr6 {text} has a meaning of its own", resource=label, remedy=remedy)
    return subnet


def parse_address(label: str, text: str, word: str) -> Any:
    """An IP address, or Invalid."""
    try:
        found = ip_address(text)
    except ValueError:
        raise Invalid(f"{word} {text!r} is not an IP address", resource=label) from None
    if getattr(found, "scope_id", None):
        raise Invalid(f"{word} {text!r} names a device", resource=label, remedy="leave out what follows the %")
    return found


def check_addresses(network: L3Network) -> None:
    """Gateway and DHCP address lie in the subnet and are two."""
    label, subnet = network.label, parse_subnet(network.label, network.cidr)
    for word, text in (("gateway", network.gateway), ("DHCP address", network.dhcp_ip)):
        if text is None:
            continue
        address = parse_address(label, text, word)
        if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
            raise Refused(f"{word} {text} is not a host address of {subnet}", resource=label)
    if network.gateway and network.gateway == network.dhcp_ip:
        raise Refused(
            f"gateway and DHCP address are both {network.gateway}",
            resource=label,
            remedy="the DHCP service needs an address of its own",
        )
    if network.gateway_on == "hosts" and network.gateway is None:
        raise Refused("the hosts need the gateway's address", resource=label, remedy="add --gateway, such as 10.1.0.1")
    for text in network.dns:
        parse_address(label, text, "DNS server")


def check_addresses6(network: L3Network) -> None:
    """The same for IPv6. A router's address may be its link-local one."""
    label = network.label
    if network.cidr6 is None:
        for word, text in (("gateway6", network.gateway6), ("dhcp_ip6", network.dhcp_ip6)):
            if text is not None:
                raise Refused(
                    f"{word} {text} is given without an IPv6 subnet",
                    resource=label,
                    remedy="add --cidr6, such as fd00:1:2:3::/64",
                )
        return
    subnet = parse_subnet6(label, network.cidr6)
    for word, text in (("gateway6", network.gateway6), ("DHCP address", network.dhcp_ip6)):
        if text is None:
            continue
        address = parse_address(label, text, word)
        outside = word == "gateway6" and network.gateway_on == "router" and address.version == 6
        if outside and address.is_link_local:
            continue
        if address.version != 6 or not is_host_address(str(subnet), text):
            raise Refused(f"{word} {text} is not a host address of {subnet}", resource=label)
    if network.gateway6 and network.gateway6 == network.dhcp_ip6:
        raise Refused(
            f"gateway6 and the DHCP address are both {network.gateway6}",
            resource=label,
            remedy="the DHCP service needs an address of its own: --dhcp-ip6",
        )
    if network.gateway_on == "hosts" and network.gateway6 is None:
        raise Refused(
            "the hosts need the gateway's IPv6 address too",
            resource=label,
            remedy=f"add --gateway6, such as {subnet[1]}",
        )


def check_names(db: Session, network: L3Network) -> None:
    """The domain is one, and other servers can be asked: by guests, or by the hosts for them."""
    from zctl.resources.dns_names import require_domain
    from zctl.resources.l2_network import L2Network

    if network.domain:
        require_domain(network.label, network.domain)
    l2, subnet = db.get(L2Network, network.l2_network_id), parse_subnet(network.label, network.cidr)
    for text in network.dns:
        address = parse_address(network.label, text, "DNS server")
        if not network.dns_service:
            continue
        own = (network.dhcp_ip, network.gateway if network.gateway_on == "hosts" else None)
        led_to = network.gateway is not None and network.gateway_on == "router"
        if text in own or (address in subnet and l2 is not None and l2.kind != "no-vlan" and not led_to):
            why = "is the network's own" if text in own else "lies in a network that the hosts have no way into"
            raise Refused(
                f"DNS server {text} {why}, so it cannot be asked for other names",
                resource=network.label,
                remedy="name a server that the hosts reach, or add --no-dns-service: guests ask it themselves then",
                field="dns",
            )


def check_neighbours(db: Session, network: L3Network) -> None:
    """Networks on one l2-network do not overlap; several may be parts of one subnet."""
    from zctl.resources.l3_network import L3Network

    same_l2 = select(L3Network).where(
        col(L3Network.l2_network_id) == network.l2_network_id, col(L3Network.id) != network.id
    )
    for other in db.scalars(same_l2):
        for own, theirs, same in (
            (network.cidr, other.cidr, network.gateway == other.gateway),
            (network.cidr6, other.cidr6, network.gateway6 == other.gateway6),
        ):
            if own is None or theirs is None or not ip_network(theirs).overlaps(ip_network(own)):
                continue
            if own != theirs or not same:
                raise Refused(
                    f"{own} overlaps {theirs} of {other.label} on the same l2-network",
                    resource=network.label,
                    remedy="use another subnet, or the same subnet and gateway",
                )


def require_apart(own: L3Network, public: L3Network, user: Resource, version: int) -> None:
    """Refuse to translate between networks with the same addresses: nobody could tell whose a packet is."""
    pair = [row.cidr if version == 4 else row.cidr6 for row in (own, public)]
    if all(pair) and ip_network(str(pair[0])).overlaps(ip_network(str(pair[1]))):
        raise Refused(
            f"{own.label} ({pair[0]}) and {public.label} ({pair[1]}) have the same addresses",
            resource=user.label,
            remedy="give the VM a card on an l3-network with addresses of its own",
        )
