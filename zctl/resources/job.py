"""What a command set out to do and how far it came; enough to finish or undo it after a crash."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import DateTime, String

from zctl.resources.base import Resource, attr

JobState = Literal["Running", "Done", "Failed", "Cancelled"]


class Job(Resource, table=True):
    """What a command set out to do and how far it came; enough to finish or undo it after a crash."""

    read_only = True
    manifest = False
    default_sort = "created_at"

    state: JobState = attr(
        "Running", help="how it stands", when="never", listed="list", choices=("Running", "Done", "Failed", "Cancelled")
    )
    verb: str = attr("", help="what was asked for", when="never", listed="list", text=True)
    targets: list[dict[str, str]] = attr(default_factory=list, help="the resources concerned", when="never", json=True)
    hosts: dict[str, list[str]] = attr(
        default_factory=dict,
        help="the uuids it brings to each host, by host id",
        when="never",
        listed="hidden",
        json=True,
    )
    undo: list[dict[str, str]] = attr(
        default_factory=list, help="rows to remove when it fails", when="never", listed="hidden", json=True
    )
    owner: str = attr("", help="the process that works on it", when="never", listed="wide", text=True)
    heartbeat_at: datetime | None = attr(
        None, help="when its owner last gave a sign of life, UTC", when="never", sa_type=DateTime
    )
    reason: str | None = attr(
        None, help="why, as given by --reason", when="never", listed="wide", text=True, max_length=1000
    )
    error: str | None = attr(None, help="why it failed", when="never", listed="wide", sa_type=String(4000))
    ended_at: datetime | None = attr(None, help="when it ended, UTC", when="never", listed="wide", sa_type=DateTime)
