"""The network concern: bridges and tunnels, remembered in /etc/zctl/l2 so that they are there again after a reboot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_network_try as trying
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import (
        Facts,
        Impossible,
        Steps,
        mark_of,
        parse_links,
        plan_network,
        plan_removal,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import in_scope, outcome, result
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        ip_batch,
        ip_json,
        read_json,
        write_json,
    )
except ImportError:
    import zctl_network_try as trying
    from zctl_network_plan import Facts, Impossible, Steps, mark_of, parse_links, plan_network, plan_removal
    from zctl_results import in_scope, outcome, result
    from zctl_system import Trouble, ip_batch, ip_json, read_json, write_json

FOLDER = Path("/etc/zctl/l2")


def read_facts() -> Facts:
    """Devices, addresses and routes, in two calls."""
    return Facts(parse_links(ip_json("address", "show")), ip_json("route", "show", "table", "main"))


def read_stored(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """The networks that this host is to have, by uuid, of all inventories."""
    found = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        entry = read_json(path)
        if entry:
            found[entry["uuid"]] = entry
    return found


def converge(
    inventory: str, state: dict[str, Any], scope: list[str] | None, check: bool, patience: int
) -> dict[str, Any]:
    """Bring the networks in scope to their desired state; returns what a module returns, with `try_pending`."""
    stored = read_stored()
    results: list[dict[str, Any]] = []
    pending = False
    management = state.get("management_address")
    desired = {entry["uuid"]: entry for entry in state.get("l2_networks") or []}
    for network in desired.values():
        if not in_scope(network["uuid"], scope):
            continue
        try:
            made, is_try = bring(inventory, network, management, stored.get(network["uuid"]), check, patience)
            pending = pending or is_try
            results.append(made)
        except (Impossible, Trouble, OSError) as error:
            results.append(result("l2-network", network, "failed", str(error)))
    for uuid, entry in stored.items():
        if entry.get("inventory") == inventory and uuid not in desired and in_scope(uuid, scope):
            results.append(remove(inventory, entry, check))
    after = {entry["uuid"] for entry in desired.values()}
    answer = outcome(results)
    if answer["changed"]:
        answer["diff"] = {
            "before": json.dumps({u: e["name"] for u, e in stored.items() if e.get("inventory") == inventory}, indent=1)
            + "\n",
            "after": "\n".join(f"{e['kind']} {e['name']}: {e['reason']}" for e in results if e["result"] != "unchanged")
            + "\n",
        }
    return {**answer, "try_pending": pending and not check, "networks": sorted(after)}


def bring(
    inventory: str,
    network: dict[str, Any],
    management: str | None,
    stored: dict[str, Any] | None,
    check: bool,
    patience: int,
) -> tuple[dict[str, Any], bool]:
    """One network; True beside the result when the change is a try that waits to be confirmed."""
    facts = read_facts()
    steps = plan_network(network, facts, inventory, management, stored)
    taken = steps.taken or (stored or {}).get("taken")
    wanted = {**network, "inventory": inventory, "management_address": management, "taken": taken}
    is_new = (stored or {}) != wanted
    if not steps.lines and not is_new:
        return result("l2-network", network, "unchanged", "it is there already"), False
    words = "; ".join(steps.words) or "written down for the next start"
    if check:
        return result("l2-network", network, "changed", words), False
    if steps.taken:
        trying.begin(wanted, patience)
        apply(steps)
        return result("l2-network", network, "changed", words + "; tried, to be confirmed"), True
    trying.keep_managers_away(wanted)
    apply(steps)
    write_json(FOLDER / f"{network['uuid']}.json", wanted)
    trying.install_boot()
    return result("l2-network", network, "changed", words), False


def remove(inventory: str, stored: dict[str, Any], check: bool) -> dict[str, Any]:
    """Take one network away."""
    try:
        steps = plan_removal(stored, read_facts(), inventory)
        if not check:
            (FOLDER / f"{stored['uuid']}.json").unlink(missing_ok=True)
            apply(steps)
            trying.let_managers_back(stored)
    except (Impossible, Trouble, OSError) as error:
        return result("l2-network", stored, "failed", str(error))
    return result("l2-network", stored, "removed", "; ".join(steps.words) or "forgotten")


def apply(steps: Steps) -> None:
    """Carry out the steps in one process, so that a connection over the NIC lives through them."""
    ip_batch(steps.lines)


def restore() -> list[str]:
    """Bring back all networks of all inventories from their files, at boot. Returns what did not work."""
    troubles = []
    for entry in read_stored().values():
        try:
            network = {k: v for k, v in entry.items() if k not in ("inventory", "taken")}
            apply(plan_network(network, read_facts(), entry["inventory"], entry.get("management_address"), entry))
        except (Impossible, Trouble, OSError) as error:
            troubles.append(f"l2-network {entry['name']}: {error}")
    return troubles


__all__ = ["converge", "mark_of", "read_facts", "restore"]
