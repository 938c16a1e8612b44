"""This machine as one of those that run zctl on the inventory: its row is a sign of life for the others."""

from __future__ import annotations

import platform
import socket
import uuid
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlmodel import col

from zctl import __version__
from zctl.inventory.lease import kernel
from zctl.resources.clock import clock
from zctl.resources.management_node import ManagementNode

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MACHINE_ID = Path("/etc/machine-id")
# Addresses for documentation (RFC 5737, RFC 3849): asking for the way to them sends nothing.
ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


@cache
def node_id() -> str:
    """The UUID of this machine's row. machine-id(5) itself is not to be shown, so it is hashed.

    The host's name goes in too: machines that were copied from one disk often share the machine-id.
    """
    try:
        machine = MACHINE_ID.read_text().strip()
    except OSError:
        machine = ""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"zctl:{machine}:{platform.node()}"))


@cache
def own_address() -> str:
    """The address that this machine uses towards others; empty when it has no way out."""
    for family, address in ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return ""


def beat(db: Session) -> None:
    """Write down, in a write transaction, that this machine is alive: one statement, but for the first time."""
    present = clock(db)
    values = {"last_seen": present, "zctl_version": __version__, "address": own_address(), "kernel": kernel()}
    done = db.execute(
        update(ManagementNode).where(col(ManagementNode.id) == node_id()).values(**values),
        execution_options={"synchronize_session": False},
    )
    if done.rowcount:  # type: ignore[attr-defined]
        return
    name = platform.node() or "localhost"
    if db.scalar(select(col(ManagementNode.id)).where(col(ManagementNode.name) == name)):
        name = f"{name}-{node_id()[:8]}"  # another machine with the same host name
    db.add(ManagementNode.build(id=node_id(), name=name, **values))
    db.flush()
