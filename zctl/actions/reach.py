"""Whether guests answer on their network, asked from their own host."""

from __future__ import annotations

from zctl.actions.context import Context
from zctl.actions.converge import connection_of
from zctl.errors import Refused
from zctl.inventory.snapshot import load
from zctl.plan.hoststate import HostState, Named
from zctl.plan.names import namespace_name
from zctl.resources.host import Host
from zctl.resources.lookup import find
from zctl.resources.nic import Nic
from zctl.resources.vm import Vm
from zctl.run.render import PROBE
from zctl.run.runner import execute
from zctl.run.values import HostRun


def answering(context: Context, name: str) -> bool:
    """Whether all addresses of a VM answer ARP on their networks. Raises Refused for a VM without network cards."""
    with context.inventory.read() as db:
        vm = find(db, Vm, name)
        snapshot = load(db)
    nics = [nic for nic in snapshot.by(Nic, "vm_id", vm.id) if nic.l3_network_id and nic.ip]
    host = snapshot.get(Host, vm.host_id)
    if not nics or host is None:
        raise Refused("it has no address" if host else "it is on no host", resource=vm.label)
    state = HostState(inventory=snapshot.inventory, host=Named(uuid=host.id, name=host.name)).model_dump()
    state["probe"] = [
        {"namespace": namespace_name(nic.l3_network_id or ""), "ip": nic.ip, "uuid": nic.id} for nic in nics
    ]
    found = execute(
        [HostRun(connection_of(context, host), state, [], (PROBE,))], context.run_settings(), context.watch
    )[host.id]
    return (
        found.ok and len(found.results) == len(nics) and all(entry.observed.get("answers") for entry in found.results)
    )
