# SPDX-License-Identifier: Apache-2.0
"""The security concern: what cards may send from, and what their groups let through.

It is written down in /etc/zctl/security.

A card is filtered before its VM starts: when the filter cannot be loaded the whole concern fails, and no VM is started.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_security_model as models
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_security_text as texts
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
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )
except ImportError:
    import zctl_security_model as models  # type: ignore[no-redef]
    import zctl_security_text as texts  # type: ignore[no-redef]
    from zctl_results import (  # type: ignore[no-redef]
        difference,
        foreign,
        in_scope,
        outcome,
        result,
        value_differences,
    )
    from zctl_system import (  # type: ignore[no-redef]
        Trouble,
        ip_batch,
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )

Json = dict[str, Any]
FOLDER = Path("/etc/zctl/security")
BRIDGES = Path("/sys/class/net")
BRIDGE_SETTINGS = Path("/proc/sys/net/bridge")
CALLS = ("nf_call_iptables", "nf_call_ip6tables")
KINDS = {"nics": "nic", "groups": "security-group"}
EMPTY: Json = {"nics": {}, "groups": {}, "loaded": "", "calling": []}
HINT = (
    "this kernel cannot track connections in bridges (nf_conntrack_bridge), so that bridged packets would pass"
    " the chain {} of another firewall, which drops them: use a kernel with that module, or let that firewall"
    " accept what comes in by zbr-* devices"
)


def record_path(inventory: str) -> Path:
    """Where it is written down what one inventory wants filtered."""
    return FOLDER / f"{inventory}.json"


def read_record(path: Path) -> Json:
    """What is written down; nothing for a file that is missing or damaged, so that it is written anew."""
    try:
        value = json.loads(read_text(path) or "null")
    except ValueError:
        value = None
    is_good = isinstance(value, dict) and all(isinstance(value.get(key), type(held)) for key, held in EMPTY.items())
    return value if is_good else dict(EMPTY)


def read_tables(inventory: str) -> str:
    """The tables as they are loaded; an empty text when there are none. The second one is there only with groups."""
    name = texts.table_name(inventory)
    bridge = read_table("bridge", name)
    return bridge + read_table("inet", name) if "chain known" in bridge else bridge


def read_table(family: str, name: str) -> str:
    """One table, without its counters; an empty text when there is none."""
    argv = ["nft", "-s", "list", "table", family, name]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Trouble("nft is not installed (zctl converge installs what is missing)") from None
    if done.returncode and "No such file" not in done.stderr:
        raise Trouble(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def has_tables(inventory: str) -> bool:
    """Whether this inventory's filter is loaded."""
    return shutil.which("nft") is not None and bool(read_tables(inventory))


def tracks_bridges(model: Json) -> bool:
    """Whether the kernel tells of connections in the bridge family. It is asked, not its version."""
    if not models.filtered(model):
        return True
    try:
        run(["nft", "-c", "-f", "-"], texts.PROBE)
    except Trouble:
        return False
    return True


def converge(inventory: str, state: Json, scope: list[str] | None, check: bool) -> Json:
    """Bring the filter of cards and groups to the desired state; returns what a module returns. Raises Trouble."""
    stored = read_record(record_path(inventory))
    path = record_path(inventory)
    if scope is not None and not stored["nics"] and (path.exists() or has_tables(inventory)):
        raise Trouble(f"{path} is lost or damaged, which says what the other cards' filters are: zctl converge")
    model = models.merged(stored, state, scope)
    if not (stored["nics"] or model["nics"] or (scope is None and path.exists())):
        return outcome([], foreign_things=foreign_things(inventory, scope))
    lacking = check and shutil.which("nft") is None  # a run installs it first
    tracked = lacking or tracks_bridges(model)
    text = texts.render(inventory, model, tracked)
    digest = hashlib.sha256(text.encode()).hexdigest()
    listing = read_text(record_path(inventory).with_suffix(".nft")) or ""
    seen = {}
    if stored["loaded"] == digest:  # what is replaced anyway need not be read
        actual = "" if lacking else read_tables(inventory)
        seen = texts.listing_differences(actual, listing, model)
        if actual != listing and not seen:
            seen = {"": [difference("filter", "another text", "as zctl loaded it")]}
    missing = [] if tracked else silent_bridges(model)
    wrong = differences(stored, model, seen, scope)
    if missing:
        key = next(uuid for uuid, nic in sorted(model["nics"].items()) if nic["bridge"] == missing[0])
        wrong.setdefault(key, []).extend(difference(f"bridge {name}", "not filtered", "filtered") for name in missing)
    if (stored["loaded"] != digest or seen or missing or wrong) and not check:
        apply(inventory, stored, model, text, tracked, bool(seen) or not stored["loaded"])
    found = results(stored, model, wrong, scope)
    words = [
        f"{one['kind']} {one['name']}: {one['reason']}\n" for one in found if one["result"] in ("changed", "removed")
    ]
    return outcome(found, "", "".join(words), foreign_things(inventory, scope))


def apply(inventory: str, stored: Json, model: Json, text: str, tracked: bool, was_lost: bool) -> None:
    """Load the filter in one step, then cut the connections that it does not admit any more.

    `was_lost`: it was not as it should be for a while, in which any connection may have begun.
    """
    calling = [] if tracked else call_bridges(model)
    run(["nft", "-f", "-"], text)
    stop_calls([bridge for bridge in stored["calling"] if bridge not in calling])
    path = record_path(inventory)
    digest = hashlib.sha256(text.encode()).hexdigest()
    cards = models.filtered(model) if was_lost else models.narrowed(stored, model)
    if model["nics"]:
        # Not called loaded before the connections are cut: what fails on the way is done again by the next run.
        written = {**model, "loaded": "" if cards else digest, "calling": calling, "inventory": inventory}
        write_json(path, written)
        write_text(path.with_suffix(".nft"), read_tables(inventory))
        if cards:
            cut(model, cards)
            write_json(path, {**written, "loaded": digest})
    else:
        path.unlink(missing_ok=True)
        path.with_suffix(".nft").unlink(missing_ok=True)


def cut(model: Json, cards: list[Json]) -> None:
    """Cut what these cards' groups do not admit any more, and nothing else."""
    try:
        from ansible_collections.zctl.cloud.plugins.module_utils import zctl_security_flows as flows
    except ImportError:
        import zctl_security_flows as flows  # type: ignore[no-redef]
    flows.forget(models.unwanted(model, cards, flows.connections()))


def silent_bridges(model: Json) -> list[str]:
    """The bridges with groups whose packets the kernel does not track yet."""
    return [bridge for bridge in bridges_of(model) if not is_calling(bridge)]


def bridges_of(model: Json) -> list[str]:
    """The bridges that cards with groups are plugged into."""
    return sorted({nic["bridge"] for nic in models.filtered(model)})


def is_calling(bridge: str) -> bool:
    """Whether a bridge's packets pass the hooks of IP."""
    return all((read_text(BRIDGES / bridge / "bridge" / name) or "0").strip() == "1" for name in CALLS)


def call_bridges(model: Json) -> list[str]:
    """Let the packets of the bridges with groups pass the hooks of IP, where connections are tracked."""
    bridges = bridges_of(model)
    silent = silent_bridges(model)
    if silent:
        # A bridge that is not there has no cards; the others' cards are not left without a filter for its sake.
        silent = [bridge for bridge in silent if (BRIDGES / bridge).exists()]
        if not BRIDGE_SETTINGS.exists() and not succeeds(["modprobe", "br_netfilter"]):
            raise Trouble(
                "this kernel can track connections of bridges neither by nf_conntrack_bridge nor by br_netfilter:"
                " install a kernel with one of these modules"
            )
        if dropping := dropping_chain():
            raise Trouble(HINT.format(dropping))
        ip_batch([f"link set dev {bridge} type bridge {name} 1" for bridge in silent for name in CALLS])
    return bridges


def dropping_chain() -> str:
    """A chain of another firewall that drops what is forwarded and does not accept our bridges; '' for none."""
    for item in json.loads(run(["nft", "-j", "list", "chains"]) or "{}").get("nftables", []):
        found = item.get("chain", {})
        if found.get("hook") != "forward" or found.get("policy") != "drop" or found["family"] == "bridge":
            continue
        if "zbr-*" not in run(["nft", "list", "table", found["family"], found["table"]]):
            return f"{found['family']} {found['table']} {found['name']}"
    return ""


def stop_calls(bridges: list[str]) -> None:
    """Take the packets of bridges without groups out of the hooks of IP again."""
    there = [bridge for bridge in bridges if (BRIDGES / bridge).exists()]
    ip_batch([f"link set dev {bridge} type bridge {name} 0" for bridge in there for name in CALLS])


def differences(
    stored: Json, model: Json, seen: dict[str, list[Json]], scope: list[str] | None
) -> dict[str, list[Json]]:
    """What is not as wanted, by the uuid of the card or group; what is nobody's goes to the first card in scope."""
    found: dict[str, list[Json]] = {key: list(entries) for key, entries in seen.items() if key}
    for part in KINDS:
        for key, entry in model[part].items():
            before = stored[part].get(key)
            if before is None:
                found.setdefault(key, []).insert(0, difference("filter", None, "as its groups and addresses ask for"))
            elif before != entry:
                found[key] = value_differences("filter", before, entry) + found.get(key, [])
    shared = seen.get("", [])
    first = next((key for key in sorted(model["nics"]) if in_scope(key, scope)), "")
    if shared:
        found[first] = shared + found.get(first, [])
    return found


def results(stored: Json, model: Json, wrong: dict[str, list[Json]], scope: list[str] | None) -> list[Json]:
    """One result for each card and group in scope, and for those that are filtered no more."""
    found = []
    for part, kind in KINDS.items():
        for key, entry in sorted(model[part].items()):
            if in_scope(key, scope) or key in wrong:
                word = "filtered" if kind == "nic" else "loaded"
                state = ("changed", f"{word} anew") if wrong.get(key) else ("unchanged", f"it is {word} already")
                found.append(result(kind, entry, *state, wrong.get(key, [])))
        for key, entry in sorted(stored[part].items()):
            if key not in model[part] and in_scope(key, scope):
                gone = [difference("filter", entry.get("tap") or entry["name"], None)]
                found.append(result(kind, entry, "removed", "filter removed", gone))
    return found


def foreign_things(inventory: str, scope: list[str] | None) -> list[Json]:
    """Filters of other inventories on this host."""
    if scope is not None:
        return []
    others = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != inventory)
    return [foreign("filter", texts.table_name(other), f"zctl, inventory {other}") for other in others]


def restore() -> list[str]:
    """Bring back the filters of all inventories from their files. Returns what did not work."""
    troubles = []
    for path in sorted(FOLDER.glob("*.json")):
        stored = read_record(path)
        try:
            if not stored["nics"]:
                raise Trouble("it is damaged: zctl converge writes it anew")
            tracked = tracks_bridges(stored)
            text = texts.render(path.stem, stored, tracked)
            is_loaded = stored["loaded"] == hashlib.sha256(text.encode()).hexdigest()
            is_loaded = is_loaded and read_tables(path.stem) == read_text(path.with_suffix(".nft"))
            if not is_loaded or (not tracked and silent_bridges(stored)):
                model = {"nics": stored["nics"], "groups": stored["groups"]}
                apply(path.stem, stored, model, text, tracked, True)
        except (Trouble, OSError, KeyError) as error:
            troubles.append(f"the filter of cards, {path}: {error}")
    return troubles
