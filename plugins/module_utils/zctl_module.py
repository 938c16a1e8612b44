"""What zctl's modules share on Ansible's side: their arguments and how they end."""

from __future__ import annotations

from typing import Any


def argument_spec(**more: Any) -> dict[str, Any]:
    """The arguments that every concern's module has, and the given ones."""
    return {
        "inventory": {"type": "str", "required": True},
        "state": {"type": "dict", "required": True},
        "scope": {"type": "list", "elements": "str"},
        "fail": {"type": "bool", "default": True},
        **more,
    }


def finish(module: Any, outcome: dict[str, Any]) -> None:
    """End the module with the outcome; a failed resource fails it when `fail` asks for that."""
    failed = [result for result in outcome["results"] if result["result"] == "failed"]
    if failed and module.params["fail"]:
        names = "; ".join(f"{result['kind']} {result['name']}: {result['reason']}" for result in failed)
        module.fail_json(msg=names, **outcome)
    module.exit_json(**outcome)
