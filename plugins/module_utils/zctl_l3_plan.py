"""What DHCP services and namespaces of l3-networks consist of. Pure: values in, texts and steps out."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference
except ImportError:
    from zctl_results import difference  # type: ignore[no-redef]

LEASE_TIME = "1h"
USUAL_MTU = 1500
MADE = "# Made by zctl; zctl converge writes it anew.\n"
DNSMASQ_UNIT = (
    MADE
    + """[Unit]
Description=zctl: DHCP of l3-network %i
Documentation=file:/etc/zctl/l3/%i/network.json
Wants=zctl-net.service
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


def dnsmasq_config(network: dict[str, Any], folder: str, mtu: int) -> str:
    """dnsmasq(8)'s settings: answers known MACs only, with the addresses of the inventory, and nobody else.

    Guests are told the MTU of the way out, asked or not, unless it is what they assume anyway: packets of 1500 bytes
    do not fit a tunnel.
    """
    subnet = ipaddress.ip_network(network["cidr"])
    lines = [
        "port=0",
        "no-resolv",
        "no-hosts",
        "no-ping",
        "leasefile-ro",
        "quiet-dhcp",
        "bind-dynamic",
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
    if mtu != USUAL_MTU:
        lines.append(f"dhcp-option-force=option:mtu,{mtu}")
    return MADE + "\n".join(lines) + "\n"


def host_line(lease: dict[str, Any]) -> str:
    """One NIC's entry in dnsmasq's hosts folder."""
    return f"{lease['mac']},{lease['ip']},{lease['name']}\n"


def settings_files(network: dict[str, Any], folder: str, mtu: int) -> dict[str, str]:
    """The files of a network's service that do not change with VMs, by name in its folder."""
    return {"dnsmasq.conf": dnsmasq_config(network, folder, mtu), "environment": f"NAMESPACE={network['namespace']}\n"}


def lease_changes(desired: dict[str, str], present: dict[str, str], ours: set[str]) -> dict[str, set[str]]:
    """Which lease files are to be added, changed and removed; `ours` are those that may be removed."""
    return {
        "added": set(desired) - set(present),
        "changed": {key for key in set(desired) & set(present) if desired[key] != present[key]},
        "removed": (set(present) & ours) - set(desired),
    }


def namespace_lines(network: dict[str, Any], mac: str, mtu: int) -> tuple[list[str], list[str]]:
    """Lines for `ip -batch` that make a network's namespace port: on the host, and within the namespace."""
    outside = [
        f"link add name {network['veth']} mtu {mtu} type veth peer name eth0 netns {network['namespace']} mtu {mtu}",
        f"link set dev {network['veth']} alias zctl:{network['inventory']}:{network['uuid']} addrgenmode none",
        f"link set dev {network['veth']} master {network['bridge']}",
        f"link set dev {network['veth']} up",
    ]
    inside = [
        "link set dev lo up",
        f"link set dev eth0 address {mac} addrgenmode none",
        f"addr add {network['dhcp_ip']}/{prefix_length(network)} dev eth0",
        "link set dev eth0 up",
    ]
    return outside, inside


def port_differences(
    network: dict[str, Any], mac: str, mtu: int, port: dict[str, Any] | None, inside: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Where the ends of the namespace's port are not as namespace_lines makes them.

    `port` is the host's end as `ip -j address` shows it, `inside` the other one as read_inside does.
    """
    found = [] if inside is not None else [difference("namespace", None, network["namespace"])]
    if port is None:
        return [*found, difference("port", None, network["veth"])]
    address = f"{network['dhcp_ip']}/{prefix_length(network)}"
    fields = [
        ("port.bridge", port.get("master"), network["bridge"]),
        ("port.state", "up" if "UP" in port.get("flags", []) else "down", "up"),
        ("port.mtu", port.get("mtu"), mtu),
    ]
    if inside:
        held = inside["addresses"]
        fields += [
            ("namespace.mac", inside["mac"], mac),
            ("namespace.state", "up" if inside["up"] else "down", "up"),
            ("namespace.mtu", inside["mtu"], mtu),
            ("namespace.address", address if address in held else ", ".join(held) or None, address),
        ]
    elif inside is not None:
        fields.append(("namespace.port", None, "eth0"))
    return found + [difference(*entry) for entry in fields if entry[1] != entry[2]]


def lease_differences(actual: str | None, desired: str) -> list[dict[str, Any]]:
    """Where a lease file is not as wanted: by MAC, address and name, if it can be understood at all."""
    if actual == desired:
        return []
    have, want = (actual or "").strip().split(","), desired.strip().split(",")
    if actual is None or len(have) != len(want):
        return [difference("lease", actual if actual is None else actual.strip(), desired.strip())]
    fields = zip(("mac", "ip", "name"), have, want)  # noqa: B905 - Python 3.9
    found = [difference(f"lease.{name}", one, other) for name, one, other in fields if one != other]
    return found or [difference("lease", "with lines or blanks added", desired.strip())]
