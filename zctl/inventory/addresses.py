"""Database addresses with several servers, as libpq and JDBC write them: mysql://user:password@h1,h2:3307,[::1]/zctl."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from zctl.config import sqlite_url
from zctl.errors import Misuse, did_you_mean

MYSQL_PORT = 3306
WHOLE = re.compile(r"(?P<scheme>\w[\w+]*)://(?P<login>[^:/@]*(?::[^@]*)?@)?(?P<rest>.*)", re.DOTALL)
REST = re.compile(r"(?P<hosts>[^/?]*)(?P<path>[^?]*)(?P<query>.*)", re.DOTALL)
ONE = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?")
NUMBERS = {"client_flag", "connect_timeout", "local_infile", "max_allowed_packet", "read_timeout", "write_timeout"}
MYSQL_OPTIONS = NUMBERS | {
    *("autocommit", "bind_address", "binary_prefix", "charset", "collation", "init_command", "program_name"),
    *("read_default_file", "read_default_group", "sql_mode", "unix_socket", "use_unicode"),
    *("ssl_ca", "ssl_capath", "ssl_cert", "ssl_check_hostname", "ssl_cipher", "ssl_disabled", "ssl_key"),
    *("ssl_verify_cert", "ssl_verify_identity"),
}
"""What may stand behind the question mark: what the driver takes and a text can be."""
YEAR = 31_536_000
RESOURCE = "the database's address"
UNCLEAR = "it is not clear where the password in it ends"
HOW = (
    "write mysql://user:password@server/zctl and percent-encode '@', ':', '/', ',' in the password (%40 %3A %2F %2C),"
    " or put it there as ENC(...): zctl secret encrypt"
)


def split(url: str) -> tuple[URL, list[tuple[str, int]]]:
    """The address of the first server as SQLAlchemy has it, and every server as host and port.

    The list is empty where the address names one server or none. Raises Misuse for mistakes; as nobody knows which part
    of such an address is the password, it repeats nothing of it.
    """
    whole = WHOLE.fullmatch(url)
    if whole is None:
        raise Misuse("it cannot be read", resource=RESOURCE, remedy=HOW)
    rest = REST.fullmatch(whole["rest"])
    assert rest is not None
    if whole["scheme"].partition("+")[0] == "sqlite" and not rest["hosts"] and not whole["login"]:
        return make_url(url), []
    login, hosts = whole["login"] or "", rest["hosts"].split(",")
    # Either several servers and an @ behind them, or a password that holds a comma and a slash.
    before = re.split("[/?]", login, maxsplit=1)[0]
    if "@" in rest["hosts"] + rest["path"] or ("," in before and "@" not in before):
        raise Misuse(UNCLEAR, resource=RESOURCE, remedy=HOW)
    servers = [server(text.strip()) for text in hosts] if rest["hosts"] else []
    # SQLAlchemy would take an @ behind the question mark for the end of the password.
    query = rest["query"].replace("@", "%40")
    try:
        made = make_url(f"{whole['scheme']}://{login}{hosts[0].strip()}{rest['path']}{query}")
    except (ArgumentError, ValueError):
        raise Misuse("it cannot be read", resource=RESOURCE, remedy=HOW) from None
    if whole["scheme"] in ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"):
        check_options(rest["query"])
    return made, list(dict.fromkeys(servers)) if len(hosts) > 1 else []


def server(text: str) -> tuple[str, int]:
    """One server's host and port. Raises Misuse."""
    one = ONE.fullmatch(text)
    if one is None or int(one["port"] or 0) > 65535:
        raise Misuse("a server in it is neither HOST nor HOST:PORT", resource=RESOURCE, remedy=HOW)
    return one["host"].strip("[]"), int(one["port"] or MYSQL_PORT)


def check_options(query: str) -> None:
    """Raise Misuse for options that the driver does not take, and for passwords among them."""
    for piece in filter(None, query.removeprefix("?").split("&")):
        name, value = (parse_qsl(piece, keep_blank_values=True) or [("", "")])[0]
        if "pass" in name:
            raise Misuse(
                "a password stands among its options, where zctl would show it",
                resource=RESOURCE,
                remedy="mysql://user:password@server/zctl is its place; a key file needs to be without one",
            )
        if name not in MYSQL_OPTIONS:
            if "@" in query:  # it may end a password that holds a question mark
                raise Misuse(UNCLEAR, resource=RESOURCE, remedy=HOW)
            near = did_you_mean(name, MYSQL_OPTIONS) or f"options are {', '.join(sorted(MYSQL_OPTIONS))}"
            raise Misuse(f"the option {name!r} in it is unknown", resource=RESOURCE, remedy=near)
        if name in NUMBERS and not value.isdecimal():
            raise Misuse(f"{name} in it has to be a number", resource=RESOURCE, remedy=f"such as {name}=10")
        if name.endswith("timeout") and not 0 < int(value) <= YEAR:
            raise Misuse(f"{name} in it has to be 1 to {YEAR} seconds", resource=RESOURCE, remedy=f"such as {name}=10")


def checked(url: str, source: str) -> str:
    """The address itself. Raises Misuse, which names where it comes from, for one with mistakes."""
    try:
        split(url)
    except Misuse as error:
        raise Misuse(f"{RESOURCE}: {error.what}", resource=source, remedy=error.remedy) from None
    return url


def shown(url: str) -> str:
    """The address without its password; no part of one that cannot be read."""
    try:
        made, servers = split(url)
    except Misuse:
        return "a database whose address cannot be read"
    # Letters beyond ASCII stay as people write them, so that a file is shown by its name.
    if made.get_backend_name() == "sqlite" and made.database and not made.query and not made.host:
        return sqlite_url(made.database)
    text = made.render_as_string(hide_password=True)
    if not servers:
        return text
    whole = WHOLE.fullmatch(url)
    assert whole is not None
    hosts = re.split("[/?]", whole["rest"], maxsplit=1)[0]
    sign = "@" if whole["login"] else "://"
    return text.replace(sign + hosts.split(",")[0].strip(), sign + hosts, 1)
