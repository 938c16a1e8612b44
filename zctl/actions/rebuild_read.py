"""Reading from hosts what they keep of an inventory: the named ones first, then those that their records tell of."""

from __future__ import annotations

import base64
import json
import re
import uuid
import zlib
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from zctl.actions.context import Context
from zctl.errors import Invalid, Misuse, NotFound, Refused, ZctlError
from zctl.resources.host import LOCAL, Host
from zctl.resources.rebuild import Said, hosts_in, merge, said_by
from zctl.resources.rows import row_of
from zctl.run.connection import fingerprint, scan_host_key
from zctl.run.render import READ_ROWS
from zctl.run.runner import execute, require_ansible
from zctl.run.values import Connection, HostRun

MOST_TEXT = 2**30
TARGET = re.compile(r"(?:(?P<user>[A-Za-z_][A-Za-z0-9_.-]{0,31})@)?(?P<place>[^@]+)")


@dataclass
class Survey:
    """What all hosts said of one inventory, and why others could not be asked."""

    inventory: str
    said: list[Said] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """What one host said, by inventory."""

    said: dict[str, Said]
    unread: str = ""


def parse_target(text: str, key: str) -> Connection:
    """[USER@]ADDRESS[:PORT] as a connection without a pinned key yet. Raises Invalid."""
    found = TARGET.fullmatch(text)
    place, port = (found["place"] if found else ""), 22
    if match := re.fullmatch(r"\[([0-9A-Fa-f:.%]+)\](?::(\d{1,5}))?", place) or re.fullmatch(
        r"([^:\[\]]+)(?::(\d{1,5}))?", place
    ):
        place, port = match[1], int(match[2] or 22)
    elif not is_address(place):
        place = ""
    if not found or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.:_-]*", place) or not 1 <= port <= 65535:
        raise Invalid(
            f"{text!a} is no address of a host", remedy="write [USER@]ADDRESS[:PORT], such as root@198.51.100.7"
        )
    return Connection(text, str(uuid.uuid4()), place, port, found["user"] or "root", key)


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def survey(context: Context, targets: list[Connection], only: str) -> Survey:
    """Ask the targets and all hosts that their records name. Raises Misuse, NotFound or Refused when none has any.

    `only` is the UUID of the inventory that is meant, or empty when there is but one on the hosts.
    """
    require_ansible()
    asked: dict[tuple[str, int], str] = {}
    found: list[tuple[Connection, Asked]] = []
    chosen = only
    queue = targets
    while queue:
        pinned = [pin(context, connection) for connection in queue]
        for connection in queue:
            asked[connection.address, connection.port] = connection.name
        found += ask(context, pinned)
        chosen = chosen or the_only(found)
        said = [answer.said[chosen] for _connection, answer in found if chosen in answer.said]
        seen = {one.host for one in said}
        queue = [
            connection
            for connection in told_of(context, said, targets[0].key)
            if connection.uuid not in seen and (connection.address, connection.port) not in asked
        ]
    result = Survey(chosen, said, {connection.name: answer.unread for connection, answer in found if answer.unread})
    if not any(one.keeps or one.domains for one in said):
        refuse(result)
    return result


def refuse(result: Survey) -> None:
    """There is nothing to make an inventory of."""
    if result.unread:
        name, why = next(iter(result.unread.items()))
        raise Refused(why, resource=f"host {name}", remedy="name a host that answers: --host ADDRESS")
    raise NotFound(
        f"the hosts keep no records of inventory {result.inventory}"
        if result.inventory
        else "the hosts keep no records",
        remedy="name other hosts; those that no run has reached since zctl keeps records have none",
    )


def the_only(found: list[tuple[Connection, Asked]]) -> str:
    """The one inventory that the hosts know; raises Misuse when there are several."""
    known: dict[str, list[str]] = {}
    for connection, answer in found:
        for key in answer.said:
            known.setdefault(key, []).append(connection.name)
    if len(known) > 1:
        words = "; ".join(f"{key} on {', '.join(names)}" for key, names in sorted(known.items()))
        raise Misuse(f"the hosts know {len(known)} inventories: {words}", remedy="choose one with --inventory UUID")
    return next(iter(known), "")


def pin(context: Context, connection: Connection) -> Connection:
    """The connection with the key that the host shows now, which is told; a pinned one stays as it is."""
    if connection.host_key or connection.is_local:
        return connection
    try:
        key = scan_host_key(connection.name, connection.address, connection.port)
    except ZctlError as error:
        context.warn(str(error))
        return connection
    context.say(f"host {connection.name}: SSH key {key.split()[0]} {fingerprint(key)}")
    return replace(connection, host_key=key)


def ask(context: Context, connections: list[Connection]) -> list[tuple[Connection, Asked]]:
    """What the hosts say."""
    runs = [HostRun(one, {"inventory": ""}, None, (READ_ROWS,)) for one in connections if one.host_key or one.is_local]
    answers = execute(runs, context.run_settings(), context.watch) if runs else {}
    found = []
    for connection in connections:
        answer = answers.get(connection.uuid)
        if answer is None:
            found.append((connection, Asked({}, "no SSH server answers there")))
            continue
        said, problem = {}, answer.unreachable or answer.failure
        for entry in answer.results if not problem else ():
            try:
                texts = unpack(entry.observed.get("files"))
            except (ValueError, zlib.error) as error:
                context.warn(f"host {connection.name}: its records cannot be read: {error}")
                continue
            said[entry.uuid] = said_by(connection.name, texts, marked(entry.observed.get("domains")))
        found.append((connection, Asked(said, problem)))
    return found


def unpack(packed: Any) -> dict[str, str | None]:
    """The files' texts. Raises ValueError or zlib.error for what is none; what would fill the memory is cut."""
    value = json.loads(zlib.decompressobj().decompress(base64.b64decode(str(packed)), MOST_TEXT))
    if not isinstance(value, dict):
        raise ValueError("they are in no form that is known")
    return {key: text for key, text in value.items() if isinstance(text, str)}


def marked(domains: Any) -> dict[str, str] | None:
    """The marked domains, or None when the host could not tell."""
    if not isinstance(domains, dict):
        return None
    return {str(key): str(name) for key, name in domains.items()}


def told_of(context: Context, said: list[Said], key: str) -> list[Connection]:
    """The hosts that records tell of, by the keys that were pinned when they were added."""
    found = []
    for record in hosts_in(merge(said, with_left=True)):
        try:
            row = row_of(record)
        except ZctlError:
            continue  # it is told when the rows are made
        assert isinstance(row, Host)
        if row.address == LOCAL or not row.host_key:
            continue  # that machine is another one for whoever reads this
        own = row.key if row.key and Path(row.key).is_file() else key or context.config.ssh_key
        found.append(Connection(row.name, row.id, row.address, row.port, row.user, own, row.host_key))
    return found
