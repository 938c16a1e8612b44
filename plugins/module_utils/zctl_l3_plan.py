"""What DHCP services and namespaces of l3-networks consist of. Pure: values in, texts and steps out."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_dns import METADATA, dns_lines, told_servers
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference
except ImportError:
    from zctl_l3_dns import METADATA, dns_lines, told_servers  # type: ignore[no-redef]
    from zctl_results import difference  # type: ignore[no-redef]

LEASE_TIME = "1h"
# A guest that was installed anew calls itself otherwise (DUID); dnsmasq keeps the address for the old one that long.
LEASE_TIME6 = "10m"
RA_INTERVAL, RA_LIFETIME = 600, 1800  # seconds
FOLDERS = ("hosts", "names")  # that dnsmasq watches
USUAL_MTU = 1500
METADATA_FIELD = "namespace.metadata_address"
MADE = "# Made by zctl; zctl converge writes it anew.\n"
DNSMASQ_UNIT = (
    MADE
    + """[Unit]
Description=zctl: DHCP and DNS of l3-network %i
Documentation=file:/etc/zctl/l3/%i/network.json
Wants=zctl-net.service
After=zctl-net.service
StartLimitIntervalSec=0

[Service]
EnvironmentFile=/etc/zctl/l3/%i/environment
ExecStart=/usr/bin/env ip netns exec ${NAMESPACE} dnsmasq --keep-in-foreground --conf-file=/etc/zctl/l3/%i/dnsmasq.conf
ExecReload=/bin/kill -HUP $MAINPID
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
    return {key: value for key, value in network.items() if key not in ("leases", "names")}


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
        "no-resolv",
        "no-hosts",
        "no-ping",
        "leasefile-ro",
        "quiet-dhcp",
        "bind-dynamic",
        "interface=eth0",
        "except-interface=lo",
        "dhcp-authoritative",
        "dhcp-broadcast",  # else it overwrites the static neighbours, by which the namespace never has to ask
        "pid-file=",
        "dhcp-lease-max=65536",
        f"dhcp-range={subnet.network_address},static,{subnet.netmask},{LEASE_TIME}",
        "dhcp-ignore=tag:!known",
        f"dhcp-hostsdir={folder}/hosts",
        f"dhcp-option=option:router{',' + network['gateway'] if network.get('gateway') else ''}",
        f"dhcp-option=option:dns-server{''.join(',' + address for address in told_servers(network, 4))}",
        *dns_lines(network, folder),
    ]
    routes = ",".join(classless_routes(network))
    # 249 is what Windows asked for before 121 was a standard.
    lines += [f"dhcp-option={option},{routes}" for option in ("option:classless-static-route", "249") if routes]
    if network.get("domain"):
        lines.append(f"dhcp-option=option:domain-name,{network['domain']}")
    if mtu != USUAL_MTU:
        lines.append(f"dhcp-option-force=option:mtu,{mtu}")
    if network.get("cidr6"):
        lines += ipv6_config(network, mtu)
    return MADE + "\n".join(lines) + "\n"


def classless_routes(network: dict[str, Any]) -> list[str]:
    """Destinations and routers by turns (RFC 3442); nothing when the router's option says it all.

    Who understands these does not look at that option any more, so the default route is among them.
    """
    routes = [f"{METADATA}/32", network["dhcp_ip"]] if network.get("metadata") else []
    for text in network.get("routes") or []:
        destination, _, gateway = text.partition(" via ")
        routes += [destination, gateway]
    return [*routes, "0.0.0.0/0", network["gateway"]] if routes and network.get("gateway") else routes


def ipv6_config(network: dict[str, Any], mtu: int) -> list[str]:
    """dnsmasq(8)'s settings for IPv6: addresses by DHCPv6 only, and who the router is by router advertisements.

    Where a router on the wire is the gateway, it advertises itself; a lifetime of 0 says that it is not us.
    """
    subnet = ipaddress.ip_network(network["cidr6"])
    dns = [f"[{address}]" for address in told_servers(network, 6)]
    lines = [
        f"dhcp-range={subnet.network_address},static,{subnet.prefixlen},{LEASE_TIME6}",
        "enable-ra",
        "quiet-dhcp6",
        "quiet-ra",
        f"ra-param=eth0,mtu:{mtu},{RA_INTERVAL},{RA_LIFETIME if network.get('gateway_here') else 0}",
    ]
    if dns:
        lines.append(f"dhcp-option=option6:dns-server,{','.join(dns)}")
    if network.get("domain"):
        lines.append(f"dhcp-option=option6:domain-search,{network['domain']}")
    return lines


def host_line(lease: dict[str, Any]) -> str:
    """One NIC's entry in dnsmasq's hosts folder."""
    addresses = [lease["ip"], *([f"[{lease['ip6']}]"] if lease.get("ip6") else [])]
    return f"{lease['mac']},{','.join(addresses)},{lease['name']}\n"


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


def own_addresses(network: dict[str, Any]) -> list[str]:
    """The addresses of a network's namespace, the same on every host: DHCP's, and the gateway's when that is here."""
    own = [network["dhcp_ip"], *([network["gateway"]] if network.get("gateway_here") else [])]
    return [f"{address}/{prefix_length(network)}" for address in own]


def own_addresses6(network: dict[str, Any]) -> list[str]:
    """The same for IPv6, without lengths; the link-local one is what guests know the router by."""
    if not network.get("cidr6"):
        return []
    gateway = [network["gateway6"]] if network.get("gateway_here") and network.get("gateway6") else []
    return [link_local(network["uuid"]), network["dhcp_ip6"], *gateway]


def link_local(uuid: str) -> str:
    """The link-local address of a network's namespace, the same on every host: a VM may move."""
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + hashlib.sha256(uuid.encode()).digest()[:8]))


def ipv6_settings(network: dict[str, Any]) -> dict[str, str]:
    """The kernel's settings for IPv6 on the namespace's port. Who forwards says in its answers that it is a router."""
    if not network.get("cidr6"):
        return {}
    return {"disable_ipv6": "0", "accept_ra": "0", **({"forwarding": "1"} if network.get("gateway_here") else {})}


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
        *(f"addr add {address} dev eth0" for address in own_addresses(network)),
        # Other hosts have them too: nothing is to ask for them on the wire first.
        *(f"addr add {address}/64 dev eth0 nodad" for address in own_addresses6(network)),
        "link set dev eth0 up",
        *metadata_lines(network),
    ]
    return outside, inside


def metadata_lines(network: dict[str, Any], present: bool = False) -> list[str]:
    """Lines for `ip -batch` that make the metadata address the namespace's, or no longer when it is `present`."""
    if bool(network.get("metadata")) == present:
        return []
    return [f"addr {'del' if present else 'replace'} {METADATA}/32 dev eth0"]


def port_differences(
    network: dict[str, Any], mac: str, mtu: int, port: dict[str, Any] | None, inside: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Where the ends of the namespace's port are not as namespace_lines makes them.

    `port` is the host's end as `ip -j address` shows it, `inside` the other one as read_inside does.
    """
    found = [] if inside is not None else [difference("namespace", None, network["namespace"])]
    if port is None:
        return [*found, difference("port", None, network["veth"])]
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
            *(
                ("namespace.address", address if address in held else ", ".join(held) or None, address)
                for address in (*own_addresses(network), *(f"{own}/64" for own in own_addresses6(network)))
            ),
            *(
                (f"namespace.ipv6.{name}", inside.get("ipv6", {}).get(name), value)
                for name, value in ipv6_settings(network).items()
            ),
        ]
        told = METADATA if f"{METADATA}/32" in held else None
        fields.append((METADATA_FIELD, told, METADATA if network.get("metadata") else None))
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
    names = ("mac", "ip", "name") if len(want) == 3 else ("mac", "ip", "ip6", "name")
    fields = zip(names, have, want)  # noqa: B905 - Python 3.9
    found = [difference(f"lease.{name}", one, other) for name, one, other in fields if one != other]
    return found or [difference("lease", "with lines or blanks added", desired.strip())]
