"""What DHCP, namespaces and filters of l3-networks consist of. Pure: values in, texts and steps out."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

LEASE_TIME = "1h"
MADE = "# Made by zctl; zctl converge writes it anew.\n"
DNSMASQ_UNIT = (
    MADE
    + """[Unit]
Description=zctl: DHCP of l3-network %i
Documentation=file:/etc/zctl/l3/%i/network.json
Requires=zctl-net.service
After=zctl-net.service
StartLimitIntervalSec=0

[Service]
EnvironmentFile=/etc/zctl/l3/%i/environment
ExecStart=/usr/bin/env ip netns exec ${NAMESPACE} dnsmasq --keep-in-foreground --conf-file=/etc/zctl/l3/%i/dnsmasq.conf
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""
)


def namespace_mac(machine: str, uuid: str) -> str:
    """A locally administered MAC for a network's services, another one on each host."""
    digest = hashlib.sha256(f"{machine}/{uuid}".encode()).hexdigest()
    return ":".join(["02", *(digest[n : n + 2] for n in range(0, 10, 2))])


def without_leases(network: dict[str, Any]) -> dict[str, Any]:
    """A network without what changes with every VM."""
    return {key: value for key, value in network.items() if key != "leases"}


def prefix_length(network: dict[str, Any]) -> int:
    """The length of a network's prefix."""
    return ipaddress.ip_network(network["cidr"]).prefixlen


def dnsmasq_config(network: dict[str, Any], folder: str) -> str:
    """dnsmasq(8)'s settings: answers known MACs only, with the addresses of the inventory, and nobody else."""
    subnet = ipaddress.ip_network(network["cidr"])
    lines = [
        "port=0",
        "no-resolv",
        "no-hosts",
        "no-ping",
        "leasefile-ro",
        "quiet-dhcp",
        "bind-interfaces",
        "interface=eth0",
        "except-interface=lo",
        "dhcp-authoritative",
        "pid-file=",
        "dhcp-lease-max=65536",
        f"dhcp-range={subnet.network_address},static,{subnet.netmask},{LEASE_TIME}",
        "dhcp-ignore=tag:!known",
        f"dhcp-hostsdir={folder}/hosts",
        f"dhcp-option=option:router{',' + network['gateway'] if network.get('gateway') else ''}",
        f"dhcp-option=option:dns-server{''.join(',' + address for address in network.get('dns') or [])}",
    ]
    if network.get("domain"):
        lines.append(f"dhcp-option=option:domain-name,{network['domain']}")
    if network.get("mtu"):
        lines.append(f"dhcp-option=option:mtu,{network['mtu']}")
    return MADE + "\n".join(lines) + "\n"


def host_line(lease: dict[str, Any]) -> str:
    """One NIC's entry in dnsmasq's hosts folder."""
    return f"{lease['mac']},{lease['ip']},{lease['name']}\n"


def settings_files(network: dict[str, Any], folder: str) -> dict[str, str]:
    """The files of a network's service that do not change with VMs, by name in its folder."""
    return {"dnsmasq.conf": dnsmasq_config(network, folder), "environment": f"NAMESPACE={network['namespace']}\n"}


def lease_changes(desired: dict[str, str], present: dict[str, str], ours: set[str]) -> dict[str, set[str]]:
    """Which lease files are to be added, changed and removed; `ours` are those that may be removed."""
    return {
        "added": set(desired) - set(present),
        "changed": {key for key in set(desired) & set(present) if desired[key] != present[key]},
        "removed": (set(present) & ours) - set(desired),
    }


def table_name(inventory: str) -> str:
    """The nftables table of one inventory's networks."""
    return f"zctl_l3_{inventory.replace('-', '')[:8]}"


def filter_rules(inventory: str, networks: list[dict[str, Any]], macs: dict[str, str]) -> str:
    """Input for `nft -f`: what keeps each host's DHCP service, and its address, to the host itself.

    Every host has the same DHCP address. So DHCP, and ARP for that address, never pass a bridge's way out.
    """
    table = f"table bridge {table_name(inventory)}"
    uplinks = sorted({entry["uplink"] for entry in networks})
    addresses = sorted({f'"{entry["uplink"]}" . {entry["dhcp_ip"]}' for entry in networks})
    senders = sorted({f'"{entry["uplink"]}" . {macs[entry["uuid"]]}' for entry in networks})
    lines = [f"{table} {{}}", f"delete {table}"]
    if not networks:
        return "\n".join(lines) + "\n"
    quoted = ", ".join(f'"{name}"' for name in uplinks)
    lines += [
        f"{table} {{",
        f"  set uplinks {{ type ifname; elements = {{ {quoted} }} }}",
        f"  set own_addresses {{ type ifname . ipv4_addr; elements = {{ {', '.join(addresses)} }} }}",
        f"  set own_senders {{ type ifname . ether_addr; elements = {{ {', '.join(senders)} }} }}",
        "  chain from_outside {",
        "    type filter hook prerouting priority -310; policy accept;",
        "    iifname @uplinks udp dport { 67, 68 } drop",
        "    iifname . arp saddr ip @own_addresses drop",
        "    iifname . arp daddr ip @own_addresses drop",
        "  }",
        "  chain to_outside {",
        "    type filter hook postrouting priority 310; policy accept;",
        "    oifname @uplinks udp dport { 67, 68 } drop",
        "    oifname . arp saddr ip @own_addresses drop",
        "    oifname . arp daddr ip @own_addresses drop",
        "    oifname . ether saddr @own_senders drop",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def namespace_lines(network: dict[str, Any], mac: str, bridge_mtu: int) -> tuple[list[str], list[str]]:
    """Lines for `ip -batch` that make a network's namespace port: on the host, and within the namespace."""
    outside = [
        f"link add name {network['veth']} mtu {bridge_mtu} type veth"
        f" peer name eth0 netns {network['namespace']} mtu {bridge_mtu}",
        f"link set dev {network['veth']} alias zctl:{network['inventory']}:{network['uuid']}",
        f"link set dev {network['veth']} master {network['bridge']}",
        f"link set dev {network['veth']} up",
    ]
    inside = [
        "link set dev lo up",
        f"link set dev eth0 address {mac}",
        f"addr add {network['dhcp_ip']}/{prefix_length(network)} dev eth0",
        "link set dev eth0 up",
    ]
    return outside, inside
