"""The network concern: bridges and tunnels, written down in /etc/zctl/l2 so that they are there after a reboot."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_network_managers as managers
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_network_try as trying
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_foreign import foreign_devices
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_boot import boot_differences, install_boot
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_facts import carry, read_facts
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import (
        Facts,
        Impossible,
        Steps,
        plan_removal,
        strays,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_tunnel import plan_network
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_records import damaged_words, read_records
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import (
        difference,
        foreign,
        in_scope,
        outcome,
        result,
        value_differences,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        ip_batch,
        read_json,
        write_json,
    )
except ImportError:
    import zctl_network_managers as managers  # type: ignore[no-redef]
    import zctl_network_try as trying  # type: ignore[no-redef]
    from zctl_foreign import foreign_devices  # type: ignore[no-redef]
    from zctl_network_boot import boot_differences, install_boot  # type: ignore[no-redef]
    from zctl_network_facts import carry, read_facts  # type: ignore[no-redef]
    from zctl_network_plan import (  # type: ignore[no-redef]
        Facts,
        Impossible,
        Steps,
        plan_removal,
        strays,
    )
    from zctl_network_tunnel import plan_network  # type: ignore[no-redef]
    from zctl_records import damaged_words, read_records  # type: ignore[no-redef]
    from zctl_results import (  # type: ignore[no-redef]
        difference,
        foreign,
        in_scope,
        outcome,
        result,
        value_differences,
    )
    from zctl_system import Trouble, ip_batch, read_json, write_json  # type: ignore[no-redef]

FOLDER = Path("/etc/zctl/l2")
KIND = "l2-network"
Json = dict[str, Any]


@dataclass
class Run:
    """One call over one host: the request, and what is read once for all networks."""

    inventory: str
    management: str | None
    check: bool
    patience: int
    seen: Facts | None = None
    managers_seen: set[Path] | None = None
    shared_is_told: bool = False

    def facts(self) -> Facts:
        """Devices and routes, read again only after something was changed."""
        if self.seen is None:
            self.seen = read_facts()
        return self.seen

    def there(self) -> set[Path]:
        """The network managers of this host, by the folders of their settings."""
        if self.managers_seen is None:
            self.managers_seen = managers.present()
        return self.managers_seen

    def shared(self, network: Json) -> list[Json]:
        """What is not as wanted of what all networks share: told of the first of a run, which mends it."""
        if self.shared_is_told:
            return []
        self.shared_is_told = True
        return managers.shared_differences(network, self.there()) + boot_differences()


def read_stored() -> dict[str, Json]:
    """The networks that this host is to have, by uuid, of all inventories."""
    return read_records(sorted(FOLDER.glob("*.json")))[0]


ORDER = ("no-vlan", "vlan", "vxlan")


def nics_first(networks: list[Json]) -> list[Json]:
    """In the order in which they are made: a tunnel may lie over a NIC that a bridge takes."""
    return sorted(networks, key=lambda network: (ORDER.index(network["kind"]), network["name"]))


def converge(inventory: str, state: Json, scope: list[str] | None, check: bool, patience: int) -> Json:
    """Bring the networks in scope to their desired state; returns what a module returns, with `try_pending`."""
    stored, damaged = read_records(sorted(FOLDER.glob("*.json")))
    desired = {entry["uuid"]: entry for entry in nics_first(state.get("l2_networks") or [])}
    served = [network for network in desired.values() if in_scope(network["uuid"], scope)]
    if check and shutil.which("ip") is None:
        return {**outcome([not_yet(network) for network in served]), "try_pending": False, "networks": sorted(desired)}
    run = Run(inventory, state.get("management_address"), check, patience)
    results, pending = [], False
    gone = [entry for uuid, entry in stored.items() if entry["inventory"] == inventory and uuid not in desired]
    if scope is None or scope:
        gone += strays(
            run.facts(), inventory, {*stored, *desired, *(path.stem for path in trying.TRIES.glob("*.json"))}
        )
    things = foreign_things(run, stored, damaged, desired) if scope is None else []
    for entry in gone:
        if in_scope(entry["uuid"], scope):
            results.append(guarded(entry, remove(entry, run)))
    for network in served:
        bad = damaged.get(FOLDER / f"{network['uuid']}.json", "")
        made = guarded(network, bring(run, network, stored.get(network["uuid"]), bad))
        pending = pending or made["observed"].pop("try_pending", False)
        results.append(made)
    if scope is None and not check and (stored or desired):
        install_boot()
    lines = changed_texts(results, stored, desired)
    return {**outcome(results, *lines, things), "try_pending": pending, "networks": sorted(desired)}


def not_yet(network: Json) -> Json:
    """What a check says of a network on a host that lacks the programs for it."""
    made = [difference("bridge", None, network["bridge"])]
    return result(KIND, network, "changed", "would be made once iproute2 is installed", made)


def foreign_things(run: Run, stored: dict[str, Json], damaged: dict[Path, str], desired: dict[str, Json]) -> list[Json]:
    """What is not this inventory's: devices on its NICs and bridges, other inventories' networks, damaged records."""
    wanted = desired.values()
    nics = {str(entry["interface"]) for entry in wanted if entry["kind"] != "vxlan" and entry.get("interface")}
    things = foreign_devices(run.facts().links, run.inventory, nics, {entry["bridge"] for entry in wanted})
    things += [
        foreign(KIND, entry["name"], f"zctl, inventory {entry['inventory']}")
        for entry in stored.values()
        if entry["inventory"] != run.inventory
    ]
    lost = [path for path in damaged if path.stem not in desired]
    return things + [foreign("file", str(path), f"nobody knows: {damaged[path]}") for path in lost]


def changed_texts(results: list[Json], stored: dict[str, Json], desired: dict[str, Json]) -> tuple[str, str]:
    """What was written down of the changed networks, before and after."""
    own = ("inventory", "taken", "nic_mtu", "management_address")
    changed = [entry["uuid"] for entry in results if entry["result"] in ("changed", "removed")]

    def lines(entries: dict[str, Json]) -> str:
        """The entries as text, without what zctl notes for itself."""
        shown = [{k: v for k, v in entries[uuid].items() if k not in own} for uuid in changed if uuid in entries]
        return "".join(json.dumps(entry, indent=1, sort_keys=True) + "\n" for entry in shown)

    before, after = lines(stored), lines(desired)
    why = "".join(f"# {e['name']}: {e['reason']}\n" for e in results if e["uuid"] in changed)
    return before, after + why


def guarded(entry: Json, action: Callable[[], Json]) -> Json:
    """The result of an action on a network; what goes wrong is a failed result."""
    try:
        return action()
    except (Impossible, Trouble, OSError) as error:
        return result(KIND, entry, "failed", str(error))


def bring(run: Run, network: Json, stored: Json | None, damaged: str) -> Callable[[], Json]:
    """The action that brings one network to its desired state."""

    def action() -> Json:
        if trying.pending(network["uuid"]):
            waits = [difference("try", "waits to be confirmed", "confirmed")]
            return result(
                KIND, network, "changed", "it is being tried, to be confirmed", waits, try_pending=not run.check
            )
        if stored and stored["inventory"] != run.inventory:
            raise Impossible(f"another inventory ({stored['inventory']}) has this network here: it is left alone")
        facts = run.facts()
        steps = plan_network(network, facts, run.inventory, run.management, stored)
        record = record_of(run.inventory, network, run.management, stored, steps, facts)
        written = record_differences(record, stored, damaged)
        shared = managers.file_differences(network, run.there()) + run.shared(network)
        wrong = steps.differences + written + shared
        observed = {"bridge": network["bridge"], "port": network.get("device") or network.get("interface")}
        if not wrong and not steps.lines and not steps.fdb:
            return result(KIND, network, "unchanged", "it is there already", **observed)
        words = "; ".join(filter(None, [*(steps.words or written_words(written)), shared_words(shared)]))
        if not run.check:
            run.seen = None
            carry_out(record, steps, run.patience)
        tried = bool(steps.taken) and not run.check
        words += "; tried, to be confirmed" if tried else ""
        return result(KIND, network, "changed", words, wrong, **observed, try_pending=tried)

    return action


def record_differences(record: Json, stored: Json | None, damaged: str) -> list[Json]:
    """Where what is written down of a network is not as wanted."""
    if stored is None:
        return [difference("record", damaged or None, f"{FOLDER}/{record['uuid']}.json")]
    return value_differences("record", stored, record)


def written_words(differences: list[Json]) -> list[str]:
    """A record that is written anew, in words."""
    return ["written down for the next start"] if differences else []


def shared_words(differences: list[Json]) -> str:
    """What all networks share and had to be mended, in words."""
    fields = [entry["field"] for entry in differences]
    frames = "bridged frames kept out of the host's packet filter"
    files = [name for name in fields if not name.startswith("net.bridge.")]
    words = [frames] if len(files) < len(fields) else []
    return "; ".join(words + ([f"{len(files)} files of zctl written anew"] if files else []))


def record_of(
    inventory: str, network: Json, management: str | None, stored: Json | None, steps: Steps, facts: Facts
) -> Json:
    """What is written down of a network: as desired, and what is needed to rebuild and to undo it."""
    stays = stored or {}
    same_nic = stays.get("interface") == network.get("interface")
    record = {**network, "inventory": inventory}
    if network["kind"] == "vxlan":  # it says which NIC carries the tunnel
        record["management_address"] = management
    record["taken"] = steps.taken or (stays.get("taken") if same_nic else None)
    if network["kind"] == "no-vlan" and network.get("mtu"):
        record["nic_mtu"] = (
            stays.get("nic_mtu") if same_nic and stays.get("nic_mtu") else facts.links[network["interface"]]["mtu"]
        )
    return record


def carry_out(record: Json, steps: Steps, patience: int) -> None:
    """Write down, then do. In one process, so that a connection over the NIC lives through it."""
    if steps.taken is None:
        write_json(FOLDER / f"{record['uuid']}.json", record)
        install_boot()
        told = managers.keep_away(record)
        carry(steps)
        hold(record, told)
        return
    trying.begin(record, patience)
    try:
        carry(steps)
        hold(record, managers.keep_away(record))
    except (Trouble, OSError):
        trying.revert(record["uuid"])
        raise
    restore(only_tunnels=True)


def hold(record: Json, told: bool) -> None:
    """Keep a NIC in its bridge while a manager lets go of it: NetworkManager sets it down when it does."""
    calm = trying.CALM if not told or record["kind"] != "no-vlan" else 0
    for _ in range(trying.SETTLING):
        if calm == trying.CALM:
            return
        time.sleep(0.1)
        management = record.get("management_address")
        steps = plan_network(record, read_facts(), record["inventory"], management, record)
        carry(steps)
        calm = 0 if steps.lines else calm + 1


def remove(stored: Json, run: Run) -> Callable[[], Json]:
    """The action that takes one network away."""

    def action() -> Json:
        steps = plan_removal(stored, run.facts(), stored["inventory"])
        path = FOLDER / f"{stored['uuid']}.json"
        if not run.check:
            run.seen = None
            ip_batch(steps.lines)
            path.unlink(missing_ok=True)
            given = steps.taken or {"nic": "", "addresses": [], "routes": []}
            trying.give_back(stored, given["nic"], given["addresses"], given["routes"])
            restore(only_tunnels=True)
        gone = steps.differences or [difference("record", str(path), None)]
        return result(KIND, stored, "removed", "; ".join(steps.words) or "forgotten", gone)

    return action


def confirm(inventory: str, state: Json, scope: list[str] | None) -> Json:
    """Keep what is being tried; a network whose try was undone before has failed."""
    kept = trying.confirm(inventory)
    stored = read_stored()
    results = []
    for network in state.get("l2_networks") or []:
        if network["uuid"] in kept:
            kept_it = [difference("try", "waits to be confirmed", "confirmed")]
            words = f"{network['interface']} kept: the host can be reached"
            results.append(result(KIND, network, "changed", words, kept_it))
        elif network["kind"] == "no-vlan" and in_scope(network["uuid"], scope) and network["uuid"] not in stored:
            reason = f"the host was not reached again in time, so {network['interface']} has its addresses back"
            results.append(result(KIND, network, "failed", reason))
    return {**outcome(results), "try_pending": False}


def restore(only_tunnels: bool = False) -> list[str]:
    """Bring back the networks of all inventories from their files. Returns what did not work.

    Tunnels alone: after a NIC was taken or given back, those over it have to lie over its bridge, or over it.
    """
    stored, damaged = read_records(sorted(FOLDER.glob("*.json")))
    troubles = [] if only_tunnels else damaged_words(damaged)
    for entry in nics_first(list(stored.values())):
        if only_tunnels and entry["kind"] != "vxlan":
            continue
        try:
            steps = plan_network(entry, read_facts(), entry["inventory"], entry.get("management_address"), entry)
            carry(steps)
            if steps.taken and steps.taken != entry.get("taken"):
                write_json(FOLDER / f"{entry['uuid']}.json", {**entry, "taken": steps.taken})
        except (Impossible, Trouble, OSError) as error:
            troubles.append(f"l2-network {entry['name']}: {error}")
    if not only_tunnels and stored:
        managers.filter_no_guests()
    return troubles


def end_tries() -> list[str]:
    """At boot: what nobody confirmed before the host went down is undone. Returns what did not work."""
    troubles = []
    for path in [*trying.TRIES.glob("*.json"), *trying.TRIES.glob("*.reverting"), *trying.TRIES.glob("*.confirmed")]:
        try:
            network = read_json(path)
            if path.suffix == ".confirmed" and network:
                write_json(FOLDER / f"{network['uuid']}.json", network)
            elif network:
                trying.restore_nic(network)
            path.unlink(missing_ok=True)
        except (Trouble, OSError) as error:
            troubles.append(f"{path}: {error}")
    return troubles
