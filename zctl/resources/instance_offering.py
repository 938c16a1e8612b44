"""A size of VM: CPUs and memory."""

from __future__ import annotations

from zctl.resources.base import Resource, attr

MIB = 2**20


class InstanceOffering(Resource, table=True):
    """A size of VM: CPUs and memory."""

    cpus: int = attr(help="virtual CPUs", when="create", listed="list", ge=1, le=1024)
    memory: int = attr(help="memory", when="create", listed="list", unit="bytes", ge=16 * MIB, le=2**44)
