"""From a snapshot to a host's state, and from that to the part that a change concerns. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, Protocol

from zctl.plan.fragments import Fragment, merge
from zctl.plan.hoststate import CONCERNS, HostState, KvmHost, Named, NetworkState, Part, PurgedFile
from zctl.plan.hoststate_security import SecurityState
from zctl.plan.snapshot import Snapshot


class HostRow(Protocol):
    """What is needed to know of a host."""

    id: str
    name: str
    address: str
    virt_type: Any


class Declared(Protocol):
    """A resource type's share of a host's state."""

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """Its fragments."""
        ...


def host_state(snapshot: Snapshot, host: HostRow) -> HostState:
    """Everything that the inventory wants on one host."""
    types: Iterable[type[Declared]] = snapshot.types()
    fragments = [fragment for cls in types for fragment in cls.desired(snapshot, host.id)]
    for concern, entry in snapshot.tombstones(host.id):
        made = PurgedFile(**entry) if concern == "storage" else Named(**entry)
        fragments.append(Fragment(concern, "purge", made))
    settings: dict[str, Part] = {
        "kvm_host": KvmHost(
            virt_type=host.virt_type,
            metadata=any(f.concern == "metadata" for f in fragments),
            balancers=any(getattr(f.value, "balancers", None) for f in fragments),
        ),
        "network": NetworkState(management_address=ip_of(host.address)),
    }
    return merge(snapshot.inventory, Named(uuid=host.id, name=host.name), settings, fragments)


def ip_of(address: str) -> str | None:
    """An IP address as the kernel writes it; None for a name or the word `local`, by which no NIC can be found."""
    try:
        return str(ip_address(address))
    except ValueError:
        return None


def restrict(state: HostState, scope: set[str]) -> HostState:
    """Only what has a uuid in the scope, and the networks and storages needed to make sense of it."""

    def within(entries: list[Any]) -> list[Any]:
        return [entry for entry in entries if entry.uuid in scope]

    storage = state.storage
    volumes, images, purge = within(storage.volumes), within(storage.images), within(storage.purge)
    needed = {entry.storage for entry in (*volumes, *images, *purge)} | scope
    networks = []
    for network in state.l3_services.l3_networks:
        leases, names = within(list(network.leases)), network.names
        if network.uuid not in scope:
            names = {key: names[key] for key in scope if key in names}
        if leases or names or network.uuid in scope:
            networks.append(network.model_copy(update={"leases": leases, "names": names}))
    routers = []
    for router in state.eip.routers:
        parts = {key: within(getattr(router, key)) for key in ("eips", "snats", "exits", "forwards", "balancers")}
        if any(parts.values()):
            routers.append(router.model_copy(update=parts))
    cards = within(state.metadata.nics)
    told = {nic.l3_network for nic in cards} | scope
    return state.model_copy(
        update={
            "storage": storage.model_copy(
                update={
                    "storages": [entry for entry in storage.storages if entry.uuid in needed],
                    "images": images,
                    "volumes": volumes,
                    "purge": purge,
                }
            ),
            "network": state.network.model_copy(update={"l2_networks": within(state.network.l2_networks)}),
            "l3_services": state.l3_services.model_copy(update={"l3_networks": networks}),
            "eip": state.eip.model_copy(update={"routers": routers}),
            "security": restrict_security(state.security, scope),
            "metadata": state.metadata.model_copy(
                update={"l3_networks": [n for n in state.metadata.l3_networks if n.uuid in told], "nics": cards}
            ),
            "vm": state.vm.model_copy(update={"vms": within(state.vm.vms), "purge": within(state.vm.purge)}),
        }
    )


def restrict_security(state: SecurityState, scope: set[str]) -> SecurityState:
    """The cards in scope, and the groups in scope or needed to know what those cards' groups mean."""
    nics = [nic for nic in state.nics if nic.uuid in scope]
    needed = {key for nic in nics for key in nic.groups} | scope
    needed |= {rule.group for group in state.groups if group.uuid in needed for rule in group.rules if rule.group}
    return SecurityState(nics=nics, groups=[group for group in state.groups if group.uuid in needed])


def in_order(concerns: Iterable[str]) -> list[str]:
    """The concerns in the order in which they are applied."""
    wanted = set(concerns)
    return [concern for concern in CONCERNS if concern in wanted]
