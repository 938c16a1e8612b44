"""One thing that happened: who did what to which resource, when and why."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, String

from zctl.resources.base import Resource, attr, now


class Event(Resource, table=True):
    """One thing that happened: who did what to which resource, when and why."""

    read_only = True
    manifest = False
    default_sort = "at"

    name: str = attr("", help="its own name", when="never", listed="wide", sa_type=String(80), unique=True, index=True)
    at: datetime = attr(
        default_factory=now, help="when, UTC", when="never", listed="list", index=True, sa_type=DateTime
    )
    what: str = attr("", help="what happened", when="never", listed="list", text=True, max_length=1000)
    kind: str = attr("", help="the noun of the resource", when="never", listed="list", sa_type=String(32))
    resource_id: str | None = attr(None, help="the resource's UUID", when="never", sa_type=String(36), index=True)
    resource: str = attr("", help="its name at that time", when="never", listed="list", text=True)
    actor: str = attr("", help="the user and machine that asked for it", when="never", listed="wide", text=True)
    reason: str | None = attr(
        None, help="why, as given by --reason", when="never", listed="list", text=True, max_length=1000
    )
    job_id: str | None = attr(None, help="the job it was part of", when="never", sa_type=String(36))
