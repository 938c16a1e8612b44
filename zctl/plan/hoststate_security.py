"""The security concern's part of a host's state: what cards may send from, and what their groups let through."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zctl.plan.hoststate_base import Named, Part

Policy = Literal["allow", "deny"]


class SecurityRule(Part):
    """One rule; the first that matches decides. `cidr` or `group` is the other side, neither is everybody."""

    direction: Literal["ingress", "egress"]
    protocol: Literal["all", "tcp", "udp", "icmp", "icmpv6"]
    first: int | None = Field(default=None, description="first port; none: all")
    last: int | None = None
    cidr: str | None = None
    group: str | None = Field(default=None, description="uuid of the group whose members are meant")
    allow: bool


class SecurityGroup(Named):
    """Rules that cards share; disabled ones are left out."""

    member_access: bool
    rules: list[SecurityRule] = []
    members: list[str] = Field(default=[], description="addresses of its members on all hosts")


class SecurityNic(Named):
    """A card's port on the bridge and what may pass it."""

    tap: str
    bridge: str
    private: bool = Field(description="the host has no address on the bridge: its addresses are a world of their own")
    mac: str
    addresses: list[str] = []
    allowed: list[str] = Field(default=[], description="further networks that it may send from")
    anti_spoofing: bool = True
    groups: list[str] = Field(default=[], description="uuids, in the order in which they are asked")
    ingress_policy: Policy = Field(description="what becomes of that which no rule speaks of")
    egress_policy: Policy


class SecurityState(Part):
    nics: list[SecurityNic] = []
    groups: list[SecurityGroup] = []
