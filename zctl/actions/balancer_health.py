"""How the targets of a load balancer are, as its haproxy sees them."""

from __future__ import annotations

from typing import Any

from zctl.actions.context import Context
from zctl.actions.net_facts import read_facts
from zctl.errors import HostError, Refused
from zctl.inventory.snapshot import load
from zctl.resources.host import Host
from zctl.resources.load_balancer import LoadBalancer
from zctl.resources.load_balancer_target import LoadBalancerTarget
from zctl.resources.lookup import find
from zctl.resources.nat_gateway import NatGateway
from zctl.resources.nic import Nic
from zctl.resources.vm import Vm

ASK = "health"


def health(context: Context, name: str) -> list[dict[str, Any]]:
    """Each target with its state: UP, DOWN, or UNKNOWN for one that haproxy does not have. Raises HostError."""
    with context.inventory.read() as db:
        row = find(db, LoadBalancer, name)
        snapshot = load(db)
    way = next(iter(snapshot.by(NatGateway, "l3_network_id", row.l3_network_id)), None)
    host = snapshot.get(Host, way.host_id if way else None)
    if host is None:
        raise Refused(
            "its network has no way out, so it is nowhere", resource=row.label, remedy="zctl nat-gateway list"
        )
    asks = {host.id: [{"uuid": ASK, "what": "health", "network": row.l3_network_id}]}
    answers, silent = read_facts(context, snapshot, asks)
    answer = answers.get(ASK, {})
    problem = silent.get(host.id) or answer.get("problem")
    if problem:
        raise HostError(
            problem, resource=f"{row.label} on host {host.name}", remedy=f"zctl converge --host {host.name}"
        )
    seen = (answer.get("balancers") or {}).get(row.id, {})
    found = []
    for target in snapshot.by(LoadBalancerTarget, "load_balancer_id", row.id):
        nic = snapshot.need(Nic, target.nic_id)
        state = seen.get(f"{nic.ip}:{target.port}", {})
        vm = snapshot.get(Vm, nic.vm_id)
        found.append(
            {
                "target": f"{nic.name}:{target.port}",
                "vm": vm.name if vm else None,
                "ip": nic.ip,
                "port": target.port,
                "state": state.get("state", "UNKNOWN"),
                "check": state.get("check", ""),
                "seconds": state.get("since", 0),
                "connections": state.get("connections", 0),
            }
        )
    return sorted(found, key=lambda entry: str(entry["target"]))
