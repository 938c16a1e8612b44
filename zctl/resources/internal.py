"""Tables that are not resources: what zctl remembers for itself. Not a noun."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, ForeignKey, String
from sqlmodel import Field, SQLModel

from zctl.resources.base import now


class Info(SQLModel, table=True):
    """One row: who this inventory is. Its row is also what writers on MySQL lock to take turns."""

    __tablename__ = "info"
    id: int = Field(default=1, primary_key=True)
    inventory: str = Field(sa_type=String(36))


class StorageHost(SQLModel, table=True):
    """What one host saw of one storage; `token` is read from the marker file and proves it is the same everywhere."""

    __tablename__ = "storage_host"
    storage_id: str = Field(
        sa_column=Column(String(36), ForeignKey("primary_storage.id", ondelete="CASCADE"), primary_key=True)
    )
    host_id: str = Field(sa_column=Column(String(36), ForeignKey("host.id", ondelete="CASCADE"), primary_key=True))
    total: int | None = Field(default=None, sa_type=BigInteger)
    free: int | None = Field(default=None, sa_type=BigInteger)
    token: str | None = Field(default=None, sa_type=String(64))
    seen_at: datetime = Field(default_factory=now, sa_type=DateTime)


class Lease(SQLModel, table=True):
    """Who converges a host at present. A dead owner's lease is taken over."""

    __tablename__ = "lease"
    host_id: str = Field(sa_column=Column(String(36), ForeignKey("host.id", ondelete="CASCADE"), primary_key=True))
    owner: str = Field(sa_type=String(255))
    purpose: str = Field(sa_type=String(255))
    expires_at: datetime = Field(sa_type=DateTime)


class Outstanding(SQLModel, table=True):
    """What still has to be brought to a host: a resource's uuid, or '*' for everything. Gone when it is done there."""

    __tablename__ = "outstanding"
    host_id: str = Field(sa_column=Column(String(36), ForeignKey("host.id", ondelete="CASCADE"), primary_key=True))
    uuid: str = Field(primary_key=True, sa_type=String(36))
    concerns: str = Field(default="", sa_type=String(128))
    token: str = Field(
        default="", sa_type=String(36), description="new each time it is noted: what was noted during a run stays"
    )


class Grave(SQLModel, table=True):
    """Data on a host that is to be removed there; the row goes when that is done or when the host is deleted."""

    __tablename__ = "grave"
    id: str = Field(primary_key=True, sa_type=String(36))
    host_id: str = Field(
        sa_column=Column(String(36), ForeignKey("host.id", ondelete="CASCADE"), nullable=False, index=True)
    )
    concern: str = Field(sa_type=String(32))
    entry: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(default_factory=now, sa_type=DateTime)
