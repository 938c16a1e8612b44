"""Reading the whole inventory into values, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl.plan.snapshot import Snapshot
from zctl.resources.internal import Grave, Info
from zctl.resources.registry import all_classes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LEFT_OUT = {"job", "event", "management-node", "tag"}


def load(db: Session) -> Snapshot:
    """Every resource that may matter to a host, frozen."""
    info = db.get(Info, 1)
    assert info is not None
    rows = {
        cls: list(db.scalars(select(cls).order_by(col(cls.created_at), col(cls.id))))
        for cls in all_classes()
        if cls.noun not in LEFT_OUT
    }
    graves = [(grave.host_id, grave.concern, grave.entry) for grave in db.scalars(select(Grave))]
    return Snapshot(info.inventory, rows, graves)
