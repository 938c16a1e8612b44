"""Decides on a database server whether it may be written to after a start, and makes it so; zctl itself is not needed.

The configuration file makes every server read-only. What zctl wrote down for this one says whether it is the primary; a
primary becomes writable only when no other server is, and most of the servers, itself counted, still follow it. From
then on it is watched: one that was cut off while another took its place is ended as soon as it sees the others again.
"""

from __future__ import annotations

import fcntl
import subprocess
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
WATCH_SECONDS = 3.0
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


def superseded(peers: list[Json]) -> str:
    """The server that has become the primary meanwhile, empty when there is none. `peers` are as for obstacle().

    That another one is writable is not enough, somebody may have made it so by hand: most servers have left this one.
    """
    taken = [peer["name"] for peer in peers if peer["writable"] and not peer["follows"]]
    votes = 1 + sum(peer["follows"] for peer in peers)
    return ", ".join(taken) if taken and votes * 2 <= 1 + len(peers) else ""


def kill_server() -> None:
    """End the server at once; systemd starts it again, read-only.

    An orderly end, and read_only = ON, would let commits go that no replica has confirmed.
    """
    argv = ["systemctl", "kill", "--signal=KILL", "mariadb.service"]
    subprocess.run(argv, capture_output=True, check=False)


def this_start() -> str:
    """What is different after each start of the server."""
    argv = ["systemctl", "show", "--value", "--property=InvocationID", "mariadb.service"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def own_record() -> Json:
    """What zctl wrote down for this server, empty when it is not for this to let it be written to."""
    record = read_json(RECORD) or {}
    return record if record.get("role") in ("primary", "standalone") else {}


def say(words: str) -> None:
    """A line for the journal."""
    sys.stderr.write(f"this server {words}\n")


def become_writable() -> str:
    """Try until the server is writable; returns which start of it is, empty when it has another role.

    Each new reason why it is not goes to the journal.
    """
    told = ""
    while own_record():
        start = this_start()
        try:
            reason = look_once()
        except Trouble as error:
            reason = str(error)
        if not reason:
            say("is writable")
            return start
        if reason != told:
            say(f"stays read-only: {reason}")
            told = reason
        time.sleep(POLL_SECONDS)
    say("stays read-only: it is not the primary")
    return ""


def stay_primary(start: str) -> None:
    """Watch a writable primary until it is started anew, or has another role. One that was superseded is ended."""
    while own_record().get("role") == "primary" and this_start() == start:
        if superseder():
            with turn():
                name = superseder()  # a failover may have changed the record meanwhile
                if name:
                    say(f"is ended and comes back read-only: {name} has become the primary")
                    kill_server()
                    return
        time.sleep(WATCH_SECONDS)


def superseder() -> str:
    """The server that has taken this one's place, empty when there is none."""
    record = own_record()
    return superseded([ask_peer(record, peer) for peer in record.get("peers", [])])


def main() -> int:
    """Let the server be written to when it may be, and see that no other one is beside it."""
    while True:
        start = become_writable()
        if not start or own_record().get("role") == "standalone":
            return 0
        stay_primary(start)


if __name__ == "__main__":
    sys.exit(main())
