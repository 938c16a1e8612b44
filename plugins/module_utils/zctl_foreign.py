"""Who seems to own what zctl did not make on a host. Reads a few small files, starts nothing."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import foreign
except ImportError:
    from zctl_results import foreign  # type: ignore[no-redef]

Json = dict[str, Any]
RUN = Path("/run")
# By the names that they give their devices.
MAKERS = (
    (re.compile(r"virbr\d+(-nic)?|vnet\d+"), "libvirt"),
    (re.compile(r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}"), "docker"),
    (re.compile(r"podman\d+|cni-podman\d+"), "podman"),
    (re.compile(r"lxcbr\d+"), "LXC"),
    (re.compile(r"lxdbr\d+"), "LXD"),
    (re.compile(r"incusbr\d+"), "Incus"),
    (re.compile(r"cni\d+|flannel\..*|cali.*|cilium_.*|kube-.*"), "Kubernetes"),
    (re.compile(r"vmbr\d+|fwbr\d+i\d+|tap\d+i\d+"), "Proxmox VE"),
    (re.compile(r"ovirtmgmt|ovs-system|br-int"), "oVirt or Open vSwitch"),
)
SKIPPED = ("lo",)


def inventory_of(link: Json) -> str | None:
    """The inventory whose mark a device carries, None for one that is not zctl's."""
    word, _, rest = str(link.get("ifalias", "")).partition(":")
    return rest.partition(":")[0] if word == "zctl" and rest else None


def owner_of(link: Json) -> str:
    """Who seems to have made a device: by its mark, its name, and what network managers have written of it."""
    inventory, name = inventory_of(link), str(link.get("ifname", ""))
    if inventory is not None:
        return f"zctl, inventory {inventory}"
    for pattern, maker in MAKERS:
        if pattern.fullmatch(name):
            return maker
    index = str(link.get("ifindex", ""))
    if "managed=true" in words_of(RUN / "NetworkManager" / "devices" / index):
        return "NetworkManager"
    if "NETWORK_FILE=/" in words_of(RUN / "systemd" / "netif" / "links" / index):
        return "systemd-networkd"
    if words_of(RUN / "network" / f"ifstate.{name}"):
        return "ifupdown"
    if "link_netnsid" in link:
        return "a network namespace (a container, or hand-made)"
    return "hand-made"


def words_of(path: Path) -> str:
    """A small file's text, an empty one when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def kind_word(link: Json) -> str:
    """bridge, vlan, bond, veth ... or NIC."""
    return str(link.get("linkinfo", {}).get("info_kind") or "NIC")


def foreign_devices(links: dict[str, Json], inventory: str, nics: set[str], bridges: set[str]) -> list[Json]:
    """Devices of other inventories, what is upon our NICs, and what is plugged into our bridges without being ours."""
    guests = ("zt-", "vnet", "tap")
    found = []
    for name, link in sorted(links.items()):
        theirs = inventory_of(link)
        if theirs == inventory or name in nics or name in bridges:
            continue
        under = link.get("link") or link.get("linkinfo", {}).get("info_data", {}).get("link")
        carried = under in nics and "link_netnsid" not in link
        plugged = link.get("master") in bridges and not name.startswith(guests)
        holds = kind_word(link) in ("bridge", "bond", "team") and any(
            links.get(nic, {}).get("master") == name for nic in nics
        )
        where = f", upon {under}" if carried else f", in {link.get('master')}" if plugged else ""
        if theirs is not None or carried or plugged or holds:
            found.append(foreign(kind_word(link), name, owner_of(link) + where + (", holds a NIC" if holds else "")))
    return found


def devices_in_subnets(links: dict[str, Json], subnets: dict[str, str]) -> list[Json]:
    """Devices that hold an address within one of our subnets (cidr to the name of the network)."""
    found = []
    for name, link in sorted(links.items()):
        if name in SKIPPED or inventory_of(link) is not None:
            continue
        for entry in link.get("addr_info", []):
            for cidr, network in subnets.items():
                if overlaps(f"{entry.get('local')}/{entry.get('prefixlen')}", cidr):
                    where = f"{entry['local']}/{entry['prefixlen']} in the subnet of {network}"
                    found.append(foreign(kind_word(link), name, f"{owner_of(link)}, {where}"))
    return found


def overlaps(address: str, cidr: str) -> bool:
    """Whether an address with its prefix shares addresses with a subnet."""
    try:
        theirs = ipaddress.ip_interface(address).network
        ours = ipaddress.ip_network(cidr)
    except ValueError:
        return False
    return theirs.version == ours.version and theirs.overlaps(ours)  # type: ignore[arg-type]


def dhcp_servers(subnets: dict[str, str], bridges: set[str], proc: Path = Path("/proc")) -> list[Json]:
    """Processes of dnsmasq that zctl did not start and that serve one of our subnets or bridges."""
    found = []
    for folder in sorted(proc.glob("[0-9]*")):
        if words_of(folder / "comm").strip() != "dnsmasq":
            continue
        words = words_of(folder / "cmdline").split("\0")
        if any("/etc/zctl/" in word for word in words):
            continue
        settings = [word.removeprefix("--") for word in words]
        for word in settings:
            if word.startswith("conf-file="):
                settings += words_of(Path(word.partition("=")[2])).splitlines()
        served = serves(settings, subnets, bridges)
        if served:
            maker = next((who for who in ("libvirt", "lxc", "lxd", "incus", "podman") if who in " ".join(words)), "")
            owner = f"{maker or 'hand-made'}, process {folder.name}, serves {', '.join(served)}"
            found.append(foreign("dnsmasq", f"dnsmasq {folder.name}", owner))
    return found


def serves(settings: list[str], subnets: dict[str, str], bridges: set[str]) -> list[str]:
    """Which of our subnets and bridges dnsmasq's settings name."""
    found = set()
    for line in settings:
        key, _, value = line.partition("=")
        if key == "interface" and value in bridges:
            found.add(value)
        if key in ("dhcp-range", "listen-address"):
            for word in value.split(","):
                found |= {network for cidr, network in subnets.items() if overlaps(word, cidr)}
    return sorted(found)
