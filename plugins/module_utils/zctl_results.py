"""The shape of what the network concerns report of each resource, and of differences from what is wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]
LONGEST = 160  # characters of a value that is shown


def difference(field: str, actual: Any, desired: Any) -> Json:
    """One field in which the host is not as wanted; None stands for a thing that is not there, or not to be there."""
    return {"field": field, "actual": short(actual), "desired": short(desired)}


def short(value: Any) -> Any:
    """A value fit for a line: long texts are cut."""
    return f"{value[: LONGEST - 3]}..." if isinstance(value, str) and len(value) > LONGEST else value


def text_differences(name: str, actual: str | None, desired: str) -> list[Json]:
    """In which lines a text is not as wanted; a file that is not there is one difference."""
    if actual == desired:
        return []
    if actual is None:
        return [difference(name, None, "as zctl writes it")]
    have, want = actual.splitlines(), desired.splitlines()
    extra = [line for line in have if line not in want and line.strip()]
    lost = [line for line in want if line not in have and line.strip()]
    if not extra and not lost:
        return [difference(name, "its lines in another order or number", "as zctl writes it")]
    return [difference(name, "; ".join(extra) or None, "; ".join(lost) or None)]


def value_differences(prefix: str, actual: Json, desired: Json) -> list[Json]:
    """The keys in which two values are not the same."""
    return [
        difference(f"{prefix}.{key}", actual.get(key), desired.get(key))
        for key in sorted({*actual, *desired})
        if actual.get(key) != desired.get(key)
    ]


def result(
    kind: str, entry: Json, outcome: str, reason: str, differences: Iterable[Json] = (), **observed: Any
) -> Json:
    """One resource's result: changed, unchanged, removed or failed, why, and field by field what was not as wanted."""
    return {
        "uuid": entry["uuid"],
        "kind": kind,
        "name": entry.get("name", entry["uuid"]),
        "result": outcome,
        "reason": reason,
        "differences": list(differences),
        "observed": observed,
    }


def foreign(kind: str, name: str, owner: str) -> Json:
    """A thing that is not this inventory's but concerns it. It is told of, never touched."""
    return {"kind": kind, "name": name, "owner": owner}


def in_scope(uuid: str, scope: list[str] | None) -> bool:
    """Whether a resource is to be looked at; no scope means everything."""
    return scope is None or uuid in scope


def outcome(results: list[Json], before: str = "", after: str = "", foreign_things: Iterable[Json] = ()) -> Json:
    """What a module returns: the results, whether anything changed, what is foreign, and a diff when there is one."""
    changed = any(entry["result"] in ("changed", "removed") for entry in results)
    diff = {"diff": {"before": before, "after": after}} if before != after else {}
    return {"changed": changed, "results": results, "foreign_things": list(foreign_things), **diff}
