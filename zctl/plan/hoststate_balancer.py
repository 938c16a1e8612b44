"""Load balancers in a router's part of a host's state."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zctl.plan.hoststate_base import Named

Algorithm = Literal["round_robin", "least_connections", "source"]


class Target(Named):
    """A card's port that connections are handed to; uuid is the target's, name the card's."""

    ip: str
    port: int


class Balancer(Named):
    """A TCP port of a public address whose connections are shared out among cards."""

    ip: str
    public: str
    port: int
    source: str = Field(description="the address that the targets see; the same for all balancers of a network")
    algorithm: Algorithm
    interval: int = Field(description="seconds between two health checks of a target")
    timeout: int = Field(description="seconds that a target has to answer one")
    rise: int = Field(description="checks in a row that bring a target back")
    fall: int = Field(description="checks in a row that take a target out")
    idle_timeout: int
    proxy_protocol: bool = False
    allowed: list[str] = Field(default=[], description="only from these CIDRs; none: from everywhere")
    targets: list[Target] = []
