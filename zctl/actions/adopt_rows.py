"""Between the inventory and the pure part of adoption: what is known already, and the rows of an adopted VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlmodel import col

from zctl.errors import Invalid
from zctl.plan.adoption import Known, Network, Proposal
from zctl.plan.names import bridge_name
from zctl.resources.base import Resource
from zctl.resources.host import Host
from zctl.resources.l2_network import L2Network
from zctl.resources.l3_network import L3Network
from zctl.resources.nic import Nic
from zctl.resources.vm import Vm
from zctl.resources.volume import Volume

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

LEAST, MOST = 2**20, 2**50


def known_of(snapshot: Snapshot) -> Known:
    """What the inventory holds that matters for recognising and for collisions."""
    hosts = {host.id: L2Network.on_host(snapshot, host.id) for host in snapshot.all(Host)}
    networks = []
    for l3 in snapshot.all(L3Network):
        l2 = snapshot.need(L2Network, l3.l2_network_id)
        taken = {nic.ip for nic in snapshot.by(Nic, "l3_network_id", l3.id)} | {l3.gateway, l3.dhcp_ip}
        networks.append(
            Network(
                id=l3.id,
                name=l3.name,
                bridge=bridge_name(l2.id),
                interface=l2.physical_interface if l2.kind == "no-vlan" else None,
                cidr=l3.cidr,
                hosts=frozenset(key for key, present in hosts.items() if l2.id in present),
                taken=frozenset(address for address in taken if address),
            )
        )
    vms = snapshot.all(Vm)
    return Known(
        vms={vm.id: vm.label for vm in vms},
        names=frozenset(vm.name for vm in vms),
        domains=frozenset(vm.domain or "" for vm in vms),
        macs={nic.mac: nic.label for nic in snapshot.all(Nic) if nic.mac},
        networks=tuple(networks),
        inventory=snapshot.inventory,
    )


def build(db: Session, proposal: Proposal) -> tuple[Vm, list[Resource]]:
    """The VM's row, its volumes and cards. Raises Invalid for a value that the inventory cannot keep."""
    try:
        return vm_row(proposal), [*volume_rows(db, proposal), *nic_rows(db, proposal)]
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(word) for word in first["loc"])
        raise Invalid(f"its {field} {first.get('input')!r} cannot be kept: {first['msg']}") from None


def vm_row(proposal: Proposal) -> Vm:
    """The VM as it was found."""
    facts = proposal.facts
    return Vm.build(
        id=facts["uuid"],
        name=proposal.name,
        description=facts["description"] or None,
        domain=proposal.domain,
        host_id=proposal.place.id,
        cluster_id=proposal.place.cluster,
        cpus=facts["vcpus"],
        memory=facts["memory"],
        virt_type=facts["virt_type"],
        power=facts["state"],
        state=facts["state"],
        autostart=facts["autostart"],
        boot=proposal.boot,
        adopted=True,
    )


def volume_rows(db: Session, proposal: Proposal) -> list[Resource]:
    """One volume for each disk; the one booted from is the root volume."""
    rows: list[Resource] = []
    for number, disk in enumerate(proposal.disks):
        is_root = disk["target"] == proposal.root
        wanted = f"{proposal.name}-root" if is_root else f"{proposal.name}-disk{number}"
        rows.append(
            Volume.build(
                name=free_name(db, Volume, wanted),
                vm_id=proposal.facts["uuid"],
                host_id=proposal.place.id,
                kind="root" if is_root else "data",
                size=disk["size"] if LEAST <= (disk["size"] or 0) <= MOST else None,
                format=disk["format"],
                file=disk["source"],
                target=disk["target"],
                device=number,
                state="Ready",
            )
        )
    return rows


def nic_rows(db: Session, proposal: Proposal) -> list[Resource]:
    """One card for each interface."""
    return [
        Nic.build(
            name=free_name(db, Nic, f"{proposal.name}-nic{number}"),
            vm_id=proposal.facts["uuid"],
            l3_network_id=card.network.id if card.network else None,
            ip=card.ip,
            mac=card.mac,
            bridge=card.source,
            device=number,
        )
        for number, card in enumerate(proposal.cards)
    ]


def free_name(db: Session, cls: type[Resource], wanted: str) -> str:
    """The wanted name, or one with a number behind it."""
    taken = set(db.scalars(select(col(cls.name)).where(col(cls.name).startswith(wanted))))
    names = (wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def outlook(proposal: Proposal) -> dict[str, Any]:
    """One VM as it is told to people and machines."""
    facts = proposal.facts
    return {
        "host": proposal.place.name,
        "domain": facts["domain"],
        "vm": proposal.name,
        "uuid": facts["uuid"],
        "state": facts["state"],
        "cpus": facts["vcpus"],
        "memory": facts["memory"],
        "disks": [
            {"target": disk["target"], "source": disk["source"], "format": disk["format"], "size": disk["size"]}
            for disk in proposal.disks
        ],
        "nics": [
            {
                "mac": card.mac,
                "source": card.source,
                "l3_network": card.network.name if card.network else None,
                "ip": card.ip,
            }
            for card in proposal.cards
        ],
        "notes": proposal.notes,
    }
