"""The names that zctl gives to things on hosts: all begin with z, derive from the UUID and fit Linux's 15 bytes."""

from __future__ import annotations

import hashlib

NOUNS = {"storage": "primary-storage", "lease": "nic", "metadata": "nic", "name": "nic"}
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


def vlan_name(l2: str) -> str:
    """The VLAN device of a VLAN l2-network."""
    return f"zvl-{short(l2)}"


def namespace_name(l3: str) -> str:
    """The network namespace with an l3-network's services."""
    return f"zl3-{short(l3)}"


def veth_name(l3: str) -> str:
    """The port by which that namespace is plugged into the bridge."""
    return f"zv-{short(l3)}"


def tap_name(nic: str) -> str:
    """The port by which a VM's NIC is plugged into the bridge."""
    return f"zt-{short(nic)}"


def digest(*identities: str) -> str:
    """Ten hex digits for something between several things."""
    return hashlib.sha256("/".join(identities).encode()).hexdigest()[:10]


def namespace_mac(host: str, l3: str) -> str:
    """The MAC of the namespace of an l3-network on one host: locally administered."""
    text = f"02{digest(host, l3)}"
    return ":".join(text[at : at + 2] for at in range(0, 12, 2))


def public_veth_name(l3: str, public: str) -> str:
    """The port by which the namespace of an l3-network is plugged into a public one's bridge."""
    return f"zp-{digest(l3, public)}"


def public_port_name(public: str) -> str:
    """That port's other end, within the namespace."""
    return f"p-{short(public)}"


def public_mac(inventory: str, host: str, l3: str, public: str) -> str:
    """That port's MAC: locally administered, and its first three bytes tell the inventory."""
    text = f"7a{inventory.replace('-', '')[:4]}{digest(host, l3, public)[:6]}"
    return ":".join(text[at : at + 2] for at in range(0, 12, 2))


def public_mark(public: str) -> int:
    """The mark of packets that leave by a public network, and its routing table: 28 bits above what people use."""
    return 0x10000000 | int(short(public)[:7], 16)


def table_name(concern: str, inventory: str) -> str:
    """The nftables tables of a concern."""
    return f"zctl_{concern}_{inventory.replace('-', '')[:8]}"


def multicast_group(vni: int) -> str:
    """The group in the organization-local scope (RFC 2365) in which a VXLAN's hosts find each other."""
    return f"239.{192 + (vni >> 16 & 0x3F)}.{vni >> 8 & 0xFF}.{vni & 0xFF}"
