"""The names that zctl gives to things on hosts: all begin with z, derive from the UUID and fit Linux's 15 bytes."""

from __future__ import annotations

NOUNS = {"storage": "primary-storage", "lease": "nic"}
"""What modules call a thing, where that is not its noun"""


def noun_of_kind(kind: str) -> str:
    """The noun of a result's kind."""
    return NOUNS.get(kind, kind)


def short(identity: str) -> str:
    """The first ten hex digits of a UUID."""
    return identity.replace("-", "")[:10]


def bridge_name(l2: str) -> str:
    """The bridge of an l2-network."""
    return f"zbr-{short(l2)}"


def vxlan_name(l2: str) -> str:
    """The tunnel device of a VXLAN l2-network."""
    return f"zvx-{short(l2)}"


def namespace_name(l3: str) -> str:
    """The network namespace with an l3-network's services."""
    return f"zl3-{short(l3)}"


def veth_name(l3: str) -> str:
    """The port by which that namespace is plugged into the bridge."""
    return f"zv-{short(l3)}"


def tap_name(nic: str) -> str:
    """The port by which a VM's NIC is plugged into the bridge."""
    return f"zt-{short(nic)}"


def multicast_group(vni: int) -> str:
    """The group in the organization-local scope (RFC 2365) in which a VXLAN's hosts find each other."""
    return f"239.{192 + (vni >> 16 & 0x3F)}.{vni >> 8 & 0xFF}.{vni & 0xFF}"
