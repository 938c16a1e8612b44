# SPDX-License-Identifier: Apache-2.0
"""DNS of l3-networks: what dnsmasq is told for it, and the units of the relay to other servers. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any

Json = dict[str, Any]
METADATA = "169.254.169.254"
RELAY = "127.0.0.1#5300"  # as dnsmasq writes an address with its port
LISTEN = RELAY.replace("#", ":")
MADE = "# Made by zctl; zctl converge writes it anew.\n"
SOCKET, SERVICE = "zctl-dns@.socket", "zctl-dns@.service"
SOCKET_TEXT = (
    MADE
    + f"""[Unit]
Description=zctl: way to other DNS servers of l3-network %i
Documentation=file:/etc/zctl/l3/%i/network.json
# Sockets come before all services by default, so before zctl-net: systemd would break that circle and not start this.
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
Wants=zctl-net.service
After=zctl-net.service

[Socket]
NetworkNamespacePath=/etc/zctl/l3/%i/netns
ListenDatagram={LISTEN}
ListenStream={LISTEN}
TriggerLimitIntervalSec=0

[Install]
WantedBy=multi-user.target
"""
)
SERVICE_TEXT = (
    MADE
    + """[Unit]
Description=zctl: DNS questions of l3-network %i that others answer
Documentation=file:/etc/zctl/l3/%i/network.json
Requires=zctl-dns@%i.socket
After=network.target
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/python3 -EsSB /usr/local/lib/zctl/zctl_dns_relay.py /etc/zctl/l3/%i/network.json
DynamicUser=yes
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""
)


def socket_unit(uuid: str) -> str:
    """The unit of a network's relay."""
    return SOCKET.replace("@", f"@{uuid}")


def answers_names(network: Json) -> bool:
    """Whether the namespace answers for names: it needs a domain for that."""
    return bool(network.get("dns_service") and network.get("domain"))


def has_relay(network: Json) -> bool:
    """Whether questions of the network are handed on at all."""
    return bool(answers_names(network) and network.get("dns"))


def told_servers(network: Json, version: int) -> list[str]:
    """The DNS servers of a family that guests are told of: the network's own, or those of the inventory."""
    if answers_names(network):
        own = network["dhcp_ip"] if version == 4 else network.get("dhcp_ip6")
        return [own] if own else []
    return [text for text in network.get("dns") or [] if ipaddress.ip_address(text).version == version]


def dns_lines(network: Json, folder: str) -> list[str]:
    """dnsmasq(8)'s settings for names: its own from the folder, others from the relay, if there is one.

    What ends in the domain is never asked elsewhere, and nobody else can make a name mean the metadata service.
    Servers on the internet cannot make it mean a private address either; one that is on a private network may.
    """
    if not answers_names(network):
        return ["port=0"]
    domain = network["domain"]
    lines = [
        f"domain={domain}",
        f"local=/{domain}/",
        "dhcp-fqdn",
        "domain-needed",
        "cache-size=1000",
        "dns-forward-max=500",
        f"hostsdir={folder}/names",
        f"bogus-nxdomain={METADATA}",
        f"dhcp-option=option:domain-search,{domain}",
    ]
    if not network.get("gateway") or network.get("gateway_here"):
        # Nobody outside knows the addresses of a network that no router leads to.
        lines += [f"local=/{zone}/" for zone in reverse_zones(network["cidr"])]
    if has_relay(network):
        lines.append(f"server={RELAY}")
        if not any(ipaddress.ip_address(server).is_private for server in network["dns"]):
            lines.append("stop-dns-rebind")
    return lines


def reverse_zones(cidr: str) -> list[str]:
    """The zones in which the names of a subnet's addresses are (RFC 1035, section 3.5), and no others."""
    subnet = ipaddress.ip_network(cidr)
    octets = -(-subnet.prefixlen // 8)
    parts = subnet.subnets(new_prefix=8 * octets)
    return [".".join(reversed(str(part.network_address).split(".")[:octets])) + ".in-addr.arpa" for part in parts]
