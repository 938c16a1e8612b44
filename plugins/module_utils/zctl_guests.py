# SPDX-License-Identifier: Apache-2.0
"""Several concerns of one host in one process, each in its turn."""

from __future__ import annotations

from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_l3, zctl_storage, zctl_vm
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble
except ImportError:
    import zctl_l3  # type: ignore[no-redef]
    import zctl_storage  # type: ignore[no-redef]
    import zctl_vm  # type: ignore[no-redef]
    from zctl_system import Trouble  # type: ignore[assignment]

Json = dict[str, Any]
STEPS = ("vm_removal", "storage", "l3_services", "vm")


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
    return step.replace("_", " ")


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
    inventory, scope, state = args["inventory"], args["scope"], args["state"]
    if step == "vm_removal":
        purge = (state.get("vm") or {}).get("purge") or []
        return zctl_vm.converge(
            inventory, {"vms": [], "purge": purge}, [entry["uuid"] for entry in purge], check, libvirt
        )
    part = state.get(step) or {}
    if step == "storage":
        return zctl_storage.converge(inventory, part, scope, check, sources=args["sources"], uploads=args["uploads"])
    if step == "l3_services":
        return zctl_l3.converge(inventory, part, scope, check)
    return zctl_vm.converge(inventory, part, scope, check, libvirt)
