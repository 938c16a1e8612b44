"""The metadata concern: EC2's metadata service in the namespace of each l3-network that wants it.

One nginx for each network; one folder for each network card, called by its address. Adding a card writes files and
starts nothing. The record of a card is written through to the disk, its tree is not: after a crash `restore` makes
it anew from the record.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_metadata_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_metadata_files import (
        group_of_service,
        has_token,
        make_user,
        read_tree,
        write_token,
        write_tree,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_metadata_nginx import nginx_config
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_boot import (
        UNITS,
        WANTS,
        install_boot,
        install_unit,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_records import damaged_words, read_records
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import (
        difference,
        foreign,
        in_scope,
        outcome,
        result,
        text_differences,
        value_differences,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        answers,
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )
except ImportError:
    import zctl_metadata_plan as plan  # type: ignore[no-redef]
    from zctl_metadata_files import (  # type: ignore[no-redef]
        group_of_service,
        has_token,
        make_user,
        read_tree,
        write_token,
        write_tree,
    )
    from zctl_metadata_nginx import nginx_config  # type: ignore[no-redef]
    from zctl_network_boot import UNITS, WANTS, install_boot, install_unit  # type: ignore[no-redef]
    from zctl_records import damaged_words, read_records  # type: ignore[no-redef]
    from zctl_results import (  # type: ignore[no-redef]
        difference,
        foreign,
        in_scope,
        outcome,
        result,
        text_differences,
        value_differences,
    )
    from zctl_system import (  # type: ignore[no-redef]
        Trouble,
        answers,
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )

Json = dict[str, Any]
FOLDER = Path(plan.CONFIG)
DATA = Path(plan.DATA)
NAMESPACES = Path("/run/netns")
NETWORK = "l3-network"
KIND = "metadata"
NGINX = Path("/usr/sbin/nginx")
NEEDED = {"uuid", "inventory", "name", "namespace"}
NIC_NEEDED = {"uuid", "inventory", "name", "l3_network", "ip", "cards"}


def unit(uuid: str) -> str:
    """The unit of a network's metadata service."""
    return f"zctl-metadata@{uuid}.service"


def converge(inventory: str, state: Json, scope: list[str] | None, check: bool) -> Json:
    """Bring services and cards in scope to their desired state; returns what a module returns."""
    desired = {entry["uuid"]: entry for entry in state.get("l3_networks") or []}
    if not desired and not FOLDER.is_dir():
        return outcome([])
    stored, damaged = read_records(sorted(FOLDER.glob("*/network.json")), NEEDED)
    ours = {uuid: entry for uuid, entry in stored.items() if entry["inventory"] == inventory}
    results: list[Json] = []
    served = [entry for uuid, entry in desired.items() if in_scope(uuid, scope)]
    if served:
        services = Services(inventory, stored, check, [entry["uuid"] for entry in served])
        results += [guarded(NETWORK, entry, lambda entry=entry: services.bring(entry)) for entry in served]
    failed = {entry["uuid"] for entry in results if entry["result"] == "failed"}
    usable = {*ours, *(entry["uuid"] for entry in served)} - failed
    cards: dict[str, list[Json]] = {}
    for nic in state.get("nics") or []:
        if in_scope(nic["uuid"], scope):
            cards.setdefault(nic["l3_network"], []).append({**nic, "inventory": inventory})
    for uuid in sorted({*desired, *ours}):
        gone = uuid in ours and uuid not in desired and in_scope(uuid, scope)
        wanted = cards.get(uuid, [])
        if wanted and uuid not in usable:
            reason = f"its network's metadata service is not there: {desired[uuid]['name']}: zctl converge"
            results += [result(KIND, nic, "failed", reason) for nic in wanted]
            continue
        results += bring_cards(uuid, wanted, scope, check)
        if gone:
            results.append(guarded(NETWORK, ours[uuid], lambda uuid=uuid: remove(ours[uuid], check)))
    if served and not check:
        install_boot()
    things = foreign_things(inventory, stored, damaged, desired) if scope is None else []
    words = [f"{e['kind']} {e['name']}: {e['reason']}\n" for e in results if e["result"] in ("changed", "removed")]
    return outcome(results, "", "".join(words), things)


def foreign_things(
    inventory: str, stored: dict[str, Json], damaged: dict[Path, str], desired: dict[str, Json]
) -> list[Json]:
    """What others serve here, and records that nobody can read."""
    others = [entry for entry in stored.values() if entry["inventory"] != inventory]
    lost = [path for path in damaged if path.parent.name not in desired]
    return [
        *(foreign(NETWORK, entry["name"], f"zctl, inventory {entry['inventory']}") for entry in others),
        *(foreign("file", str(path), f"nobody knows: {damaged[path]}") for path in lost),
    ]


def guarded(kind: str, entry: Json, action: Callable[[], Json]) -> Json:
    """The result of an action; what goes wrong is a failed result."""
    try:
        return action()
    except (Trouble, OSError) as error:
        return result(kind, entry, "failed", f"its metadata service: {error}")


class Services:
    """The services of some networks, as they were found: one process asks systemd about all of them."""

    def __init__(self, inventory: str, stored: dict[str, Json], check: bool, uuids: list[str]) -> None:
        self.inventory, self.stored, self.check = inventory, stored, check
        self.unit_is_told = False
        said = answers(["systemctl", "show", "-p", "ActiveState", "-p", "MainPID", *map(unit, uuids)])
        states = [line.partition("=")[2] for line in said if line.startswith("ActiveState=")]
        pids = [line.partition("=")[2] for line in said if line.startswith("MainPID=")]
        self.found = dict(zip(uuids, zip(states, pids)))  # noqa: B905 - Python 3.9

    def bring(self, network: Json) -> Json:
        """Settings and service of one network."""
        network = {**network, "inventory": self.inventory}
        uuid, folder = network["uuid"], FOLDER / network["uuid"]
        stored = self.stored.get(uuid)
        if stored and stored["inventory"] != self.inventory:
            raise Trouble(f"another inventory ({stored['inventory']}) serves it here: it is left alone")
        if not (NAMESPACES / network["namespace"]).exists() and not self.check:
            raise Trouble("the network is not served on this host: see what it says, then zctl converge")
        if not NGINX.exists() and not self.check:
            raise Trouble("nginx is not installed: zctl converge installs what is missing")
        written = self.settings_differences(network, folder)
        service = self.service_differences(network)
        if (written or service) and not self.check:
            restart = any(not entry["field"].startswith("metadata record") for entry in written)
            self.mend(network, folder, restart or any(entry["actual"] == "another" for entry in service))
        parts = [("its settings written", written), ("its service started", service)]
        words = "; ".join(word for word, differences in parts if differences)
        wrong = [*written, *service]
        reason = f"metadata: {words}" if wrong else "its metadata is served already"
        return result(NETWORK, network, "changed" if wrong else "unchanged", reason, wrong)

    def settings_differences(self, network: Json, folder: Path) -> list[Json]:
        """Where files, link, user and unit are not as wanted."""
        stored = self.stored.get(network["uuid"])
        if stored is None:
            found = [difference("metadata record", None, str(folder / "network.json"))]
        else:
            found = value_differences("metadata record", stored, network)
        wanted = nginx_config(network)
        if (actual := read_text(folder / "nginx.conf")) != wanted:
            found.append(difference("nginx.conf", "another text" if actual else None, "as zctl writes it"))
        link = folder / "netns"
        target = str(NAMESPACES / network["namespace"])
        actual_target = os.readlink(link) if link.is_symlink() else None
        if actual_target != target:
            found.append(difference("metadata netns", actual_target, target))
        if group_of_service() is None:
            found.append(difference("user", None, plan.USER))
        if not self.unit_is_told:
            self.unit_is_told = True
            found += text_differences(plan.UNIT, read_text(UNITS / plan.UNIT), plan.UNIT_TEXT)
        return found

    def service_differences(self, network: Json) -> list[Json]:
        """Whether nginx runs, in the namespace that there is now, and after a reboot."""
        state, pid = self.found.get(network["uuid"], ("unknown", "0"))
        found = [difference("metadata service", state, "active")] if state != "active" else []
        if not (WANTS / unit(network["uuid"])).is_symlink():
            found.append(difference("metadata service.enabled", "disabled", "enabled"))
        if state == "active" and not same(f"/proc/{pid}/ns/net", NAMESPACES / network["namespace"]):
            found.append(difference("metadata service.namespace", "another", network["namespace"]))
        home = DATA / network["uuid"]
        if state == "active" and not same(f"/proc/{pid}/root{home}", home):
            found.append(difference("metadata service.folder", "another", str(home)))
        return found

    def mend(self, network: Json, folder: Path, restart: bool) -> None:
        """Write what is to be written and start the service, again when it has to read something new."""
        uuid = network["uuid"]
        make_user()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nics").mkdir(exist_ok=True, mode=0o700)
        home = DATA / uuid
        home.mkdir(parents=True, exist_ok=True)
        os.chown(home, 0, group_of_service() or 0)
        home.chmod(0o750)
        write_text(folder / "nginx.conf", nginx_config(network))
        link = folder / "netns"
        link.unlink(missing_ok=True)
        link.symlink_to(NAMESPACES / network["namespace"])
        write_json(folder / "network.json", network)
        install_unit(plan.UNIT, plan.UNIT_TEXT, unit(uuid))
        run(["systemctl", "restart" if restart else "start", unit(uuid)])


def same(seen: str, wanted: Path) -> bool:
    """Whether what a process has is what has that name now; yes when the process has just ended."""
    try:
        inside = os.stat(seen)
    except OSError:
        return True
    try:
        return (inside.st_dev, inside.st_ino) == ((now := wanted.stat()).st_dev, now.st_ino)
    except OSError:
        return False


def bring_cards(l3: str, wanted: list[Json], scope: list[str] | None, check: bool) -> list[Json]:
    """Bring the cards of one network that are in scope to their desired state. Those that go make room first."""
    folder = FOLDER / l3 / "nics"
    present = {path.stem for path in folder.glob("*.json") if in_scope(path.stem, scope)}
    results = []
    for key in sorted(present - {nic["uuid"] for nic in wanted}):
        entry = {"uuid": key, "name": key, **(read_record(folder / f"{key}.json") or {})}
        results.append(guarded(KIND, entry, lambda entry=entry: remove_card(l3, entry, check)))
    return results + [guarded(KIND, nic, lambda nic=nic: bring_card(nic, check)) for nic in wanted]


def read_record(path: Path) -> Json | None:
    """A card's record, None when it is missing or damaged."""
    try:
        value = json.loads(read_text(path) or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) and set(value) >= NIC_NEEDED else None


def bring_card(nic: Json, check: bool) -> Json:
    """The record and the tree of one card."""
    record = FOLDER / nic["l3_network"] / "nics" / f"{nic['uuid']}.json"
    home = DATA / nic["l3_network"] / nic["ip"]
    before = read_record(record)
    actual, desired = read_tree(home, nic["uuid"]), plan.tree(nic)
    wrong = [
        difference(f"metadata {path}", plan.shown(path, actual.get(path)), plan.shown(path, desired.get(path)))
        for path in plan.differs(actual, desired)
    ]
    if not actual:
        wrong = [difference("metadata", None, nic["ip"])]
    elif (home / plan.OPEN).exists() == nic["tokens_required"]:
        words = ("optional", "required") if nic["tokens_required"] else ("required", "optional")
        wrong.append(difference("metadata tokens", *words))
    if actual and not has_token(home):
        wrong.append(difference("metadata token", None, "one"))
    if before != nic:
        wrong = wrong or [difference("metadata record", None if before is None else "another", "as wanted")]
    if not wrong:
        return result(KIND, nic, "unchanged", "its metadata is there already")
    if not check:
        if before is not None and before["ip"] != nic["ip"]:
            drop_tree(nic["l3_network"], before)
        write_text(record, json.dumps(nic, indent=1, sort_keys=True) + "\n", 0o600)
        place_tree(nic, home, actual, desired)
    return result(KIND, nic, "changed", "metadata written" if actual else "metadata added", wrong)


def place_tree(nic: Json, home: Path, actual: plan.Tree, desired: plan.Tree) -> None:
    """Write a card's tree, and whether it needs a token."""
    group = group_of_service()
    if group is None:
        raise Trouble(f"there is no user {plan.USER}: zctl converge makes it")
    write_tree(home, nic["uuid"], actual, desired, group)
    write_token(home, nic["tokens_required"], group)


def remove_card(l3: str, entry: Json, check: bool) -> Json:
    """Forget a card."""
    if not check:
        drop_tree(l3, entry)
        (FOLDER / l3 / "nics" / f"{entry['uuid']}.json").unlink(missing_ok=True)
    return result(
        KIND, entry, "removed", "metadata removed", [difference("metadata", entry.get("ip") or "there", None)]
    )


def drop_tree(l3: str, entry: Json) -> None:
    """Remove a card's tree, if it is still that card's."""
    homes = [DATA / l3 / entry["ip"]] if entry.get("ip") else list((DATA / l3).glob("*"))
    for home in homes:
        if (read_text(home / "nic") or "") == entry["uuid"]:
            shutil.rmtree(home)


def remove(network: Json, check: bool) -> Json:
    """Take a network's service away."""
    uuid = network["uuid"]
    if not check:
        succeeds(["systemctl", "disable", "--now", "--quiet", unit(uuid)])
        if (DATA / uuid).exists():
            shutil.rmtree(DATA / uuid)
        shutil.rmtree(FOLDER / uuid)
    gone = [difference("metadata record", str(FOLDER / uuid / "network.json"), None)]
    return result(NETWORK, network, "removed", "its metadata service removed", gone)


def restore() -> list[str]:
    """At boot: make the trees anew that a crash has spoiled. Returns what did not work."""
    if not FOLDER.is_dir():
        return []
    found, damaged = read_records(sorted(FOLDER.glob("*/nics/*.json")), NIC_NEEDED)
    troubles = damaged_words(damaged)
    for nic in found.values():
        home = DATA / nic["l3_network"] / nic["ip"]
        try:
            actual, desired = read_tree(home, nic["uuid"]), plan.tree(nic)
            if actual != desired or not has_token(home):
                place_tree(nic, home, actual, desired)
        except (Trouble, OSError) as error:
            troubles.append(f"metadata of {nic['name']}: {error}")
    return troubles
