"""What a VM is told by the metadata service of its networks. Not a noun."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from zctl.plan.fragments import Fragment
from zctl.plan.hoststate_metadata import MetadataCard, MetadataKey, MetadataNic

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot
    from zctl.resources.nic import Nic
    from zctl.resources.vm import Vm

DIGITS = 17


def instance_id(vm: Vm) -> str:
    """How cloud-init knows an instance: a new one means that everything is done as at the first boot."""
    if not vm.instance_generation:
        return f"i-{vm.id.replace('-', '')[:DIGITS]}"
    return f"i-{hashlib.sha256(f'{vm.id}/{vm.instance_generation}'.encode()).hexdigest()[:DIGITS]}"


def metadata_of(snapshot: Snapshot, host: str) -> list[Fragment]:
    """For each card of the host's VMs on a network with metadata, all that is told over it."""
    from zctl.resources.l3_network import L3Network
    from zctl.resources.vm import Vm

    networks = {row.id: row for row in snapshot.all(L3Network)}
    if not any(network.metadata_service for network in networks.values()):
        return []
    found = []
    for vm in snapshot.by(Vm, "host_id", host):
        cards = cards_of(snapshot, vm)
        told = [nic for nic in cards if networks[nic.l3_network_id or ""].metadata_service]
        found += [Fragment("metadata", "nics", nic_metadata(snapshot, vm, nic, cards)) for nic in told]
    return found


def cards_of(snapshot: Snapshot, vm: Vm) -> list[Nic]:
    """The VM's cards on networks of zctl's, in their order."""
    from zctl.resources.nic import Nic

    cards = [nic for nic in snapshot.by(Nic, "vm_id", vm.id) if nic.ip and nic.mac and nic.bridge is None]
    return sorted((nic for nic in cards if nic.l3_network_id), key=lambda nic: nic.device)


def nic_metadata(snapshot: Snapshot, vm: Vm, nic: Nic, cards: list[Nic]) -> MetadataNic:
    """All that is told over one card."""
    from zctl.resources.instance_offering import InstanceOffering
    from zctl.resources.keypair import Keypair
    from zctl.resources.l3_network import L3Network

    network = snapshot.need(L3Network, nic.l3_network_id)
    offering = snapshot.get(InstanceOffering, vm.instance_offering_id)
    name = vm.hostname or vm.name
    keys = [key for word in vm.keypairs for key in snapshot.by(Keypair, "name", word)]
    return MetadataNic(
        uuid=nic.id,
        name=vm.name,
        l3_network=network.id,
        ip=nic.ip or "",
        ip6=nic.ip6,
        mac=nic.mac or "",
        instance_id=instance_id(vm),
        hostname=f"{name}.{network.domain}" if network.domain else name,
        instance_type=offering.name if offering else "custom",
        zone=zone_of(snapshot, vm),
        image=f"ami-{vm.image_id.replace('-', '')[:DIGITS]}" if vm.image_id else None,
        keys=[MetadataKey(name=key.name, public_key=key.public_key) for key in keys],
        user_data=vm.user_data,
        tokens_required=vm.metadata_tokens == "required",
        public_ipv4=public_address(snapshot, nic),
        security_groups=group_names(snapshot, nic),
        cards=[card_metadata(snapshot, card) for card in cards],
    )


def card_metadata(snapshot: Snapshot, card: Nic) -> MetadataCard:
    """What is told of one card, over all cards of the VM."""
    from zctl.resources.l3_network import L3Network

    network = snapshot.need(L3Network, card.l3_network_id)
    return MetadataCard(
        uuid=card.id,
        mac=card.mac or "",
        ip=card.ip or "",
        device=card.device,
        cidr=network.cidr,
        ip6=card.ip6,
        cidr6=network.cidr6 if card.ip6 else None,
        public_ipv4=public_address(snapshot, card),
        security_groups=group_names(snapshot, card),
    )


def public_address(snapshot: Snapshot, nic: Nic) -> str | None:
    """The address that a card is known by outside: its eip's."""
    from zctl.resources.eip import Eip
    from zctl.resources.vip import Vip

    vips = (snapshot.get(Vip, row.vip_id) for row in snapshot.by(Eip, "nic_id", nic.id))
    return next((vip.ip for vip in vips if vip and vip.ip and ":" not in vip.ip), None)


def group_names(snapshot: Snapshot, nic: Nic) -> list[str]:
    """The security-groups that a card is in."""
    from zctl.resources.security_group import groups_of

    return [group.name for group in groups_of(snapshot, nic)]


def metadata_scope(snapshot: Snapshot, nic: Nic | None) -> dict[str, list[str]]:
    """Where something that a card's VM is told of itself has to be told: over all of its cards."""
    from zctl.resources.vm import Vm

    vm = snapshot.get(Vm, nic.vm_id) if nic else None
    if vm is None or not vm.host_id:
        return {}
    return {vm.host_id: [card.id for card in cards_of(snapshot, vm)]}


def zone_of(snapshot: Snapshot, vm: Vm) -> str:
    """The name of the zone that the VM's host is in."""
    from zctl.resources.cluster import Cluster
    from zctl.resources.host import Host
    from zctl.resources.zone import Zone

    cluster = snapshot.need(Cluster, snapshot.need(Host, vm.host_id).cluster_id)
    return snapshot.need(Zone, cluster.zone_id).name
