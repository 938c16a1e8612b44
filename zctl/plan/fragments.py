"""Each resource type's share of a host's state, and how the shares become one state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zctl.plan.hoststate import HostState, Named, Part


@dataclass(frozen=True)
class Fragment:
    """One entry of one list of a host's state; `parent` is the uuid of the l3-network a lease belongs to."""

    concern: str
    key: str
    value: Part
    parent: str = ""


@dataclass(frozen=True)
class Tombstone:
    """Data on a host that the user has asked to delete and that is still to be removed there."""

    host: str
    concern: str
    entry: dict[str, Any] = field(hash=False)


class DuplicateFragment(Exception):
    """Two resource types claim the same entry: a mistake in a declaration."""


def merge(inventory: str, host: Named, settings: dict[str, Part], fragments: Iterable[Fragment]) -> HostState:
    """One host state out of fragments, whatever their order. Raises DuplicateFragment for a key given twice."""
    from zctl.plan.hoststate import HostState

    parts: dict[str, dict[str, list[Part]]] = {}
    nested: dict[str, list[Part]] = {}
    seen: set[tuple[str, str, str]] = set()
    for fragment in fragments:
        identity = (fragment.concern, fragment.key, getattr(fragment.value, "uuid", "") + place_of(fragment.value))
        if identity in seen:
            raise DuplicateFragment(f"{identity} is contributed twice")
        seen.add(identity)
        if fragment.parent:
            nested.setdefault(fragment.parent, []).append(fragment.value)
        else:
            parts.setdefault(fragment.concern, {}).setdefault(fragment.key, []).append(fragment.value)
    for network in parts.get("l3_services", {}).get("l3_networks", []):
        leases = sorted(nested.pop(getattr(network, "uuid", ""), []), key=lambda lease: getattr(lease, "uuid", ""))
        network.leases = leases  # type: ignore[attr-defined]
    values: dict[str, Any] = {"inventory": inventory, "host": host, **settings}
    for concern, lists in parts.items():
        base = values.get(concern)
        made = {key: sorted(entries, key=lambda e: getattr(e, "uuid", "")) for key, entries in lists.items()}
        fields = HostState.model_fields[concern].annotation
        assert isinstance(fields, type)
        values[concern] = fields(**((base.__dict__ if base else {}) | made))
    return HostState.model_construct(**{**HostState(inventory=inventory, host=host).__dict__, **values})


def place_of(value: Part) -> str:
    """An image may be cached on several storages of one host: its place is part of its identity."""
    return f"@{storage}" if (storage := getattr(value, "storage", "")) else ""
