"""A VM's network card: its MAC and its address on one l3-network."""

from __future__ import annotations

import secrets
from collections.abc import Set
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import String, UniqueConstraint, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.plan import hoststate, hoststate_security
from zctl.plan.fragments import Fragment
from zctl.plan.names import bridge_name, tap_name
from zctl.plan.security_rule import ACTIONS, canonical_cidr
from zctl.resources.base import Computed, Input, Resource, attr, ref
from zctl.resources.dns_names import hosts_told, names_with
from zctl.resources.l2_network import L2Network
from zctl.resources.l3_network import L3Network, usual_form
from zctl.resources.pool import allocate
from zctl.resources.vm import Vm
from zctl.resources.vm_metadata import metadata_of
from zctl.units import RATE_PATTERN, format_rate, parse_rate

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

Policy = Literal["allow", "deny"]
MAC_PATTERN = r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$"


def _groups(db: Session, ids: list[str]) -> dict[str, Any]:
    from zctl.resources.security_group import SecurityGroup
    from zctl.resources.security_group_member import SecurityGroupMember as Member

    query = select(col(Member.nic_id), col(SecurityGroup.name))
    query = query.join(SecurityGroup, col(SecurityGroup.id) == col(Member.security_group_id))
    found: dict[str, list[str]] = {}
    for nic, name in db.execute(query.order_by(col(Member.nic_id), col(Member.place))):
        found.setdefault(nic, []).append(name)
    return {key: " ".join(names) for key, names in found.items()}


class Nic(Resource, table=True):
    """A VM's network card: its MAC and its address on one l3-network."""

    __table_args__ = (
        UniqueConstraint("l3_network_id", "ip", name="one_nic_per_address"),
        UniqueConstraint("l3_network_id", "ip6", name="one_nic_per_ipv6_address"),
    )
    concerns = ("l3_services", "metadata", "security")
    auto_name = True

    vm_id: str = ref("vm", help="the VM it belongs to", when="create", listed="list", on_delete="owned")
    l3_network_id: str | None = ref(
        "l3-network",
        None,
        help="the network it is on; an adopted card may be on none that zctl knows",
        when="create",
        listed="list",
        needed=True,
    )
    ip: str | None = attr(
        None, help="its address; a free one when not given", when="create", listed="list", auto=True, sa_type=String(39)
    )
    ip6: str | None = attr(
        None,
        help="its IPv6 address on a network with IPv6; a free one when not given",
        when="create",
        listed="wide",
        auto=True,
        sa_type=String(39),
    )
    mac: str | None = attr(
        None,
        help="its MAC; made when not given, never changed",
        when="create",
        listed="list",
        auto=True,
        sa_type=String(17),
        unique=True,
        regex=MAC_PATTERN,
    )
    bridge: str | None = attr(
        None,
        help="adopted: what it is plugged into, such as br0 or network:default; left as it is",
        when="never",
        sa_type=String(255),
    )
    inbound: str | None = attr(
        None,
        help="bits a second that the VM may receive, such as 100M; none: as much as there is",
        listed="wide",
        sa_type=String(16),
        regex=RATE_PATTERN,
    )
    outbound: str | None = attr(
        None,
        help="bits a second that the VM may send, such as 100M; none: as much as there is",
        listed="wide",
        sa_type=String(16),
        regex=RATE_PATTERN,
    )
    anti_spoofing: bool = attr(True, help="whether it may send only from its own MAC and addresses")
    allowed_addresses: list[str] = attr(
        default_factory=list, help="further addresses or networks that it may send from", json=True
    )
    ingress_policy: Policy | None = attr(
        None,
        help="what becomes of packets to it that no rule speaks of; deny when it is in a group, else allow",
        choices=ACTIONS,
    )
    egress_policy: Policy | None = attr(
        None, help="what becomes of packets from it that no rule speaks of; allow when not given", choices=ACTIONS
    )
    device: int = attr(0, help="its place among the VM's cards, from 0", when="never", listed="wide")

    inputs = {
        "security_groups": Input(
            list[str],
            "security-group that it is in, first ones are asked first; may be repeated; '' is none",
            option="--security-group",
        ),
    }
    computed = {"groups": Computed("the security-groups that it is in", _groups, listed="wide")}

    @property
    def addresses(self) -> list[str]:
        """The addresses that are its own."""
        return [address for address in (self.ip, self.ip6) if address]

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """Networks in their usual form; bandwidths in their shortest, `none` as nothing."""
        if field == "allowed_addresses" and value:
            return [canonical_cidr(text, cls.noun, field) for text in value if text]
        if field == "ip6" and value:
            return usual_form(value)
        if field not in ("inbound", "outbound") or value is None:
            return value
        try:
            return None if value == "none" else format_rate(parse_rate(value))
        except ValueError as error:
            raise Invalid(f"{field} {error}", resource="nic", remedy="give 100M, 2.5G or none") from None

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Allocate device number, name, MAC and address. The database's unique constraints settle races."""
        vm = db.get(Vm, self.vm_id)
        assert vm is not None
        devices = set(db.scalars(select(col(Nic.device)).where(col(Nic.vm_id) == self.vm_id, col(Nic.id) != self.id)))
        self.device = next(n for n in range(len(devices) + 1) if n not in devices)
        self.name = self.name or f"{vm.name}-nic{self.device}"
        self.mac = self.mac or free_mac(db)
        network = db.get(L3Network, self.l3_network_id or "")
        assert network is not None
        self.ip = allocate(db, self.label, network, self.ip)
        if network.cidr6 or self.ip6:
            self.ip6 = allocate(db, self.label, network, self.ip6, 6)
        self.allowed_addresses = self.canonical("allowed_addresses", self.allowed_addresses)
        if not inputs.get("security_groups"):
            return []
        from zctl.resources.security_parts import given_groups, memberships

        return memberships(self, given_groups(db, inputs["security_groups"]))

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Put it into the groups asked for."""
        from zctl.resources.security_parts import renamed_members, revise_memberships

        renamed = renamed_members(db, nic=self) if "name" in changed else []
        if inputs.get("security_groups") is None:
            return renamed
        return [*renamed, *revise_memberships(db, self, inputs["security_groups"])]

    def holds(self, snapshot: Snapshot, inputs: dict[str, Any]) -> bool:
        """Whether it is in just the groups asked for."""
        if inputs.get("security_groups") is None:
            return True
        from zctl.resources.security_parts import memberships_hold

        return memberships_hold(snapshot, self, inputs["security_groups"])

    def exported(self, snapshot: Snapshot, spec: dict[str, Any]) -> dict[str, Any] | None:
        """Cards of adopted VMs stay with these."""
        from zctl.resources.security_group import groups_of

        vm = snapshot.get(Vm, self.vm_id)
        if vm is None or vm.adopted or self.bridge is not None:
            return None
        groups = [group.name for group in groups_of(snapshot, self)]
        return spec | ({"security_groups": groups} if groups else {})

    def check(self, db: Session) -> None:
        """The VM's host must have the network; what an adopted card does is its owner's to say."""
        if self.bridge is not None and (self.inbound or self.outbound):
            raise Refused(
                "it is an adopted card, which zctl leaves as it is",
                resource=self.label,
                remedy="limit it by virsh domiftune, or give the VM a card of zctl's",
            )
        if self.bridge is not None and (self.ingress_policy or self.egress_policy or self.allowed_addresses):
            raise Refused(
                "it is an adopted card, which zctl does not filter",
                resource=self.label,
                remedy="filter it where it is plugged in, or give the VM a card of zctl's",
            )
        from zctl.resources.room import network_problem

        vm, network = db.get(Vm, self.vm_id), db.get(L3Network, self.l3_network_id) if self.l3_network_id else None
        if vm and network and (problem := network_problem(db, vm, network)):
            raise Refused(problem, resource=self.label)

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """The DHCP leases of the VMs on the host, what these are told, and what their cards may send and receive."""
        leases = [
            Fragment(
                "l3_services",
                "leases",
                hoststate.Lease(uuid=nic.id, name=vm.hostname or vm.name, mac=nic.mac, ip=nic.ip, ip6=nic.ip6),
                nic.l3_network_id or "",
            )
            for vm in snapshot.by(Vm, "host_id", host)
            for nic in snapshot.by(Nic, "vm_id", vm.id)
            if nic.ip and nic.mac and nic.bridge is None
        ]
        return leases + metadata_of(snapshot, host) + _filters(snapshot, host)

    def news(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The other hosts of its network, which answer for its name."""
        return hosts_told(snapshot, self)

    def keeper(self, snapshot: Snapshot) -> str | None:
        """Its VM's host."""
        vm = snapshot.get(Vm, self.vm_id)
        return vm.host_id if vm else None

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The host of its VM: the lease and the domain; the way out of its network; hosts that know its groups."""
        from zctl.resources.nat_gateway import NatGateway
        from zctl.resources.security_group import groups_of

        vm = snapshot.get(Vm, self.vm_id)
        # The metadata of the VM's other cards tell of this one.
        others = [nic.id for nic in snapshot.by(Nic, "vm_id", self.vm_id) if nic.id != self.id]
        found: dict[str, list[str]] = {}
        if vm and vm.host_id:
            found[vm.host_id] = [self.id, self.vm_id, *others, *names_with(snapshot, self, vm.host_id)]
        for row in snapshot.by(NatGateway, "l3_network_id", self.l3_network_id):
            if row.host_id:
                found.setdefault(row.host_id, []).append(row.id)
        for group in groups_of(snapshot, self):
            for host, uuids in group.scope(snapshot).items():
                found[host] = [*found.get(host, []), *uuids]
        return found


def _filters(snapshot: Snapshot, host: str) -> list[Fragment]:
    from zctl.resources.security_group import cards_on, groups_of

    found = []
    for nic in cards_on(snapshot, host):
        groups = [group.id for group in groups_of(snapshot, nic)]
        ingress = nic.ingress_policy or ("deny" if groups else "allow")
        egress = nic.egress_policy or "allow"
        if not (nic.anti_spoofing or groups or "deny" in (ingress, egress)):
            continue
        l2 = snapshot.need(L2Network, snapshot.need(L3Network, nic.l3_network_id).l2_network_id)
        entry = hoststate_security.SecurityNic(
            uuid=nic.id,
            name=nic.name,
            tap=tap_name(nic.id),
            bridge=bridge_name(l2.id),
            private=l2.kind != "no-vlan",
            mac=nic.mac or "",
            addresses=nic.addresses,
            allowed=nic.allowed_addresses,
            anti_spoofing=nic.anti_spoofing,
            groups=groups,
            ingress_policy=ingress,
            egress_policy=egress,
        )
        found.append(Fragment("security", "nics", entry))
    return found


def free_mac(db: Session) -> str:
    """A random address in QEMU's range that no card has: among many cards two random ones do meet."""
    while True:
        mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
        if db.scalars(select(col(Nic.id)).where(col(Nic.mac) == mac)).first() is None:
            return mac
