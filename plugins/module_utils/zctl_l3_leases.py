"""The leases of an l3-network: one small file for each NIC in the folder that dnsmasq watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_plan import (
        host_line,
        lease_changes,
        lease_differences,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_release import release
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference, in_scope, result
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble, read_text, run, write_text
except ImportError:
    from zctl_l3_plan import host_line, lease_changes, lease_differences  # type: ignore[no-redef]
    from zctl_l3_release import release  # type: ignore[no-redef]
    from zctl_results import difference, in_scope, result  # type: ignore[no-redef]
    from zctl_system import Trouble, read_text, run, write_text  # type: ignore[no-redef]

KIND = "lease"
Json = dict[str, Any]


def read_leases(folder: Path) -> dict[str, str]:
    """The lease files of a network: NIC uuid to text."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    return {path.name: read_text(path) or "" for path in paths}


def leases(root: Path, network: Json, scope: list[str] | None, check: bool, is_served: bool) -> list[Json]:
    """Bring the leases in scope to their desired state; those out of scope are not looked at."""
    folder = root / network["uuid"] / "hosts"
    wanted = {lease["uuid"]: lease for lease in network.get("leases") or [] if in_scope(lease["uuid"], scope)}
    if not is_served:
        reason = f"l3-network {network['name']} is not served on this host: see what it says, then zctl converge"
        return [result(KIND, lease, "failed", reason) for lease in wanted.values()]
    present = read_leases(folder)
    texts = {key: host_line(lease) for key, lease in wanted.items()}
    changes = lease_changes(texts, present, {key for key in present if in_scope(key, scope)})
    found = [write_lease(folder, lease, texts[key], present.get(key), check) for key, lease in wanted.items()]
    for key in sorted(changes["removed"]):
        entry = {"uuid": key, "name": present[key].strip().rpartition(",")[2] or key}
        gone = [difference("lease", present[key].strip() or "an empty file", None)]
        found.append(result(KIND, entry, "removed", "lease removed", gone))
        if not check:
            (folder / key).unlink(missing_ok=True)
    if (changes["removed"] or changes["changed"]) and not check:
        forget(network, [present[key] for key in sorted(changes["removed"] | changes["changed"])], found)
    return found


def write_lease(folder: Path, lease: Json, text: str, actual: str | None, check: bool) -> Json:
    """One lease. A new one needs nothing more: dnsmasq watches its folder."""
    differences = lease_differences(actual, text)
    if not differences:
        return result(KIND, lease, "unchanged", "it is there already", ip=lease["ip"])
    if not check:
        try:
            write_text(folder / lease["uuid"], text)
        except OSError as error:
            return result(KIND, lease, "failed", f"its file cannot be written: {error}", differences)
    word = "added" if actual is None else "changed"
    return result(KIND, lease, "changed", f"lease {word}", differences, ip=lease["ip"])


def forget(network: Json, gone: list[str], found: list[Json]) -> None:
    """Make dnsmasq forget leases that are gone, by what their files said: what it was told, and what it gave out.

    It reads its files again; addresses are given back to it, because it would refuse them to another MAC.
    """
    unit = f"zctl-l3@{network['uuid']}.service"
    holders = [(words[0], words[1]) for text in gone if len(words := text.strip().split(",")) == 3]
    try:
        release(network["namespace"], network["dhcp_ip"], holders)
        run(["systemctl", "try-reload-or-restart", unit])
    except (Trouble, OSError, ValueError) as error:
        reason = f"the DHCP service did not forget what was there before: {error} (journalctl -u {unit})"
        for entry in found:
            if entry["result"] in ("changed", "removed"):
                entry.update(result="failed", reason=reason)
