"""Talking to the MariaDB server of this host as root through its socket, by the server's own client program."""

from __future__ import annotations

import re
import subprocess
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble
except ImportError:
    from zctl_system import Trouble  # type: ignore[assignment]

SOCKET = "/run/mysqld/mysqld.sock"
PATIENCE_SECONDS = 60
ESCAPED = re.compile(r"\\(.)")
LETTERS = {"n": "\n", "t": "\t", "0": "\0"}


def client_argv(*options: str) -> list[str]:
    """The client for this host's own server. Statements and passwords go through its input, never into its words."""
    return ["mariadb", "--no-defaults", f"--socket={SOCKET}", "--batch", *options]


def talk(argv: list[str], sql: str, patience: float = PATIENCE_SECONDS) -> str:
    """What a client prints for statements. Raises Trouble with the server's words, never with the statement."""
    try:
        done = subprocess.run(argv, input=sql, capture_output=True, text=True, check=False, timeout=patience)
    except FileNotFoundError:
        raise Trouble("mariadb is not installed (zctl db deploy installs it)") from None
    except subprocess.TimeoutExpired:
        raise Trouble(f"the database server does not answer within {patience:.0f} s") from None
    if done.returncode:
        raise Trouble(f"the database server says: {done.stderr.strip()[-500:] or done.returncode}")
    return done.stdout


def execute(sql: str, patience: float = PATIENCE_SECONDS) -> None:
    """Run statements on this host's server."""
    talk(client_argv(), sql, patience)


def query(sql: str, patience: float = PATIENCE_SECONDS) -> list[dict[str, Any]]:
    """The rows of one statement."""
    return parse_rows(talk(client_argv(), sql, patience))


def value(sql: str) -> str:
    """The one value of one statement; empty when there is none."""
    rows = query(sql)
    return str(next(iter(rows[0].values())) or "") if rows else ""


def answers() -> bool:
    """Whether the server of this host answers."""
    try:
        return value("SELECT 1") == "1"
    except Trouble:
        return False


def parse_rows(output: str) -> list[dict[str, Any]]:
    """The client's batch output as rows: a line of names, then a line for each row. NULL is None."""
    lines = output.split("\n")
    names = lines[0].split("\t")
    return [
        dict(zip(names, (None if cell == "NULL" else unescape(cell) for cell in line.split("\t")), strict=True))
        for line in lines[1:]
        if line
    ]


def unescape(cell: str) -> str:
    """A cell without the client's backslashes."""
    return ESCAPED.sub(lambda found: LETTERS.get(found[1], found[1]), cell)


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
