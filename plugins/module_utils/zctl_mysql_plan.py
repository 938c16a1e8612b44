"""What a database server of zctl is to be like: its settings, its users, and the statements that lead there. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_mysql_client import literal
except ImportError:
    from zctl_mysql_client import literal  # type: ignore[no-redef]

Json = dict[str, Any]
FOLDER = "/etc/zctl/database"
CONFIG = "/etc/mysql/mariadb.conf.d/90-zctl.cnf"
PACKAGES = {"mariadb-server": "/usr/sbin/mariadbd", "mariadb-backup": "/usr/bin/mariadb-backup"}
MIB = 2**20
LEAST_POOL, GREATEST_POOL = 128 * MIB, 1024 * MIB
"""The inventory of 100,000 VMs fits into the greatest; more would be taken from others on the machine."""
# As long as the protocol allows: a primary that hears from no replica acknowledges nothing.
FOREVER_MS = 2**32 - 1
BINLOG_DAYS = 14
HEADER = "# Written by zctl (role mysql_server); what is changed here is lost.\n[mariadbd]\n"

# The server takes these while it runs; all others need a restart.
DYNAMIC = {
    "binlog_expire_logs_seconds",
    "gtid_domain_id",
    "gtid_strict_mode",
    "innodb_buffer_pool_size",
    "innodb_flush_log_at_trx_commit",
    "local_infile",
    "max_allowed_packet",
    "max_connections",
    "rpl_semi_sync_master_timeout",
    "rpl_semi_sync_master_wait_no_slave",
    "rpl_semi_sync_master_wait_point",
    "rpl_semi_sync_slave_enabled",
    "server_id",
    "slave_net_timeout",
    "sync_binlog",
}
SHOWN_AS = {"transaction_isolation": "tx_isolation"}
ONLY_IN_FILE = {"read_only", "log_bin", "relay_log"}
"""What zctl changes while the server runs, or what the server shows in other words than the file has it."""

DATA = "SELECT, INSERT, UPDATE, DELETE"
TABLES = (
    "CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, "
    "CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER"
)
DEBIAN_FILES = {
    "0-galera.cnf",
    "50-client.cnf",
    "50-mariadb-clients.cnf",
    "50-mysql-clients.cnf",
    "50-mysqld_safe.cnf",
    "50-mariadbd-safe.cnf",
    "50-server.cnf",
    "60-galera.cnf",
    "debian.cnf",
    "mariadb.cnf",
    "my.cnf",
    "mysql.cnf",
    "mysqldump.cnf",
    "90-zctl.cnf",
}
SERVER_GROUPS = re.compile(r"(server|mysqld|mariadb|mariadbd)(-\d+(\.\d+)*)?")


def settings(state: Json, memory: int) -> dict[str, str]:
    """The server's settings, in the words in which it shows them; `memory` is the machine's in bytes."""
    pool = min(max(memory // 4 // LEAST_POOL * LEAST_POOL, LEAST_POOL), GREATEST_POOL)
    found = {
        "bind_address": "*",
        "port": str(state.get("port", 3306)),
        "skip_name_resolve": "ON",
        "local_infile": "OFF",
        "character_set_server": "utf8mb4",
        "max_connections": str(state.get("max_connections", 200)),
        "max_allowed_packet": str(64 * MIB),
        "transaction_isolation": "READ-COMMITTED",
        "innodb_buffer_pool_size": str(pool),
        "innodb_flush_log_at_trx_commit": "1",
        "sync_binlog": "1",
        "read_only": "ON",
        "server_id": str(state["server_id"]),
        "log_bin": "zctl-bin",
        "relay_log": "zctl-relay",
        "binlog_format": "ROW",
        "binlog_expire_logs_seconds": str(BINLOG_DAYS * 86400),
        "gtid_domain_id": "0",
        "gtid_strict_mode": "ON",
        "log_slave_updates": "ON",
        "slave_net_timeout": "10",
        "ssl_ca": f"{FOLDER}/ca.pem",
        "ssl_cert": f"{FOLDER}/server.pem",
        "ssl_key": f"{FOLDER}/server.key",
        "tls_version": "TLSv1.2,TLSv1.3",
        "rpl_semi_sync_slave_enabled": "ON" if state.get("semi_sync") else "OFF",
        "rpl_semi_sync_master_timeout": str(FOREVER_MS),
        "rpl_semi_sync_master_wait_point": "AFTER_SYNC",
        "rpl_semi_sync_master_wait_no_slave": "ON",
    }
    return found


def render_config(wanted: dict[str, str]) -> str:
    """The configuration file."""
    return HEADER + "".join(f"{name} = {text}\n" for name, text in wanted.items())


def differing(wanted: dict[str, str], running: dict[str, str]) -> dict[str, tuple[str | None, str]]:
    """The settings with which the server does not run: name -> (running, wanted)."""
    found = {}
    for name, text in wanted.items():
        have = running.get(SHOWN_AS.get(name, name))
        if name not in ONLY_IN_FILE and have != text:
            found[name] = (have, text)
    if running.get("log_bin") != "ON":
        found["log_bin"] = (running.get("log_bin"), "ON")
    return found


def set_statements(names: dict[str, tuple[str | None, str]]) -> str:
    """The statements that change settings of a running server."""
    return "".join(
        f"SET GLOBAL {name} = {text if text.isdigit() or text in ('ON', 'OFF') else literal(text)};\n"
        for name, (_have, text) in names.items()
    )


def conflicts(files: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """In words, what others' configuration files set otherwise; `files` are texts by path."""
    found = []
    for path, text in sorted(files.items()):
        if path.rpartition("/")[2] in DEBIAN_FILES or "/provider_" in path:
            continue
        for name, value in parse_config(text).items():
            if name in wanted and value.strip("'\"") != wanted[name]:
                found.append(f"{path} sets {name} = {value}, zctl needs {wanted[name]}")
    return found


def parse_config(text: str) -> dict[str, str]:
    """The settings for servers in a file of MariaDB; dashes and underscores are the same to it."""
    found, group = {}, ""
    for raw in text.splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("["):
            group = line.strip("[]")
        elif line and line[0] not in ";!" and SERVER_GROUPS.fullmatch(group):
            name, _, value = line.partition("=")
            key = name.strip().replace("-", "_")
            found[key.removeprefix("loose_")] = value.strip() or "ON"
    return found


def password_hash(password: str) -> str:
    """A password as mysql_native_password keeps it."""
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def users(database: str) -> dict[str, dict[str, str]]:
    """Each user with what it may do: privileges by what they are on."""
    scratch = "`" + database.replace("_", "\\_") + "\\_scratch\\_%`.*"
    return {
        "zctl": {f"`{database}`.*": f"{DATA}, {TABLES}", scratch: f"{DATA}, {TABLES}"},
        "zctl_reader": {f"`{database}`.*": "SELECT, SHOW VIEW"},
        "zctl_repl": {"*.*": "REPLICATION SLAVE, SLAVE MONITOR"},
    }


def parse_grants(lines: list[str]) -> tuple[str, bool, dict[str, set[str]]]:
    """What SHOW GRANTS says: the password's hash, whether TLS is required, privileges by what they are on."""
    found: dict[str, set[str]] = {}
    hashed, tls = "", False
    for line in lines:
        match = re.match(r"GRANT (.+?) ON (.+?) TO ", line)
        if match is None:
            continue
        words = {word.strip() for word in match[1].split(",")} - {"USAGE"}
        if words:
            found.setdefault(match[2], set()).update(words)
        if secret := re.search(r"IDENTIFIED BY PASSWORD '([^']*)'", line):
            hashed = secret[1]
        tls = tls or " REQUIRE SSL" in line
    return hashed, tls, found


def user_statements(name: str, password: str, wanted: dict[str, str], have: list[str] | None) -> str:
    """The statements that make a user as it is to be; empty when it is. `have` is None when there is no such user."""
    hashed = password_hash(password)
    granted = {place: {word.strip() for word in words.split(",")} for place, words in wanted.items()}
    if have is not None and parse_grants(have) == (hashed, True, granted):
        return ""
    who = f"{literal(name)}@'%'"
    lines = [
        f"CREATE USER IF NOT EXISTS {who}",
        f"ALTER USER {who} IDENTIFIED VIA mysql_native_password USING {literal(hashed)} REQUIRE SSL",
        f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {who}",
        *(f"GRANT {words} ON {place} TO {who}" for place, words in wanted.items()),
    ]
    return "".join(f"{line};\n" for line in lines)


def hardening(accounts: list[Json], databases: dict[str, int], test_grants: int) -> list[tuple[str, str]]:
    """What makes a fresh server safe: (what, statement). `accounts` have User, Host and Priv (JSON text)."""
    found = []
    for account in accounts:
        user, host = account["User"] or "", account["Host"] or ""
        who = f"{literal(user)}@{literal(host)}"
        if not user:
            found.append((f"the anonymous user at {host}", f"DROP USER {who}"))
        elif user == "root" and host != "localhost":
            found.append((f"root from {host}", f"DROP USER {who}"))
        elif user == "root" and not root_by_socket_only(str(account.get("Priv") or "")):
            found.append(("root's password", f"ALTER USER {who} IDENTIFIED VIA unix_socket"))
    if databases.get("test") == 0:
        found.append(("the test database", "DROP DATABASE test"))
    if test_grants:
        found.append(
            ("everybody's right to test databases", "DELETE FROM mysql.db WHERE User = '' AND Db LIKE 'test%'")
        )
        found.append(("everybody's right to test databases", "FLUSH PRIVILEGES"))
    return found


def root_by_socket_only(priv: str) -> bool:
    """Whether an entry of mysql.global_priv lets root in by the socket alone."""
    try:
        account = json.loads(priv)
    except ValueError:
        return False
    ways = [way.get("plugin", account.get("plugin")) for way in account.get("auth_or") or [{}]]
    return ways == ["unix_socket"]
