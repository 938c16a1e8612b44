"""Telling quickly which documents differ from the inventory: everything is read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zctl.inventory.snapshot import load
from zctl.inventory.tags import all_tags
from zctl.resources.base import Resource, attrs
from zctl.resources.registry import resource_class
from zctl.resources.spec import filled, settable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class Known:
    """The inventory as read at the beginning of a transaction, by name."""

    def __init__(self, db: Session) -> None:
        self.snapshot = load(db)
        self._names: dict[type[Resource], dict[str, Resource]] = {}
        self._tags = all_tags(db)

    def row(self, cls: type[Resource], name: Any) -> Resource | None:
        """The row of that type and name."""
        if cls not in self._names:
            self._names[cls] = {row.name: row for row in self.snapshot.all(cls)}
        return self._names[cls].get(name)

    def differs(self, row: Resource, given: dict[str, Any]) -> bool:
        """Whether these validated values, by public name, ask for anything that the row does not have.

        True also when that cannot be told from here.
        """
        cls = type(row)
        fields, abouts = settable(cls, "create"), attrs(cls)
        inputs = {}
        for public, value in given.items():
            if public == "tags":
                if (value or {}) != self._tags.get(row.id, {}):
                    return True
                continue
            if public in cls.inputs:
                if value is not None:
                    inputs[public] = value
                continue
            field = fields[public]
            about = abouts[field]
            if value is None and about.when == "create":
                continue
            if about.ref and value is not None:
                other = self.row(resource_class(about.ref), value)
                if other is None or other.id != getattr(row, field):
                    return True
            elif filled(cls, field, value) != getattr(row, field):
                return True
        return bool(inputs) and not row.holds(self.snapshot, inputs)
