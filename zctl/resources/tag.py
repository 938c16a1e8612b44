"""A key and value pinned to a resource, for people and filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import String, UniqueConstraint

from zctl.errors import Invalid
from zctl.resources.base import Input, Resource, attr

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"


class Tag(Resource, table=True):
    """A key and value pinned to a resource, for people and filters."""

    __table_args__ = (UniqueConstraint("resource_id", "key", name="one_value_per_key"),)
    name_pattern = r"^[a-z0-9-]+/[A-Za-z0-9._-]+/[A-Za-z0-9._/-]+$"
    name_rule = "made of the resource and the key: vm/web-1/env"
    auto_name = True
    manifest = False

    name: str = attr(
        "",
        help="resource and key, such as vm/web-1/env",
        listed="list",
        when="never",
        sa_type=String(255),
        unique=True,
        index=True,
    )
    key: str = attr(help="the key", when="create", listed="wide", sa_type=String(63), regex=KEY_PATTERN)
    value: str = attr("", help="the value", listed="list", text=True)
    kind: str = attr("", help="the noun of the resource", when="never", listed="wide", sa_type=String(32))
    resource_id: str = attr("", help="the resource's UUID", when="never", listed="wide", sa_type=String(36), index=True)

    inputs = {"on": Input(str, "the resource it is pinned to, as NOUN/NAME", default=None)}

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Find the resource it is pinned to."""
        from zctl.resources.lookup import find
        from zctl.resources.registry import resource_class

        noun, _, name = (inputs.get("on") or "").partition("/")
        if not noun or not name:
            raise Invalid(
                "a tag is pinned to something",
                resource=f"tag {self.key}",
                remedy="add --on NOUN/NAME, such as --on vm/web-1",
            )
        row = find(db, resource_class(noun), name)
        self.kind, self.resource_id, self.name = noun, row.id, f"{noun}/{row.name}/{self.key}"
        return []
