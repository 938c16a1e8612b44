"""Carries out one order on a database server: look, drain, promote, follow, stand down, be seeded."""

from __future__ import annotations

import fcntl
import subprocess
import time
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_mysql_client as client
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_mysql_seed as seed
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_mysql_writable as writable
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_mysql_server import wait_for_server
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble, read_json, run, write_json
except ImportError:
    import zctl_mysql_client as client  # type: ignore[no-redef]
    import zctl_mysql_seed as seed  # type: ignore[no-redef]
    import zctl_mysql_writable as writable  # type: ignore[no-redef]
    from zctl_mysql_server import wait_for_server  # type: ignore[no-redef]
    from zctl_system import Trouble, read_json, run, write_json  # type: ignore[no-redef]

Json = dict[str, Any]
SYSTEM_USERS = ("root", "mysql", "mariadb.sys", "system user", "zctl_repl", "event_scheduler", "unauthenticated user")
"""Whoever is still logging in may be root, or one of zctl's that then sees that the server is read-only."""
LOCK = Path("/run/lock/zctl-database-order.lock")
HELD: list[Any] = []
"""The lock is held until the process ends."""
READ_ALL = "has read all relay log"
START_SECONDS = 20.0
READ_ONLY_SECONDS = 20.0
STATE_SQL = (
    "SELECT @@global.read_only AS read_only, @@global.server_id AS server_id, @@global.gtid_slave_pos AS slave_pos, "
    "@@global.gtid_binlog_pos AS binlog_pos, @@global.gtid_binlog_state AS binlog_state, "
    "@@global.gtid_current_pos AS current_pos, @@global.rpl_semi_sync_master_enabled AS semi_sync, "
    "VERSION() AS version, (SELECT variable_value FROM information_schema.global_status "
    "WHERE variable_name = 'Rpl_semi_sync_master_clients') AS semi_sync_clients"
)


def look() -> Json:
    """What this server is and says. `up` is false, and `problem` says why, when it does not answer."""
    record = read_json(writable.RECORD) or {}
    found: Json = {"up": False, "role": record.get("role", ""), "term": record.get("term", 0), "problem": ""}
    try:
        state = client.query(STATE_SQL, 10)[0]
        slave = client.query("SHOW SLAVE STATUS", 10)
        names = client.query("SHOW DATABASES", 10)
    except Trouble as error:
        return found | {"problem": str(error)}
    found |= {name: state[name] or "" for name in state}
    found |= {"up": True, "writable": state["read_only"] == "0", "databases": [row["Database"] for row in names]}
    return found | {"source": source_of(slave[0]) if slave else {}}


def source_of(status: Json) -> Json:
    """Replication as SHOW SLAVE STATUS has it, in fewer words."""
    return {
        "host": status["Master_Host"],
        "port": int(status["Master_Port"] or 0),
        "receiving": status["Slave_IO_Running"],
        "applying": status["Slave_SQL_Running"],
        "received": status.get("Gtid_IO_Pos") or "",
        "lag_seconds": None if status["Seconds_Behind_Master"] is None else int(status["Seconds_Behind_Master"]),
        "error": status.get("Last_SQL_Error") or status.get("Last_IO_Error") or "",
        "doing": status.get("Slave_SQL_Running_State") or "",
    }


def write_role(values: Json) -> None:
    """Write down the role that an order gives this server; a process that asks for it meanwhile waits."""
    record = read_json(writable.RECORD) or {}
    write_json(writable.RECORD, record | values["record"])


def set_role(values: Json) -> None:
    """Only write the role down; the server need not run."""
    with writable.turn():
        write_role(values)


def end_clients() -> None:
    """End the connections of all but the server's own users. Only on a server that takes no writes any more."""
    users = ", ".join(client.literal(name) for name in SYSTEM_USERS)
    for row in client.query(f"SELECT id FROM information_schema.processlist WHERE user NOT IN ({users})"):
        try:
            client.execute(f"KILL {int(row['id'])};")
        except Trouble:
            continue  # it has gone by itself


def refuse_writes() -> None:
    """Make the server read-only and end its clients' connections. Raises Trouble when it cannot be made so in time."""
    argv = client.client_argv("-e", "SET GLOBAL read_only = ON")
    deadline = time.monotonic() + READ_ONLY_SECONDS
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as setting:
        # It waits for statements under way, and those may wait for the row that drain() holds.
        while setting.poll() is None:
            end_clients()
            if time.monotonic() > deadline:
                setting.kill()
                raise Trouble("it cannot be made read-only: a transaction does not end, or no replica confirms it")
            time.sleep(0.1)
        if setting.returncode and setting.stderr is not None:
            raise Trouble(f"it cannot be made read-only: {setting.stderr.read().strip()}")
    end_clients()


def drain(values: Json) -> None:
    """Let the write transaction that is under way end, then take no more. What waits to begin is sent elsewhere."""
    database, patience = values["database"], float(values["patience"])
    where = f"table_schema = {client.literal(database)} AND table_name = 'info'"
    table = client.query(f"SELECT 1 FROM information_schema.tables WHERE {where}")
    lock = None
    if table:
        # The row for which zctl's writers take turns.
        lock = subprocess.Popen(
            client.client_argv("--unbuffered", "--skip-column-names"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert lock.stdin is not None and lock.stdout is not None
        lock.stdin.write(
            f"SET innodb_lock_wait_timeout = {int(patience)}; BEGIN; SELECT 'held' FROM `{database}`.info FOR UPDATE;\n"
        )
        lock.stdin.flush()
        lock.stdout.readline()  # empty when it was not to be had in time: then what is under way is refused instead
    try:
        with writable.turn():  # whoever watches over the primary must not see it read-only and still the primary
            refuse_writes()
            write_role(values)
    finally:
        if lock is not None:
            lock.kill()
            lock.wait()


def catch_up(position: str, patience: float) -> None:
    """Wait until this server has applied all up to a position. Raises Trouble when it has not in time."""
    if position and client.value(f"SELECT MASTER_GTID_WAIT({client.literal(position)}, {patience})") != "0":
        raise Trouble(f"it has not come to {position} within {patience:.0f} s")


def stop_receiving(values: Json) -> None:
    """Take nothing more from the source, and apply what has come."""
    status = client.query("SHOW SLAVE STATUS")
    if not status:
        return
    if status[0]["Slave_IO_Running"] != "No":
        client.execute("STOP SLAVE IO_THREAD;")
    deadline = time.monotonic() + float(values["patience"])
    while True:
        status = client.query("SHOW SLAVE STATUS")
        if status[0]["Slave_SQL_Running"] != "Yes":
            if status[0].get("Last_SQL_Error"):
                raise Trouble(f"it cannot apply what it received: {status[0]['Last_SQL_Error']}")
            return  # an earlier, unfinished failover has stopped it, when it had applied all
        if READ_ALL in (status[0].get("Slave_SQL_Running_State") or ""):
            catch_up(status[0].get("Gtid_IO_Pos") or "", float(values["patience"]))
            return
        if time.monotonic() > deadline:
            raise Trouble("it has not applied in time what it received; try again")
        time.sleep(0.1)


def promote(values: Json) -> None:
    """Become the primary, once all up to a position has been applied."""
    catch_up(values.get("wait_for", ""), float(values["patience"]))
    if client.query("SHOW SLAVE STATUS"):
        client.execute("STOP SLAVE; RESET SLAVE ALL;")
    with writable.turn():
        write_role(values)
        writable.make_writable(read_json(writable.RECORD) or {})
    watch()


def watch() -> None:
    """Have the server watched from now on; a process that does it already may be about to end."""
    run(["systemctl", "restart", "--no-block", "zctl-database.service"])


def follow(values: Json, secrets: Json) -> None:
    """Become a replica of another server, and wait until both of its threads run."""
    with writable.turn():
        write_role(values)
    if not client.answers():
        run(["systemctl", "start", "mariadb.service"])
        wait_for_server()
    state = look()
    host, port = values["source"]["host"], int(values["source"]["port"])
    if state["writable"]:
        refuse_writes()
    if state["semi_sync"] != "0":
        client.execute("SET GLOBAL rpl_semi_sync_master_enabled = OFF;")
    source = state["source"]
    if (source.get("host"), source.get("port"), source.get("receiving"), source.get("applying")) == (
        host,
        port,
        "Yes",
        "Yes",
    ):
        return
    client.execute("STOP SLAVE;")
    begin = newest(state["slave_pos"], state["binlog_pos"])
    if begin != state["slave_pos"]:
        client.execute(f"SET GLOBAL gtid_slave_pos = {client.literal(begin)};")
    client.execute(
        f"CHANGE MASTER TO MASTER_HOST = {client.literal(host)}, MASTER_PORT = {port}, MASTER_USER = 'zctl_repl', "
        f"MASTER_PASSWORD = {client.literal(secrets['zctl_repl'])}, MASTER_SSL = 1, MASTER_CONNECT_RETRY = 1, "
        f"MASTER_SSL_CA = '{writable.FOLDER}/ca.pem', MASTER_SSL_VERIFY_SERVER_CERT = 1, "
        "MASTER_HEARTBEAT_PERIOD = 2, MASTER_USE_GTID = slave_pos; START SLAVE;"
    )
    wait_for_source()


def wait_for_source() -> None:
    """Wait until replication runs. Raises Trouble with the server's own words when it does not."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        status = source_of(client.query("SHOW SLAVE STATUS")[0])
        if (status["receiving"], status["applying"]) == ("Yes", "Yes"):
            return
        if time.monotonic() > deadline:
            # 1236: the source no longer has, or never had, what this server asks for.
            hint = " (zctl db rejoin with --copy takes its data anew)" if "1236" in status["error"] else ""
            raise Trouble(f"replication does not start: {status['error'] or status['receiving']}{hint}")
        time.sleep(0.1)


def newest(*positions: str) -> str:
    """The positions together: for each domain the entry with the greatest sequence number."""
    best: dict[str, tuple[int, str]] = {}
    for text in ",".join(positions).split(","):
        if text:
            domain, _, number = text.split("-")
            best[domain] = max(best.get(domain, (-1, "")), (int(number), text))
    return ",".join(best[domain][1] for domain in sorted(best))


def stand_down(values: Json) -> None:
    """End the server at once, so that nothing more is acknowledged, and keep it from being written to again."""
    with writable.turn():
        write_role(values)
    writable.kill_server()
    run(["systemctl", "stop", "mariadb.service"])


def record(values: Json) -> None:
    """Write down who is in the group; a primary waits for replicas from now on, or no longer."""
    with writable.turn():
        write_role(values)
        known = read_json(writable.RECORD) or {}
        if known.get("role") in ("primary", "standalone") and client.value("SELECT @@global.read_only") == "0":
            writable.make_writable(known)
            watch()


ORDERS = {
    "drain": drain,
    "stop_receiving": stop_receiving,
    "promote": promote,
    "stand_down": stand_down,
    "record": record,
    "write_role": set_role,
}

CHOICES = ("look", "follow", "seed_begin", "seed_end", *ORDERS)


def carry_out(order: str, values: Json, secrets: Json, check: bool) -> tuple[bool, Json]:
    """Do what is ordered; returns whether anything changed, and what the server is like afterwards.

    Orders take turns, also with one that a controller left behind when it died: what is seen after that holds.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = LOCK.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    HELD.append(lock)
    before = look()
    if order == "look" or check:
        return False, before
    if order == "follow":
        follow(values, secrets)
    elif order == "seed_begin":
        seed.begin()
    elif order == "seed_end":
        seed.end(values)
    else:
        ORDERS[order](values)
    after = look()
    return any(before.get(key) != after.get(key) for key in ("up", "role", "term", "writable")), after
