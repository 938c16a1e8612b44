"""Asking servers and giving them orders: one run of Ansible for all of them; those that are dead are not waited for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from zctl.config import Config
from zctl.errors import HostError
from zctl.run.runner import Settings, attempt, execute, require_ansible
from zctl.run.values import HostResult, HostRun
from zctl.servers.record import Server

KNOCK_SECONDS = 3.0
SHOWN = 4
WITHOUT_SERVER = ("write_role", "stand_down")
"""Orders after which the database server need not run."""
ROLE = "mysql_server"
ORDERS = "mysql_replication"


@dataclass(frozen=True)
class Operation:
    """One call: settings, how to run Ansible, and who hears of it."""

    config: Config
    settings: Settings
    say: Callable[[str], None]
    warn: Callable[[str], None]
    watch: Callable[[str, str], None]


@dataclass(frozen=True)
class Seen:
    """What one server said of itself. `reached` is SSH, `up` the database server on it, `failed` the order."""

    name: str
    reached: bool = False
    up: bool = False
    failed: bool = False
    problem: str = ""
    role: str = ""
    term: int = 0
    writable: bool = False
    slave_pos: str = ""
    binlog_pos: str = ""
    binlog_state: str = ""
    current_pos: str = ""
    version: str = ""
    semi_sync: str = ""
    semi_sync_clients: str = ""
    server_id: str = ""
    read_only: str = ""
    databases: list[str] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def follows(self) -> bool:
        """Whether replication runs without an error."""
        return (self.source.get("receiving"), self.source.get("applying")) == ("Yes", "Yes")


def knock(server: Server, port: int = 0) -> bool:
    """Whether something listens on a port of the server; that of SSH when none is given."""
    try:
        socket.create_connection((server.address, port or server.port), KNOCK_SECONDS).close()
    except OSError:
        return False
    return True


def order(
    operation: Operation,
    servers: list[Server],
    what: str,
    values: dict[str, dict[str, Any]] | None = None,
    secrets: dict[str, str] | None = None,
) -> dict[str, Seen]:
    """Give servers an order, with values by name; returns what each was like afterwards, also of those not reached."""
    if not servers:
        return {}
    with ThreadPoolExecutor(max_workers=len(servers)) as pool:
        heard = dict(zip(servers, pool.map(knock, servers), strict=True))
    runs = []
    for server in (server for server in servers if heard[server]):
        task = {"order": what, "uuid": server.uuid, "name": server.name, "values": (values or {}).get(server.name, {})}
        state = {"inventory": server.uuid, ORDERS: task, f"{ORDERS}_secrets": secrets or {}}
        runs.append(HostRun(server.connection(operation.config), state, None, (ORDERS,)))
    found = attempt(runs, operation.settings, operation.watch) if runs else {}
    return {server.name: _seen(server, found.get(server.uuid)) for server in servers}


def _seen(server: Server, result: HostResult | None) -> Seen:
    if result is None:
        return Seen(server.name, problem=f"nothing answers at {server.address} port {server.port}")
    if result.unreachable:
        return Seen(server.name, problem=result.unreachable)
    if result.failure or not result.results:
        return Seen(server.name, reached=True, failed=True, problem=result.failure or "it gave no answer")
    known = {key: value for key, value in result.results[0].observed.items() if key in Seen.__dataclass_fields__}
    return Seen(server.name, reached=True, **known)


def command(
    operation: Operation,
    server: Server,
    what: str,
    values: dict[str, Any] | None = None,
    secrets: dict[str, str] | None = None,
) -> Seen:
    """Give one server an order that must succeed. Raises HostError."""
    return require(order(operation, [server], what, {server.name: values or {}}, secrets)[server.name], what)


def require(seen: Seen, what: str) -> Seen:
    """The answer of a server that did as ordered. Raises HostError otherwise."""
    if not seen.reached or seen.failed or (seen.problem and what not in WITHOUT_SERVER):
        raise HostError(
            seen.problem, resource=f"database server {seen.name}", remedy=f"mend that and repeat the command ({what})"
        )
    return seen


def set_up(operation: Operation, states: dict[Server, dict[str, Any]], secrets: dict[Server, dict[str, str]]) -> bool:
    """Apply the role to servers at once; whether anything changed. Raises HostError for the first that fails."""
    require_ansible()
    runs = [
        HostRun(
            server.connection(operation.config),
            {"inventory": server.uuid, ROLE: state, f"{ROLE}_secrets": secrets[server]},
            None,
            (ROLE,),
        )
        for server, state in states.items()
    ]
    found = execute(runs, operation.settings, operation.watch)
    changed = False
    for server in states:
        result = found[server.uuid]
        failed = [entry.reason for entry in result.results if entry.result == "failed"]
        if result.unreachable or result.failure or (result.results and result.results[-1].result == "failed"):
            raise HostError(
                result.unreachable or result.failure or failed[-1],
                resource=f"database server {server.name}",
                remedy="mend that and repeat the command",
            )
        for entry in result.results:
            if entry.result == "changed":
                operation.say(f"{server.name}: {shortened(entry.reason)}")
                changed = True
    return changed


def shortened(reason: str) -> str:
    """The first few of the things that were changed, and how many more."""
    things = reason.split(", ")
    return ", ".join(things[:SHOWN]) + (f" and {len(things) - SHOWN} more" if len(things) > SHOWN else "")
