"""Making database servers: the first one, and replicas of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zctl.actions import database_config
from zctl.config import Config
from zctl.errors import Refused
from zctl.inventory.lease import owner
from zctl.run.connection import fingerprint, scan_host_key
from zctl.run.runner import Settings
from zctl.servers import ask, record, seed, states
from zctl.servers.ask import Operation, Seen
from zctl.servers.record import DATABASE, PORT, Group, Server
from zctl.servers.states import database_url

__all__ = ["Group", "Operation", "database_url", "deploy", "follow", "operation_of", "replicate"]
SYSTEM_DATABASES = {"information_schema", "mysql", "performance_schema", "sys", "test"}


def operation_of(config: Config, say: Any, warn: Any, watch: Any) -> Operation:
    """How one call works on the servers. The inventory is not opened: it may be what is to be mended."""
    settings = Settings(config.home / "runs", owner(), config.forks, keep=config.debug)
    return Operation(config, settings, say, warn, watch)


def join(operation: Operation, group: Group, text: str, sql_port: int = PORT) -> tuple[Group, Server]:
    """The server that a word means; one that is not known yet joins, and the SSH key it shows is pinned."""
    known = record.find(group, text)
    if known is not None:
        return group, known
    _user, address, port = record.parse_where(text)
    key = scan_host_key(address, address, port)
    operation.say(f"{address}: pinned SSH key {key.split()[0]} {fingerprint(key)}")
    server = record.new_server(group, text, key, sql_port)
    return group.with_server(server), server


def deploy(operation: Operation, where: str, sql_port: int = PORT) -> tuple[Group, bool]:
    """Make a machine the database server, or bring a known one to what it should be; whether anything changed."""
    config = operation.config
    with record.locked(config):
        group = record.load(config)
        if group.servers and record.find(group, where) is None:
            raise Refused(
                f"the database has a server already: {group.primary}",
                resource=f"database server {where}",
                remedy=f"add this one with zctl db replicate --primary {group.primary} --replica {where}",
            )
        group, server = join(operation, group, where, sql_port)
        if not group.primary:
            group = replace(group, primary=server.name, passwords=record.new_passwords(config))
        record.save(config, group)
        return group, set_up(operation, group, [server])


def set_up(operation: Operation, group: Group, servers: list[Server], fresh: str = "") -> bool:
    """Apply the role to servers. The primary `fresh` is alone as yet: it need not wait for others to follow it."""
    wanted = {server: states.server_state(operation.config, group, server) for server in servers}
    for server, (state, _secrets) in wanted.items():
        if server.name == fresh:
            state["record"] |= {"role": "standalone", "peers": [], "semi_sync": False}
    return ask.set_up(
        operation,
        {server: state for server, (state, _secrets) in wanted.items()},
        {server: secrets for server, (_state, secrets) in wanted.items()},
    )


def replicate(operation: Operation, primary: str, replicas: list[str], semi_sync: bool | None) -> Group:
    """Make servers replicas of the primary, whichever of that is not so yet."""
    config = operation.config
    with record.locked(config):
        group = record.load(config)
        require_no_change(group)
        group, first = join(operation, group, primary)
        if group.primary and group.primary != first.name:
            raise Refused(
                f"the primary is {group.primary}",
                resource=f"database server {first.name}",
                remedy=f"zctl db failover --to {first.name} changes that",
            )
        for text in replicas:
            group, server = join(operation, group, text)
            if server.name == first.name:
                raise Refused("it cannot be its own replica", resource=f"database server {server.name}")
        fresh = "" if group.primary else first.name
        passwords = group.passwords or record.new_passwords(config)
        wanted = group.semi_sync if semi_sync is None else semi_sync
        group = replace(group, primary=first.name, passwords=passwords, semi_sync=wanted)
        record.save(config, group)
        taking_part = [server for server in group.servers if not server.out]
        operation.say(f"setting up {', '.join(server.name for server in taking_part)}")
        set_up(operation, group, taking_part, fresh)
        for server in taking_part:
            if server.name != first.name:
                attach(operation, group, server)
        write_roles(operation, group)
    database_config.follow_group(config, group)
    return group


def require_no_change(group: Group) -> None:
    """Raise Refused while a failover is unfinished."""
    if group.change is not None:
        raise Refused("a failover was begun and not ended", remedy="zctl db failover finishes it")


def attach(operation: Operation, group: Group, server: Server) -> None:
    """Make a server follow the primary; its data are copied when it never did."""
    seen = ask.command(operation, server, "look")
    if not is_replica(group, seen):
        copy_data(operation, group, server, seen)
    follow(operation, group, [server])
    operation.say(f"{server.name}: follows {group.primary}")


def is_replica(group: Group, seen: Seen) -> bool:
    """Whether a server holds what the primary once gave it."""
    source = group.server(group.primary)
    return seen.source.get("host") == source.address and seen.source.get("port") == source.sql_port


def copy_data(operation: Operation, group: Group, server: Server, seen: Seen) -> None:
    """Replace a server's data by a copy of the primary's. Raises Refused where others' databases would go with them."""
    strangers = [name for name in seen.databases if name not in SYSTEM_DATABASES and not name.startswith(DATABASE)]
    if strangers:
        raise Refused(
            f"it holds other databases, which a copy would replace: {', '.join(strangers)}",
            resource=f"database server {server.name}",
            remedy="move or drop them, or choose another machine",
        )
    source = group.server(group.primary)
    before = ask.command(operation, source, "look")
    if not before.up or not before.writable:
        raise Refused(
            "it is not writable, so nothing can be copied from it",
            resource=f"database server {source.name}",
            remedy="zctl db status shows why",
        )
    ask.command(operation, server, "seed_begin")
    operation.say(f"{server.name}: copying the data of {source.name}")
    config = operation.config
    seed.copy(source.connection(config), server.connection(config), operation.say)
    ask.command(operation, server, "seed_end", {"binlog_state": before.binlog_state})


def follow(operation: Operation, group: Group, servers: list[Server]) -> dict[str, Seen]:
    """Make servers follow the primary, and write that down on each. Raises HostError for the first that does not."""
    source = group.server(group.primary)
    values = {
        server.name: {
            "record": states.role_record(group, server.name),
            "source": {"host": source.address, "port": source.sql_port},
        }
        for server in servers
    }
    passwords = record.open_passwords(operation.config, group)
    found = ask.order(operation, servers, "follow", values, {"zctl_repl": passwords["zctl_repl"]})
    for seen in found.values():
        ask.require(seen, "follow")
    return found


def write_roles(operation: Operation, group: Group) -> None:
    """Write down on each server who takes part."""
    servers = [server for server in group.servers if not server.out]
    values = {server.name: {"record": states.role_record(group, server.name)} for server in servers}
    for seen in ask.order(operation, servers, "record", values).values():
        ask.require(seen, "record")
