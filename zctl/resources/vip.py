"""An address of a public l3-network, for an eip or for what several VMs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, UniqueConstraint
from sqlmodel import select

from zctl.errors import Refused
from zctl.resources.base import Computed, Resource, attr, ref
from zctl.resources.l3_network import L3Network, usual_form
from zctl.resources.pool import allocate

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

FAMILIES = ("ipv4", "ipv6")


def users(db: Session) -> dict[str, list[Resource]]:
    """What answers on each vip, by its id."""
    from zctl.resources.eip import Eip
    from zctl.resources.load_balancer import LoadBalancer
    from zctl.resources.nat_gateway import NatGateway
    from zctl.resources.port_forwarding import PortForwarding

    found: dict[str, list[Resource]] = {}
    for cls in (Eip, NatGateway, PortForwarding, LoadBalancer):
        for row in db.scalars(select(cls)):
            if vip_id := getattr(row, "vip_id", None):
                found.setdefault(vip_id, []).append(row)
    return found


def _users(db: Session, ids: list[str]) -> dict[str, Any]:
    return {key: ", ".join(row.label for row in rows) for key, rows in users(db).items() if key in set(ids)}


def require_free(db: Session, vip: Vip, user: Resource, *nouns: str) -> None:
    """Raise Refused when another resource of these types answers on the vip."""
    for row in users(db).get(vip.id, []):
        if row.id != user.id and row.noun in nouns:
            raise Refused(f"{vip.label} is the address of {row.label}", resource=user.label, remedy="use another vip")


def same_network(db: Session, user: Resource, vip_id: str | None, inputs: dict[str, Any]) -> None:
    """Raise Refused when an update asks for an address of another network than its vip's."""
    vip = db.get(Vip, vip_id or "")
    network = db.get(L3Network, vip.l3_network_id) if vip is not None else None
    if inputs.get("network") and network is not None and inputs["network"] not in (network.name, network.id):
        raise Refused(
            f"its address is of {network.label}, and stays",
            resource=user.label,
            remedy=f"make a new {user.noun} with --network, then delete this one",
            field="network",
        )


def networks_of_vip(db: Session, vip: Vip) -> list[tuple[Resource, str | None]]:
    """What leads from a vip into a private network, each with that network: they are all on its way out."""
    from zctl.resources.nic import Nic

    found: list[tuple[Resource, str | None]] = []
    for row in users(db).get(vip.id, []):
        if row.noun == "port-forwarding":
            nic = db.get(Nic, getattr(row, "nic_id", ""))
            found.append((row, nic.l3_network_id if nic else None))
        elif row.noun != "eip":
            found.append((row, getattr(row, "l3_network_id", None)))
    return found


def new_vip(db: Session, user: Resource, network: L3Network, family: str | None = None) -> Vip:
    """A vip that is made for one resource and goes with it. It is stored at once: the user's row refers to it."""
    vip = Vip.build(name=user.name, l3_network_id=network.id, made_for=user.id, address_family=family)
    vip.prepare(db, {})
    db.add(vip)
    db.flush()
    return vip


def require_ipv4(vip: Vip, user: Resource) -> None:
    """Raise Refused when an address is IPv6, which only eips answer on."""
    if vip.ip_version == 6:
        raise Refused(
            f"{vip.label} is an IPv6 address",
            resource=user.label,
            remedy="use an IPv4 vip; with IPv6 give each card an eip, or route the network",
        )


class Vip(Resource, table=True):
    """An address of a public l3-network, for an eip or for what several VMs share."""

    __table_args__ = (UniqueConstraint("l3_network_id", "ip", name="one_vip_per_address"),)

    l3_network_id: str = ref("l3-network", help="the public network it belongs to", when="create", listed="list")
    ip: str | None = attr(
        None, help="the address; a free one when not given", when="create", listed="list", auto=True, sa_type=String(39)
    )

    address_family: Literal["ipv4", "ipv6"] | None = attr(
        None,
        help="ipv4 or ipv6; that of the address, or ipv4, when not given",
        when="create",
        listed="wide",
        auto=True,
        choices=FAMILIES,
    )
    made_for: str | None = attr(
        None, help="the resource it was made with and goes with", when="never", listed="hidden", sa_type=String(36)
    )

    computed = {"used_by": Computed("what answers on it", _users)}

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """Addresses are stored in their usual form."""
        return usual_form(value) if field == "ip" and value else value

    @property
    def ip_version(self) -> Literal[4, 6]:
        """4 or 6."""
        return 6 if self.address_family == "ipv6" else 4

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Take an address out of the network's ranges."""
        network = db.get(L3Network, self.l3_network_id)
        assert network is not None
        if not network.public:
            raise Refused(
                f"{network.label} is not public",
                resource=self.label,
                remedy=f"zctl l3-network update {network.name} --public, if its addresses are known outside",
            )
        if self.address_family is None:
            self.address_family = "ipv6" if self.ip and ":" in self.ip else "ipv4"
        self.ip = allocate(db, self.label, network, self.ip, self.ip_version)
        return []
