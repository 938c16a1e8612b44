"""The l3_services concern: a namespace with DHCP for each l3-network, written down in /etc/zctl/l3."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_l3_filter as filters
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_l3_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_dns import socket_unit
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_filter import Filter
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_foreign import foreign_things
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_inside import (
        NAMESPACES,
        SETTINGS,
        read_inside,
        set_ipv6,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_leases import leases
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_names import names, reread
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_relay import (
        mend_relay,
        relay_differences,
        remove_relay,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_boot import (
        UNITS,
        WANTS,
        install_boot,
        install_unit,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import USUAL_MTU, mark_of, parse_links
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_records import damaged_words, read_records
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import (
        difference,
        in_scope,
        outcome,
        result,
        text_differences,
        value_differences,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        answers,
        ip_batch,
        ip_json,
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )
except ImportError:
    import zctl_l3_filter as filters  # type: ignore[no-redef]
    import zctl_l3_plan as plan  # type: ignore[no-redef]
    from zctl_l3_dns import socket_unit  # type: ignore[no-redef]
    from zctl_l3_filter import Filter  # type: ignore[no-redef]
    from zctl_l3_foreign import foreign_things  # type: ignore[no-redef]
    from zctl_l3_inside import NAMESPACES, SETTINGS, read_inside, set_ipv6  # type: ignore[no-redef]
    from zctl_l3_leases import leases  # type: ignore[no-redef]
    from zctl_l3_names import names, reread  # type: ignore[no-redef]
    from zctl_l3_relay import mend_relay, relay_differences, remove_relay  # type: ignore[no-redef]
    from zctl_network_boot import UNITS, WANTS, install_boot, install_unit  # type: ignore[no-redef]
    from zctl_network_plan import USUAL_MTU, mark_of, parse_links  # type: ignore[no-redef]
    from zctl_records import damaged_words, read_records  # type: ignore[no-redef]
    from zctl_results import (  # type: ignore[no-redef]
        difference,
        in_scope,
        outcome,
        result,
        text_differences,
        value_differences,
    )
    from zctl_system import (  # type: ignore[no-redef]
        Trouble,
        answers,
        ip_batch,
        ip_json,
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )

FOLDER = Path("/etc/zctl/l3")
KIND = "l3-network"
UNIT = "zctl-l3@.service"
Json = dict[str, Any]
NEEDED = {"uuid", "inventory", "name", "bridge", "uplink", "namespace", "veth", "cidr", "dhcp_ip"}


@dataclass(frozen=True)
class Live:
    """What runs on the host: devices, ports within namespaces, states of services and relays by network's uuid."""

    links: dict[str, Json]
    inside: dict[str, Json]
    states: dict[str, str]
    relays: dict[str, str]
    machine: str

    def mac(self, network: Json) -> str:
        """The MAC of a network's namespace on this host."""
        return str(network.get("mac") or plan.namespace_mac(self.machine, network["uuid"]))


def unit(uuid: str) -> str:
    """The unit of a network's DHCP service."""
    return f"zctl-l3@{uuid}.service"


def read_live(networks: list[Json], check: bool = False) -> Live:
    """Two processes and one thread, however many networks there are."""
    uuids = [entry["uuid"] for entry in networks]
    asked = [*(unit(uuid) for uuid in uuids), *(socket_unit(uuid) for uuid in uuids)]
    states = answers(["systemctl", "is-active", *asked]) if uuids else []
    links = {} if check and shutil.which("ip") is None else parse_links(ip_json("address", "show"))
    inside = read_inside(entry["namespace"] for entry in networks)
    # machine-id(5): what tells this host from others.
    machine = (read_text(Path("/etc/machine-id")) or "").strip()
    services, relays = dict(zip(uuids, states)), dict(zip(uuids, states[len(uuids) :]))  # noqa: B905 - Python 3.9
    return Live(links, inside, services, relays, machine)


def read_stored() -> tuple[dict[str, Json], dict[Path, str]]:
    """The networks that this host serves, by uuid, of all inventories, and the records that cannot be used."""
    return read_records(sorted(FOLDER.glob("*/network.json")), NEEDED)


def converge(inventory: str, state: Json, scope: list[str] | None, check: bool) -> Json:
    """Bring the networks and leases in scope to their desired state; returns what a module returns."""
    stored, damaged = read_stored()
    desired = {entry["uuid"]: entry for entry in state.get("l3_networks") or []}
    ours = {uuid: entry for uuid, entry in stored.items() if entry["inventory"] == inventory}
    gone = [entry for uuid, entry in ours.items() if uuid not in desired and in_scope(uuid, scope)]
    served = [entry for uuid, entry in desired.items() if in_scope(uuid, scope)]
    results: list[Json] = []
    things: list[Json] = []
    if gone or served:
        live = read_live(served, check)
        results += [guarded(entry, lambda entry=entry: remove(entry, live, check)) for entry in gone]
        removed = {entry["uuid"] for entry in results if entry["result"] == "removed"}
        kept = {uuid: entry for uuid, entry in ours.items() if uuid not in removed}
        lost = {path.parent.name for path in damaged}
        kept.update({uuid: desired[uuid] for uuid in lost if uuid in desired})  # served, though not in scope
        leaving = [entry for uuid, entry in ours.items() if uuid in removed]
        results += Service(inventory, stored, damaged, live, check).serve(served, kept, leaving)
        things = foreign_things(inventory, stored, damaged, desired, live.links) if scope is None else []
    failed = {entry["uuid"] for entry in results if entry["result"] == "failed"}
    usable = ({*ours, *(entry["uuid"] for entry in served)}) - failed
    gone_too = [
        {**entry, "leases": [], "names": {}}
        for uuid, entry in ours.items()
        if uuid not in desired and entry not in gone
    ]
    for network in [*desired.values(), *(gone_too if scope is not None else [])]:
        named = names(FOLDER, network, scope, check, network["uuid"] in usable)
        leased = leases(FOLDER, network, scope, check, network["uuid"] in usable)
        results += leased + (named if check else reread(network, named, leased))
    if scope is None and not check and (stored or desired):
        install_boot()
    words = [f"{e['kind']} {e['name']}: {e['reason']}\n" for e in results if e["result"] in ("changed", "removed")]
    return outcome(results, "", "".join(words), things)


@dataclass
class Service:
    """Brings up the networks of one inventory on one host, as it was found."""

    inventory: str
    stored: dict[str, Json]
    damaged: dict[Path, str]
    live: Live
    check: bool
    unit_is_told: bool = False

    def serve(self, served: list[Json], kept: dict[str, Json], leaving: list[Json]) -> list[Json]:
        """Bring up these networks. Their filter first: nothing may leave the host before it is there."""
        networks = {**kept, **{entry["uuid"]: entry for entry in served}}
        wanted = self.filter_of(list(networks.values()))
        try:
            lacking = self.check and shutil.which("nft") is None
            actual = Filter() if lacking else read_filter(self.inventory)
            if {path.parent.name for path in self.damaged} - set(networks):
                wanted = wanted.joined(actual)  # what nobody knows may still be served
            if actual != wanted and not self.check:
                run(["nft", "-f", "-"], filters.render_filter(self.inventory, wanted))
        except Trouble as error:
            return [result(KIND, entry, "failed", f"the filter between hosts: {error}") for entry in served]
        shared = filters.shared_differences(actual, wanted, self.filter_of(leaving))
        results = []
        for entry in served:
            network = {**plan.without_leases(entry), "inventory": self.inventory}
            wrong = shared + filters.own_differences(actual, network, self.live.mac(network))
            shared = []
            results.append(guarded(entry, lambda network=network, wrong=wrong: self.bring(network, wrong)))
        return results

    def filter_of(self, networks: list[Json]) -> Filter:
        """The filter for these networks on this host."""
        return filters.wanted_filter(networks, {entry["uuid"]: self.live.mac(entry) for entry in networks})

    def bring(self, network: Json, filter_differences: list[Json]) -> Json:
        """Namespace, settings and service of one network."""
        uuid, folder, live = network["uuid"], FOLDER / network["uuid"], self.live
        stored = self.stored.get(uuid)
        if stored and stored["inventory"] != network["inventory"]:
            raise Trouble(f"another inventory ({stored['inventory']}) serves this network here: it is left alone")
        way_out = live.links.get(network["uplink"])
        is_there = way_out is not None and network["bridge"] in live.links
        if not is_there and not self.check:
            bridge = network["bridge"]
            lost = f"{bridge}'s way out {network['uplink']}" if bridge in live.links else bridge
            raise Trouble(f"its bridge {lost} is not there: see what its l2-network says, then zctl converge")
        check_names(network, live)
        port = live.links.get(network["veth"])
        # In a check the way out may yet have to be made again: it will be as it was.
        mtu = network.get("mtu") or (way_out or port or {}).get("mtu") or USUAL_MTU
        texts = plan.settings_files(network, str(folder), mtu)
        parts = {
            "namespace made": plan.port_differences(
                network, live.mac(network), mtu, port, live.inside.get(network["namespace"])
            ),
            "settings written": self.settings_differences(network, texts),
            "filter between hosts loaded": filter_differences,
            "DHCP service started": self.service_differences(uuid),
            "way to other DNS servers made": relay_differences(network, folder, live.relays.get(uuid, "unknown")),
        }
        wrong = [entry for differences in parts.values() for entry in differences]
        words = "; ".join(word for word, differences in parts.items() if differences)
        if wrong and not self.check:
            stale = any(not entry["field"].startswith("record") for entry in parts["settings written"])
            fields = [entry["field"] for entry in parts["namespace made"]]
            if fields == [plan.METADATA_FIELD]:
                ip_batch(plan.metadata_lines(network, not network.get("metadata")), network["namespace"])
                fields = []
            self.mend(network, texts, mtu, bool(fields), stale)
            if fields or parts["way to other DNS servers made"] or self.has_other_servers(network):
                mend_relay(network, folder, again=True)
        if wrong and not is_there:  # what comes before it in a run makes the bridge, also again
            words = "would be served once its l2-network is there"
        return result(KIND, network, "changed" if wrong else "unchanged", words or "it is served already", wrong)

    def settings_differences(self, network: Json, texts: dict[str, str]) -> list[Json]:
        """Where the files of a network, and the unit of all, are not as wanted."""
        folder, stored = FOLDER / network["uuid"], self.stored.get(network["uuid"])
        record = folder / "network.json"
        if stored is None:
            found = [difference("record", self.damaged.get(record), str(record))]
        else:
            found = value_differences("record", stored, network)
        for name, text in texts.items():
            found += text_differences(name, read_text(folder / name), text)
        for name in plan.FOLDERS:
            if not (folder / name).is_dir():
                found.append(difference(name, None, f"{folder}/{name}"))
        if not self.unit_is_told:
            self.unit_is_told = True
            found += text_differences(UNIT, read_text(UNITS / UNIT), plan.DNSMASQ_UNIT)
        return found

    def has_other_servers(self, network: Json) -> bool:
        """Whether its relay has to read again whom to ask."""
        return (self.stored.get(network["uuid"]) or {}).get("dns") != network.get("dns")

    def service_differences(self, uuid: str) -> list[Json]:
        """Whether the DHCP service runs, now and after a reboot."""
        state = self.live.states.get(uuid, "unknown")
        found = [difference("service", state, "active")] if state != "active" else []
        if not (WANTS / unit(uuid)).is_symlink():
            found.append(difference("service.enabled", "disabled", "enabled"))
        return found

    def mend(self, network: Json, texts: dict[str, str], mtu: int, replug: bool, stale: bool) -> None:
        """Write what is to be written and start the service; again when it has to read or hear something new."""
        uuid, folder = network["uuid"], FOLDER / network["uuid"]
        for name, text in texts.items():
            write_text(folder / name, text)
        for name in plan.FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        if replug:
            make_namespace(network, self.live, mtu)
        write_json(folder / "network.json", network)
        install_boot()
        install_unit(UNIT, plan.DNSMASQ_UNIT, unit(uuid))
        run(["systemctl", "restart" if replug or stale else "start", unit(uuid)])


def read_filter(inventory: str) -> Filter:
    """The filter that is loaded; an empty one when there is none."""
    tables = run(["nft", "list", "tables", "bridge"])
    name = filters.table_name(inventory)
    is_there = name in tables.split()
    return filters.parse_filter(run(["nft", "-j", "list", "table", "bridge", name]) if is_there else "")


def guarded(entry: Json, action: Callable[[], Json]) -> Json:
    """The result of an action on a network; what goes wrong is a failed result."""
    try:
        return action()
    except (Trouble, OSError) as error:
        return result(KIND, entry, "failed", str(error))


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
    if network.get("cidr6"):
        if not SETTINGS.is_dir():
            raise Trouble("this host's kernel has no IPv6: start it without ipv6.disable=1, then zctl converge")
        set_ipv6(name, plan.ipv6_settings(network))
    ip_batch(inside, name)


def remove(network: Json, live: Live, check: bool) -> Json:
    """Take a network's service away."""
    gone = [difference("record", str(FOLDER / network["uuid"] / "network.json"), None)]
    if (NAMESPACES / network["namespace"]).exists():
        gone.append(difference("namespace", network["namespace"], None))
    if not check:
        uuid = network["uuid"]
        succeeds(["systemctl", "disable", "--now", "--quiet", unit(uuid)])
        remove_relay(uuid)
        if live.links.get(network["veth"], {}).get("ifalias") == mark_of(network["inventory"], network):
            run(["ip", "link", "del", "dev", network["veth"]])
        if (NAMESPACES / network["namespace"]).exists():
            run(["ip", "netns", "del", network["namespace"]])
        shutil.rmtree(FOLDER / uuid)
    return result(KIND, network, "removed", "DHCP service removed", gone)


def restore() -> list[str]:
    """Bring back namespaces and filters of all inventories from their files. Returns what did not work."""
    stored, damaged = read_stored()
    troubles = damaged_words(damaged)
    live = read_live(list(stored.values()))
    for inventory in sorted({entry["inventory"] for entry in stored.values()}):
        networks = [entry for entry in stored.values() if entry["inventory"] == inventory]
        wanted = filters.wanted_filter(networks, {entry["uuid"]: live.mac(entry) for entry in networks})
        try:
            # A module may be at work on more networks than are written down yet.
            if not read_filter(inventory).covers(wanted):
                run(["nft", "-f", "-"], filters.render_filter(inventory, wanted))
        except Trouble as error:
            troubles.append(f"the filter between hosts: {error}: its networks are not served")
            continue
        troubles += [words for network in networks if (words := restore_port(network, live))]
    return troubles


def restore_port(network: Json, live: Live) -> str:
    """Bring back the namespace of one network. Returns what did not work."""
    try:
        way_out, port = live.links.get(network["uplink"]), live.links.get(network["veth"])
        mtu = network.get("mtu") or (way_out or {}).get("mtu")
        inside = live.inside.get(network["namespace"])
        if plan.port_differences(network, live.mac(network), mtu or (port or {}).get("mtu", 0), port, inside):
            if way_out is None or mtu is None:
                raise Trouble(f"its bridge's port {network['uplink']} is not there")
            make_namespace(network, live, mtu)
    except (Trouble, OSError) as error:
        return f"l3-network {network['name']}: {error}"
    return ""
