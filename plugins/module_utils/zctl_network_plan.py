"""What has to be done for a host's bridges and tunnels. Pure: facts and desired networks in, steps out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VXLAN_OVERHEAD = 50
VXLAN_PORT = 4789


class Impossible(Exception):
    """A network cannot be as wanted; the text says why and what to do."""


@dataclass(frozen=True)
class Facts:
    """What `ip -j -d address` and `ip -j route` said: devices by name with their addresses, and routes."""

    links: dict[str, dict[str, Any]]
    routes: list[dict[str, Any]] = field(default_factory=list)

    def ports(self, bridge: str) -> list[str]:
        """The devices plugged into a bridge."""
        return sorted(name for name, link in self.links.items() if link.get("master") == bridge)


@dataclass
class Steps:
    """Lines for `ip -batch`, and whether they move the addresses of a NIC."""

    lines: list[str] = field(default_factory=list)
    taken: dict[str, Any] | None = None
    words: list[str] = field(default_factory=list)

    def add(self, line: str, words: str = "") -> None:
        """One more line, and what it does in words."""
        self.lines.append(line)
        if words:
            self.words.append(words)


def parse_links(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Devices by name."""
    return {entry["ifname"]: entry for entry in entries if entry.get("ifname")}


def mark_of(inventory: str, network: dict[str, Any]) -> str:
    """The alias that zctl's devices carry (ip-link(8), alias)."""
    return f"zctl:{inventory}:{network['uuid']}"


def kind_of(link: dict[str, Any]) -> str:
    """bridge, vxlan, veth ... or an empty string for hardware."""
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def static_addresses(link: dict[str, Any], name: str) -> list[str]:
    """The addresses that a NIC holds for good. Raises Impossible for one from DHCP, which would be lost."""
    found = []
    for entry in link.get("addr_info", []):
        if entry.get("scope") == "link" or entry.get("family") not in ("inet", "inet6"):
            continue
        if entry.get("dynamic"):
            raise Impossible(
                f"NIC {name} has its address {entry['local']} from DHCP, which a bridge would lose:"
                " give it a static address, or use another NIC"
            )
        found.append(f"{entry['local']}/{entry['prefixlen']}")
    return found


def routes_of(routes: list[dict[str, Any]], name: str) -> list[str]:
    """The routes over a NIC that somebody set, as ip(8) takes them back; those the kernel makes come by themselves."""
    found = []
    for route in routes:
        if route.get("dev") != name or route.get("protocol") == "kernel" or route.get("type") not in (None, "unicast"):
            continue
        words = [str(route["dst"])]
        for key, word in (("gateway", "via"), ("prefsrc", "src"), ("metric", "metric")):
            if key in route:
                words += [word, str(route[key])]
        found.append(" ".join(words))
    return found


def plan_network(
    network: dict[str, Any], facts: Facts, inventory: str, management: str | None, stored: dict[str, Any] | None
) -> Steps:
    """The steps that bring one network to its desired state; none when it is there. Raises Impossible."""
    steps = Steps()
    bridge, mark = network["bridge"], mark_of(inventory, network)
    have = facts.links.get(bridge)
    if have is not None and have.get("ifalias") != mark:
        raise Impossible(f"there is a device {bridge} that is not zctl's: rename or remove it")
    if have is None:
        steps.add(f"link add name {bridge} type bridge stp_state 0 forward_delay 0", f"bridge {bridge} made")
        steps.add(f"link set dev {bridge} alias {mark}")
    if network["kind"] == "vxlan":
        plan_tunnel(network, facts, mark, management, steps)
    else:
        plan_nic(network, facts, steps, stored)
    if have is None or "UP" not in have.get("flags", []):
        steps.add(f"link set dev {bridge} up", "" if have is None else f"bridge {bridge} set up")
    return steps


def plan_nic(network: dict[str, Any], facts: Facts, steps: Steps, stored: dict[str, Any] | None) -> None:
    """Make the physical NIC a port of the bridge, with its addresses moved to the bridge."""
    name, bridge = network["interface"], network["bridge"]
    link = facts.links.get(name)
    if link is None:
        known = ", ".join(sorted(n for n, entry in facts.links.items() if n != "lo" and not n.startswith("z")))
        raise Impossible(f"there is no NIC {name} on this host (there are: {known})")
    master = link.get("master")
    if master not in (None, bridge):
        raise Impossible(f"NIC {name} is a port of {master}, which is not zctl's: free it, or use another NIC")
    mtu = network.get("mtu")
    if mtu and link.get("mtu") != mtu:
        steps.add(f"link set dev {name} mtu {mtu}", f"MTU of {name} {link.get('mtu')} -> {mtu}")
    addresses = static_addresses(link, name)
    recorded = (stored or {}).get("taken") or {}
    routes = routes_of(facts.routes, name)
    wanted = addresses + [a for a in recorded.get("addresses", []) if a not in addresses]
    if master is None:
        if wanted:
            steps.add(f"link set dev {bridge} address {link['address']}")
        steps.add(f"link set dev {name} master {bridge}", f"NIC {name} plugged into {bridge}")
    if "UP" not in link.get("flags", []):
        steps.add(f"link set dev {name} up", f"NIC {name} set up" if master else "")
    present = [
        f"{e['local']}/{e['prefixlen']}"
        for e in facts.links.get(bridge, {}).get("addr_info", [])
        if e.get("scope") != "link"
    ]
    if addresses or [a for a in wanted if a not in present]:
        all_routes = routes + [r for r in recorded.get("routes", []) if r not in routes]
        if addresses:
            steps.taken = {"nic": name, "bridge": bridge, "addresses": wanted, "routes": all_routes}
        move(steps, name, bridge, addresses, [a for a in wanted if a not in present], all_routes)


def move(steps: Steps, source: str, target: str, gone: list[str], come: list[str], routes: list[str]) -> None:
    """Move addresses, and the routes that hang on them, from one device to another."""
    for address in gone:
        steps.add(f"addr del {address} dev {source}")
    steps.add(f"link set dev {target} up")
    for address in come:
        steps.add(f"addr add {address} dev {target}", f"address {address} moved to {target}")
    for route in routes:
        steps.add(f"route replace {route} dev {target}")


def plan_tunnel(network: dict[str, Any], facts: Facts, mark: str, management: str | None, steps: Steps) -> None:
    """Make the VXLAN device, over the NIC that was named or that holds the management address."""
    under, local = underlay(network, facts, management)
    device, bridge = network["device"], network["bridge"]
    mtu = network.get("mtu") or facts.links[under]["mtu"] - VXLAN_OVERHEAD
    have = facts.links.get(device)
    if have is not None:
        if have.get("ifalias") != mark:
            raise Impossible(f"there is a device {device} that is not zctl's: rename or remove it")
        data = have.get("linkinfo", {}).get("info_data", {})
        if (data.get("id"), data.get("group"), data.get("link"), data.get("local")) != (
            network["vni"],
            network["group"],
            under,
            local,
        ):
            steps.add(f"link del dev {device}", f"tunnel {device} made anew over {under}")
            have = None
    if have is None:
        steps.add(
            f"link add name {device} type vxlan id {network['vni']} group {network['group']} dev {under} local {local}"
            f" dstport {VXLAN_PORT} ttl 8",
            f"tunnel {device} made over {under}",
        )
        steps.add(f"link set dev {device} alias {mark}")
        have = {}
    if have.get("mtu") != mtu:
        steps.add(f"link set dev {device} mtu {mtu}")
    if have.get("master") != bridge:
        steps.add(f"link set dev {device} master {bridge}")
    if "UP" not in have.get("flags", []):
        steps.add(f"link set dev {device} up")


def underlay(network: dict[str, Any], facts: Facts, management: str | None) -> tuple[str, str]:
    """The device that carries a tunnel, and the host's address on it."""
    name = network.get("interface")
    if name:
        if name not in facts.links:
            raise Impossible(f"there is no NIC {name} on this host")
        name = facts.links[name].get("master") or name
    else:
        name = holder(facts, management) if management else default_device(facts)
    if name is None:
        where = f"holds the management address {management}" if management else "has the default route"
        raise Impossible(f"no NIC {where}: name one by --physical-interface")
    for entry in facts.links[name].get("addr_info", []):
        if entry.get("family") == "inet" and entry.get("scope") == "global" and management in (None, entry["local"]):
            return name, str(entry["local"])
    first = next((e["local"] for e in facts.links[name].get("addr_info", []) if e.get("family") == "inet"), None)
    if first is None:
        raise Impossible(f"{name} has no IPv4 address for the tunnel: give it one, or name another NIC")
    return name, str(first)


def holder(facts: Facts, address: str) -> str | None:
    """The device that holds an address."""
    for name, link in facts.links.items():
        if any(entry.get("local") == address for entry in link.get("addr_info", [])):
            return name
    return None


def default_device(facts: Facts) -> str | None:
    """The device of the default route."""
    return next((str(route["dev"]) for route in facts.routes if route.get("dst") == "default"), None)


def plan_removal(stored: dict[str, Any], facts: Facts, inventory: str) -> Steps:
    """The steps that take a network away and give a taken NIC back what it had. Impossible while VMs are on it."""
    steps = Steps()
    bridge = stored["bridge"]
    link = facts.links.get(bridge)
    if link is not None and link.get("ifalias") != mark_of(inventory, stored):
        raise Impossible(f"device {bridge} is not zctl's any more: it is left alone")
    guests = [name for name in facts.ports(bridge) if name.startswith(("zt-", "vnet"))]
    if guests:
        raise Impossible(
            f"{len(guests)} network cards of VMs are still plugged into {bridge}: delete or stop those VMs first"
        )
    taken = stored.get("taken")
    nic = stored.get("interface")
    if stored["kind"] == "no-vlan" and nic in facts.links and facts.links[nic].get("master") == bridge:
        steps.add(f"link set dev {nic} nomaster", f"NIC {nic} given back")
        if taken:
            present = [
                f"{e['local']}/{e['prefixlen']}" for e in (link or {}).get("addr_info", []) if e.get("scope") != "link"
            ]
            move(steps, bridge, nic, present, taken["addresses"], [])
            for route in taken["routes"]:
                steps.add(f"route replace {route} dev {nic}")
    if stored.get("device") in facts.links and facts.links[stored["device"]].get("ifalias") == mark_of(
        inventory, stored
    ):
        steps.add(f"link del dev {stored['device']}")
    if link is not None:
        steps.add(f"link del dev {bridge}", f"bridge {bridge} removed")
    return steps
