"""Reading the tags of everything at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl.resources.tag import Tag

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def all_tags(db: Session) -> dict[str, dict[str, str]]:
    """Resource id -> its tags."""
    found: dict[str, dict[str, str]] = {}
    for key, name, value in db.execute(select(col(Tag.resource_id), col(Tag.key), col(Tag.value))):
        found.setdefault(key, {})[name] = value
    return found
