# SPDX-License-Identifier: Apache-2.0
"""All concerns of a host compared with what it should be, in one process; nothing is changed."""

from __future__ import annotations

import traceback
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_guests, zctl_module
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble
except ImportError:
    import zctl_guests  # type: ignore[no-redef]
    import zctl_module  # type: ignore[no-redef]
    from zctl_system import Trouble  # type: ignore[assignment]

Json = dict[str, Any]
STEPS = ("vm_removal", "kvm_host", "network", "storage", "l3_services", "metadata", "security", "vm", "eip", "rows")


def look(args: Json, libvirt: Any) -> Json:
    """Compare the concerns in `steps`; returns what a module returns in check mode.

    `trouble` says which whole concerns could not be looked at, and why; the others are looked at nevertheless.
    """
    whole, troubles = zctl_guests.nothing_yet(), []
    for step in args["steps"]:
        try:
            outcome = _one_step(step, args, libvirt)
        except (Trouble, OSError) as error:
            troubles.append(f"{zctl_guests.words_of(step)}: {error}")
            continue
        except Exception as error:  # a mistake of ours in one concern does not hide the others
            traceback.print_exc()
            words = f"it could not be looked at ({type(error).__name__}: {error})"
            troubles.append(f"{zctl_guests.words_of(step)}: {words}")
            continue
        # The removal of a domain is due in two steps, and told once.
        told = {entry["uuid"] for entry in whole["results"] if entry["result"] == "removed"}
        more = [entry for entry in outcome["results"] if entry["uuid"] not in told]
        zctl_guests.add(whole, step, {**outcome, "results": more})
    whole["trouble"] = "; ".join(troubles)
    return whole


def _one_step(step: str, args: Json, libvirt: Any) -> Json:
    state, scope = args["state"], args["scope"]
    if step == "kvm_host":
        host = {"uuid": "", "name": "", **(state.get("host") or {})}
        read_only = scope is not None and host["uuid"] not in scope
        return zctl_guests.concern("zctl_kvm_host").converge(state.get("kvm_host") or {}, host, read_only, True, False)
    if step == "network":
        return zctl_guests.concern("zctl_network").converge(
            args["inventory"], state.get("network") or {}, scope, True, 0
        )
    return zctl_guests.one_step(step, args, True, libvirt)


def main(args: Json) -> None:
    """Look, and print what was seen as one line of JSON. `failed` and `msg` are there when there was trouble."""
    zctl_module.take_turns()
    zctl_guests.tell(look(args, zctl_guests.find_libvirt(args["steps"])))
