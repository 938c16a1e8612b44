"""A size of data volume."""

from __future__ import annotations

from zctl.resources.base import Resource, attr


class DiskOffering(Resource, table=True):
    """A size of data volume."""

    size: int = attr(help="virtual size", when="create", listed="list", unit="bytes", ge=2**20, le=2**50)
