"""Proving networks by real packets between all their hosts, before VMs suffer."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zctl.actions.context import Context
from zctl.actions.converge import connection_of
from zctl.errors import Refused
from zctl.inventory.snapshot import load
from zctl.plan.hoststate import HostState, Named
from zctl.plan.names import multicast_group
from zctl.plan.netcheck import Verdict, Wire, judge
from zctl.resources.host import Host
from zctl.resources.l2_network import L2Network
from zctl.resources.l3_network import L3Network
from zctl.resources.lookup import find
from zctl.resources.nic import Nic
from zctl.resources.places import hosts_of_network
from zctl.resources.vm import Vm
from zctl.run.render import NET_CHECK
from zctl.run.runner import execute, require_ansible
from zctl.run.values import HostResult, HostRun

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot

ASKERS = 2  # hosts that ask for each address: one alone may be the one that does not hear


def check(context: Context, networks: list[str], hosts: list[str], wait: float) -> list[Verdict]:
    """Probe the networks (all when none is named) between the hosts (all when none is named)."""
    require_ansible()
    with context.inventory.read() as db:
        wanted = {find(db, L2Network, name).id for name in networks}
        chosen = {find(db, Host, name).id for name in hosts}
        snapshot = load(db)
    rows = [row for row in snapshot.all(L2Network) if not wanted or row.id in wanted]
    wires = [wire_of(snapshot, row, chosen) for row in sorted(rows, key=lambda row: row.name)]
    if not any(wire.hosts for wire in wires):
        raise Refused(
            "there is nothing to check: no host has any of the networks", remedy="zctl l2-network list, zctl host list"
        )
    runs = plan_runs(context, snapshot, wires, wait)
    settings = replace(context.run_settings(), forks=max(context.config.forks, len(runs)))
    found = execute(runs, settings, context.watch)
    names = {
        "networks": {row.id: row.name for row in snapshot.all(L2Network)},
        "hosts": {row.id: row.name for row in snapshot.all(Host)},
    }
    return [verdict_of(wire, found, names) for wire in wires if wire.hosts]


def wire_of(snapshot: Snapshot, row: L2Network, chosen: set[str]) -> Wire:
    """A network as it is checked: between its hosts that are in service."""
    hosts = {
        host.id: host.name
        for host in hosts_of_network(snapshot, row.zone_id, row.cluster_id)
        if host.state != "Maintenance" and (not chosen or host.id in chosen)
    }
    macs, owners, services = {}, {}, set()
    for l3 in snapshot.by(L3Network, "l2_network_id", row.id):
        for nic in snapshot.by(Nic, "l3_network_id", l3.id):
            if nic.ip and nic.mac:
                vm = snapshot.get(Vm, nic.vm_id)
                macs[nic.ip], owners[nic.ip] = nic.mac, f"the address of vm {vm.name if vm else '?'}"
        if l3.gateway:
            owners[l3.gateway] = f"the gateway of {l3.name}"
            if l3.gateway_on == "hosts":
                services.add(l3.gateway)
        if l3.dhcp_ip:
            owners[l3.dhcp_ip] = f"the DHCP address of {l3.name}"
            services.add(l3.dhcp_ip)
    group = multicast_group(row.vni) if row.vni and row.peers != "static" else None
    nic_name = row.physical_interface or ""
    return Wire(row.id, row.name, row.kind, nic_name, row.vlan, group, hosts, macs, owners, frozenset(services))


def plan_runs(context: Context, snapshot: Snapshot, wires: list[Wire], wait: float) -> list[HostRun]:
    """One task for each host, with all its networks, so that everybody sends and hears at the same time."""
    run = str(uuid.uuid4())
    checks: dict[str, list[dict[str, Any]]] = {}
    for wire in wires:
        uplink = snapshot.need(L2Network, wire.uuid).uplink
        order = sorted(wire.hosts)
        asked = sorted(address for address in wire.owners if ":" not in address)
        for place, host in enumerate(order):
            own = [
                address
                for number, address in enumerate(asked)
                if address not in wire.macs or (place - number) % len(order) < ASKERS
            ]
            entry = {"uuid": wire.uuid, "name": wire.name, "device": uplink, "run": run, "host": host, "ask": own}
            entry |= {"inventory": snapshot.inventory, "hosts": [other for other in order if other != host]}
            checks.setdefault(host, []).append(entry)
    runs = []
    for host, entries in checks.items():
        row = snapshot.need(Host, host)
        state = HostState(inventory=snapshot.inventory, host=Named(uuid=host, name=row.name)).model_dump()
        state["net_check"] = {"networks": entries, "wait": wait}
        runs.append(HostRun(connection_of(context, row), state, [], (NET_CHECK,)))
    return runs


def verdict_of(wire: Wire, found: dict[str, HostResult], names: dict[str, dict[str, str]]) -> Verdict:
    """What all hosts together say of a network."""
    heard, problems = {}, {}
    for host in wire.hosts:
        result = found[host]
        entry = next((entry for entry in result.results if entry.uuid == wire.uuid), None)
        if entry is not None and entry.observed:
            heard[host] = entry.observed
        if entry is None or entry.result == "failed":
            problems[host] = (
                entry.reason if entry else result.unreachable or result.failure or "it told nothing of this network"
            )
    return judge(wire, heard, problems, names)
