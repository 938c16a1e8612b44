"""The shape of what the network concerns report of each resource. Pure."""

from __future__ import annotations

from typing import Any


def result(kind: str, entry: dict[str, Any], outcome: str, reason: str, **observed: Any) -> dict[str, Any]:
    """One resource's result: changed, unchanged, removed or failed, and why."""
    return {
        "uuid": entry["uuid"],
        "kind": kind,
        "name": entry.get("name", entry["uuid"]),
        "result": outcome,
        "reason": reason,
        "observed": observed,
    }


def in_scope(uuid: str, scope: list[str] | None) -> bool:
    """Whether a resource is to be looked at; no scope means everything."""
    return scope is None or uuid in scope


def outcome(results: list[dict[str, Any]], before: str = "", after: str = "") -> dict[str, Any]:
    """What a module returns: the results, whether anything changed, and the difference when there is one."""
    changed = any(entry["result"] in ("changed", "removed") for entry in results)
    diff = {"diff": {"before": before, "after": after}} if before != after else {}
    return {"changed": changed, "results": results, **diff}
