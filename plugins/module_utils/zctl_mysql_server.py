"""Makes this host a database server of zctl: settings, TLS, users, and what decides after a start who is writable."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_mysql_client as client
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_mysql_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_mysql_writable as writable
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference, outcome, result
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        read_json,
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )
except ImportError:
    import zctl_mysql_client as client  # type: ignore[no-redef]
    import zctl_mysql_plan as plan  # type: ignore[no-redef]
    import zctl_mysql_writable as writable  # type: ignore[no-redef]
    from zctl_results import difference, outcome, result  # type: ignore[no-redef]
    from zctl_system import (  # type: ignore[no-redef]
        Trouble,
        read_json,
        read_text,
        run,
        succeeds,
        write_json,
        write_text,
    )

Json = dict[str, Any]
KIND = "database-server"
LIBRARY = Path("/usr/local/lib/zctl-database")
UNIT = Path("/etc/systemd/system/zctl-database.service")
DROP_IN = Path("/etc/systemd/system/mariadb.service.d/90-zctl.conf")
PARTS = ("zctl_system", "zctl_mysql_client", "zctl_mysql_writable")
START_SECONDS = 60
UNIT_TEXT = f"""\
# Written by zctl (role mysql_server).
[Unit]
Description=Let zctl's database be written to, if this server is the primary and no other one is
After=mariadb.service
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/python3 {LIBRARY}/zctl_mysql_writable.py
Restart=on-failure
RestartSec=5
"""
DROP_IN_TEXT = """\
# Written by zctl (role mysql_server): the server starts read-only, and this decides whether it stays so.
[Service]
ExecStartPost=-+/bin/systemctl start --no-block zctl-database.service
"""


def missing_packages() -> list[str]:
    """Packages of Debian whose programs are not there."""
    return [name for name, program in plan.PACKAGES.items() if not os.access(program, os.X_OK)]


def memory_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def foreign_config() -> dict[str, str]:
    """The server's configuration files by path."""
    folders = (Path("/etc/mysql/conf.d"), Path("/etc/mysql/mariadb.conf.d"))
    paths = [Path("/etc/mysql/my.cnf"), *(path for folder in folders for path in sorted(folder.glob("*.cnf")))]
    return {str(path): read_text(path) or "" for path in paths if path.exists()}


def files(state: Json, secrets: Json) -> list[tuple[Path, str, int, str]]:
    """Each file that is to be there: path, text, mode, owner."""
    folder = Path(plan.FOLDER)
    peers = (
        f"[client]\nuser = zctl_repl\npassword = {secrets['zctl_repl']}\nssl-ca = {folder}/ca.pem\n"
        "ssl-verify-server-cert\nconnect-timeout = 3\n"
    )
    found = [
        (folder / "ca.pem", str(state["tls"]["ca"]), 0o644, "root"),
        (folder / "server.pem", str(state["tls"]["certificate"]), 0o644, "root"),
        (folder / "server.key", str(secrets["key"]), 0o600, "mysql"),
        (folder / "peers.cnf", peers, 0o600, "root"),
        (Path(plan.CONFIG), plan.render_config(plan.settings(state, memory_bytes())), 0o644, "root"),
        (UNIT, UNIT_TEXT, 0o644, "root"),
        (DROP_IN, DROP_IN_TEXT, 0o644, "root"),
    ]
    for name in PARTS:
        found.append((LIBRARY / f"{name}.py", source(name), 0o644, "root"))
    return found


def source(name: str) -> str:
    """The text of one of the modules that go onto the host."""
    package = __package__ or ""
    spec = importlib.util.find_spec(f"{package}.{name}" if package else name)
    if spec is None or spec.loader is None:
        raise Trouble(f"the code of {name} is not among what was sent to this host (install zctl again)")
    text = spec.loader.get_source(spec.name)  # type: ignore[attr-defined]
    return str(text)


def write_files(state: Json, secrets: Json, check: bool) -> tuple[list[Json], set[str]]:
    """Bring the files; returns the differences and the names of what was written."""
    differences, written = [], set()
    for path, text, mode, owner in files(state, secrets):
        have = read_text(path)
        right = path.exists() and path.stat().st_mode & 0o777 == mode and path.owner() == owner
        if have == text and right:
            continue
        differences.append(difference(str(path), None if have is None else "other text or mode", "as zctl writes it"))
        if not check:
            write_text(path, text, mode)
            path.chmod(mode)
            shutil.chown(path, owner)
            written.add(path.name)
    return differences, written


def write_record(state: Json, check: bool) -> list[Json]:
    """Write down who this server is, but not its role when it has one: that changes by orders alone."""
    have = read_json(writable.RECORD) or {}
    wanted = state["record"] | {key: have[key] for key in ("role", "term") if key in have}
    if have == wanted:
        return []
    if not check:
        with writable.turn():
            write_json(writable.RECORD, wanted)
    return [difference(str(writable.RECORD), "another text" if have else None, "as zctl writes it")]


def running_settings() -> dict[str, str]:
    """The settings that the server runs with."""
    return {row["Variable_name"]: row["Value"] or "" for row in client.query("SHOW GLOBAL VARIABLES")}


def settle(state: Json, written: set[str], check: bool) -> list[Json]:
    """Make the server run with the settings, by a restart only where it needs one."""
    wanted = plan.settings(state, memory_bytes())
    differences = []
    if not succeeds(["systemctl", "is-enabled", "--quiet", "mariadb.service"]):
        differences.append(difference("mariadb.service.enabled", False, True))
        if not check:
            run(["systemctl", "enable", "--quiet", "mariadb.service"])
    if written & {UNIT.name, DROP_IN.name}:
        run(["systemctl", "daemon-reload"])
    up = client.answers()
    missing = plan.differing(wanted, running_settings()) if up else {}
    differences += [difference(name, have, want) for name, (have, want) in missing.items()]
    if not up:
        differences.append(difference("mariadb.service", "does not answer", "active"))
    if check or not (differences or written):
        return differences
    dynamic = {name: values for name, values in missing.items() if name in plan.DYNAMIC}
    if not up or set(missing) - set(dynamic):
        run(["systemctl", "restart", "mariadb.service"])
        wait_for_server()
        return differences
    if dynamic:
        client.execute(plan.set_statements(dynamic))
    if written & {"server.pem", "server.key", "ca.pem"}:
        client.execute("FLUSH SSL;")
    return differences


def wait_for_server() -> None:
    """Wait until the server answers. Raises Trouble when it does not."""
    deadline = time.monotonic() + START_SECONDS
    while not client.answers():
        if time.monotonic() > deadline:
            raise Trouble("the database server does not start (journalctl -u mariadb says why)")
        time.sleep(0.3)


def settle_users(state: Json, secrets: Json, check: bool) -> list[Json]:
    """Make the database and the users, and take away what makes a fresh server unsafe."""
    differences, statements = [], []
    databases = {
        row["name"]: int(row["tables"] or 0)
        for row in client.query(
            "SELECT s.schema_name AS name, COUNT(t.table_name) AS tables FROM information_schema.schemata s "
            "LEFT JOIN information_schema.tables t ON t.table_schema = s.schema_name GROUP BY s.schema_name"
        )
    }
    accounts = client.query("SELECT User, Host, Priv FROM mysql.global_priv")
    grants = int(client.value("SELECT COUNT(*) FROM mysql.db WHERE User = '' AND Db LIKE 'test%'") or 0)
    for what, statement in plan.hardening(accounts, databases, grants):
        differences.append(difference(what, "there", None))
        statements.append(f"{statement};\n")
    database = state["database"]
    if database not in databases:
        differences.append(difference(f"database {database}", None, "there"))
        statements.append(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4;\n")
    have = {row["User"] for row in accounts if row["Host"] == "%"}
    for name, wanted in plan.users(database).items():
        lines = None
        if name in have:
            rows = client.query(f"SHOW GRANTS FOR {client.literal(name)}@'%'")
            lines = [str(next(iter(row.values()))) for row in rows]
        if text := plan.user_statements(name, secrets[name], wanted, lines):
            differences.append(difference(f"user {name}", None if lines is None else "other rights", "as zctl has it"))
            statements.append(text)
    if statements and not check:
        client.execute("".join(statements))
    return differences


def converge(state: Json, secrets: Json, check: bool, require_packages: bool) -> Json:
    """Bring this host there; `results` has one entry. Packages are named, not installed."""
    entry = {"uuid": state["uuid"], "name": state["name"]}
    missing = missing_packages()
    if missing:
        lacks = [difference(f"package {name}", None, "installed") for name in missing]
        kind = "failed" if require_packages and not check else "changed"
        found = outcome([result(KIND, entry, kind, f"needs {', '.join(missing)}", lacks)])
        return found | {"missing_packages": missing, "changed": False if not check else bool(missing)}
    wanted = plan.settings(state, memory_bytes())
    if trouble := plan.conflicts(foreign_config(), wanted):
        raise Trouble(f"{'; '.join(trouble)} (remove that file or its line; zctl leaves it alone)")
    differences, written = write_files(state, secrets, check)
    differences += write_record(state, check)
    differences += settle(state, written, check)
    role = (read_json(writable.RECORD) or {}).get("role") or state["record"]["role"]
    if role in ("standalone", "primary") and client.answers():
        differences += settle_users(state, secrets, check)
        differences += settle_writable(role, check)
    reason = ", ".join(str(entry["field"]) for entry in differences)
    found = outcome([result(KIND, entry, "changed" if differences else "unchanged", reason, differences)])
    return found | {"missing_packages": []}


def settle_writable(role: str, check: bool) -> list[Json]:
    """A server that should be writable asks again whether it may."""
    if client.value("SELECT @@global.read_only") == "0":
        return []
    if not check:
        reason = writable.look_once()
        if reason and role == "standalone":
            raise Trouble(f"it stays read-only: {reason}")
        return [] if reason else [difference("read_only", "ON", "OFF")]
    return [difference("read_only", "ON", "OFF")]
