"""Database addresses with several servers, as libpq and JDBC write them: mysql://user:password@h1,h2:3307,[::1]/zctl."""

from __future__ import annotations

import re

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

MYSQL_PORT = 3306
SEVERAL = re.compile(
    r"(?P<head>(?:mysql|mariadb)[a-z+]*://(?:[^/?]*@)?)(?P<hosts>[^/?@]*,[^/?@]*)(?P<tail>.*)", re.DOTALL
)
ONE = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>\d+))?")


def split(url: str) -> tuple[URL, list[tuple[str, int]]]:
    """The address of the first server as SQLAlchemy has it, and every server as host and port.

    The list is empty where the address names one server or none. Raises ArgumentError for mistakes.
    """
    found = SEVERAL.fullmatch(url)
    if found is None:
        return make_url(url), []
    servers = []
    for text in found["hosts"].split(","):
        one = ONE.fullmatch(text.strip())
        if one is None:
            raise ArgumentError(f"{text!r} is no server in the database's address")
        servers.append((one["host"].strip("[]"), int(one["port"] or MYSQL_PORT)))
    first = found["hosts"].split(",")[0].strip()
    return make_url(f"{found['head']}{first}{found['tail']}"), list(dict.fromkeys(servers))


def shown(url: str) -> str:
    """The address without its password."""
    made, servers = split(url)
    text = made.render_as_string(hide_password=True)
    if not servers:
        return text
    found = SEVERAL.fullmatch(url)
    assert found is not None
    return text.replace(found["hosts"].split(",")[0].strip(), found["hosts"], 1)
