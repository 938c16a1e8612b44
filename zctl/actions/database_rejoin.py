"""Letting a server take part again, and letting one go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from zctl.actions import database_config
from zctl.actions.database_servers import copy_data, follow, require_no_change, set_up, write_roles
from zctl.errors import Invalid, Refused
from zctl.servers import ask, gtid, record, seed, states
from zctl.servers.ask import Operation, Seen
from zctl.servers.record import Group, Server

KEEP, DISCARD = "keep-dump", "discard"


def rejoin(operation: Operation, name: str, *, errant: str = "", dump: Path | None = None, copy: bool = False) -> Group:
    """Make a server a replica of the present primary. Raises Refused when it holds transactions the primary lacks.

    `errant` says what becomes of those: `discard`, or `keep-dump`, which writes them into the file `dump` first; after
    either the server's data are replaced by a copy. `copy` asks for that in any case.
    """
    if errant not in ("", KEEP, DISCARD) or (errant == KEEP) != (dump is not None):
        raise Invalid("--errant is discard, or keep-dump with --dump-file FILE")
    config = operation.config
    with record.locked(config):
        group = record.load(config)
        require_no_change(group)
        server = record.find(group, name) or group.server(name)
        if server.name == group.primary:
            raise Refused("it is the primary", resource=f"database server {server.name}")
        seen = ask.order(operation, [server, group.server(group.primary)], "look")
        require_primary(group, seen[group.primary])
        stand_back(operation, group, server, seen[server.name])
        group = group.with_out(server.name, False)
        set_up(operation, group, [server])
        # The primary is asked last: it may have written meanwhile.
        mine = ask.command(operation, server, "look")
        theirs = ask.command(operation, group.server(group.primary), "look")
        extra = gtid.errant(mine.binlog_state, theirs.binlog_state)
        if extra and not errant:
            raise Refused(
                f"it holds transactions that the primary does not have: {', '.join(extra)}",
                resource=f"database server {server.name}",
                remedy=f"zctl db rejoin {server.name} --errant discard, or --errant keep-dump --dump-file FILE",
            )
        if extra and dump is not None:
            seed.read_binlog(server.connection(config), extra, dump)
            operation.say(f"{dump}: what only {server.name} had")
        if copy or extra or not mine.current_pos or not seen[server.name].role:  # the last: a new disk, a new machine
            copy_data(operation, group, server, mine)
        follow(operation, group, [server])
        record.save(config, group)
        write_roles(operation, group)
        database_config.follow_group(config, group)
    return group


def require_primary(group: Group, seen: Seen) -> None:
    """Raise Refused unless the primary is there to follow."""
    if not seen.up or not seen.writable:
        raise Refused(
            f"the primary is not writable: {seen.problem or 'read-only'}",
            resource=f"database server {group.primary}",
            remedy="zctl db failover first",
        )


def stand_back(operation: Operation, group: Group, server: Server, seen: Seen) -> None:
    """Make sure that the server is not written to while it is looked at."""
    ask.require(replace(seen, problem="" if seen.reached else seen.problem), "look")
    if seen.up and seen.source and seen.role == "replica":
        return
    values = {"record": states.role_record(group.with_out(server.name, True), server.name)}
    ask.command(operation, server, "stand_down" if seen.writable else "write_role", values)


def forget(operation: Operation, name: str) -> Group:
    """Let a server go that will not come back; nothing on it is touched. Raises Refused for the primary."""
    with record.locked(operation.config):
        group = record.load(operation.config)
        require_no_change(group)
        server = record.find(group, name) or group.server(name)
        if server.name == group.primary and len(group.servers) > 1:
            raise Refused(
                "it is the primary", resource=f"database server {server.name}", remedy="zctl db failover first"
            )
        kept = tuple(entry for entry in group.servers if entry.name != server.name)
        group = replace(group, servers=kept, primary=group.primary if kept else "")
        if kept:
            write_roles(operation, group)
            database_config.follow_group(operation.config, group)
        record.save(operation.config, group)
    return group
