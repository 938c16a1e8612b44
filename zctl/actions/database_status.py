"""What the database servers are, each by its own word, and what is wrong with them together."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zctl.servers import ask, gtid, record
from zctl.servers.ask import Operation, Seen
from zctl.servers.record import Group, Server


@dataclass(frozen=True)
class ServerStatus:
    """One server; `problems` are sentences."""

    server: Server
    seen: Seen
    wanted: str
    sql: bool
    errant: list[str]
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        seen = self.seen
        return {
            "name": self.server.name,
            "address": self.server.endpoint,
            "role": self.wanted,
            "ssh": seen.reached,
            "sql": self.sql,
            "up": seen.up,
            "writable": seen.writable,
            "version": seen.version,
            "gtid_binlog_pos": seen.binlog_pos,
            "gtid_slave_pos": seen.slave_pos,
            "gtid_current_pos": seen.current_pos,
            "semi_sync_replicas": int(seen.semi_sync_clients or 0) if seen.semi_sync == "1" else None,
            "source": seen.source.get("host", ""),
            "receiving": seen.source.get("receiving", ""),
            "applying": seen.source.get("applying", ""),
            "lag_seconds": seen.source.get("lag_seconds"),
            "error": seen.source.get("error", ""),
            "errant": self.errant,
            "problems": self.problems,
        }


@dataclass(frozen=True)
class Status:
    """All of them."""

    group: Group
    servers: list[ServerStatus]
    problems: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "primary": self.group.primary,
            "term": self.group.term,
            "semi_sync": self.group.semi_sync,
            "problems": self.problems,
            "servers": [entry.as_dict() for entry in self.servers],
        }


def status(operation: Operation) -> Status | None:
    """Ask all servers that zctl has set up; None when there are none."""
    group = record.load(operation.config)
    if not group.servers:
        return None
    seen = ask.order(operation, group.ordered, "look")
    errant = errant_transactions(group, seen)
    servers = [
        ServerStatus(
            server,
            seen[server.name],
            group.role(server.name),
            answers_clients(server),
            errant.get(server.name, []),
            problems_of(group, server, seen[server.name], errant.get(server.name, [])),
        )
        for server in group.ordered
    ]
    return Status(group, servers, problems(group, seen))


def errant_transactions(group: Group, seen: Mapping[str, Seen]) -> dict[str, list[str]]:
    """By server what it has and the primary has not; nothing while the primary cannot be asked."""
    primary = seen[group.primary]
    if not primary.up:
        return {}
    writer = group.server(group.primary).server_id
    return {
        name: gtid.errant(found.binlog_state, primary.binlog_state, writer)
        for name, found in seen.items()
        if name != group.primary
    }


def answers_clients(server: Server) -> bool:
    """Whether something at the port for clients greets like a MariaDB server."""
    try:
        with socket.create_connection((server.address, server.sql_port), ask.KNOCK_SECONDS) as made:
            made.settimeout(ask.KNOCK_SECONDS)
            return len(made.recv(5)) == 5
    except OSError:
        return False


def problems_of(group: Group, server: Server, seen: Seen, errant: list[str]) -> list[str]:
    """What is wrong with one server, in words."""
    role = group.role(server.name)
    if role == "fenced":
        return [f"it takes no part (zctl db rejoin {server.name})"]
    if not seen.up:
        return [seen.problem]
    found = []
    if errant:
        found.append(f"it holds transactions that the primary does not have: {', '.join(errant)}")
    if role == "replica":
        if seen.writable:
            found.append("it is writable, but not the primary")
        if not seen.source:
            found.append(f"it does not replicate (zctl db rejoin {server.name})")
        elif not seen.follows or seen.source.get("error"):
            found.append(seen.source.get("error") or "its replication does not run")
    elif not seen.writable:
        found.append("it is read-only (journalctl -u zctl-database on it says why)")
    return found


def problems(group: Group, seen: Mapping[str, Seen]) -> list[str]:
    """What is wrong with all of them together, in words."""
    found = []
    if group.change:
        found.append(f"a failover from {group.change.old} was begun and not ended (zctl db failover finishes it)")
    writable = [name for name, entry in seen.items() if entry.writable]
    if len(writable) > 1:
        found.append(f"more than one server is writable: {', '.join(writable)}")
    if not writable:
        found.append("no server is writable")
    primary = seen[group.primary]
    if group.semi_sync and primary.up and primary.semi_sync == "1" and primary.semi_sync_clients == "0":
        found.append("no replica confirms: the primary acknowledges no write until one is back")
    return found
