"""What has to be done for a host's bridges. Pure: facts and desired networks in, steps out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference
except ImportError:
    from zctl_results import difference  # type: ignore[no-redef]

GUEST_PORTS = ("zt-", "vnet", "tap")
OWN_DEVICES = ("zbr-", "zvx-", "zv-", "zt-", "zvl-", "zp-")
UPLINKS = {"bridge": "no-vlan", "vlan": "vlan", "vxlan": "vxlan"}  # kind of device -> of network
USUAL_MTU = 1500
BRIDGE_SETTINGS = {"stp_state": 0, "forward_delay": 0}
SKIPPED_ROUTES = ("local", "broadcast", "anycast", "multicast")


class Impossible(Exception):
    """A network cannot be as wanted; the text says why and what to do."""


@dataclass(frozen=True)
class Facts:
    """What `ip -j -d address` and `ip -j route` said: devices by name with their addresses, routes of all tables.

    `guests` says of the ports of VMs that are in no bridge of zctl's where they belong; `floods` to which addresses a
    tunnel sends what is for everybody, as `bridge -j fdb` tells.
    """

    links: dict[str, dict[str, Any]]
    routes: list[dict[str, Any]] = field(default_factory=list)
    guests: dict[str, str] = field(default_factory=dict)
    floods: dict[str, list[str]] = field(default_factory=dict)

    def lost_guests(self) -> list[str]:
        """Ports that zctl's VMs have, which are in no bridge of zctl's."""
        bridge, port = OWN_DEVICES[0], OWN_DEVICES[3]
        return [
            name
            for name, link in self.links.items()
            if name.startswith(port) and not str(link.get("master")).startswith(bridge)
        ]

    def ports(self, bridge: str) -> list[str]:
        """The devices plugged into a bridge."""
        return sorted(name for name, link in self.links.items() if link.get("master") == bridge)


@dataclass
class Steps:
    """What is not as wanted, lines for `ip -batch` that mend it, and both in words.

    `taken` is what moves between a NIC and its bridge when anything does; `fdb` are lines for `bridge -batch`, to be
    carried out after the others.
    """

    lines: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    taken: dict[str, Any] | None = None
    differences: list[dict[str, Any]] = field(default_factory=list)
    fdb: list[str] = field(default_factory=list)

    def mend(self, name: str, actual: Any, desired: Any, words: str, *lines: str) -> None:
        """A field that is not as wanted, and the lines that make it so."""
        self.differences.append(difference(name, actual, desired))
        self.lines.extend(lines)
        if words:
            self.words.append(words)

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


def is_up(link: dict[str, Any]) -> bool:
    """Whether a device is set up."""
    return "UP" in link.get("flags", [])


def address_words(entry: dict[str, Any]) -> str:
    """An address as ip(8) takes it. The kernel makes its subnet's route anew, so flags about that are left out."""
    words = f"{entry['local']}/{entry['prefixlen']}"
    if entry.get("family") == "inet6":
        return f"{words} nodad"
    return f"{words} brd {entry['broadcast']}" if entry.get("broadcast") else words


def addresses_of(link: dict[str, Any]) -> list[str]:
    """The addresses that a device holds for good, in order, as ip(8) takes them."""
    return [
        address_words(entry)
        for entry in link.get("addr_info", [])
        if entry.get("scope") != "link" and entry.get("family") in ("inet", "inet6") and not entry.get("dynamic")
    ]


def static_addresses(link: dict[str, Any], name: str) -> list[str]:
    """The addresses of a NIC. Raises Impossible for one from DHCP, which would be lost.

    IPv6 addresses made from router advertisements are left out: the bridge makes them again for itself.
    """
    for entry in link.get("addr_info", []):
        if entry.get("dynamic") and entry.get("family") == "inet":
            raise Impossible(
                f"NIC {name} has its address {entry['local']} from DHCP, which a bridge would lose:"
                " give it a static address, or use another NIC"
            )
    return addresses_of(link)


def routes_of(routes: list[dict[str, Any]], name: str) -> list[str]:
    """The routes over a device that somebody set, as ip(8) takes them; those the kernel makes come by themselves.

    Raises Impossible for one with several ways, which cannot be moved as it is.
    """
    found = []
    for route in routes:
        if any(hop.get("dev") == name for hop in route.get("nexthops", [])):
            raise Impossible(f"the route to {route['dst']} has several ways, one over {name}: use another NIC")
        if route.get("dev") != name or route.get("protocol") in ("kernel", "ra") or route.get("type") in SKIPPED_ROUTES:
            continue
        via = route.get("via") or {}
        words = [str(route["dst"])]
        if route.get("gateway") or via:
            words += ["via", *([via["family"]] if via else []), str(route.get("gateway") or via["host"])]
        for key, word in (("prefsrc", "src"), ("metric", "metric"), ("table", "table")):
            if key in route:
                words += [word, str(route[key])]
        words += ["onlink"] if "onlink" in route.get("flags", []) else []
        found.append((bool(route.get("gateway") or via), " ".join(words)))
    # Those without a gateway first: others may lead over them.
    return [words for _, words in sorted(found, key=lambda entry: entry[0])]


def same(addresses: list[str]) -> set[str]:
    """Addresses without what is only wanted when they are set."""
    return {words.split()[0] for words in addresses}


def move(steps: Steps, source: str, target: str, gone: list[str], come: list[str], routes: list[str]) -> None:
    """Move addresses, and the routes that hang on them, from one device to another."""
    for address in reversed(gone):  # the first one last: others of its subnet would go with it
        steps.add(f"addr del {address.split()[0]} dev {source}")
    steps.add(f"link set dev {target} up")
    for address in come:
        steps.add(f"addr add {address} dev {target}", f"address {address.split()[0]} moved to {target}")
    for route in routes:
        family = "-6 " if ":" in route.split()[0] or (route.startswith("default") and ":" in route) else ""
        steps.add(f"{family}route replace {route} dev {target}")


def plan_bridge(network: dict[str, Any], facts: Facts, mark: str, steps: Steps) -> None:
    """Make the bridge itself. The host has no address on it unless a NIC brings one."""
    bridge = network["bridge"]
    have = facts.links.get(bridge)
    if have is not None and have.get("ifalias") != mark:
        raise Impossible(f"there is a device {bridge} that is not zctl's: rename or remove it")
    if have is None:
        settings = " ".join(f"{name} {value}" for name, value in BRIDGE_SETTINGS.items())
        add = f"link add name {bridge} type bridge {settings}"
        steps.mend("bridge", None, bridge, f"bridge {bridge} made", add, f"link set dev {bridge} alias {mark}")
        return
    seen = have.get("linkinfo", {}).get("info_data", {})
    for name, value in BRIDGE_SETTINGS.items():
        if seen.get(name, value) != value:
            words = f"{name} of {bridge} {seen[name]} -> {value}"
            steps.mend(f"bridge.{name}", seen[name], value, words, f"link set dev {bridge} type bridge {name} {value}")


def plan_silence(field_name: str, device: str, link: dict[str, Any], steps: Steps) -> None:
    """No IPv6 address of the host's own on a device that only passes on what is others'."""
    mode = link.get("inet6_addr_gen_mode") or "none"  # nothing is said of it on a host without IPv6
    if mode != "none":
        line = f"link set dev {device} addrgenmode none"
        steps.mend(f"{field_name}.addrgenmode", mode, "none", f"{device} kept from making itself an address", line)


def plan_bridge_mtu(bridge: str, uplink: str, mtu: int, facts: Facts, steps: Steps) -> None:
    """The MTU of a bridge that is there: the smallest of its ports', as the kernel sets it, or its way out's.

    Once somebody has set it by hand the kernel leaves it alone, so it is set along with that of the way out.
    """
    if bridge not in facts.links:
        return
    have, before = facts.links[bridge].get("mtu"), facts.links.get(uplink, {}).get("mtu")
    line = f"link set dev {bridge} mtu {mtu}"
    if before != mtu or uplink not in facts.ports(bridge):
        steps.lines += [line] if have != mtu else []
    elif have not in (None, mtu, min(facts.links[port].get("mtu", mtu) for port in facts.ports(bridge))):
        steps.mend("bridge.mtu", have, mtu, f"MTU of {bridge} {have} -> {mtu}", line)


def plan_guests(bridge: str, facts: Facts, steps: Steps) -> None:
    """Running VMs lose their network when somebody removes their bridge, also when it is made again."""
    lost = {name for name, where in facts.guests.items() if where == bridge and name in facts.links}
    own = {name for name in facts.ports(bridge) if name.startswith(OWN_DEVICES[3])}
    for name in sorted(lost | own):
        link = facts.links[name]
        if name in lost:
            line = f"link set dev {name} master {bridge}"
            steps.mend(f"guest {name}", link.get("master"), bridge, f"VM's port {name} plugged into {bridge}", line)
        if not is_up(link):
            steps.mend(f"guest {name}.state", "down", "up", f"VM's port {name} set up", f"link set dev {name} up")


def plan_nic(network: dict[str, Any], facts: Facts, steps: Steps, stored: dict[str, Any] | None) -> None:
    """Make the physical NIC a port of the bridge, with its addresses moved to the bridge."""
    name, bridge = network["interface"], network["bridge"]
    link = nic_of(name, bridge, facts)
    on_bridge = addresses_of(facts.links.get(bridge, {}))
    recorded = ((stored or {}).get("taken") or {}) if (stored or {}).get("interface") == name else {}
    addresses = static_addresses(link, name)
    routes = routes_of(facts.routes, name)
    # What the NIC has now is newer than what was written down when it was taken.
    wanted = addresses or ([] if on_bridge else recorded.get("addresses", []))
    missing = [address for address in wanted if address.split()[0] not in same(on_bridge)]
    mtu = network.get("mtu")
    if mtu and link.get("mtu") != mtu:
        words = f"MTU of {name} {link.get('mtu')} -> {mtu}"
        steps.mend("port.mtu", link.get("mtu"), mtu, words, f"link set dev {name} mtu {mtu}")
    if bridge not in facts.links and not wanted:
        steps.add(f"link set dev {bridge} addrgenmode none")
    elif not wanted and not on_bridge:
        plan_silence("bridge", bridge, facts.links[bridge], steps)
    if link.get("master") is None:
        if wanted:
            steps.add(f"link set dev {bridge} address {link['address']}")
        steps.mend("port", None, name, f"NIC {name} plugged into {bridge}", f"link set dev {name} master {bridge}")
    plan_bridge_mtu(bridge, name, mtu or link.get("mtu") or USUAL_MTU, facts, steps)
    if not is_up(link):
        steps.mend("port.state", "down", "up", f"NIC {name} set up", f"link set dev {name} up")
    if addresses or missing:
        have, come = sorted(same(on_bridge)), sorted(same(on_bridge) | same(missing) | same(addresses))
        steps.mend("bridge.addresses", ", ".join(have) or None, ", ".join(come), "")
        hanging = routes or ([] if addresses else recorded.get("routes", []))
        if addresses:
            steps.taken = {"nic": name, "bridge": bridge, "addresses": addresses, "routes": hanging}
        move(steps, name, bridge, addresses, missing, hanging)


def nic_of(name: str, bridge: str, facts: Facts) -> dict[str, Any]:
    """The NIC that is to be a port of the bridge. Raises Impossible for one that cannot be."""
    link = facts.links.get(name)
    if link is None or name == "lo":
        known = sorted(n for n in facts.links if n != "lo" and not n.startswith(OWN_DEVICES))
        raise Impossible(f"there is no NIC {name} on this host (there are: {', '.join(known) or 'none'})")
    if kind_of(link) == "bridge":
        raise Impossible(f"{name} is a bridge, which cannot be a port of another: name the NIC itself")
    master = link.get("master")
    if master not in (None, bridge):
        whose = "of another network of zctl" if str(master).startswith("zbr-") else "which is not zctl's"
        raise Impossible(f"NIC {name} is a port of {master}, {whose}: free it, or use another NIC")
    return link


def plan_release(nic: str, bridge: str, facts: Facts, taken: dict[str, Any], steps: Steps) -> None:
    """Give a NIC back, with the addresses that its bridge holds for it."""
    link = facts.links.get(nic)
    if link is None or link.get("master") not in (None, bridge):
        return
    on_bridge = addresses_of(facts.links.get(bridge, {}))
    if link.get("master") == bridge:
        steps.mend("port", nic, None, f"NIC {nic} given back", f"link set dev {nic} nomaster")
    come = on_bridge or ([] if addresses_of(link) else taken.get("addresses", []))
    come = [address for address in come if address.split()[0] not in same(addresses_of(link))]
    if come or on_bridge:
        routes = routes_of(facts.routes, bridge) or taken.get("routes", [])
        steps.taken = {"nic": nic, "addresses": on_bridge or come, "routes": routes}
        move(steps, bridge, nic, on_bridge, come, routes)


def plan_removal(stored: dict[str, Any], facts: Facts, inventory: str) -> Steps:
    """The steps that take a network away; its NIC gets back what it had. Raises Impossible while VMs are on it."""
    steps = Steps()
    bridge, mark = stored["bridge"], mark_of(inventory, stored)
    link = facts.links.get(bridge)
    if link is not None and link.get("ifalias") != mark:
        raise Impossible(f"device {bridge} is not zctl's any more: it is left alone")
    guests = [name for name in facts.ports(bridge) if name.startswith(GUEST_PORTS)]
    if guests:
        raise Impossible(f"VMs are still plugged into {bridge} ({len(guests)} NICs): stop or delete them first")
    taken = stored.get("taken") or {}
    hardware = [name for name in facts.ports(bridge) if not name.startswith(OWN_DEVICES)]
    if stored.get("kind") == "no-vlan" and stored.get("interface") not in (None, *hardware):
        hardware.append(stored["interface"])
    for number, name in enumerate(hardware):
        plan_release(name, bridge, facts, taken if number == 0 else {}, steps)
        before = stored.get("nic_mtu")
        if before and facts.links.get(name, {}).get("mtu") != before and name == stored.get("interface"):
            words, now = f"MTU of {name} set back to {before}", facts.links.get(name, {}).get("mtu")
            steps.mend("port.mtu", now, before, words, f"link set dev {name} mtu {before}")
    device = stored.get("device")
    if device in facts.links and facts.links[device].get("ifalias") == mark:
        word = "vlan" if stored.get("kind") == "vlan" else "tunnel"
        steps.mend(word, device, None, f"{word} {device} removed", f"link del dev {device}")
    if link is not None:
        steps.mend("bridge", bridge, None, f"bridge {bridge} removed", f"link del dev {bridge}")
    return steps


def strays(facts: Facts, inventory: str, known: set[str]) -> list[dict[str, Any]]:
    """Our bridges and tunnels of which nothing is written down: left by a call that was killed."""
    found: dict[str, dict[str, Any]] = {}
    for name, link in facts.links.items():
        word, _, rest = str(link.get("ifalias", "")).partition(":")
        owner, _, uuid = rest.partition(":")
        if (word, owner) != ("zctl", inventory) or uuid in known or kind_of(link) not in UPLINKS:
            continue
        entry = found.setdefault(uuid, {"uuid": uuid, "name": name, "inventory": inventory, "bridge": ""})
        entry["bridge" if kind_of(link) == "bridge" else "device"] = name
        entry["kind"] = max(entry.get("kind", ""), UPLINKS[kind_of(link)])
    return [entry for _, entry in sorted(found.items())]
