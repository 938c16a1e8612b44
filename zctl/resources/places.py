"""Which hosts a zone or cluster means. Not a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zctl.resources.cluster import Cluster
from zctl.resources.host import Host

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot


def hosts_of_network(snapshot: Snapshot, zone: str, cluster: str | None) -> list[Host]:
    """The hosts of a cluster, or of all clusters of a zone when cluster is None."""
    if cluster:
        return snapshot.by(Host, "cluster_id", cluster)
    return [host for row in snapshot.by(Cluster, "zone_id", zone) for host in snapshot.by(Host, "cluster_id", row.id)]


def host_ids(hosts: list[Host]) -> list[str]:
    """Their ids."""
    return [host.id for host in hosts]


def is_on_host(snapshot: Snapshot, zone: str, cluster: str | None, host: str) -> bool:
    """Whether something of that zone, or of that cluster only, is present on the host."""
    row = snapshot.need(Host, host)
    if cluster:
        return row.cluster_id == cluster
    return snapshot.need(Cluster, row.cluster_id).zone_id == zone
