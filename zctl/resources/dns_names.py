"""The names by which VMs are known in their networks, and which hosts have to know them. Not a noun."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from zctl.errors import Invalid

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot
    from zctl.resources.l3_network import L3Network
    from zctl.resources.nic import Nic
    from zctl.resources.vm import Vm

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
LONGEST_DOMAIN = 189  # a host name of 63 letters and a dot before it make 253 (RFC 1035, section 2.3.4)


def names_of(snapshot: Snapshot, network: L3Network) -> dict[str, str]:
    """For each card on a network: its VM's name and its addresses. Worked out once, for all hosts."""
    from zctl.resources.nic import Nic
    from zctl.resources.vm import Vm

    def collect() -> dict[str, str]:
        names = {}
        for nic in snapshot.by(Nic, "l3_network_id", network.id):
            vm = snapshot.get(Vm, nic.vm_id)
            if vm is not None and nic.bridge is None and nic.addresses:
                names[nic.id] = " ".join([vm.hostname or vm.name, *nic.addresses])
        return names

    return snapshot.once(("names", network.id), collect)


def names_on(snapshot: Snapshot, network: L3Network, host: str) -> dict[str, str]:
    """The names that a host answers for: all of the network where it has a VM on it, none where nobody would ask."""
    return names_of(snapshot, network) if cards_on_hosts(snapshot)[network.id, host] else {}


def cards_on_hosts(snapshot: Snapshot) -> Counter[tuple[str | None, str]]:
    """How many cards each l3-network has on each host. Worked out once, for all cards."""
    from zctl.resources.nic import Nic
    from zctl.resources.vm import Vm

    def count() -> Counter[tuple[str | None, str]]:
        vms = ((nic.l3_network_id, snapshot.get(Vm, nic.vm_id)) for nic in snapshot.all(Nic))
        return Counter((network, vm.host_id) for network, vm in vms if vm is not None and vm.host_id is not None)

    return snapshot.once("cards on hosts", count)


def hosts_told(snapshot: Snapshot, nic: Nic) -> dict[str, list[str]]:
    """The hosts beside its own that have to know a card's name: those with other VMs on its network."""
    from zctl.resources.host import Host
    from zctl.resources.l3_network import L3Network
    from zctl.resources.vm import Vm

    network, vm = snapshot.get(L3Network, nic.l3_network_id), snapshot.get(Vm, nic.vm_id)
    if network is None or not network.dns_service:
        return {}
    own, counts = vm.host_id if vm else None, cards_on_hosts(snapshot)
    hosts = (row for row in snapshot.all(Host) if row.id != own and counts[network.id, row.id])
    return {row.id: [nic.id] for row in hosts if row.state != "Connecting"}


def hosts_told_by(snapshot: Snapshot, vm: Vm) -> dict[str, list[str]]:
    """The hosts that have to know the names of a VM's cards."""
    from zctl.resources.nic import Nic

    found: dict[str, list[str]] = {}
    for nic in snapshot.by(Nic, "vm_id", vm.id):
        for host, uuids in nic.news(snapshot).items():
            found.setdefault(host, []).extend(uuids)
    return found


def names_with(snapshot: Snapshot, nic: Nic, host: str) -> list[str]:
    """The other cards whose names a host learns, or forgets, with its only card of a network."""
    from zctl.resources.l3_network import L3Network

    network = snapshot.get(L3Network, nic.l3_network_id)
    if network is None or not network.dns_service or cards_on_hosts(snapshot)[network.id, host] > 1:
        return []
    return [key for key in names_of(snapshot, network) if key != nic.id]


def domain_of(name: str) -> str:
    """The domain of a network that is called so: what DNS does not allow in a name becomes a hyphen."""
    labels = [re.sub(r"[^a-z0-9-]", "-", part).strip("-") for part in name.lower().split(".")]
    return ".".join(label[:63].strip("-") for label in labels if label) or "network"


def require_domain(label: str, text: str) -> None:
    """Raise Invalid for what is no domain that names of VMs fit before."""
    if len(text) > LONGEST_DOMAIN or not all(LABEL.fullmatch(part) for part in text.split(".")):
        raise Invalid(
            f"{text!r} is not a DNS domain",
            resource=label,
            remedy=f"use parts of letters, digits and inner hyphens, with dots between, {LONGEST_DOMAIN} in all",
            field="domain",
        )
