"""What the role mysql_server gets for each server, and what clients are told to use."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from zctl.config import Config
from zctl.servers.record import DATABASE, Group, Server, open_passwords
from zctl.servers.tls import authority_file, certificate_for

Json = dict[str, Any]


def peers(group: Group, name: str) -> list[Json]:
    """The other servers that take part, as a server knows them."""
    return [
        {"name": other.name, "host": other.address, "port": other.sql_port}
        for other in group.servers
        if other.name != name and not other.out
    ]


def semi_sync(group: Group) -> bool:
    """Whether a primary waits for replicas: where it is wanted and there are any."""
    return group.semi_sync and sum(not server.out for server in group.servers) > 1


def role_record(group: Group, name: str) -> Json:
    """What a server writes down of itself."""
    server = group.server(name)
    return {
        "name": name,
        "host": server.address,
        "role": group.role(name),
        "term": group.term,
        "peers": peers(group, name),
        "semi_sync": semi_sync(group),
    }


def server_state(config: Config, group: Group, server: Server) -> tuple[Json, dict[str, str]]:
    """The state of one server for the role, and the secrets that go with it."""
    authority, certificate, key = certificate_for(config, server.name, server.address)
    state = {
        "uuid": server.uuid,
        "name": server.name,
        "port": server.sql_port,
        "server_id": server.server_id,
        "database": DATABASE,
        "semi_sync": group.semi_sync,
        "record": role_record(group, server.name),
        "tls": {"ca": authority, "certificate": certificate},
    }
    return state, {**open_passwords(config, group), "key": key}


def database_url(config: Config, group: Group) -> str:
    """What goes into the configuration as `db`: all addresses, the primary first; the password is sealed."""
    addresses = ",".join(server.endpoint for server in group.ordered)
    authority = quote(str(authority_file(config)), safe="/")
    return f"mysql://zctl:{group.passwords['zctl']}@{addresses}/{DATABASE}?ssl_ca={authority}"
