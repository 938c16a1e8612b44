"""A port of a public address that leads to one network card."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.resources.base import Resource, attr, ref
from zctl.resources.eip import Eip
from zctl.resources.l3_network import L3Network
from zctl.resources.nat_gateway import NatGateway
from zctl.resources.nic import Nic
from zctl.resources.vip import Vip, networks_of_vip, require_free, require_ipv4

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


class PortForwarding(Resource, table=True):
    """A port of a public address that leads to one network card."""

    concerns = ("eip",)

    vip_id: str = ref("vip", help="the public address", when="create", listed="list")
    protocol: Literal["tcp", "udp"] = attr(
        "tcp", help="tcp or udp", when="create", listed="list", choices=("tcp", "udp")
    )
    ports: str = attr(
        help="its port, or START-END",
        when="create",
        listed="list",
        sa_type=String(11),
        regex=r"^[0-9]{1,5}(-[0-9]{1,5})?$",
    )
    nic_id: str = ref("nic", help="the card that it leads to", listed="list", on_delete="cascade")
    private_port: int | None = attr(
        None, help="the card's port; the same when not given", listed="list", auto=True, ge=1, le=65535
    )
    allowed_cidr: str | None = attr(None, help="only from these addresses", listed="wide", sa_type=String(43))

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """Blocks in their usual form."""
        return parse_cidr(cls.noun, value) if field == "allowed_cidr" and value else value

    @property
    def span(self) -> tuple[int, int]:
        """First and last port."""
        start, _, end = self.ports.partition("-")
        return int(start), int(end or start)

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """The card's port is the same when nothing else is said."""
        self.private_port = self.private_port or self.span[0]
        return []

    def check(self, db: Session) -> None:
        """Ports in order, that nobody else on the address has; a card that has no eip, in a network with a way out."""
        start, end = self.span
        if not 1 <= start <= end <= 65535:
            raise Invalid(f"{self.ports} is no range of ports", resource=self.label, remedy="1 to 65535, START-END")
        if end > start and self.private_port != start:
            raise Refused(
                "a range of ports leads to the same ports", resource=self.label, remedy="leave --private-port out"
            )
        if self.allowed_cidr:
            self.allowed_cidr = parse_cidr(self.label, self.allowed_cidr)
        vip, nic = db.get(Vip, self.vip_id), db.get(Nic, self.nic_id)
        assert vip is not None and nic is not None
        network = db.get(L3Network, nic.l3_network_id or "")
        if network is None:
            raise Refused(f"{nic.label} is plugged into what zctl did not make", resource=self.label)
        require_ipv4(vip, self)
        require_free(db, vip, self, "eip")
        check_way(db, self, vip, network)
        self.check_balancers(db, vip)
        of_nic = select(Eip).join(Vip, col(Vip.id) == col(Eip.vip_id)).where(col(Eip.nic_id) == nic.id)
        for eip in db.scalars(of_nic.where(col(Vip.address_family) != "ipv6")):
            raise Refused(
                f"{nic.label} has {eip.label}, which leads to all of its ports",
                resource=self.label,
                remedy=f"zctl eip detach {eip.name}, or use that address",
            )
        others = select(PortForwarding).where(col(PortForwarding.vip_id) == vip.id, col(PortForwarding.id) != self.id)
        for other in db.scalars(others):
            if other.protocol == self.protocol and other.span[0] <= end and start <= other.span[1]:
                raise Refused(f"{other.label} has {other.protocol} {other.ports} of {vip.label}", resource=self.label)

    def check_balancers(self, db: Session, vip: Vip) -> None:
        """No load balancer has one of the ports."""
        from zctl.resources.load_balancer import LoadBalancer

        for row in db.scalars(select(LoadBalancer).where(col(LoadBalancer.vip_id) == vip.id)):
            if row.protocol == self.protocol and self.span[0] <= row.port <= self.span[1]:
                raise Refused(
                    f"{row.label} has {row.protocol} {row.port} of {vip.label}",
                    resource=self.label,
                    remedy="use another port or vip",
                )

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The host that is the way out."""
        nic = snapshot.get(Nic, self.nic_id)
        found = snapshot.by(NatGateway, "l3_network_id", nic.l3_network_id) if nic else []
        return {row.host_id: [self.id] for row in found if row.host_id}


def check_way(db: Session, row: Resource, vip: Vip, network: L3Network) -> None:
    """Raise Refused unless a network has a way out by which answers from a vip leave, and has the vip for itself."""
    gateway = db.scalars(select(NatGateway).where(col(NatGateway.l3_network_id) == network.id)).first()
    if gateway is None:
        raise Refused(
            f"{network.label} has no nat-gateway, by which answers would go out",
            resource=row.label,
            remedy=f"zctl nat-gateway create NAME --l3-network {network.name} --network PUBLIC",
        )
    own = db.get(Vip, gateway.vip_id or "")
    if own is not None and own.l3_network_id != vip.l3_network_id:
        raise Refused(
            f"{vip.label} is of another public network than {gateway.label}",
            resource=row.label,
            remedy="answers would go out by the wrong one: use a vip of the same network",
        )
    for user, served in networks_of_vip(db, vip):
        if user.id != row.id and served != network.id:
            raise Refused(
                f"{vip.label} serves another network already ({user.label})",
                resource=row.label,
                remedy="use another vip",
            )


def parse_cidr(label: str, text: str) -> str:
    """An IPv4 block in its usual form, or Invalid."""
    try:
        block = ip_network(text, strict=True)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a CIDR: {error}", resource=label) from None
    if block.version != 4:
        raise Invalid(f"{text} is IPv6; the address is IPv4", resource=label)
    return str(block)


def rules_with_cards() -> Any:
    """All rules, each with its card."""
    return select(PortForwarding, Nic).join(Nic, col(Nic.id) == col(PortForwarding.nic_id))
