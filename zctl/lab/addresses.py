"""The address plan and the names of a lab: pure, a function of the lab's index and a host's number.

Everything lies in 198.18.0.0/15 (RFC 2544, for tests of devices): nobody's own network uses it. Each index owns
4096 addresses: management in the first /24, the data network in the /22 that begins 2048 addresses later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

ALL_LABS = IPv4Network("198.18.0.0/15")
INDEXES = 32
MAX_HOSTS = 99
FULL_KERNEL = 100  # hosts with a kernel of their own are numbered from here on: k1 is number 101
FIRST_HOST = 11
BLOCK = 4096
DATA_OFFSET = 2048
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Plan:
    """Addresses and interface names of the lab with this index."""

    index: int

    @property
    def management(self) -> IPv4Network:
        return IPv4Network((int(ALL_LABS.network_address) + self.index * BLOCK, 24))

    @property
    def data(self) -> IPv4Network:
        return IPv4Network((int(ALL_LABS.network_address) + self.index * BLOCK + DATA_OFFSET, 22))

    @property
    def machine(self) -> IPv4Address:
        """The machine's address on the management network: the hosts' default gateway."""
        return self.management.network_address + 1

    @property
    def gateway(self) -> IPv4Address:
        """The machine's address on the data network: the gateway of a flat guest network."""
        return self.data.network_address + 1

    def address(self, number: int) -> IPv4Address:
        """Management address of host `number`, counted from 1, or from 101 for k1."""
        return self.management.network_address + FIRST_HOST + number - 1

    # Interface names have at most 15 characters; all begin with zlab, which is how strays are recognized.
    @property
    def management_bridge(self) -> str:
        return f"zlab{self.index}m"

    @property
    def data_bridge(self) -> str:
        return f"zlab{self.index}d"

    def management_port(self, number: int) -> str:
        return f"zlab{self.index}m{number}"

    def data_port(self, number: int) -> str:
        return f"zlab{self.index}d{number}"

    def mac(self, number: int, cable: int) -> str:
        """The address of a NIC of a host with a kernel of its own; cable 0 is management, 1 data."""
        return f"02:6c:{self.index:02x}:{cable:02x}:00:{number:02x}"

    @property
    def table(self) -> str:
        """Name of the nftables table (family ip)."""
        return f"zlab{self.index}"


def host_name(number: int) -> str:
    return f"k{number - FULL_KERNEL}" if number > FULL_KERNEL else f"h{number}"


def host_number(name: str) -> int | None:
    """3 for 'h3', 103 for 'k3'; None for what is not a lab host's name."""
    match = re.fullmatch(r"([hk])([1-9][0-9]?)", name)
    return int(match[2]) + (FULL_KERNEL if match[1] == "k" else 0) if match else None


def free_index(taken: set[int]) -> int | None:
    """The lowest index that no lab has, or None when all are in use."""
    return next((index for index in range(INDEXES) if index not in taken), None)


def ruleset(plan: Plan) -> str:
    """The nftables rules of a lab, as input for `nft -f -`; loading it again replaces the table.

    Hosts may leave by the machine's uplink (to install packages), guests on the data network may not. With
    br_netfilter, bridged packets pass the forward hook too, with the bridge on both sides: they are let through.
    """
    management, data = plan.management_bridge, plan.data_bridge
    return f"""table ip {plan.table}
delete table ip {plan.table}
table ip {plan.table} {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{data}" oifname "{data}" accept
        iifname "{data}" drop
        oifname "{data}" drop
        iifname "{management}" oifname "{management}" accept
        iifname "{management}" ip saddr != {plan.management} drop
        ip daddr {plan.management} iifname != "{management}" ct state new drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {plan.management} ip daddr != {ALL_LABS} oifname != "{management}" masquerade
    }}
}}
"""
