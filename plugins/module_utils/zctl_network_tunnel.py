"""What has to be done for a host's VXLAN tunnels and VLAN devices, and for a whole network. Pure."""

from __future__ import annotations

from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import (
        OWN_DEVICES,
        Facts,
        Impossible,
        Steps,
        is_up,
        kind_of,
        mark_of,
        plan_bridge,
        plan_bridge_mtu,
        plan_guests,
        plan_nic,
        plan_release,
        plan_silence,
    )
except ImportError:
    from zctl_network_plan import (  # type: ignore[no-redef]
        OWN_DEVICES,
        Facts,
        Impossible,
        Steps,
        is_up,
        kind_of,
        mark_of,
        plan_bridge,
        plan_bridge_mtu,
        plan_guests,
        plan_nic,
        plan_release,
        plan_silence,
    )

OVERHEAD = 50  # outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348)
PORT = 4789
EVERYBODY = "00:00:00:00:00:00"  # the entry of a tunnel's table for what it knows no other way (bridge(8))
HOPS = 8  # a multicast group may lie behind a few routers, not behind the internet


def plan_network(
    network: dict[str, Any], facts: Facts, inventory: str, management: str | None, stored: dict[str, Any] | None
) -> Steps:
    """The steps that bring one network to its desired state; none when it is there. Raises Impossible."""
    steps = Steps()
    bridge, mark = network["bridge"], mark_of(inventory, network)
    plan_bridge(network, facts, mark, steps)
    if network["kind"] == "vxlan":
        plan_tunnel(network, facts, mark, management, steps)
        plan_peers(network, facts, steps)
    elif network["kind"] == "vlan":
        plan_vlan(network, facts, mark, steps)
    else:
        before = (stored or {}).get("interface")
        if before not in (None, network["interface"]):
            plan_release(before, bridge, facts, (stored or {}).get("taken") or {}, steps)
            steps.taken = None
            if steps.lines and bridge in facts.links:  # what the bridge held has gone back to the other NIC
                bare = {**facts.links, bridge: {**facts.links[bridge], "addr_info": []}}
                facts = Facts(bare, facts.routes, facts.guests)
        plan_nic(network, facts, steps, stored)
    if not is_up(facts.links.get(bridge, {})):
        line = f"link set dev {bridge} up"
        if bridge in facts.links:
            steps.mend("bridge.state", "down", "up", f"bridge {bridge} set up", line)
        else:
            steps.add(line)
    plan_guests(bridge, facts, steps)
    return steps


def plan_tunnel(network: dict[str, Any], facts: Facts, mark: str, management: str | None, steps: Steps) -> None:
    """Make the VXLAN device, over the NIC that was named or that holds the management address."""
    under, local = underlay(network, facts, management)
    device, bridge = network["device"], network["bridge"]
    if bridge not in facts.links:
        steps.add(f"link set dev {bridge} addrgenmode none")
    else:
        plan_silence("bridge", bridge, facts.links[bridge], steps)
    room = facts.links[under]["mtu"] - OVERHEAD
    mtu = network.get("mtu") or room
    if mtu > room:
        raise Impossible(
            f"MTU {mtu} does not fit over {under}, whose MTU is {room + OVERHEAD} and of which VXLAN takes {OVERHEAD}:"
            f" give the network at most {room}, or raise the MTU of {under}"
        )
    have = facts.links.get(device)
    if have is not None and have.get("ifalias") != mark:
        raise Impossible(f"there is a device {device} that is not zctl's: rename or remove it")
    if have is None:
        steps.mend("tunnel", None, device, f"tunnel {device} made over {under}")
    elif plan_settings(network, have, under, local, steps):
        have = None
    if have is None:
        group = f"group {network['group']} " if network.get("group") else ""
        steps.add(
            f"link add name {device} type vxlan id {network['vni']} {group}dev {under} local {local}"
            f" dstport {PORT} ttl {HOPS}"
        )
    plan_port("tunnel", network, have, mark, mtu, facts, steps)


def plan_port(
    word: str, network: dict[str, Any], have: dict[str, Any] | None, mark: str, mtu: int, facts: Facts, steps: Steps
) -> None:
    """Plug a network's own device into its bridge; `have` is None when it has just been made."""
    device, bridge = network["device"], network["bridge"]
    if have is None:
        for words in (f"alias {mark} addrgenmode none", f"mtu {mtu}", f"master {bridge}", "up"):
            steps.add(f"link set dev {device} {words}")
        plan_bridge_mtu(bridge, device, mtu, facts, steps)
        return
    plan_silence(word, device, have, steps)
    if have.get("mtu") != mtu:
        words = f"MTU of {device} {have.get('mtu')} -> {mtu}"
        steps.mend(f"{word}.mtu", have.get("mtu"), mtu, words, f"link set dev {device} mtu {mtu}")
    if have.get("master") != bridge:
        line = f"link set dev {device} master {bridge}"
        steps.mend(f"{word}.bridge", have.get("master"), bridge, f"{device} plugged into {bridge}", line)
    plan_bridge_mtu(bridge, device, mtu, facts, steps)
    if not is_up(have):
        steps.mend(f"{word}.state", "down", "up", f"{device} set up", f"link set dev {device} up")


def plan_peers(network: dict[str, Any], facts: Facts, steps: Steps) -> None:
    """Where a tunnel without a multicast group sends what is for everybody: to each other host of the network.

    Which MAC is behind which of them it learns from what they send.
    """
    if network.get("group"):
        return
    device = network["device"]
    is_made = any(line.startswith(f"link add name {device} ") for line in steps.lines)
    have = set() if is_made else set(facts.floods.get(device, []))
    wanted = set(network.get("peers") or [])
    lines = [f"fdb append {EVERYBODY} dev {device} dst {address}" for address in sorted(wanted - have)]
    lines += [f"fdb del {EVERYBODY} dev {device} dst {address}" for address in sorted(have - wanted)]
    if lines and is_made:
        steps.fdb += lines
    elif lines:
        words = f"{device} sends to {', '.join(sorted(wanted)) or 'no other host'}"
        steps.mend("tunnel.peers", ", ".join(sorted(have)) or None, ", ".join(sorted(wanted)) or None, words)
        steps.fdb += lines


def plan_vlan(network: dict[str, Any], facts: Facts, mark: str, steps: Steps) -> None:
    """Make the 802.1Q device over the NIC, which stays as it is: with its addresses, or as the port of our bridge.

    The kernel gives a tagged frame to the VLAN's device before the bridge that the NIC may be a port of, so that
    networks with and without a VLAN share a NIC.
    """
    under, device, bridge = network["interface"], network["device"], network["bridge"]
    link = vlan_nic(under, facts)
    if bridge not in facts.links:
        steps.add(f"link set dev {bridge} addrgenmode none")
    else:
        plan_silence("bridge", bridge, facts.links[bridge], steps)
    room = link.get("mtu") or 0
    mtu = network.get("mtu") or room
    if mtu > room:
        raise Impossible(
            f"MTU {mtu} does not fit on NIC {under}, whose MTU is {room}:"
            f" give the network at most {room}, or raise the MTU of {under}"
        )
    if not is_up(link):
        steps.mend("port.state", "down", "up", f"NIC {under} set up", f"link set dev {under} up")
    have = facts.links.get(device)
    if have is not None and have.get("ifalias") != mark:
        raise Impossible(f"there is a device {device} that is not zctl's: rename or remove it")
    if have is None:
        taken = vlan_holder(under, network["vlan"], facts)
        if taken is not None:
            raise Impossible(
                f"VLAN {network['vlan']} of NIC {under} is taken by {taken}: remove it, or use another VLAN"
            )
        steps.mend("vlan", None, device, f"VLAN device {device} made over {under}")
    else:
        seen = have.get("linkinfo", {}).get("info_data", {})
        pairs = (("id", seen.get("id"), network["vlan"]), ("over", have.get("link"), under))
        wrong = [entry for entry in pairs if entry[1] != entry[2]]
        for key, actual, wanted in wrong:
            steps.mend(f"vlan.{key}", actual, wanted, f"{key} of {device} {actual} -> {wanted}")
        if wrong:
            steps.add(f"link del dev {device}", f"VLAN device {device} made over {under} again")
            have = None
    if have is None:
        steps.add(f"link add link {under} name {device} type vlan id {network['vlan']}")
    plan_port("vlan", network, have, mark, mtu, facts, steps)


def vlan_nic(name: str, facts: Facts) -> dict[str, Any]:
    """The NIC that carries VLANs. Raises Impossible for one that cannot."""
    link = facts.links.get(name)
    if link is None or name == "lo":
        known = sorted(n for n in facts.links if n != "lo" and not n.startswith("z"))
        raise Impossible(f"there is no NIC {name} on this host (there are: {', '.join(known) or 'none'})")
    if kind_of(link) == "bridge":
        raise Impossible(f"{name} is a bridge, which cannot carry the VLAN: name the NIC itself")
    master = link.get("master")
    if master is not None and not str(master).startswith(OWN_DEVICES[0]):
        hint = f"name {master}" if kind_of(facts.links.get(master, {})) in ("bond", "team") else "free it"
        raise Impossible(f"NIC {name} is a port of {master}, which is not zctl's: {hint}, or use another NIC")
    return link


def vlan_holder(under: str, number: int, facts: Facts) -> str | None:
    """The device that has this VLAN of a NIC already."""
    for name, link in facts.links.items():
        seen = link.get("linkinfo", {}).get("info_data", {})
        if kind_of(link) == "vlan" and link.get("link") == under and seen.get("id") == number:
            return name
    return None


def plan_settings(network: dict[str, Any], have: dict[str, Any], under: str, local: str, steps: Steps) -> bool:
    """Remove a tunnel device whose settings are not as wanted, to make it anew; whether that is so."""
    seen = have.get("linkinfo", {}).get("info_data", {})
    wanted = {"id": network["vni"], "group": network.get("group"), "link": under, "local": local}
    fixed = {key: value for key, value in (("port", PORT), ("ttl", HOPS)) if key in seen}
    wrong = {key: value for key, value in {**wanted, **fixed}.items() if seen.get(key) != value}
    device = network["device"]
    for key, value in wrong.items():
        name = {"id": "vni", "link": "over"}.get(key, key)
        steps.mend(f"tunnel.{name}", seen.get(key), value, f"{name} of {device} {seen.get(key)} -> {value}")
    if wrong:
        steps.add(f"link del dev {device}", f"tunnel {device} made over {under} again")
    return bool(wrong)


def underlay(network: dict[str, Any], facts: Facts, management: str | None) -> tuple[str, str]:
    """The device that carries a tunnel, and the host's address on it. Raises Impossible when there is none."""
    name = network.get("interface")
    if name:
        if name not in facts.links:
            known = sorted(n for n in facts.links if n != "lo" and not n.startswith("z"))
            raise Impossible(f"there is no NIC {name} on this host (there are: {', '.join(known) or 'none'})")
        name = facts.links[name].get("master") or name
    else:
        name = holder(facts, management) if management else default_device(facts)
    if name is None or name not in facts.links:
        where = f"holds the management address {management}" if management else "has the default route"
        raise Impossible(f"no NIC {where}: name one by --physical-interface")
    own = [entry for entry in facts.links[name].get("addr_info", []) if entry.get("family") == "inet"]
    if any(entry["local"] == management for entry in own):
        return name, str(management)
    if not own:
        raise Impossible(f"{name} has no IPv4 address for the tunnel: give it one, or name another NIC")
    return name, str(own[0]["local"])


def holder(facts: Facts, address: str) -> str | None:
    """The device that holds an address."""
    for name, link in facts.links.items():
        if any(entry.get("local") == address for entry in link.get("addr_info", [])):
            return name
    return None


def default_device(facts: Facts) -> str | None:
    """The device of the default route, IPv4's."""
    found = [route for route in facts.routes if route.get("dst") == "default" and ":" not in route.get("gateway", "")]
    found = [route for route in found if route.get("dev") and "table" not in route]
    return min(found, key=lambda route: route.get("metric", 0))["dev"] if found else None
