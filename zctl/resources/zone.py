"""A site of the cloud: holds clusters, networks and storage."""

from __future__ import annotations

from zctl.resources.base import Resource, attr


class Zone(Resource, table=True):
    """A site of the cloud: holds clusters, networks and storage."""

    reserved_memory: int | None = attr(
        None, help="memory kept for each host itself; a cluster's or host's own setting wins", unit="bytes", ge=0
    )
