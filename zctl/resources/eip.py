"""A public address that answers for one network card, wherever its VM runs."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import inspect, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.plan.fragments import Fragment
from zctl.resources.base import Computed, Input, Resource, ref
from zctl.resources.l3_network import L3Network
from zctl.resources.l3_rules import require_apart
from zctl.resources.lookup import find
from zctl.resources.nic import Nic
from zctl.resources.room import network_problem
from zctl.resources.routers import routers
from zctl.resources.vip import Vip, new_vip, require_free, same_network
from zctl.resources.vm import Vm
from zctl.resources.vm_metadata import metadata_scope

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


def _addresses(db: Session, ids: list[str]) -> dict[str, Any]:
    rows = db.execute(select(col(Eip.id), col(Vip.ip)).join(Vip, col(Vip.id) == col(Eip.vip_id)))
    return {key: address for key, address in rows if key in set(ids)}


class Eip(Resource, table=True):
    """A public address that answers for one network card, wherever its VM runs."""

    concerns = ("eip",)

    vip_id: str | None = ref(
        "vip",
        None,
        help="the address it answers on; a new one of --network when not given",
        when="create",
        listed="list",
        auto=True,
        unique=True,
    )
    nic_id: str | None = ref("nic", None, help="the network card that it stands for", listed="list", on_delete="detach")
    host_id: str | None = ref(
        "host",
        None,
        help="the host that answers for it",
        when="never",
        listed="wide",
        on_delete="detach",
        observed=True,
    )

    inputs = {
        "network": Input(str, "public l3-network that a new address is taken from", ref="l3-network"),
        "address_family": Input(Literal["ipv4", "ipv6"], "what a new address is: ipv4, when not given, or ipv6"),
        "vm": Input(str, "the VM whose first network card it stands for, instead of a nic", ref="vm"),
    }
    computed = {"ip": Computed("its address", _addresses)}

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Find the card; take a new address when none is given."""
        self.choose_nic(db, inputs)
        if self.vip_id and inputs.get("network"):
            raise Invalid("both a vip and a network are given", resource=self.label, remedy="give one of them")
        if self.vip_id:
            self.require_family(db, inputs.get("address_family"))
            return []
        if not inputs.get("network"):
            raise Invalid("it has no address", resource=self.label, remedy="give --vip, or --network for a new one")
        self.vip_id = new_vip(db, self, find(db, L3Network, inputs["network"]), inputs.get("address_family")).id
        return []

    def require_family(self, db: Session, family: str | None) -> None:
        """Raise Invalid when the vip given is of another family than asked for."""
        vip = db.get(Vip, self.vip_id or "")
        if vip is not None and family not in (None, vip.address_family):
            raise Invalid(f"{vip.label} is {vip.address_family}", resource=self.label, remedy="give another vip")

    def choose_nic(self, db: Session, inputs: dict[str, Any]) -> None:
        """Turn a VM into its first card."""
        if not inputs.get("vm"):
            return
        if self.nic_id:
            raise Invalid("both a nic and a vm are given", resource=self.label, remedy="give one of them")
        vm = find(db, Vm, inputs["vm"])
        first = db.scalars(select(Nic).where(col(Nic.vm_id) == vm.id).order_by(col(Nic.device))).first()
        if first is None:
            raise Refused(
                f"{vm.label} has no network card", resource=self.label, remedy=f"zctl nic create --vm {vm.name}"
            )
        self.nic_id = first.id

    def companions(self, db: Session) -> list[Resource]:
        """The vip that was made for it alone."""
        vip = db.get(Vip, self.vip_id) if self.vip_id else None
        return [vip] if vip is not None and vip.made_for == self.id else []

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Move to a VM's first card."""
        same_network(db, self, self.vip_id, inputs)
        if "nic_id" in changed or inputs.get("vm"):
            # The VM that loses it has to be told, and nothing else knows it any more.
            self.__dict__["_left_nic"] = next(iter(inspect(self).attrs.nic_id.history.deleted or ()), self.nic_id)
        if inputs.get("vm"):
            self.nic_id = self.nic_id if "nic_id" in given else None
            self.choose_nic(db, inputs)
        return []

    def holds(self, snapshot: Snapshot, inputs: dict[str, Any]) -> bool:
        """Whether it stands for a card of that VM and has an address of that network."""
        nic, vip = snapshot.get(Nic, self.nic_id), snapshot.get(Vip, self.vip_id)
        vm = snapshot.get(Vm, nic.vm_id) if nic else None
        network = snapshot.get(L3Network, vip.l3_network_id) if vip else None
        return (
            inputs.get("vm") in (None, vm and vm.name)
            and inputs.get("network") in (None, network and network.name)
            and inputs.get("address_family") in (None, vip and vip.address_family)
        )

    def check(self, db: Session) -> None:
        """A card has one eip, and its host reaches the public network."""
        from zctl.resources.port_forwarding import PortForwarding

        vip, nic = db.get(Vip, self.vip_id or ""), db.get(Nic, self.nic_id) if self.nic_id else None
        assert vip is not None
        require_free(db, vip, self, "eip", "nat-gateway", "port-forwarding", "load-balancer")
        if nic is None:
            return
        public, own = db.get(L3Network, vip.l3_network_id), db.get(L3Network, nic.l3_network_id or "")
        assert public is not None
        if own is None or nic.bridge is not None or nic.ip is None:
            raise Refused(
                f"{nic.label} is plugged into what zctl did not make",
                resource=self.label,
                remedy="give the VM a card on an l3-network",
            )
        for other in db.scalars(select(Eip).where(col(Eip.nic_id) == nic.id, col(Eip.id) != self.id)):
            theirs = db.get(Vip, other.vip_id or "")
            if theirs is not None and theirs.ip_version == vip.ip_version:
                raise Refused(
                    f"{nic.label} has {other.label} already",
                    resource=self.label,
                    remedy=f"zctl eip detach {other.name}",
                )
        rules = select(PortForwarding).where(col(PortForwarding.nic_id) == nic.id)
        for rule in db.scalars(rules) if vip.ip_version == 4 else ():
            raise Refused(
                f"{rule.label} leads to {nic.label}, whose answers would go out as the eip",
                resource=self.label,
                remedy=f"zctl port-forwarding delete {rule.name}",
            )
        if own.id == public.id:
            raise Refused(
                f"{nic.label} is on {public.label} itself",
                resource=self.label,
                remedy="it has a public address of its own",
            )
        if vip.ip_version == 6 and nic.ip6 is None:
            raise Refused(
                f"{nic.label} has no IPv6 address",
                resource=self.label,
                remedy="give the VM a card on an l3-network with --cidr6",
            )
        if (own.gateway if vip.ip_version == 4 else own.gateway6) is None:
            raise Refused(
                f"{own.label} has no gateway, so its guests know no way out",
                resource=self.label,
                remedy=f"make it with --gateway{'6' if vip.ip_version == 6 else ''} ADDRESS --gateway-on hosts",
            )
        require_apart(own, public, self, vip.ip_version)
        vm = db.get(Vm, nic.vm_id)
        if vm is not None and (problem := network_problem(db, vm, public)):
            raise Refused(problem, resource=self.label)

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """What the namespaces of the host translate."""
        return routers(snapshot, host)

    @classmethod
    def touched(cls, other: type[Resource]) -> tuple[str, ...]:
        """Of a card only what its VM is told changes."""
        return ("metadata",) if other is Nic else super().touched(other)

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The host of its card's VM, and the one that answered last; the VMs that get or lose it are told."""
        nic = snapshot.get(Nic, self.nic_id)
        vm = snapshot.get(Vm, nic.vm_id) if nic else None
        found = {host: [self.id] for host in {self.host_id, vm.host_id if vm else None} if host}
        for key in {self.nic_id, self.__dict__.get("_left_nic")}:
            for host, uuids in metadata_scope(snapshot, snapshot.get(Nic, key)).items():
                found.setdefault(host, []).extend(uuids)
        return found

    def absorb(self, db: Session, host: str, observed: dict[str, Any]) -> None:
        """Which host answers for it."""
        if observed.get("answers"):
            self.host_id = host
        elif self.host_id == host:
            self.host_id = None
