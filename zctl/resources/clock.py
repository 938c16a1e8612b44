"""The clock that all management nodes agree on. Not a noun."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from zctl.resources.base import now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def clock(db: Session) -> datetime:
    """The present time in UTC by the database server's clock; SQLite has none, there it is this machine's.

    What one node writes and another compares (leases, signs of life) must come from here: nodes' clocks may differ.
    """
    if db.get_bind().dialect.name == "sqlite":
        return now()
    found: datetime = db.execute(select(func.utc_timestamp())).scalar_one()
    return found
