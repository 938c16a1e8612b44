# SPDX-License-Identifier: Apache-2.0
"""Several concerns of one host in one process, each in its turn."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_module
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble
except ImportError:
    import zctl_module  # type: ignore[no-redef]
    from zctl_system import Trouble  # type: ignore[assignment]

Json = dict[str, Any]
STEPS = ("vm_removal", "storage", "l3_services", "metadata", "security", "vm", "eip", "rows")
NEED_LIBVIRT = ("vm_removal", "vm")
NO_LIBVIRT = "the Python library libvirt is missing on the host; zctl converge installs python3-libvirt"


def converge(args: Json, check: bool, libvirt: Any) -> Json:
    """Do the steps; returns what a module returns. Ends early when storage wants image files to be uploaded first.

    `trouble` says why a whole concern could not be done; the ones after it are not tried.
    """
    whole = nothing_yet()
    for step in args["steps"]:
        try:
            outcome = one_step(step, args, check, libvirt)
        except (Trouble, OSError) as error:
            whole["trouble"] = f"{words_of(step)}: {error}"
            break
        add(whole, step, outcome)
        if outcome.get("uploads_wanted"):
            whole["uploads_wanted"] = outcome["uploads_wanted"]
            break
    return whole


def nothing_yet() -> Json:
    """What a module returns before its first step."""
    return {"changed": False, "results": [], "diff": [], "steps": [], "foreign_things": [], "trouble": ""}


def words_of(step: str) -> str:
    """A step as people read it."""
    return "records of the inventory" if step == "rows" else step.replace("_", " ")


def add(whole: Json, step: str, outcome: Json) -> None:
    """Add what came of one step to what a module returns."""
    concern = "vm" if step == "vm_removal" else step
    whole["results"] += [{**entry, "concern": concern} for entry in outcome["results"]]
    whole["changed"] = whole["changed"] or outcome["changed"]
    whole["steps"].append(step)
    things = outcome.get("foreign_things") or []
    whole["foreign_things"] += [thing for thing in things if thing not in whole["foreign_things"]]
    diff = outcome.get("diff") or []
    whole["diff"] += diff if isinstance(diff, list) else [diff]
    if "observed" in outcome and step == "vm":
        whole["observed"] = outcome["observed"]


def one_step(step: str, args: Json, check: bool, libvirt: Any) -> Json:
    """One concern's own convergence."""
    if libvirt is None and step in NEED_LIBVIRT:
        raise Trouble(NO_LIBVIRT)
    inventory, scope, state = args["inventory"], args["scope"], args["state"]
    if step == "vm_removal":
        purge = (state.get("vm") or {}).get("purge") or []
        scope = [entry["uuid"] for entry in purge]
        return concern("zctl_vm").converge(inventory, {"vms": [], "purge": purge}, scope, check, libvirt)
    part = state.get(step) or {}
    if step == "vm":
        return concern("zctl_vm").converge(inventory, part, scope, check, libvirt)
    if step == "storage":
        files = {"sources": args["sources"], "uploads": args["uploads"]}
        return concern("zctl_storage").converge(inventory, part, scope, check, **files)
    name = "zctl_l3" if step == "l3_services" else f"zctl_{step}"
    return concern(name).converge(inventory, part, scope, check)


def concern(name: str) -> Any:
    """A concern's code, loaded when it is needed: a host that makes one VM does not read what others are made of."""
    return importlib.import_module(f"{__package__}.{name}" if __package__ else name)


def find_libvirt(steps: Any) -> Any:
    """The library libvirt when a step needs it and the host has it."""
    if not set(NEED_LIBVIRT) & set(steps):
        return None
    try:
        import libvirt
    except ImportError:
        return None
    return libvirt


def main(args: Json) -> None:
    """Do the steps, and print what came of them as one line of JSON: `failed` and `msg` too when there was trouble."""
    zctl_module.take_turns()
    tell(converge(args, args["check"], find_libvirt(args["steps"])))


def tell(outcome: Json) -> None:
    """Print what the action reads."""
    if outcome["trouble"]:
        outcome |= {"failed": True, "msg": outcome["trouble"]}
    sys.stdout.write(json.dumps(outcome) + "\n")
