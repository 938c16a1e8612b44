"""zctl upgrade: an inventory of an older zctl is brought to this one's schema, after a dump that leads back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import inspect, select
from sqlmodel import col

from zctl import __version__, log
from zctl.config import Config
from zctl.errors import Conflict, DatabaseError, ZctlError
from zctl.inventory import schema
from zctl.inventory.engine import Inventory, shown
from zctl.inventory.head import HEAD
from zctl.inventory.lease import is_alive, shown_owner
from zctl.resources.clock import clock
from zctl.resources.host import Host
from zctl.resources.internal import Outstanding
from zctl.resources.job import Job
from zctl.resources.management_node import ManagementNode

Dump = Callable[[], str]
"""Makes a dump of the inventory and returns how to bring it back, as a command."""


@dataclass
class Standing:
    """How the inventory stands towards this zctl. `migrations` are number and title of what an upgrade would run;
    `waiting` are the names of hosts on which something is still to be done, `nodes` those that run another zctl.
    """

    zctl: str
    inventory: str
    schema: str
    wanted: str
    migrations: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    nodes: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self) | {"migrations": [{"revision": key, "about": about} for key, about in self.migrations]}


def look(url: str) -> Standing:
    """How the inventory at a URL stands. Raises DatabaseError when there is none, or when a newer zctl made it."""
    before = schema.revision_of(url)
    if before is None:
        raise DatabaseError(f"there is no inventory at {shown(url)}", remedy="zctl init makes one")
    schema.require_known(before)
    found = Standing(__version__, shown(url), before, HEAD, schema.pending(before))
    inventory = Inventory(url)
    with inventory.read() as db:
        waiting = select(col(Host.name)).where(col(Host.id).in_(select(col(Outstanding.host_id))))
        found.waiting = sorted(db.scalars(waiting))
        if inspect(db.get_bind()).has_table("management_node"):
            nodes = db.execute(select(col(ManagementNode.name), col(ManagementNode.zctl_version)))
            found.nodes = {name: version for name, version in nodes if version != __version__}
    return found


def upgrade(config: Config, dump: Dump | None, say: Callable[[str], None]) -> Standing:
    """Dump the inventory, then run the migrations. Raises DatabaseError with the way back when one fails.

    Without `dump` there is none. Raises Conflict while another process works on a job.
    """
    standing = look(config.url)
    if not standing.migrations:
        return standing
    require_quiet(config.url)
    journal = log.logger(config.home, "upgrade")
    back = "restore the dump that you made yourself, with the zctl that made it"
    if dump is not None:
        say("dumping the inventory")
        back = f"go back with the zctl you had: {dump()}"
    say(f"schema {standing.schema} -> {HEAD}")
    journal.info("%s: from schema %s to %s", standing.inventory, standing.schema, HEAD)
    try:
        schema.initialise(config.url)
    except Exception as error:  # a migration may raise anything, and the way back must be told
        words = error.what if isinstance(error, ZctlError) else f"{type(error).__name__}: {error}"
        journal.error("%s: failed: %s", standing.inventory, words)
        raise DatabaseError(f"the upgrade failed: {words}", remedy=back) from error
    journal.info("%s: done", standing.inventory)
    return standing


def require_quiet(url: str) -> None:
    """Raise Conflict while a living process works on a job: its statements are made for the schema as it was."""
    with Inventory(url).read() as db:
        present = clock(db)
        running = select(col(Job.name), col(Job.owner), col(Job.heartbeat_at)).where(col(Job.state) == "Running")
        for name, owner, seen in db.execute(running):
            if is_alive(owner, seen, present):
                raise Conflict(
                    f"it is being worked on by {shown_owner(owner)}",
                    resource=f"job {name}",
                    remedy="wait for it, then upgrade",
                )
