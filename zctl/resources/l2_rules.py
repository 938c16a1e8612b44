"""What an l2-network asks of the NICs that its hosts have, as far as they are known. Not a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import select
from sqlmodel import col

from zctl.errors import Refused
from zctl.plan.assemble import ip_of
from zctl.resources.cluster import Cluster
from zctl.resources.host import Host

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

VXLAN_OVERHEAD = 50  # outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348)


class Network(Protocol):
    """What is needed to know of an l2-network."""

    kind: Any
    zone_id: str
    cluster_id: str | None
    physical_interface: str | None
    mtu: int | None

    @property
    def label(self) -> str:
        """How messages call it."""
        ...


def tunnel_address(host: Host, interface: str | None) -> str | None:
    """The address by which a host takes part in tunnels over a NIC, None when that is not known (yet).

    As the host itself chooses it: the management address where the NIC holds it, or else its first IPv4 address.
    """
    management = ip_of(host.address)
    if interface is None and management is not None and ":" not in management:
        return management
    nic = nic_of(host, interface)
    own = [text.partition("/")[0] for text in (nic or {}).get("addresses") or [] if ":" not in text]
    return management if management in own else next(iter(own), None)


def nic_of(host: Host, interface: str | None) -> dict[str, Any] | None:
    """What the host has reported of a NIC; without a name of the one that zctl reaches it by."""
    nics: list[dict[str, Any]] = host.facts.get("nics") or []
    if interface is not None:
        return next((nic for nic in nics if nic["name"] == interface), None)
    management = ip_of(host.address)
    if management is None:
        return next((nic for nic in nics if nic.get("default_route")), None)
    held = (nic for nic in nics if any(text.partition("/")[0] == management for text in nic.get("addresses") or []))
    return next(held, None)


def check_hosts(db: Session, network: Network) -> None:
    """Raise Refused for a NIC that is another's, or an MTU that the NIC of a known host cannot carry."""
    where = (
        col(Host.cluster_id) == network.cluster_id if network.cluster_id else col(Cluster.zone_id) == network.zone_id
    )
    hosts = select(Host).join(Cluster, col(Cluster.id) == col(Host.cluster_id)).where(where).order_by(col(Host.name))
    for host in db.scalars(hosts):
        nic = nic_of(host, network.physical_interface)
        if nic is None:
            continue
        master = nic.get("bridge")
        if network.kind != "vxlan" and master and not master.startswith("zbr-"):
            raise Refused(
                f"NIC {nic['name']} of {host.label} is a port of {master}, which is not zctl's",
                resource=network.label,
                remedy=f"free it there, or use another NIC (then: zctl host check {host.name})",
            )
        room = (nic.get("mtu") or 0) - (VXLAN_OVERHEAD if network.kind == "vxlan" else 0)
        if network.kind == "no-vlan" or not network.mtu or not nic.get("mtu") or network.mtu <= room:
            continue
        taken = f", of which VXLAN takes {VXLAN_OVERHEAD}" if network.kind == "vxlan" else ""
        raise Refused(
            f"MTU {network.mtu} does not fit on NIC {nic['name']} of {host.label}, whose MTU is {nic['mtu']}{taken}",
            resource=network.label,
            remedy=f"give at most {room}, or raise the NIC's MTU, then zctl converge --host {host.name}",
        )
