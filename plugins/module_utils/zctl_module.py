"""What zctl's modules share on Ansible's side: their arguments and how they end."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble
except ImportError:
    from zctl_system import Trouble  # type: ignore[assignment]

LOCK = Path("/run/lock/zctl.lock")
HELD: list[Any] = []


def argument_spec(**more: Any) -> dict[str, Any]:
    """The arguments that every concern's module has, and the given ones."""
    return {
        "inventory": {"type": "str", "required": True},
        "state": {"type": "dict", "required": True},
        "scope": {"type": "list", "elements": "str"},
        "fail": {"type": "bool", "default": True},
        **more,
    }


def take_turns() -> Any:
    """Wait until no other module of zctl works on this host; the lock is held until the process ends.

    A module outlives the controller that called it when that dies: the next controller's must not meet it.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = LOCK.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    HELD.append(lock)
    return lock


def finish(module: Any, outcome: dict[str, Any]) -> None:
    """End the module with the outcome; a failed resource fails it when `fail` asks for that."""
    failed = [result for result in outcome["results"] if result["result"] == "failed"]
    if failed and module.params["fail"]:
        names = "; ".join(f"{result['kind']} {result['name']}: {result['reason']}" for result in failed)
        module.fail_json(msg=names, **outcome)
    module.exit_json(**outcome)


def run_concern(module: Any, converge: Callable[[str, dict[str, Any], Any, bool], dict[str, Any]]) -> None:
    """Run the module of a concern whose code takes the inventory, the state, the scope and whether it only looks."""
    take_turns()
    values = module.params
    try:
        outcome = converge(values["inventory"], values["state"], values["scope"], module.check_mode)
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error), results=[])
    finish(module, outcome)
