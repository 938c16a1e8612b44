"""Takes the place of a server's data with a copy of another's that was streamed here by mariadb-backup."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_mysql_client as client
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_mysql_server import wait_for_server
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble, run
except ImportError:
    import zctl_mysql_client as client  # type: ignore[no-redef]
    from zctl_mysql_server import wait_for_server  # type: ignore[no-redef]
    from zctl_system import Trouble, run  # type: ignore[no-redef]

DATA = Path("/var/lib/mysql")
SEED = Path("/var/lib/mysql-zctl-seed")
OLD = Path("/var/lib/mysql-zctl-old")
INFO = ("mariadb_backup_binlog_info", "xtrabackup_binlog_info")


def begin() -> None:
    """Make room for the copy. The server goes on as it is until the copy is whole."""
    if OLD.exists() and not DATA.exists():
        OLD.rename(DATA)  # an earlier exchange was cut off between its two steps
    shutil.rmtree(SEED, ignore_errors=True)
    SEED.mkdir(mode=0o700)


def end(values: dict[str, Any]) -> None:
    """Make the copy consistent, put it in the place of the data, and start the server at the copy's position."""
    if not any(SEED.glob("ib*")):
        raise Trouble("no copy has arrived; seed it again")
    run(["mariadb-backup", "--prepare", f"--target-dir={SEED}"])
    position = parse_position(next((SEED / name).read_text() for name in INFO if (SEED / name).exists()))
    run(["chown", "-R", "mysql:mysql", str(SEED)])
    run(["systemctl", "stop", "mariadb.service"])
    shutil.rmtree(OLD, ignore_errors=True)
    for flag in DATA.glob("debian-*.flag"):
        shutil.copy2(flag, SEED)
    DATA.rename(OLD)
    SEED.rename(DATA)
    run(["systemctl", "start", "mariadb.service"])
    wait_for_server()
    state = history(str(values["binlog_state"]), position)
    client.execute(
        f"STOP SLAVE; RESET SLAVE ALL; RESET MASTER; SET GLOBAL gtid_binlog_state = {client.literal(state)};"
        f"SET GLOBAL gtid_slave_pos = {client.literal(position)};"
    )
    shutil.rmtree(OLD, ignore_errors=True)


def parse_position(text: str) -> str:
    """The GTID position in a backup's information: file, offset, position, with tabs between."""
    words = text.split()
    return words[2] if len(words) > 2 else ""


def history(state: str, position: str) -> str:
    """The binlog's state at a position: what each server had written by then.

    `state` was read before the copy was begun; since then only the server of the position has written. A replica that
    knows its history can tell a stranger's transaction from an old one.
    """
    entries = {tuple(text.split("-")[:2]): text for text in state.split(",") if text}
    entries |= {tuple(text.split("-")[:2]): text for text in position.split(",") if text}
    latest = [text for text in position.split(",") if text]
    # The last of a domain is the one that the server takes for the current position.
    return ",".join([text for text in entries.values() if text not in latest] + latest)
