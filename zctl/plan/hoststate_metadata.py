"""The metadata part of a host's state: what EC2's metadata service tells each VM."""

from __future__ import annotations

from pydantic import Field

from zctl.plan.hoststate_base import Named, Part


class MetadataKey(Part):
    """A public key for logging in."""

    name: str
    public_key: str


class MetadataCard(Part):
    """One of a VM's network cards, as its metadata tells of it."""

    uuid: str
    mac: str
    ip: str
    device: int
    cidr: str
    ip6: str | None = None
    cidr6: str | None = None
    public_ipv4: str | None = None
    security_groups: list[str] = []


class MetadataNic(Named):
    """All that a VM is told when it asks over this card; uuid is the card's, name the VM's."""

    l3_network: str
    ip: str
    ip6: str | None = None
    mac: str
    instance_id: str
    hostname: str
    instance_type: str
    zone: str
    image: str | None = None
    keys: list[MetadataKey] = []
    user_data: str | None = Field(default=None, description="base64")
    tokens_required: bool = Field(default=False, description="whether only requests with an IMDSv2 token are answered")
    public_ipv4: str | None = None
    security_groups: list[str] = []
    cards: list[MetadataCard] = []


class MetadataNetwork(Named):
    """An l3-network whose VMs are told something; the service lives in the network's namespace."""

    namespace: str


class MetadataState(Part):
    l3_networks: list[MetadataNetwork] = []
    nics: list[MetadataNic] = []
