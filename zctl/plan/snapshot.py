"""The inventory frozen at one moment, as values: what everything pure computes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class Snapshot:
    """All rows of the inventory by type and id. Nothing here can reach the database."""

    def __init__(
        self,
        inventory: str,
        rows: dict[type[Any], list[Any]],
        tombstones: Iterable[tuple[str, str, dict[str, Any]]] = (),
    ) -> None:
        self.inventory = inventory
        self._rows = {cls: {row.id: row for row in found} for cls, found in rows.items()}
        self._indexes: dict[tuple[type[Any], str], dict[Any, list[Any]]] = {}
        self._computed: dict[Any, Any] = {}
        self._tombstones: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        for host, concern, entry in tombstones:
            self._tombstones[host].append((concern, entry))

    def types(self) -> list[type[Any]]:
        """The resource types that the snapshot holds."""
        return list(self._rows)

    def all(self, cls: type[T]) -> list[T]:
        """Every row of a type."""
        return list(self._rows.get(cls, {}).values())

    def get(self, cls: type[T], key: str | None) -> T | None:
        """The row with that id, or None."""
        return self._rows.get(cls, {}).get(key) if key else None

    def need(self, cls: type[T], key: str | None) -> T:
        """The row with that id; a missing one is a broken inventory and raises KeyError."""
        row = self.get(cls, key)
        if row is None:
            raise KeyError(f"{cls.__name__} {key} is not in the inventory")
        return row

    def class_of(self, key: str) -> type[Any] | None:
        """The type of the row with that id, whatever it is."""
        return next((cls for cls, rows in self._rows.items() if key in rows), None)

    def by(self, cls: type[T], field: str, value: Any) -> list[T]:
        """The rows of a type whose field has that value, found by an index made at first use."""
        index = self._indexes.get((cls, field))
        if index is None:
            index = defaultdict(list)
            for row in self._rows.get(cls, {}).values():
                index[getattr(row, field)].append(row)
            self._indexes[(cls, field)] = index
        return index.get(value, [])

    def once(self, key: Any, compute: Callable[[], T]) -> T:
        """What is computed from this snapshot, computed at first use only."""
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]  # type: ignore[no-any-return]

    def tombstones(self, host: str) -> list[tuple[str, dict[str, Any]]]:
        """What still has to be removed from a host: (concern, entry of its purge list)."""
        return self._tombstones.get(host, [])
