"""Finding rows by name or UUID. Not a noun."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import select
from sqlmodel import col

from zctl.errors import NotFound, did_you_mean

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.resources.base import Resource

    T = TypeVar("T", bound=Resource)
else:
    T = TypeVar("T")

UUID_PREFIX = re.compile(r"^[0-9a-f]{4,8}(-[0-9a-f-]*)?$|^[0-9a-f-]{36}$", re.IGNORECASE)


def look_up(db: Session, cls: type[T], text: str) -> T | None:
    """The row with that name, or with that UUID or unambiguous beginning of one (four digits at least)."""
    row = db.scalars(select(cls).where(col(cls.name) == text)).first()
    if row is not None or not UUID_PREFIX.match(text):
        return row
    found = list(db.scalars(select(cls).where(col(cls.id).startswith(text.lower(), autoescape=True)).limit(3)))
    if len(found) > 1:
        raise NotFound(
            f"UUID prefix {text} is ambiguous: {found[0].name}, {found[1].name} ...",
            resource=cls.noun,
            remedy="give more digits",
        )
    return found[0] if found else None


def find(db: Session, cls: type[T], text: str) -> T:
    """As look_up, but a miss raises NotFound with names that come close."""
    row = look_up(db, cls, text)
    if row is not None:
        return row
    hint = did_you_mean(text, db.scalars(select(col(cls.name))))
    raise NotFound(
        "does not exist",
        resource=f"{cls.noun} {printable(text)}",
        remedy=hint or f"zctl {cls.noun} list shows what there is",
    )


def printable(text: str) -> str:
    """A user's word in a message: quoted when it holds anything unusual, cut when it is long."""
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return shown if re.fullmatch(r"[\w./:@=-]+", shown, re.ASCII) else ascii(shown)
