"""Copying a server's data to another: mariadb-backup streams it through here, from one SSH connection into another."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from zctl.errors import HostError
from zctl.run.connection import known_hosts, ssh_options
from zctl.run.render import write_private
from zctl.run.values import Connection
from zctl.units import format_size

SOCKET = "/run/mysqld/mysqld.sock"
SEND = f"mariadb-backup --no-defaults --backup --stream=mbstream --user=root --socket={SOCKET} --datadir=/var/lib/mysql"
RECEIVE = "mbstream -x -C /var/lib/mysql-zctl-seed"
CHUNK = 1 << 20
TELL_SECONDS = 5.0


def ssh_argv(connection: Connection, keys: Path, command: str) -> list[str]:
    """ssh to a server with its pinned key, to run a command as root there."""
    argv = ["ssh", *ssh_options(connection, keys), "-o", "ConnectTimeout=8", "-p", str(connection.port)]
    if connection.key:
        argv += ["-i", connection.key, "-o", "IdentitiesOnly=yes"]
    prefix = "" if connection.user == "root" else "sudo -n "
    return [*argv, f"{connection.user}@{connection.address}", prefix + command]


def copy(source: Connection, target: Connection, say: Callable[[str], None]) -> int:
    """Stream the data of one server into the seed folder of another; returns the bytes. Raises HostError."""
    with tempfile.TemporaryDirectory(prefix="zctl-seed-") as folder:
        keys = Path(folder) / "known_hosts"
        write_private(keys, known_hosts([source, target]))
        words = {name: Path(folder) / name for name in ("sent", "received")}
        with words["sent"].open("wb") as sent, words["received"].open("wb") as received:
            argv = ssh_argv(source, keys, SEND)
            sender = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sent)
            argv = ssh_argv(target, keys, RECEIVE)
            receiver = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=received)
            assert sender.stdout is not None and receiver.stdin is not None
            try:
                count = pour(sender.stdout, receiver.stdin, say)
            finally:
                sender.stdout.close()
                codes = [sender.wait(), receiver.wait()]
        for connection, name, code in ((target, "received", codes[1]), (source, "sent", codes[0])):
            text = words[name].read_text(errors="replace").strip()
            if code or (name == "sent" and "completed OK!" not in text):
                raise HostError(
                    f"its data could not be {name}: {text.splitlines()[-1] if text else f'exit code {code}'}",
                    resource=f"database server {connection.name}",
                    remedy="mend that and repeat the command; the replica's old data are untouched",
                )
    return count


def pour(source: IO[bytes], target: IO[bytes], say: Callable[[str], None]) -> int:
    """Everything from one pipe into another, with a word now and then; stops when the other end has gone."""
    count, told = 0, time.monotonic()
    try:
        while chunk := source.read(CHUNK):
            target.write(chunk)
            count += len(chunk)
            if time.monotonic() - told > TELL_SECONDS:
                say(f"copied {format_size(count)}")
                told = time.monotonic()
        target.close()
    except BrokenPipeError:
        pass  # its own last words say why
    return count


def read_binlog(connection: Connection, ranges: list[str], path: Path) -> None:
    """Write the events of transactions, such as 0-1-7..9, from a server's binlog into a file. Raises HostError."""
    with tempfile.TemporaryDirectory(prefix="zctl-seed-") as folder:
        keys = Path(folder) / "known_hosts"
        write_private(keys, known_hosts([connection]))
        write_private(path, "")
        with path.open("ab") as file:
            for text in ranges:
                done = subprocess.run(
                    ssh_argv(connection, keys, binlog_command(text)),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.PIPE,
                    check=False,
                )
                if done.returncode:
                    raise HostError(
                        f"its binlog cannot be read: {done.stderr.decode(errors='replace').strip()[-300:]}",
                        resource=f"database server {connection.name}",
                        remedy="mend that, or give the transactions up: --errant discard",
                    )


def binlog_command(text: str) -> str:
    """mariadb-binlog for a range of one server's transactions, with the rows in readable form beside them."""
    domain, server, numbers = text.split("-")
    first, _, last = numbers.partition("..")
    begin, end = f"{domain}-{server}-{int(first) - 1}", f"{domain}-{server}-{int(last or first)}"
    words = f"mariadb-binlog --no-defaults -vv --start-position={begin} --stop-position={end}"
    return f"sh -c '{words} /var/lib/mysql/zctl-bin.[0-9]*'"
