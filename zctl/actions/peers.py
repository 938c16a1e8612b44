"""Tunnels whose hosts are told of each other: who has to hear when a host has come, gone or moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl.inventory import outstanding
from zctl.inventory.outstanding import Scope
from zctl.inventory.snapshot import load
from zctl.resources.host import Host
from zctl.resources.l2_network import L2Network
from zctl.resources.l2_rules import tunnel_address
from zctl.resources.places import hosts_of_network
from zctl.run.values import HostRun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Known = dict[tuple[str, str], str | None]
"""(host, network) -> the host's tunnel address, for hosts that have been reached"""


def known(db: Session, runs: list[HostRun]) -> Known:
    """The tunnel addresses of the hosts of a run that may change one of them; nothing when none can."""
    networks = list(db.scalars(select(L2Network).where(col(L2Network.peers) == "static")))
    asked = [run.connection.uuid for run in runs if "kvm_host" in run.steps] if networks else []
    hosts = db.scalars(select(Host).where(col(Host.id).in_(asked))) if asked else ()
    return {
        (host.id, network.id): tunnel_address(host, network.physical_interface)
        for host in hosts
        if host.state != "Connecting"
        for network in networks
    }


def note(db: Session, runs: list[HostRun], before: Known) -> Scope:
    """Write down which hosts have to hear of what a run has found out, and return that.

    Hosts of the same run have heard of it when their state already had the address.
    """
    db.flush()
    after = known(db, runs)
    changed = {network for host, network in after if after[host, network] != before.get((host, network))}
    if not changed:
        return {}
    told = {
        (run.connection.uuid, entry["uuid"]): entry["peers"]
        for run in runs
        for entry in run.state["network"]["l2_networks"]
        if "network" in run.steps
    }
    snapshot = load(db)
    scope: Scope = {}
    for key in sorted(changed):
        network = snapshot.need(L2Network, key)
        for host in hosts_of_network(snapshot, network.zone_id, network.cluster_id):
            if host.state != "Connecting" and told.get((host.id, key)) != network.peers_of(snapshot, host.id):
                outstanding.note(scope, host.id, key, L2Network.concerns)
    outstanding.store(db, scope)
    return scope
