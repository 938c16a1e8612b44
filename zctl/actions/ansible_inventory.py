"""What the dynamic inventory tells Ansible: hosts, how to reach them, their groups and desired states."""

from __future__ import annotations

from typing import Any

from zctl.actions.context import Context
from zctl.actions.converge import connection_of
from zctl.config import load as load_config
from zctl.inventory.engine import Inventory
from zctl.inventory.snapshot import load
from zctl.plan.assemble import host_state
from zctl.resources.cluster import Cluster
from zctl.resources.host import Host
from zctl.resources.zone import Zone
from zctl.run.connection import host_variables, known_hosts
from zctl.run.render import write_private


def read(db: str = "") -> list[dict[str, Any]]:
    """A dictionary with name, groups and variables for each host that is not in maintenance. Raises ZctlError."""
    config = load_config(db=db)
    context = Context(config, Inventory(config.url))
    context.inventory.check_schema()
    with context.inventory.read() as session:
        snapshot = load(session)
    hosts = [host for host in snapshot.all(Host) if host.state != "Maintenance"]
    connections = {host.id: connection_of(context, host) for host in hosts}
    keys = config.home / "ssh" / "known_hosts"
    write_private(keys, known_hosts(list(connections.values())))
    found = []
    for host in hosts:
        cluster = snapshot.need(Cluster, host.cluster_id)
        zone = snapshot.need(Zone, cluster.zone_id)
        variables = host_variables(connections[host.id], keys) | {"zctl_state": host_state(snapshot, host).model_dump()}
        groups = [
            f"zone_{zone.name}",
            f"cluster_{cluster.name}",
            *([host.virtualization] if host.virtualization else []),
        ]
        found.append({"name": host.name, "groups": groups, "variables": variables})
    return found
