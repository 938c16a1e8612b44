"""The l3_services concern: a namespace with DHCP for each l3-network, remembered in /etc/zctl/l3."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_l3_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import parse_links
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_try import UNITS, install_boot
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import in_scope, outcome, result
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
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
    import zctl_l3_plan as plan
    from zctl_network_plan import parse_links
    from zctl_network_try import UNITS, install_boot
    from zctl_results import in_scope, outcome, result
    from zctl_system import Trouble, ip_batch, ip_json, read_json, read_text, run, succeeds, write_json, write_text

FOLDER = Path("/etc/zctl/l3")
NAMESPACES = Path("/run/netns")


def unit(uuid: str) -> str:
    """The unit of a network's DHCP service."""
    return f"zctl-l3@{uuid}.service"


def read_stored() -> dict[str, dict[str, Any]]:
    """The networks that this host serves, by uuid, of all inventories."""
    found = {}
    for path in sorted(FOLDER.glob("*/network.json")) if FOLDER.is_dir() else []:
        entry = read_json(path)
        if entry:
            found[entry["uuid"]] = entry
    return found


def read_leases(uuid: str) -> dict[str, str]:
    """The lease files of a network: NIC uuid to text."""
    folder = FOLDER / uuid / "hosts"
    return (
        {path.name: read_text(path) or "" for path in folder.iterdir() if not path.name.startswith(".")}
        if folder.is_dir()
        else {}
    )


def machine_id() -> str:
    """What tells this host from others (machine-id(5))."""
    return (read_text(Path("/etc/machine-id")) or "").strip()


def converge(inventory: str, state: dict[str, Any], scope: list[str] | None, check: bool) -> dict[str, Any]:
    """Bring the networks and leases in scope to their desired state; returns what a module returns."""
    stored = read_stored()
    desired = {entry["uuid"]: entry for entry in state.get("l3_networks") or []}
    results: list[dict[str, Any]] = []
    rules_change = False
    for network in desired.values():
        wanted = {**plan.without_leases(network), "inventory": inventory}
        is_named = in_scope(network["uuid"], scope)
        usable = True
        if is_named or network["uuid"] not in stored:
            made = guarded(network, lambda wanted=wanted: bring(wanted, stored.get(wanted["uuid"]), check))
            usable = made["result"] != "failed"
            rules_change |= made["result"] == "changed"
            results.append(made)
        results += leases(network, scope, check, usable)
    for uuid, entry in stored.items():
        if entry.get("inventory") != inventory or uuid in desired:
            continue
        if in_scope(uuid, scope):
            results.append(guarded(entry, lambda entry=entry: remove(entry, check)))
            rules_change = True
        elif scope is not None:
            results += leases({**entry, "leases": []}, scope, check, True)
    if (rules_change or scope is None) and not check:
        results += apply_filter(inventory)
    answer = outcome(results)
    if answer["changed"]:
        words = [f"{e['kind']} {e['name']}: {e['reason']}" for e in results if e["result"] != "unchanged"]
        answer["diff"] = {"before": "", "after": "\n".join(words) + "\n"}
    return answer


def guarded(entry: dict[str, Any], action: Any) -> dict[str, Any]:
    """The result of an action on a network; what goes wrong is a failed result."""
    try:
        made: dict[str, Any] = action()
    except (Trouble, OSError) as error:
        return result("l3-network", entry, "failed", str(error))
    return made


def bring(network: dict[str, Any], stored: dict[str, Any] | None, check: bool) -> dict[str, Any]:
    """Namespace, settings and service of one network."""
    folder, uuid = FOLDER / network["uuid"], network["uuid"]
    texts = plan.settings_files(network, str(folder))
    stale = [name for name, text in texts.items() if read_text(folder / name) != text]
    has_port = namespace_is_right(network)
    active = succeeds(["systemctl", "is-active", "--quiet", unit(uuid)])
    if not stale and stored == network and has_port and active:
        return result("l3-network", network, "unchanged", "it is served already")
    if check:
        return result("l3-network", network, "changed", "would be served")
    if not has_port:
        make_namespace(network)
    for name, text in texts.items():
        write_text(folder / name, text)
    (folder / "hosts").mkdir(exist_ok=True)
    write_json(folder / "network.json", network)
    install_boot()
    if write_text(UNITS / "zctl-l3@.service", plan.DNSMASQ_UNIT):
        run(["systemctl", "daemon-reload"])
    run(["systemctl", "enable", "--quiet", unit(uuid)])
    run(["systemctl", "start" if active and not stale and has_port else "restart", unit(uuid)])
    return result("l3-network", network, "changed", "DHCP service set up" if stored is None else "DHCP service mended")


def namespace_is_right(network: dict[str, Any]) -> bool:
    """Whether the namespace is plugged into the bridge and has its address."""
    if not (NAMESPACES / network["namespace"]).exists():
        return False
    links = parse_links(ip_json("link", "show"))
    if links.get(network["veth"], {}).get("master") != network["bridge"]:
        return False
    try:
        inside = parse_links(ip_json("-n", network["namespace"], "address", "show"))
    except Trouble:
        return False
    return any(entry.get("local") == network["dhcp_ip"] for entry in inside.get("eth0", {}).get("addr_info", []))


def make_namespace(network: dict[str, Any]) -> None:
    """Make the namespace and its port on the bridge anew."""
    links = parse_links(ip_json("link", "show"))
    bridge = links.get(network["bridge"])
    if bridge is None:
        raise Trouble(f"its bridge {network['bridge']} is not there: see what the l2-network says")
    if network["veth"] in links:
        run(["ip", "link", "del", "dev", network["veth"]])
    if not succeeds(["ip", "-n", network["namespace"], "link", "show"]):
        if (NAMESPACES / network["namespace"]).exists():
            run(["ip", "netns", "del", network["namespace"]])
        run(["ip", "netns", "add", network["namespace"]])
    outside, inside = plan.namespace_lines(network, plan.namespace_mac(machine_id(), network["uuid"]), bridge["mtu"])
    ip_batch(outside)
    ip_batch(inside, network["namespace"])


def leases(network: dict[str, Any], scope: list[str] | None, check: bool, usable: bool) -> list[dict[str, Any]]:
    """The lease files of one network. Adding one needs nothing more: dnsmasq watches its folder."""
    uuid = network["uuid"]
    wanted = {lease["uuid"]: lease for lease in network.get("leases") or [] if in_scope(lease["uuid"], scope)}
    present = read_leases(uuid)
    texts = {key: plan.host_line(lease) for key, lease in wanted.items()}
    changes = plan.lease_changes(texts, present, {key for key in present if in_scope(key, scope)})
    found = []
    for key, lease in wanted.items():
        if not usable:
            found.append(result("lease", lease, "failed", f"l3-network {network['name']} is not served on this host"))
            continue
        word = next((word for word in ("added", "changed") if key in changes[word]), "")
        found.append(
            result(
                "lease",
                lease,
                "changed" if word else "unchanged",
                f"lease {word}" if word else "it is there already",
                ip=lease["ip"],
            )
        )
        if word and not check:
            write_text(FOLDER / uuid / "hosts" / key, texts[key])
    for key in sorted(changes["removed"]):
        found.append(
            result("lease", {"uuid": key, "name": present[key].strip().rpartition(",")[2]}, "removed", "lease removed")
        )
        if not check:
            (FOLDER / uuid / "hosts" / key).unlink(missing_ok=True)
    if (changes["removed"] or changes["changed"]) and not check and usable:
        # dnsmasq would hold an address for the old MAC until the lease ends; it keeps nothing across a restart.
        succeeds(["systemctl", "try-restart", unit(uuid)])
    return found


def remove(network: dict[str, Any], check: bool) -> dict[str, Any]:
    """Take a network's service away."""
    if not check:
        uuid = network["uuid"]
        succeeds(["systemctl", "disable", "--now", "--quiet", unit(uuid)])
        links = parse_links(ip_json("link", "show"))
        if network["veth"] in links:
            run(["ip", "link", "del", "dev", network["veth"]])
        if (NAMESPACES / network["namespace"]).exists():
            run(["ip", "netns", "del", network["namespace"]])
        shutil.rmtree(FOLDER / uuid, ignore_errors=True)
    return result("l3-network", network, "removed", "DHCP service removed")


def apply_filter(inventory: str) -> list[dict[str, Any]]:
    """Load the filter for all networks of an inventory in one step; a failure is each network's."""
    networks = [entry for entry in read_stored().values() if entry["inventory"] == inventory]
    macs = {entry["uuid"]: plan.namespace_mac(machine_id(), entry["uuid"]) for entry in networks}
    try:
        run(["nft", "-f", "-"], plan.filter_rules(inventory, networks, macs))
    except Trouble as error:
        return [result("l3-network", entry, "failed", f"the filter between hosts: {error}") for entry in networks]
    return []


def restore() -> list[str]:
    """Bring back namespaces and filters of all inventories from their files, at boot. Returns what did not work."""
    troubles = []
    stored = read_stored().values()
    for inventory in sorted({entry["inventory"] for entry in stored}):
        troubles += [entry["reason"] for entry in apply_filter(inventory)]
    for network in stored:
        try:
            if not namespace_is_right(network):
                make_namespace(network)
        except (Trouble, OSError) as error:
            troubles.append(f"l3-network {network['name']}: {error}")
    return troubles
