"""A network card that gets connections of a load balancer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import String, UniqueConstraint, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.resources.base import Resource, attr, ref
from zctl.resources.l3_network import L3Network
from zctl.resources.load_balancer import LoadBalancer
from zctl.resources.lookup import find
from zctl.resources.nic import Nic

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


class LoadBalancerTarget(Resource, table=True):
    """A network card that gets connections of a load balancer."""

    __table_args__ = (UniqueConstraint("load_balancer_id", "nic_id", "port", name="once_in_each_load_balancer"),)
    auto_name = True
    read_only = True
    manifest = False

    # Not unique, because load balancers and cards can be renamed.
    name: str = attr(
        "", help="load balancer, card and port", listed="list", when="never", sa_type=String(168), index=True
    )
    load_balancer_id: str = ref(
        "load-balancer", help="the load balancer", when="never", listed="list", on_delete="owned"
    )
    nic_id: str = ref("nic", help="the card", when="never", listed="list", on_delete="owned")
    port: int = attr(help="its port", when="never", listed="list")

    @property
    def label(self) -> str:
        """How messages call it: by the card."""
        return f"nic {self.name.partition('/')[2]} (as a target)"

    def check(self, db: Session) -> None:
        """The card is of the load balancer's network."""
        balancer, nic = db.get(LoadBalancer, self.load_balancer_id), db.get(Nic, self.nic_id)
        assert balancer is not None and nic is not None
        if nic.l3_network_id == balancer.l3_network_id and nic.bridge is None and nic.ip is not None:
            return
        network, wanted = db.get(L3Network, nic.l3_network_id or ""), db.get(L3Network, balancer.l3_network_id)
        place = f"on {network.label}" if network else "plugged into what zctl did not make"
        raise Refused(
            f"target {nic.name} is {place}",
            resource=balancer.label,
            remedy=f"give a card on {wanted.label if wanted else 'its network'}",
            field="targets",
        )

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """What its load balancer concerns."""
        balancer = snapshot.get(LoadBalancer, self.load_balancer_id)
        return balancer.scope(snapshot) if balancer else {}


def parse_target(balancer: LoadBalancer, text: str) -> tuple[str, int]:
    """A card's name and a port. Raises Invalid."""
    name, _, port = text.partition(":")
    if name and not port and ":" not in text:
        return name, balancer.port
    if name and port.isdecimal() and 1 <= int(port) <= 65535:
        return name, int(port)
    raise Invalid(
        f"target {text!r} is not NIC or NIC:PORT",
        resource=balancer.label,
        remedy="such as web-1-nic0:8080, a port from 1 to 65535",
        field="targets",
    )


def given_targets(db: Session, balancer: LoadBalancer, texts: list[str]) -> list[LoadBalancerTarget]:
    """New targets, as they are written. Raises Invalid and NotFound."""
    found: dict[tuple[str, int], LoadBalancerTarget] = {}
    for text in filter(None, texts):
        name, port = parse_target(balancer, text)
        nic = find(db, Nic, name)
        if (nic.id, port) in found:
            raise Invalid(f"target {nic.name}:{port} is given twice", resource=balancer.label, field="targets")
        found[nic.id, port] = LoadBalancerTarget.build(
            name=f"{balancer.name}/{nic.name}:{port}", load_balancer_id=balancer.id, nic_id=nic.id, port=port
        )
    return list(found.values())


def revise_targets(db: Session, balancer: LoadBalancer, texts: list[str]) -> list[Resource]:
    """Make a load balancer's targets just these; ones that are there already stay as they are."""
    query = select(LoadBalancerTarget).where(col(LoadBalancerTarget.load_balancer_id) == balancer.id)
    present = {(row.nic_id, row.port): row for row in db.scalars(query)}
    wanted = {(row.nic_id, row.port): row for row in given_targets(db, balancer, texts)}
    gone = [row for key, row in present.items() if key not in wanted]
    for row in gone:
        db.delete(row)
    if gone:
        db.flush()
    new: list[Resource] = [row for key, row in wanted.items() if key not in present]
    return new or ([balancer] if gone else [])


def written(balancer: LoadBalancer, texts: list[str]) -> list[str]:
    """Targets as they are written, in their usual form and order."""
    found = (parse_target(balancer, text) for text in texts if text)
    return sorted(f"{name}:{port}" for name, port in found)


def lines_of(snapshot: Snapshot, balancer: LoadBalancer) -> list[str]:
    """A load balancer's targets in that form."""
    rows = snapshot.by(LoadBalancerTarget, "load_balancer_id", balancer.id)
    return sorted(f"{snapshot.need(Nic, row.nic_id).name}:{row.port}" for row in rows)
