"""The way out for the cards of an l3-network that have no eip: one shared address, on one host."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlmodel import col

from zctl.errors import Invalid, NotYet, Refused
from zctl.resources.base import Computed, Input, Resource, ref
from zctl.resources.host import Host
from zctl.resources.l2_network import L2Network
from zctl.resources.l3_network import L3Network
from zctl.resources.l3_rules import require_apart
from zctl.resources.lookup import find
from zctl.resources.room import UNSEEN
from zctl.resources.vip import Vip, networks_of_vip, new_vip, require_free, require_ipv4, same_network

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


def _addresses(db: Session, ids: list[str]) -> dict[str, Any]:
    rows = db.execute(select(col(NatGateway.id), col(Vip.ip)).join(Vip, col(Vip.id) == col(NatGateway.vip_id)))
    return {key: address for key, address in rows if key in set(ids)}


class NatGateway(Resource, table=True):
    """The way out for the cards of an l3-network that have no eip: one shared address, on one host."""

    concerns = ("eip",)

    l3_network_id: str = ref(
        "l3-network", help="the private network", when="create", listed="list", unique=True, on_delete="cascade"
    )
    vip_id: str | None = ref(
        "vip",
        None,
        help="the address that its cards are seen by; a new one of --network when not given",
        when="create",
        listed="list",
        auto=True,
    )
    host_id: str | None = ref(
        "host", None, help="the host that is the way out; chosen when not given", listed="list", auto=True
    )

    inputs = {"network": Input(str, "public l3-network that a new address is taken from", ref="l3-network")}
    computed = {"ip": Computed("its address", _addresses)}

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Take an address, choose a host."""
        if bool(self.vip_id) == bool(inputs.get("network")):
            raise Invalid("it needs one address", resource=self.label, remedy="give --vip, or --network for a new one")
        if not self.vip_id:
            self.vip_id = new_vip(db, self, find(db, L3Network, inputs["network"])).id
        if self.host_id is None:
            self.host_id = self.choose(db).id
        return []

    def companions(self, db: Session) -> list[Resource]:
        """The vip that was made for it alone."""
        vip = db.get(Vip, self.vip_id) if self.vip_id else None
        return [vip] if vip is not None and vip.made_for == self.id else []

    def holds(self, snapshot: Snapshot, inputs: dict[str, Any]) -> bool:
        """Whether its address is of that network."""
        vip = snapshot.get(Vip, self.vip_id)
        network = snapshot.get(L3Network, vip.l3_network_id) if vip else None
        return inputs.get("network") in (None, network and network.name)

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Choose a host again when none is given."""
        same_network(db, self, self.vip_id, inputs)
        if self.host_id is None:
            self.host_id = self.choose(db).id
        return []

    def candidates(self, db: Session) -> list[Host]:
        """The hosts that have both networks."""
        vip = db.get(Vip, self.vip_id or "")
        assert vip is not None
        networks = [db.get(L3Network, key) for key in (self.l3_network_id, vip.l3_network_id)]
        l2s = [db.get(L2Network, network.l2_network_id) for network in networks if network is not None]
        hosts = list(db.scalars(select(Host).order_by(col(Host.name))))
        return [host for host in hosts if all(l2 is not None and has_network(db, l2, host) for l2 in l2s)]

    def choose(self, db: Session) -> Host:
        """The connected host that is the way out of the fewest networks."""
        others = [row.host_id for row in db.scalars(select(NatGateway).where(col(NatGateway.id) != self.id))]
        hosts = self.candidates(db)
        found = [host for host in hosts if host.state == "Connected"]
        if not found:
            raise (NotYet if any(host.state in UNSEEN for host in hosts) else Refused)(
                "no connected host has both networks",
                resource=self.label,
                remedy="zctl host list, zctl l2-network list",
            )
        return min(found, key=lambda host: others.count(host.id))

    def check(self, db: Session) -> None:
        """Only a network whose gateway the hosts are can be led out by them."""
        network = db.get(L3Network, self.l3_network_id)
        assert network is not None
        if network.gateway_on != "hosts":
            raise Refused(
                f"the gateway of {network.label} is a router, which lets its cards out",
                resource=self.label,
                remedy="make the network with --gateway-on hosts",
            )
        for other in db.scalars(select(NatGateway).where(col(NatGateway.l3_network_id) == network.id)):
            if other.id != self.id:
                raise Refused(
                    f"{network.label} has {other.label} already",
                    resource=self.label,
                    remedy="a network has one way out",
                )
        vip = db.get(Vip, self.vip_id or "")
        if vip is not None:
            require_ipv4(vip, self)
            require_apart(network, db.get_one(L3Network, vip.l3_network_id), self, 4)
            require_free(db, vip, self, "eip", "nat-gateway")
            for user, served in networks_of_vip(db, vip):
                if served != network.id:
                    raise Refused(
                        f"{vip.label} serves another network already ({user.label})",
                        resource=self.label,
                        remedy="use another vip",
                    )
        if self.host_id not in {host.id for host in self.candidates(db)}:
            host = db.get(Host, self.host_id or "")
            raise Refused(f"{host.label if host else 'the host'} does not have both networks", resource=self.label)

    def check_delete(self, db: Session) -> None:
        """What comes in by it would come in nowhere."""
        from zctl.resources.load_balancer import LoadBalancer
        from zctl.resources.nic import Nic
        from zctl.resources.port_forwarding import rules_with_cards

        rules = db.scalars(rules_with_cards().where(col(Nic.l3_network_id) == self.l3_network_id))
        own = col(LoadBalancer.l3_network_id) == self.l3_network_id
        rows = [*rules, *db.scalars(select(LoadBalancer).where(own))]
        if rows:
            commands = [f"zctl {row.noun} delete {row.name}" for row in rows]
            raise Refused(
                f"{', '.join(row.label for row in rows)} {'come' if rows[1:] else 'comes'} in by it",
                resource=self.label,
                remedy=f"{'; '.join(commands)}; zctl nat-gateway update --host only moves it",
            )

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Every host of the private network: one is the way out, with what comes in by it; the others lead there."""
        from zctl.resources.load_balancer import LoadBalancer
        from zctl.resources.nic import Nic
        from zctl.resources.port_forwarding import PortForwarding

        network = snapshot.get(L3Network, self.l3_network_id)
        nics = snapshot.by(Nic, "l3_network_id", self.l3_network_id)
        rules = [rule.id for nic in nics for rule in snapshot.by(PortForwarding, "nic_id", nic.id)]
        found = {host: [self.id, *rules] for host in network.scope(snapshot)} if network else {}
        balancers = [row.id for row in snapshot.by(LoadBalancer, "l3_network_id", self.l3_network_id)]
        for host, uuids in found.items():
            # The host itself may need a package for load balancers.
            uuids += [*balancers, *([host] if balancers and host == self.host_id else [])]
        return found


def has_network(db: Session, l2: L2Network, host: Host) -> bool:
    """Whether a host has an l2-network."""
    from zctl.resources.cluster import Cluster

    cluster = db.get(Cluster, host.cluster_id)
    return cluster is not None and l2.zone_id == cluster.zone_id and l2.cluster_id in (None, host.cluster_id)
