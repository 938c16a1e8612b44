"""Reads a host's devices, addresses, routes and tunnels, and carries out what was planned for them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_guests import read_guests
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import (
        OWN_DEVICES,
        Facts,
        Steps,
        parse_links,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_tunnel import EVERYBODY
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        ip_batch,
        ip_json,
        read_text,
        run,
    )
except ImportError:
    from zctl_network_guests import read_guests  # type: ignore[no-redef]
    from zctl_network_plan import OWN_DEVICES, Facts, Steps, parse_links  # type: ignore[no-redef]
    from zctl_network_tunnel import EVERYBODY  # type: ignore[no-redef]
    from zctl_system import Trouble, ip_batch, ip_json, read_text, run  # type: ignore[no-redef]

IPV6 = Path("/proc/sys/net/ipv6/conf")
ADDRESS_MODES = {"0": "eui64", "1": "none", "2": "stable_secret", "3": "random"}
NO_SUCH_KIND = re.compile("Unknown device type|Operation not supported")
NO_VLANS = (
    "the kernel has no VLAN devices: install one with the module 8021q, or use a vxlan network,"
    " or let the switch give the VLAN untagged on a NIC of its own (no-vlan)"
)
Json = dict[str, Any]


def read_facts() -> Facts:
    """Devices, addresses and routes."""
    routes = ip_json("-4", "route", "show", "table", "all") + ip_json("-6", "route", "show", "table", "all")
    links = parse_links(ip_json("address", "show"))
    for name, link in links.items():
        if name.startswith(OWN_DEVICES):  # `ip address` does not tell how a device makes itself IPv6 addresses
            mode = (read_text(IPV6 / name / "addr_gen_mode") or "").strip()
            link["inet6_addr_gen_mode"] = ADDRESS_MODES.get(mode)
    facts = Facts(links, routes)
    lost = facts.lost_guests()
    return Facts(links, routes, read_guests(lost) if lost else {}, read_floods(links))


def read_floods(links: dict[str, Json]) -> dict[str, list[str]]:
    """Where the tunnels without a multicast group send what is for everybody."""
    tunnels = [name for name, link in links.items() if name.startswith(OWN_DEVICES[1]) and not group_of(link)]
    found: dict[str, list[str]] = {}
    for entry in json.loads(run(["bridge", "-j", "fdb", "show"]) or "[]") if tunnels else []:
        if entry.get("mac") == EVERYBODY and entry.get("ifname") in tunnels and entry.get("dst"):
            found.setdefault(entry["ifname"], []).append(entry["dst"])
    return found


def group_of(link: Json) -> str | None:
    """The multicast group of a tunnel."""
    return link.get("linkinfo", {}).get("info_data", {}).get("group")


def carry(steps: Steps) -> None:
    """Carry out what was planned."""
    try:
        ip_batch(steps.lines)
    except Trouble as error:
        if any(" type vlan " in line for line in steps.lines) and NO_SUCH_KIND.search(str(error)):
            raise Trouble(NO_VLANS) from None
        raise
    if steps.fdb:
        run(["bridge", "-batch", "-"], "\n".join(steps.fdb) + "\n")
