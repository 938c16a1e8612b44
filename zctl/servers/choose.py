"""Who may take over from the primary, and what forbids it. Pure: what the servers said gives a choice or a refusal."""

from __future__ import annotations

from collections.abc import Mapping

from zctl.errors import Refused
from zctl.servers import gtid
from zctl.servers.ask import Seen
from zctl.servers.record import Group


def others(group: Group, name: str) -> list[str]:
    """The servers that take part, without one."""
    return [server.name for server in group.servers if server.name != name and not server.out]


def check_planned(group: Group, seen: Mapping[str, Seen], target: str) -> None:
    """Raise Refused unless the target can take over from the living primary without a loss."""
    found, label = seen[target], f"database server {target}"
    if group.server(target).out:
        raise Refused("it is no replica at present", resource=label, remedy=f"zctl db rejoin {target}")
    if not found.up:
        raise Refused(f"it does not answer: {found.problem}", resource=label, remedy="choose another, or start it")
    if found.role == "primary" and found.writable:
        return  # an earlier call has promoted it and was cut off
    source = group.server(group.primary)
    if (found.source.get("host"), found.source.get("port")) != (source.address, source.sql_port):
        raise Refused("it does not replicate from the primary", resource=label, remedy=f"zctl db rejoin {target}")
    if not found.follows:
        reason = found.source.get("error") or f"receiving: {found.source.get('receiving')}"
        raise Refused(f"its replication does not run: {reason}", resource=label, remedy=f"zctl db rejoin {target}")
    if extra := gtid.errant(found.binlog_state, seen[group.primary].binlog_state, source.server_id):
        raise Refused(
            f"it holds transactions that the primary does not have: {', '.join(extra)}",
            resource=label,
            remedy=f"zctl db rejoin {target} --errant discard",
        )


def best_replica(group: Group, seen: Mapping[str, Seen]) -> str:
    """The replica for a planned failover: one that runs, the one that has come furthest. Raises Refused."""
    fit, reasons = [], []
    for name in others(group, group.primary):
        try:
            check_planned(group, seen, name)
            fit.append(name)
        except Refused as error:
            reasons.append(str(error))
    if not fit:
        raise Refused(
            "no replica can take over: " + ("; ".join(reasons) or "there is none"),
            remedy="zctl db status shows them; zctl db replicate adds one",
        )
    return max(fit, key=lambda name: sorted(gtid.reach(seen[name].current_pos).items()))


def check_unplanned(group: Group, seen: Mapping[str, Seen], *, accept_loss: bool) -> None:
    """Raise Refused where a failover without the primary could lose acknowledged writes, unless that is accepted."""
    if accept_loss:
        return
    silent = [name for name in others(group, "") if not seen[name].up]
    if not group.semi_sync:
        raise Refused(
            f"the primary {group.primary} does not answer, and without semi-sync its last writes may be on no replica",
            remedy="start it again; or, when it is off for good, zctl db failover --accept-loss",
        )
    if len(silent) > 1:
        raise Refused(
            f"{' and '.join(silent)} do not answer: what the primary acknowledged may be on these alone",
            remedy="start one of them; or, when they are lost, zctl db failover --accept-loss",
        )


def most_advanced(group: Group, seen: Mapping[str, Seen], candidates: list[str], target: str) -> str:
    """The candidate that has all that any of them has; `target` when it is named. Raises Refused.

    `seen` is from after the candidates applied all that they had received.
    """
    fit = [name for name in candidates if seen[name].up and not seen[name].problem]
    if not fit:
        reasons = "; ".join(f"{name}: {seen[name].problem}" for name in candidates)
        raise Refused(
            f"no replica can take over: {reasons or 'there is none'}",
            resource=f"database server {group.primary}",
            remedy="start the primary or a replica; zctl db status shows them",
        )
    everything = ",".join(seen[name].current_pos for name in fit if seen[name].current_pos)
    complete = [name for name in fit if gtid.covers(seen[name].current_pos, everything)]
    if target:
        if target not in fit:
            raise Refused(
                seen[target].problem or "it is no replica at present",
                resource=f"database server {target}",
                remedy="leave --to out, then the most advanced replica is taken",
            )
        if target not in complete:
            raise Refused(
                f"{' and '.join(complete) or 'another'} has received more than it",
                resource=f"database server {target}",
                remedy="leave --to out, then the most advanced replica is taken",
            )
        return target
    if not complete:
        raise Refused("no replica has all that the others have", remedy="zctl db status shows their positions")
    return complete[0]


def suspects(group: Group, seen: Mapping[str, Seen]) -> list[str]:
    """Servers that might take writes and must not: the primary, and whoever else thinks it is one."""
    found = [group.primary]
    found += [name for name, entry in seen.items() if entry.writable and name not in found]
    return found
