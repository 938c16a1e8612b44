"""What a database holds at present: an inventory, nothing, something else's tables, or what nobody can read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select, text
from sqlmodel import col

from zctl.backup import sqlite
from zctl.errors import Refused
from zctl.inventory.engine import Inventory, shown, sqlite_path
from zctl.inventory.head import HEAD
from zctl.inventory.lease import LIFETIME, is_alive, owner, shown_owner
from zctl.inventory.schema import revision_in, strangers
from zctl.resources.clock import clock
from zctl.resources.internal import Lease
from zctl.resources.job import Job

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass
class Present:
    """The inventory that is there now. `identity` is empty when there is none, `trouble` says why it cannot be read.

    `strange` are tables that are in the way: there is no inventory, but the database is not empty either.
    """

    identity: str = ""
    schema: str = ""
    busy: list[str] = field(default_factory=list)
    trouble: str = ""
    strange: list[str] = field(default_factory=list)

    @property
    def exists(self) -> bool:
        """Whether there is anything that a restore would replace."""
        return bool(self.identity or self.trouble)


def look(url: str) -> Present:
    """What is in the database now. Raises DatabaseError when it cannot be asked; a damaged file is no error."""
    path = sqlite_path(url)
    if path is not None and (not path.exists() or path.stat().st_size == 0):
        return Present()
    if path is not None and (trouble := sqlite.damage(path)):
        return Present(trouble=trouble)
    inventory = Inventory(url)
    try:
        with inventory.read() as db:
            schema = revision_in(db.connection()) or ""
            identity = identity_in(db) if schema else ""
            if not identity:
                return Present(schema=schema, strange=strangers(db.connection()))
            return Present(identity, schema, at_work(db) if schema == HEAD else [])
    finally:
        inventory.engine.dispose()


def identity_in(db: Session) -> str:
    """The UUID of the inventory there; empty when there is none."""
    if not inspect(db.connection()).has_table("info"):
        return ""
    return str(db.execute(text("SELECT inventory FROM info")).scalar() or "")


def at_work(db: Session) -> list[str]:
    """The living processes, here and on other nodes, that have a lease or a job."""
    present = clock(db)
    leases = db.execute(select(col(Lease.owner), col(Lease.expires_at))).all()
    signs = [(who, until - LIFETIME) for who, until in leases]
    signs += db.execute(select(col(Job.owner), col(Job.heartbeat_at)).where(col(Job.state) == "Running")).all()  # type: ignore[arg-type]
    owners = {who for who, seen in signs if is_alive(who, seen, present)}
    return sorted(shown_owner(who) for who in owners - {owner()})


def require_nobody_at_work(busy: list[str], url: str) -> None:
    """Raise Refused while others would go on writing into what they have not read."""
    if busy:
        raise Refused(
            f"the inventory is in use by {', '.join(busy[:3])}",
            resource=shown(url),
            remedy="wait for them, or end them, and stop timers that start others",
        )
