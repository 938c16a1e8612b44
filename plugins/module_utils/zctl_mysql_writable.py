"""Decides on a database server whether it may be written to after a start, and makes it so; zctl itself is not needed.

The configuration file makes every server read-only. What zctl wrote down for this one says whether it is the primary; a
primary becomes writable only when no other server is, and most of the servers, itself counted, still follow it.
"""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_mysql_client as client
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble, read_json
except ImportError:
    import zctl_mysql_client as client  # type: ignore[no-redef]
    from zctl_system import Trouble, read_json  # type: ignore[no-redef]

Json = dict[str, Any]
FOLDER = Path("/etc/zctl/database")
RECORD = FOLDER / "role.json"
PEERS = FOLDER / "peers.cnf"
LOCK = Path("/run/lock/zctl-database.lock")
POLL_SECONDS = 1.0
PEER_SECONDS = 5.0
FOLLOWING = ("Yes", "Connecting", "Preparing")


@contextmanager
def turn() -> Iterator[None]:
    """Hold the lock under which the role of this server is read and changed."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def obstacle(record: Json, peers: list[Json]) -> str:
    """Why the server may not be written to, empty when it may. `peers` have name, reached, writable, follows."""
    if record.get("role") == "standalone":
        return ""
    if record.get("role") != "primary":
        return f"its role is {record.get('role', 'unknown')}"
    writable = [peer["name"] for peer in peers if peer["writable"]]
    if writable:
        return f"{', '.join(writable)} is writable"
    votes, servers = 1 + sum(peer["follows"] for peer in peers), 1 + len(peers)
    if votes * 2 <= servers:
        silent = [peer["name"] for peer in peers if not peer["follows"]]
        return f"{votes} of {servers} servers take it for the primary, {servers // 2 + 1} must; not {', '.join(silent)}"
    return ""


def ask_peer(record: Json, peer: Json) -> Json:
    """What another server says of itself: whether it is writable, and whether it follows this one."""
    argv = ["mariadb", f"--defaults-file={PEERS}", "--batch", "-h", peer["host"], "-P", str(peer["port"])]
    found = {"name": peer["name"], "reached": False, "writable": False, "follows": False}
    try:
        read_only = client.parse_rows(client.talk(argv, "SELECT @@global.read_only AS r", PEER_SECONDS))
        slave = client.parse_rows(client.talk(argv, "SHOW SLAVE STATUS", PEER_SECONDS))
    except Trouble:
        return found
    follows = bool(slave) and slave[0].get("Master_Host") == record["host"]
    return found | {
        "reached": True,
        "writable": read_only[0]["r"] == "0",
        "follows": follows and slave[0].get("Slave_IO_Running") in FOLLOWING,
    }


def make_writable(record: Json) -> None:
    """Let the server be written to; from the first write on it waits for a replica, where that is wanted."""
    semi_sync = "ON" if record.get("role") == "primary" and record.get("semi_sync") else "OFF"
    client.execute(f"SET GLOBAL rpl_semi_sync_master_enabled = {semi_sync}; SET GLOBAL read_only = OFF;")


def look_once() -> str:
    """Make the server writable if it may be; returns why not."""
    with turn():
        record = read_json(RECORD) or {}
        peers = [ask_peer(record, peer) for peer in record.get("peers", [])] if record.get("role") == "primary" else []
        reason = obstacle(record, peers)
        if reason:
            return reason
        make_writable(record)
        # Somebody may have promoted another one between the question and this moment.
        again = obstacle(record, [ask_peer(record, peer) for peer in record.get("peers", [])])
        if record.get("role") == "primary" and again:
            client.execute("SET GLOBAL read_only = ON;")
        return again if record.get("role") == "primary" else ""


def main() -> int:
    """Try until the server is writable, or has another role; each new reason goes to the journal."""
    told = ""
    while True:
        if (read_json(RECORD) or {}).get("role") not in ("primary", "standalone"):
            sys.stderr.write("this server stays read-only: it is not the primary\n")
            return 0
        try:
            reason = look_once()
        except Trouble as error:
            reason = str(error)
        if not reason:
            sys.stderr.write("this server is writable\n")
            return 0
        if reason != told:
            sys.stderr.write(f"this server stays read-only: {reason}\n")
            told = reason
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
