"""The l3_services concern: a namespace with DHCP for each l3-network, written down in /etc/zctl/l3."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_l3_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_filter import (
        Filter,
        parse_filter,
        render_filter,
        table_name,
        wanted_filter,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_leases import leases
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_boot import UNITS, install_boot, install_unit
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import mark_of, parse_links
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import in_scope, outcome, result
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        answers,
        ip_batch,
        ip_json,
        read_json,
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )
except ImportError:
    import zctl_l3_plan as plan  # type: ignore[no-redef]
    from zctl_l3_filter import (  # type: ignore[no-redef]
        Filter,
        parse_filter,
        render_filter,
        table_name,
        wanted_filter,
    )
    from zctl_l3_leases import leases  # type: ignore[no-redef]
    from zctl_network_boot import UNITS, install_boot, install_unit  # type: ignore[no-redef]
    from zctl_network_plan import mark_of, parse_links  # type: ignore[no-redef]
    from zctl_results import in_scope, outcome, result  # type: ignore[no-redef]
    from zctl_system import (  # type: ignore[no-redef]
        Trouble,
        answers,
        ip_batch,
        ip_json,
        read_json,
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )

FOLDER = Path("/etc/zctl/l3")
NAMESPACES = Path("/run/netns")
KIND = "l3-network"
UNIT = "zctl-l3@.service"
Json = dict[str, Any]


@dataclass(frozen=True)
class Live:
    """What runs on the host: devices, active DHCP services by uuid of their network, and the host's own identity."""

    links: dict[str, Json]
    active: frozenset[str]
    machine: str

    def mac(self, network: Json) -> str:
        """The MAC of a network's namespace on this host."""
        return plan.namespace_mac(self.machine, network["uuid"])


def unit(uuid: str) -> str:
    """The unit of a network's DHCP service."""
    return f"zctl-l3@{uuid}.service"


def read_live(uuids: list[str]) -> Live:
    """Three reads, however many networks there are."""
    states = answers(["systemctl", "is-active", *(unit(uuid) for uuid in uuids)]) if uuids else []
    active = frozenset(uuid for uuid, state in zip(uuids, states) if state == "active")  # noqa: B905 - Python 3.9
    # machine-id(5): what tells this host from others.
    return Live(parse_links(ip_json("address", "show")), active, (read_text(Path("/etc/machine-id")) or "").strip())


def read_stored() -> dict[str, Json]:
    """The networks that this host serves, by uuid, of all inventories."""
    entries = [read_json(path) for path in sorted(FOLDER.glob("*/network.json"))]
    return {entry["uuid"]: entry for entry in entries if entry}


def converge(inventory: str, state: Json, scope: list[str] | None, check: bool) -> Json:
    """Bring the networks and leases in scope to their desired state; returns what a module returns."""
    stored = read_stored()
    desired = {entry["uuid"]: entry for entry in state.get("l3_networks") or []}
    ours = {uuid: entry for uuid, entry in stored.items() if entry["inventory"] == inventory}
    gone = [entry for uuid, entry in ours.items() if uuid not in desired and in_scope(uuid, scope)]
    served = [entry for uuid, entry in desired.items() if in_scope(uuid, scope)]
    results: list[Json] = []
    if gone or served:
        live = read_live([entry["uuid"] for entry in served])
        results += [guarded(entry, lambda entry=entry: remove(entry, live, check)) for entry in gone]
        removed = {entry["uuid"] for entry in results if entry["result"] == "removed"}
        kept = {uuid: entry for uuid, entry in ours.items() if uuid not in removed}
        results += serve(inventory, served, kept, stored, live, check)
    failed = {entry["uuid"] for entry in results if entry["result"] == "failed"}
    usable = ({*ours, *(entry["uuid"] for entry in served)}) - failed
    gone_too = [{**entry, "leases": []} for uuid, entry in ours.items() if uuid not in desired and entry not in gone]
    for network in [*desired.values(), *(gone_too if scope is not None else [])]:
        results += leases(FOLDER, network, scope, check, network["uuid"] in usable)
    if scope is None and not check and (stored or desired):
        install_boot()
    words = [f"{e['kind']} {e['name']}: {e['reason']}\n" for e in results if e["result"] in ("changed", "removed")]
    return outcome(results, "", "".join(words))


def serve(
    inventory: str, served: list[Json], kept: dict[str, Json], stored: dict[str, Json], live: Live, check: bool
) -> list[Json]:
    """Bring up these networks. Their filter first: nothing may leave the host before it is there."""
    networks = {**kept, **{entry["uuid"]: entry for entry in served}}
    wanted = wanted_filter(list(networks.values()), {uuid: live.mac(entry) for uuid, entry in networks.items()})
    try:
        is_filtered = read_filter(inventory) == wanted
        if not is_filtered and not check:
            run(["nft", "-f", "-"], render_filter(inventory, wanted))
    except Trouble as error:
        return [result(KIND, entry, "failed", f"the filter between hosts: {error}") for entry in served]
    return [
        guarded(
            entry,
            lambda entry=entry: bring(
                {**plan.without_leases(entry), "inventory": inventory},
                stored.get(entry["uuid"]),
                live,
                check,
                is_filtered,
            ),
        )
        for entry in served
    ]


def read_filter(inventory: str) -> Filter:
    """The filter that is loaded; an empty one when there is none."""
    tables = run(["nft", "list", "tables", "bridge"])
    name = table_name(inventory)
    return parse_filter(run(["nft", "-j", "list", "table", "bridge", name]) if name in tables.split() else "")


def guarded(entry: Json, action: Any) -> Json:
    """The result of an action on a network; what goes wrong is a failed result."""
    try:
        made: Json = action()
    except (Trouble, OSError) as error:
        return result(KIND, entry, "failed", str(error))
    return made


def bring(network: Json, stored: Json | None, live: Live, check: bool, is_filtered: bool) -> Json:
    """Namespace, settings and service of one network."""
    uuid, folder = network["uuid"], FOLDER / network["uuid"]
    if stored and stored["inventory"] != network["inventory"]:
        raise Trouble(f"another inventory ({stored['inventory']}) serves this network here: it is left alone")
    way_out = live.links.get(network["uplink"])
    if way_out is None or network["bridge"] not in live.links:
        if check:  # what comes before it in a run makes it, also again
            return result(KIND, network, "changed", "would be served once its l2-network is there")
        bridge = network["bridge"]
        lost = f"{bridge}'s way out {network['uplink']}" if bridge in live.links else bridge
        raise Trouble(f"its bridge {lost} is not there: see what its l2-network says, then zctl converge")
    check_names(network, live)
    mtu = network.get("mtu") or way_out["mtu"]
    texts = plan.settings_files(network, str(folder), mtu)
    stale = [name for name, text in texts.items() if read_text(folder / name) != text]
    stale += [UNIT] if read_text(UNITS / UNIT) != plan.DNSMASQ_UNIT else []
    plugged = namespace_is_right(network, live) and live.links[network["veth"]].get("mtu") == mtu
    active = uuid in live.active
    wrong = {
        "namespace made": not plugged,
        "settings written": bool(stale) or stored != network,
        "filter between hosts loaded": not is_filtered,
        "DHCP service started": not active,
    }
    words = "; ".join(word for word, is_wrong in wrong.items() if is_wrong)
    if words and not check:
        for name, text in texts.items():
            write_text(folder / name, text)
        (folder / "hosts").mkdir(exist_ok=True)
        if not plugged:
            make_namespace(network, live, mtu)
        write_json(folder / "network.json", network)
        install_boot()
        install_unit(UNIT, plan.DNSMASQ_UNIT, unit(uuid))
        run(["systemctl", "start" if plugged and not stale else "restart", unit(uuid)])
    return result(KIND, network, "changed" if words else "unchanged", words or "it is served already")


def namespace_is_right(network: Json, live: Live) -> bool:
    """Whether the namespace is plugged into the bridge and has its address."""
    if network["veth"] not in live.links or not (NAMESPACES / network["namespace"]).exists():
        return False
    try:
        inside = parse_links(ip_json("-n", network["namespace"], "address", "show")).get("eth0", {})
    except Trouble:
        return False
    return plan.port_is_right(network, live.mac(network), live.links[network["veth"]], inside)


def check_names(network: Json, live: Live) -> None:
    """Raise Trouble when somebody else has the names of a namespace and its port. Ours have a folder in /etc/zctl."""
    name, veth = network["namespace"], network["veth"]
    port = live.links.get(veth)
    if port is not None and port.get("ifalias") != mark_of(network["inventory"], network):
        raise Trouble(f"there is a device {veth} that is not zctl's: rename or remove it")
    if (NAMESPACES / name).exists() and port is None and not (FOLDER / network["uuid"]).exists():
        raise Trouble(f"there is a network namespace {name} that is not zctl's: rename or remove it")


def make_namespace(network: Json, live: Live, mtu: int) -> None:
    """Make the namespace and its port on the bridge anew."""
    name, veth = network["namespace"], network["veth"]
    if veth in live.links:
        run(["ip", "link", "del", "dev", veth])
    if (NAMESPACES / name).exists() and not succeeds(["ip", "-n", name, "link", "show"]):
        run(["ip", "netns", "del", name])  # its file is left, the namespace is not
    if not (NAMESPACES / name).exists():
        run(["ip", "netns", "add", name])
    outside, inside = plan.namespace_lines(network, live.mac(network), mtu)
    ip_batch(outside)
    ip_batch(inside, name)


def remove(network: Json, live: Live, check: bool) -> Json:
    """Take a network's service away."""
    if not check:
        uuid = network["uuid"]
        succeeds(["systemctl", "disable", "--now", "--quiet", unit(uuid)])
        if live.links.get(network["veth"], {}).get("ifalias") == mark_of(network["inventory"], network):
            run(["ip", "link", "del", "dev", network["veth"]])
        if (NAMESPACES / network["namespace"]).exists():
            run(["ip", "netns", "del", network["namespace"]])
        shutil.rmtree(FOLDER / uuid)
    return result(KIND, network, "removed", "DHCP service removed")


def restore() -> list[str]:
    """Bring back namespaces and filters of all inventories from their files. Returns what did not work."""
    troubles = []
    stored = read_stored()
    live = read_live([])
    for inventory in sorted({entry["inventory"] for entry in stored.values()}):
        networks = [entry for entry in stored.values() if entry["inventory"] == inventory]
        wanted = wanted_filter(networks, {entry["uuid"]: live.mac(entry) for entry in networks})
        try:
            # A module may be at work on more networks than are written down yet.
            if not read_filter(inventory).covers(wanted):
                run(["nft", "-f", "-"], render_filter(inventory, wanted))
        except Trouble as error:
            troubles.append(f"the filter between hosts: {error}: its networks are not served")
            continue
        for network in networks:
            try:
                if not namespace_is_right(network, live):
                    way_out = live.links.get(network["uplink"])
                    if way_out is None:
                        raise Trouble(f"its bridge's port {network['uplink']} is not there")
                    make_namespace(network, live, network.get("mtu") or way_out["mtu"])
            except (Trouble, OSError) as error:
                troubles.append(f"l3-network {network['name']}: {error}")
    return troubles
