"""Failover: another server becomes the primary. Each step is written down first and may be repeated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zctl import log
from zctl.actions import database_config
from zctl.actions.database_servers import follow
from zctl.errors import HostError, Refused, ZctlError
from zctl.servers import ask, choose, gtid, record, states
from zctl.servers.ask import Operation, Seen
from zctl.servers.record import DATABASE, Change, Group, Server

DRAIN_SECONDS = 20
CATCH_UP_SECONDS = 30
Looks = dict[str, Seen]


def failover(operation: Operation, to: str, *, accept_loss: bool = False) -> Group:
    """Make another server the primary, or finish what was begun. Raises Refused rather than lose a write."""
    config = operation.config
    with record.locked(config):
        group = record.load(config)
        if len(group.servers) < 2:
            raise Refused("there is nothing to fail over to", remedy="zctl db replicate adds replicas")
        target = required(group, to)
        seen = ask.order(operation, list(group.servers), "look")
        said = log.logger(config.home, "failover")
        said.info("from %s to %s, begun before: %s", group.primary, target or "the best", group.change is not None)
        try:
            group = decide(operation, group, seen, target, accept_loss)
        except ZctlError as error:
            said.error("%s", error)
            raise
        said.info("the primary is %s, term %d", group.primary, group.term)
    return group


def required(group: Group, to: str) -> str:
    """The name of the server that is asked for; empty when none is."""
    if not to:
        return ""
    found = record.find(group, to)
    return found.name if found else group.server(to).name


def decide(operation: Operation, group: Group, seen: Looks, target: str, accept_loss: bool) -> Group:
    """Planned or not: that depends on whether the primary lives, and on how far an earlier call has come."""
    change = group.change
    if change and change.new and is_promoted(group, seen[change.new]):
        if target and target != change.new:
            raise Refused(
                f"a failover to {change.new} is under way",
                resource=f"database server {target}",
                remedy=f"finish that first: zctl db failover --to {change.new}",
            )
        return finish(operation, group, seen[change.new], seen)
    if change and change.new and not seen[change.new].up and seen[group.primary].role != "primary":
        # The old primary has stood back already, so that the new one may have been promoted before it died.
        return unplanned(operation, replace(group, primary=change.new), seen, target, accept_loss)
    if seen[group.primary].up:
        if target == group.primary:
            return resume(operation, group, seen, accept_loss)
        if not target and change and change.new and seen[change.new].up:
            target = change.new
        return planned(operation, group, seen, target)
    return unplanned(operation, group, seen, target, accept_loss)


def is_promoted(group: Group, found: Seen) -> bool:
    """Whether the server that an unfinished failover chose has become the primary by it."""
    term = group.term + (0 if group.primary == found.name else 1)
    return found.up and found.role == "primary" and found.term >= term


def begin(operation: Operation, group: Group, new: str) -> Group:
    """Write down that a failover is under way."""
    group = replace(group, change=Change(group.primary, new))
    record.save(operation.config, group)
    return group


def planned(operation: Operation, group: Group, seen: Looks, target: str) -> Group:
    """The primary lives: it takes no more writes, the target catches up, they change places. Nothing is lost."""
    target = target or choose.best_replica(group, seen)
    choose.check_planned(group, seen, target)
    group = begin(operation, group, target)
    old, after = group.server(group.primary), promoted(group, target)
    operation.say(f"{old.name}: takes no more writes")
    try:
        values = {
            "database": DATABASE,
            "patience": DRAIN_SECONDS,
            "record": states.role_record(after, old.name),
        }
        drained = ask.command(operation, old, "drain", values)
        operation.say(f"{target}: catches up to {drained.binlog_pos or 'the beginning'}")
        new = promote(operation, after, drained.binlog_pos)
    except HostError:
        give_back(operation, group, target)
        raise
    return finish(operation, group, new, seen)


def give_back(operation: Operation, group: Group, target: str) -> None:
    """Let the old primary be written to again, when it is sure that the target was not promoted."""
    found = ask.order(operation, [group.server(target), group.server(group.primary)], "look")
    if found[target].role == "primary" or not found[target].reached or not found[group.primary].up:
        operation.warn("the failover is unfinished: zctl db failover goes on with it")
        return
    operation.say(f"{group.primary}: stays the primary")
    promote(operation, group, "")
    record.save(operation.config, replace(group, change=None))


def resume(operation: Operation, group: Group, seen: Looks, accept_loss: bool) -> Group:
    """The recorded primary is to be the primary: let it be written to, if nobody else is."""
    for name in choose.others(group, group.primary):
        found = seen[name]
        if found.writable or (found.up and found.role == "primary"):
            raise Refused(f"{name} is the primary already", remedy=f"zctl db failover --to {name}")
        if not found.reached and not accept_loss:
            raise Refused(
                f"{name} cannot be asked: {found.problem}",
                remedy="start it; or, when it is off for good, add --accept-loss",
            )
        if not found.reached:
            group = group.with_out(name, True)
    if not seen[group.primary].writable or group.change is not None or accept_loss:
        group = replace(group, change=None)
        promote(operation, group, "")
        record.save(operation.config, group)
    return group


def unplanned(operation: Operation, group: Group, seen: Looks, target: str, accept_loss: bool) -> Group:
    """The primary is dead: end what is left of it, take the replica that has most, and make the others follow."""
    choose.check_unplanned(group, seen, accept_loss=accept_loss)
    if not accept_loss:
        require_silence(group, seen)
    group = begin(operation, group, group.change.new if group.change else "")
    fence(operation, group, seen)
    rest = [name for name in choose.others(group, group.primary) if seen[name].reached]
    operation.say(f"{', '.join(rest) or 'nobody'}: applying what was received")
    values: dict[str, dict[str, Any]] = {name: {"patience": CATCH_UP_SECONDS} for name in rest}
    heard = ask.order(operation, [group.server(name) for name in rest], "stop_receiving", values)
    require_complete(heard, accept_loss)
    chosen = choose.most_advanced(group, heard, rest, target)
    group = begin(operation, group, chosen)
    # Without the old one among its peers: should that come back now, the new one must not count itself the minority.
    new = promote(operation, promoted(group.with_out(group.primary, True), chosen), "")
    return finish(operation, group, new, seen | heard)


def require_silence(group: Group, seen: Looks) -> None:
    """Raise Refused when only the way to the primary is cut: clients may still reach it."""
    server = group.server(group.primary)
    if not seen[server.name].reached and ask.knock(server, server.sql_port):
        raise Refused(
            f"it answers clients at port {server.sql_port}, but not zctl by SSH: {seen[server.name].problem}",
            resource=f"database server {server.name}",
            remedy="mend the way to it, or stop it; with --accept-loss it is left as it is",
        )


def require_complete(heard: Looks, accept_loss: bool) -> None:
    """Raise Refused when a replica cannot apply what it received: nobody knows then what it alone has."""
    broken = [f"{name}: {seen.problem}" for name, seen in heard.items() if seen.problem]
    if broken and not accept_loss:
        raise Refused(
            "; ".join(broken),
            remedy="mend that and repeat; or, when what it alone received may be lost, add --accept-loss",
        )


def fence(operation: Operation, group: Group, seen: Looks) -> None:
    """Keep the old primary, and whoever else takes writes, from doing so, as far as they can be reached."""
    values = {name: {"record": states.role_record(group.with_out(name, True), name)} for name in seen}
    for name in choose.suspects(group, seen):
        if not seen[name].reached:
            operation.warn(f"{name} cannot be reached, so it is not stopped; it starts read-only and stays so")
            continue
        answer = ask.order(operation, [group.server(name)], "stand_down", values)[name]
        if not answer.reached:
            operation.warn(f"{name} went away while it was stopped: {answer.problem}")
        else:
            operation.say(f"{name}: stopped")


def promoted(group: Group, target: str) -> Group:
    """The group as it is when the target is the primary."""
    return replace(group, primary=target, term=group.term + 1)


def promote(operation: Operation, group: Group, wait_for: str) -> Seen:
    """Make the group's primary writable, once it has all up to a position."""
    values = {
        "record": states.role_record(group, group.primary),
        "wait_for": wait_for,
        "patience": CATCH_UP_SECONDS,
    }
    return ask.command(operation, group.server(group.primary), "promote", values)


def finish(operation: Operation, group: Group, new: Seen, seen: Looks) -> Group:
    """The new primary is promoted: make the others follow it, write that down, and tell clients of this machine.

    `new` is what it was like when it was promoted, so that others are measured by its history up to then.
    """
    operation.say(f"{new.name}: is the primary")
    old = group.change.old if group.change else group.primary
    if group.primary != new.name:
        group = promoted(group, new.name)
    before = group
    group, following = sort_out(operation, group, new, old, seen)
    record.save(operation.config, group)
    if group != before or not new.writable:
        promote(operation, group, "")  # it must not wait for servers that take no part
    if following:
        follow_all(operation, group, following)
    if old != new.name and group.server(old).out:
        shut_out(operation, group, old)
    group = replace(group, change=None)
    record.save(operation.config, group)
    path = database_config.follow_group(operation.config, group)
    if path is not None:
        operation.say(f"{path}: the primary's address comes first")
    return group


def follow_all(operation: Operation, group: Group, servers: list[Server]) -> None:
    """Make servers follow the primary; the failover does not fail for one that cannot."""
    try:
        follow(operation, group, servers)
    except HostError as error:
        operation.warn(f"{error}; zctl db rejoin {error.resource.rpartition(' ')[2]} makes it follow")


def shut_out(operation: Operation, group: Group, old: str) -> None:
    """Stop the old primary if it has come back meanwhile and does not know yet that it is none."""
    found = ask.order(operation, [group.server(old)], "look")
    if found[old].reached and found[old].role != "fenced":
        fence(operation, replace(group, primary=old), found)


def sort_out(operation: Operation, group: Group, new: Seen, old: str, seen: Looks) -> tuple[Group, list[Server]]:
    """Who can follow; whoever cannot, or holds what the new primary lacks, takes no part until it rejoins."""
    following = []
    for server in group.servers:
        if server.name == new.name or server.out:
            continue
        found = seen[server.name]
        # A primary that died may hold what nobody else has: only a rejoin, which looks, lets it in again.
        dead = (server.name == old and not found.up) or found.role == "fenced" or not found.reached
        if dead or gtid.errant(found.binlog_state, new.binlog_state):
            group = group.with_out(server.name, True)
            operation.warn(f"{server.name} takes no part: zctl db rejoin {server.name} brings it back")
        else:
            following.append(server)
    return group, following
