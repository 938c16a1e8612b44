"""Hosts that are alike: same networks, same storage, VMs may run on any of them."""

from __future__ import annotations

from zctl.resources.base import Resource, attr, ref


class Cluster(Resource, table=True):
    """Hosts that are alike: same networks, same storage, VMs may run on any of them."""

    zone_id: str = ref("zone", help="the zone it belongs to", when="create", listed="list", on_delete="cascade")
    cpu_overcommit: float = attr(4.0, help="virtual CPUs given out for each real one", listed="list", gt=0, le=100)
    memory_overcommit: float = attr(
        1.0, help="bytes of guest memory given out for each real one", listed="list", gt=0, le=10
    )
    reserved_memory: int | None = attr(
        None, help="memory kept for each host itself; a host's own setting wins", unit="bytes", ge=0
    )
