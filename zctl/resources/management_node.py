"""A machine that runs zctl on this inventory."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, String, select
from sqlmodel import col

from zctl.resources.base import Computed, Resource, attr, now
from zctl.resources.clock import clock
from zctl.resources.job import Job

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SILENT_AFTER = timedelta(minutes=3)


def states(db: Session, ids: list[str]) -> dict[str, Any]:
    """Alive or Silent, by the last sign of life."""
    since = clock(db) - SILENT_AFTER
    seen = db.execute(select(col(ManagementNode.id), col(ManagementNode.last_seen)))
    return {key: "Alive" if at > since else "Silent" for key, at in seen if key in ids}


def running_jobs(db: Session, ids: list[str]) -> dict[str, Any]:
    """How many jobs are carried out by processes of each machine: their owners name its kernel."""
    owners = list(db.scalars(select(col(Job.owner)).where(col(Job.state) == "Running")))
    kernels = db.execute(select(col(ManagementNode.id), col(ManagementNode.kernel)))
    return {key: sum(f":{kernel}:" in owner for owner in owners) for key, kernel in kernels if key in ids}


class ManagementNode(Resource, table=True):
    """A machine that runs zctl on this inventory. Its row is written by the commands it runs and by its watch timer."""

    read_only = True
    manifest = False

    address: str = attr("", help="its address towards others", when="never", listed="list", sa_type=String(45))
    zctl_version: str = attr("", help="the zctl it runs", when="never", listed="list", sa_type=String(64))
    last_seen: datetime = attr(
        default_factory=now,
        help="its last sign of life, UTC by the database's clock",
        when="never",
        listed="list",
        sa_type=DateTime,
    )
    kernel: str = attr(
        "", help="marks its processes in jobs and leases since its last boot", when="never", sa_type=String(64)
    )

    computed = {
        "state": Computed("Alive, or Silent for more than three minutes", states),
        "jobs": Computed("how many jobs it carries out", running_jobs),
    }
