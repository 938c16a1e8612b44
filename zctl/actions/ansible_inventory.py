"""What Ansible is told of the inventory: hosts, how to reach them, their groups and desired states."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from zctl.actions.context import Context
from zctl.actions.converge import plan_run
from zctl.config import load as load_config
from zctl.inventory.engine import Inventory
from zctl.inventory.outstanding import EVERYTHING
from zctl.inventory.snapshot import load
from zctl.plan.hoststate import CONCERNS
from zctl.plan.snapshot import Snapshot
from zctl.resources.cluster import Cluster
from zctl.resources.host import Host
from zctl.resources.internal import Outstanding
from zctl.resources.zone import Zone
from zctl.run.connection import host_variables, known_hosts
from zctl.run.folder import EVERY_HOST
from zctl.run.render import run_variables, write_private
from zctl.run.values import HostRun

ANY: Callable[[Host], bool] = lambda _host: True  # noqa: E731 - a default that says its name


@dataclass(frozen=True)
class Member:
    """One host as Ansible sees it: its groups, and what a run of everything would do there."""

    name: str
    groups: tuple[str, ...]
    run: HostRun


def members(context: Context, choose: Callable[[Host], bool] = ANY) -> list[Member]:
    """The chosen hosts that are not in maintenance, by name, from one reading of the inventory."""
    context.inventory.check_schema()
    with context.inventory.read() as session:
        snapshot = load(session)
    zones = group_names("zone", snapshot.all(Zone))
    clusters = group_names("cluster", snapshot.all(Cluster))
    found = []
    for host in sorted(snapshot.all(Host), key=lambda host: host.name):
        if host.state == "Maintenance" or not choose(host):
            continue
        cluster = snapshot.need(Cluster, host.cluster_id)
        groups = [EVERY_HOST, zones[cluster.zone_id], clusters[cluster.id]]
        if host.virtualization:
            groups.append(host.virtualization)
        found.append(Member(host.name, tuple(groups), full_run(context, snapshot, host)))
    return found


def full_run(context: Context, snapshot: Snapshot, host: Host) -> HostRun:
    """What `zctl converge` would do on a host."""
    everything = Outstanding(host_id=host.id, uuid=EVERYTHING, concerns=",".join(CONCERNS))
    run = plan_run(context, snapshot, host, [everything], None)
    assert run is not None  # everything is never nothing
    return run


def group_names(kind: str, rows: list[Any]) -> dict[str, str]:
    """A legal Ansible group for each row's id. Names that would fall together get a piece of their UUID."""
    plain = {row.id: legal(f"{kind}_{row.name}") for row in rows}
    shared = Counter(plain.values())
    return {key: name if shared[name] == 1 else legal(f"{name}_{key[:8]}") for key, name in plain.items()}


def legal(name: str) -> str:
    """A name with nothing in it that Ansible refuses in names of groups."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def read(db: str = "") -> list[dict[str, Any]]:
    """A dictionary with name, groups and variables for each host that is not in maintenance. Raises ZctlError."""
    config = load_config(db=db)
    context = Context(config, Inventory(config.url))
    found = members(context)
    keys = config.home / "ssh" / "known_hosts"
    write_private(keys, known_hosts([member.run.connection for member in found]))
    return [
        {
            "name": member.name,
            "groups": list(member.groups),
            "variables": host_variables(replace(member.run.connection, sudo_password=""), keys)
            | run_variables(member.run),
        }
        for member in found
    ]
