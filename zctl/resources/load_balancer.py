"""A TCP port of a public address whose connections are shared out among network cards that are healthy."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, UniqueConstraint, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.resources.base import Computed, Input, Resource, attr, ref
from zctl.resources.l3_network import L3Network
from zctl.resources.lookup import find
from zctl.resources.nat_gateway import NatGateway
from zctl.resources.port_forwarding import PortForwarding, check_way, parse_cidr
from zctl.resources.vip import Vip, new_vip, require_free

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

ALGORITHMS = ("round_robin", "least_connections", "source")


def _addresses(db: Session, ids: list[str]) -> dict[str, Any]:
    rows = db.execute(select(col(LoadBalancer.id), col(Vip.ip)).join(Vip, col(Vip.id) == col(LoadBalancer.vip_id)))
    return {key: address for key, address in rows if key in set(ids)}


def _targets(db: Session, ids: list[str]) -> dict[str, Any]:
    from zctl.resources.load_balancer_target import LoadBalancerTarget as Target
    from zctl.resources.nic import Nic

    query = select(col(Target.load_balancer_id), col(Nic.name), col(Target.port))
    query = query.join(Nic, col(Nic.id) == col(Target.nic_id)).order_by(col(Nic.name), col(Target.port))
    found: dict[str, list[str]] = {}
    for key, nic, port in db.execute(query):
        found.setdefault(key, []).append(f"{nic}:{port}")
    return {key: " ".join(words) for key, words in found.items()}


class LoadBalancer(Resource, table=True):
    """A TCP port of a public address whose connections are shared out among network cards that are healthy."""

    __table_args__ = (UniqueConstraint("vip_id", "protocol", "port", name="one_load_balancer_per_port"),)
    concerns = ("eip",)

    vip_id: str | None = ref(
        "vip",
        None,
        help="the public address; a new one of --network when not given",
        when="create",
        listed="list",
        auto=True,
    )
    l3_network_id: str = ref(
        "l3-network", help="the private network of its targets", when="create", listed="list", on_delete="cascade"
    )
    protocol: Literal["tcp"] = attr("tcp", help="tcp", when="create", choices=("tcp",))
    port: int = attr(help="its port", when="create", listed="list", ge=1, le=65535)
    algorithm: Literal["round_robin", "least_connections", "source"] = attr(
        "round_robin",
        help="who gets a connection: in turn, who has the fewest, or always the same for one client's address",
        listed="wide",
        choices=ALGORITHMS,
    )
    health_check_interval: int = attr(
        10, help="how long between two checks of a target", unit="seconds", ge=1, le=300, listed="show"
    )
    health_check_timeout: int = attr(5, help="how long a target has to answer a check", unit="seconds", ge=1, le=120)
    healthy_threshold: int = attr(3, help="checks in a row that bring a target back", ge=1, le=10)
    unhealthy_threshold: int = attr(3, help="checks in a row that take a target out", ge=1, le=10)
    idle_timeout: int = attr(
        350, help="how long a connection may be silent before it is closed", unit="seconds", ge=1, le=86400
    )
    allowed_cidrs: list[str] = attr(
        default_factory=list,
        help="only clients from these networks; none: from everywhere",
        json=True,
        option="--allowed-cidr",
    )
    proxy_protocol: bool = attr(
        False, help="whether targets are told the client's address by PROXY protocol version 2, which they must expect"
    )
    source_ip: str | None = attr(
        None,
        help="the address that targets see, which their security groups must let in; one for each private network",
        when="never",
        listed="wide",
        sa_type=String(39),
    )

    inputs = {
        "network": Input(str, "public l3-network that a new address is taken from", ref="l3-network"),
        "targets": Input(
            list[str],
            "a card that gets connections, NIC or NIC:PORT (the same port when not given); may be repeated; '' is none",
            option="--target",
        ),
    }
    computed = {
        "ip": Computed("its address", _addresses),
        "targets": Computed("the cards that get connections", _targets),
    }

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """Networks in their usual form."""
        return [parse_cidr(cls.noun, text) for text in value if text] if field == "allowed_cidrs" and value else value

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Take an address on either side, and the targets given."""
        if bool(self.vip_id) == bool(inputs.get("network")):
            raise Invalid("it needs one address", resource=self.label, remedy="give --vip, or --network for a new one")
        if not self.vip_id:
            self.vip_id = new_vip(db, self, find(db, L3Network, inputs["network"])).id
        self.source_ip = self.choose_source(db)
        from zctl.resources.load_balancer_target import given_targets

        return [*given_targets(db, self, inputs.get("targets") or [])]

    def choose_source(self, db: Session) -> str:
        """The address that the network's load balancers have already, or a free one."""
        from zctl.resources.pool import allocate

        same = select(col(LoadBalancer.source_ip)).where(col(LoadBalancer.l3_network_id) == self.l3_network_id)
        found = next((address for address in db.scalars(same) if address), None)
        network = db.get(L3Network, self.l3_network_id)
        assert network is not None
        return found or allocate(db, self.label, network, None)

    def companions(self, db: Session) -> list[Resource]:
        """The vip that was made for it alone."""
        vip = db.get(Vip, self.vip_id) if self.vip_id else None
        return [vip] if vip is not None and vip.made_for == self.id else []

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Make its targets just the ones given."""
        if inputs.get("targets") is None:
            return []
        from zctl.resources.load_balancer_target import revise_targets

        return revise_targets(db, self, inputs["targets"])

    def holds(self, snapshot: Snapshot, inputs: dict[str, Any]) -> bool:
        """Whether it has just these targets, and an address of that network."""
        from zctl.resources.load_balancer_target import lines_of, written

        vip = snapshot.get(Vip, self.vip_id)
        network = snapshot.get(L3Network, vip.l3_network_id) if vip else None
        if inputs.get("network") not in (None, network and network.name):
            return False
        return inputs.get("targets") is None or written(self, inputs["targets"]) == lines_of(snapshot, self)

    def exported(self, snapshot: Snapshot, spec: dict[str, Any]) -> dict[str, Any] | None:
        """With its targets."""
        from zctl.resources.load_balancer_target import lines_of

        return spec | {"targets": lines_of(snapshot, self)}

    def check(self, db: Session) -> None:
        """A port that nobody else on the address has, in a network with a way out."""
        self.allowed_cidrs = self.canonical("allowed_cidrs", self.allowed_cidrs)
        vip, network = db.get(Vip, self.vip_id or ""), db.get(L3Network, self.l3_network_id)
        assert vip is not None and network is not None
        if ":" in (vip.ip or ""):
            raise Refused(
                f"{vip.label} is IPv6", resource=self.label, remedy="load balancers answer on IPv4: use such a vip"
            )
        require_free(db, vip, self, "eip")
        check_way(db, self, vip, network)
        same = select(LoadBalancer).where(col(LoadBalancer.vip_id) == vip.id, col(LoadBalancer.id) != self.id)
        for other in db.scalars(same):
            if other.port == self.port:
                raise Refused(
                    f"{other.label} has tcp {self.port} of {vip.label}",
                    resource=self.label,
                    remedy="use another port or vip, or add targets to that one",
                )
        for rule in db.scalars(select(PortForwarding).where(col(PortForwarding.vip_id) == vip.id)):
            if rule.protocol == "tcp" and rule.span[0] <= self.port <= rule.span[1]:
                raise Refused(
                    f"{rule.label} has tcp {rule.ports} of {vip.label}",
                    resource=self.label,
                    remedy="use another port or vip",
                )
        if self.health_check_timeout > self.health_check_interval:
            raise Invalid(
                f"a health check may take {self.health_check_timeout} s, but the next one comes after"
                f" {self.health_check_interval} s",
                resource=self.label,
                remedy="give a timeout that is no longer than the interval",
            )

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The host that is its network's way out; the host itself too when this is its first, for the package."""
        ways = {row.l3_network_id: row.host_id for row in snapshot.all(NatGateway)}
        host = ways.get(self.l3_network_id)
        if not host:
            return {}
        hosts = [ways.get(row.l3_network_id) for row in snapshot.all(LoadBalancer) if row.id != self.id]
        return {host: [self.id] if host in hosts else [self.id, host]}
