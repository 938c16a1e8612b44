"""Further routes that the guests of an l3-network get by DHCP. Pure. Not a noun."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network

from zctl.errors import Invalid, Refused

MOST = 25  # of up to nine bytes, beside the default route and that to the metadata: DHCP's options have 255 bytes
FORM = "write it as '10.9.0.0/16 via 10.1.0.5'"


def parse_route(label: str, text: str) -> tuple[IPv4Network, str]:
    """Destination and router. Raises Invalid."""
    destination, _, gateway = text.partition(" via ")
    try:
        subnet, router = ip_network(destination), ip_address(gateway)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a route: {error}", resource=label, remedy=FORM, field="routes") from None
    if not isinstance(subnet, IPv4Network) or router.version != 4:
        raise Invalid(f"route {text!r} is not IPv4", resource=label, remedy=FORM, field="routes")
    if subnet.prefixlen == 0:
        raise Invalid(
            f"route {text!r} is the default route",
            resource=label,
            remedy="that one goes by the network's gateway",
            field="routes",
        )
    return subnet, str(router)


def check_routes(label: str, routes: list[str], own: IPv4Network) -> None:
    """Each leads elsewhere, by a router in the network, and none is there twice. Raises Invalid and Refused."""
    if len(routes) > MOST:
        raise Refused(f"{len(routes)} routes do not fit DHCP", resource=label, remedy=f"give at most {MOST}")
    seen: set[IPv4Network] = set()
    for text in routes:
        subnet, router = parse_route(label, text)
        ends = (own.network_address, own.broadcast_address)
        if ip_address(router) not in own or ip_address(router) in ends:
            raise Refused(
                f"the router of route {text!r} is not a host address of {own}",
                resource=label,
                remedy="guests reach routers in their own network only",
                field="routes",
            )
        if subnet.subnet_of(own):
            raise Refused(
                f"route {text!r} leads to the network itself", resource=label, remedy="leave it out", field="routes"
            )
        if subnet in seen:
            raise Refused(
                f"there are two routes to {subnet}", resource=label, remedy="leave one of them out", field="routes"
            )
        seen.add(subnet)
