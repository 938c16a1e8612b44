"""Three database servers on lab hosts, writers that remember each acknowledged write, and ways to hurt the servers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from zctl.lab import Lab
from zctl.lab.power import inits

WRITER = """
import sys, time
from sqlalchemy import text
from zctl.config import load
from zctl.errors import ZctlError
from zctl.inventory.engine import Inventory

way, path, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
inventory = Inventory(load().url)
number = first
with open(path, "a", buffering=1) as told:
    while True:
        number += 1
        begun = time.time()
        try:
            if way == "inventory":
                with inventory.write() as db:
                    db.execute(text("INSERT INTO acknowledged VALUES (:n)"), {"n": number})
            else:
                with inventory.engine.begin() as connection:
                    connection.execute(text("INSERT INTO acknowledged VALUES (:n)"), {"n": number})
        except Exception as error:
            told.write(f"failed {number} {begun} {time.time()} {' '.join(str(error).split())[:200]}\\n")
            continue
        told.write(f"stored {number} {begun} {time.time()}\\n")
        time.sleep(0.01)
"""
CUT = """
table inet cut {
    chain in { type filter hook input priority -300; policy drop; iif lo accept; }
    chain out { type filter hook output priority -300; policy drop; oif lo accept; }
}
"""


@dataclass
class Told:
    """What the writers saw."""

    stored: set[int] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    ends: list[list[float]] = field(default_factory=list)
    """By writer, when each write was acknowledged."""


@dataclass
class DatabaseGroup:
    """zctl with a home of its own, three lab hosts h1, h2, h3, and writers."""

    lab: Lab
    folder: Path
    writers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    number: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What each call of zctl gets."""
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("ZCTL_")},
            "ZCTL_HOME": str(self.folder / "home"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "ZCTL_SSH_KEY": str(self.lab.ssh_key),
        }

    def address(self, name: str) -> str:
        """A host's address, by which its server is known."""
        return str(self.lab.host(name).address)

    def name(self, address: str) -> str:
        """The host with an address."""
        return next(host.name for host in self.lab.hosts if str(host.address) == address)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin a call of zctl db."""
        return self.begin("db", *words)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Begin a call of zctl, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "zctl", *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def call(self, *words: str) -> tuple[int, str]:
        """One call of zctl db: exit code and output."""
        process = self.start(*words)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def ok(self, *words: str) -> str:
        """One call that must succeed."""
        code, output = self.call(*words)
        assert code == 0, (words, output)
        return output

    def status(self) -> dict[str, Any]:
        """zctl db status as values."""
        words = [sys.executable, "-m", "zctl", "db", "status", "-o", "json", "-q"]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def sql(self, host: str, statement: str) -> str:
        """What a server says to root on its own machine."""
        return self.lab.ssh(host, "mariadb -N -B zctl", stdin=statement).strip()

    def wait_for_replicas(self, statement: str, answer: str) -> None:
        """Until every server answers so."""
        for name in ("h1", "h2", "h3"):
            for _ in range(100):
                if self.sql(name, statement) == answer:
                    break
                time.sleep(0.1)
            else:
                raise AssertionError(f"{name}: {self.sql(name, statement)}")

    def begin_writing(self) -> None:
        """Two writers: one by the inventory's transactions, one by plain ones."""
        (self.folder / "writer.py").write_text(WRITER)
        for offset, way in ((0, "inventory"), (500_000, "plain")):
            words = [sys.executable, str(self.folder / "writer.py"), way, str(self.folder / f"told-{way}")]
            self.number += 1
            first = offset + self.number * 1_000_000
            self.writers.append(subprocess.Popen([*words, str(first)], env=self.environment))

    def end_writing(self) -> None:
        """End them; what they have told stays."""
        for process in self.writers:
            process.kill()
            process.wait()
        self.writers.clear()

    def told(self) -> Told:
        """All that the writers have told until now."""
        found = Told()
        for path in self.folder.glob("told-*"):
            found.ends.append([])
            for line in path.read_text().splitlines():
                words = line.split(" ", 4)
                if words[0] == "stored" and len(words) == 4:
                    found.stored.add(int(words[1]))
                    found.ends[-1].append(float(words[3]))
                elif words[0] == "failed":
                    found.failed.append(line)
        return found

    def missing(self) -> set[int]:
        """Acknowledged writes that the present primary does not have."""
        acknowledged = self.told().stored  # first: what is acknowledged later is of no matter
        primary = self.name(self.status()["primary"])
        return acknowledged - {int(word) for word in self.sql(primary, "SELECT n FROM acknowledged").split()}

    def outage(self, since: float) -> float:
        """The longest time since a moment, in seconds, in which a writer had no write acknowledged."""
        longest = 0.0
        for ends in self.told().ends:
            later = [since, *(end for end in ends if end > since)]
            longest = max([longest, *(after - before for before, after in pairwise(later))])
        return longest

    def wait_for_writes(self, since: float, count: int = 4, patience: float = 60) -> float:
        """Seconds until writes that ended after a moment are acknowledged, by both writers."""
        deadline = time.time() + patience
        while time.time() < deadline:
            firsts = []
            for path in self.folder.glob("told-*"):
                ends = [float(line.split()[3]) for line in path.read_text().splitlines() if line.startswith("stored")]
                later = [end for end in ends if end > since]
                firsts.append(later[0] - since if len(later) >= count else None)
            if firsts and all(first is not None for first in firsts):
                return max(first for first in firsts if first is not None)
            time.sleep(0.2)
        raise AssertionError(f"no writes within {patience} s: {self.told().failed[-3:]}")

    def kill_server(self, host: str) -> None:
        """kill -9 of the database server; systemd starts it again after some seconds, as Debian has it."""
        self.lab.ssh(host, "systemctl kill --signal=KILL mariadb.service")

    def power_on(self) -> None:
        """Every host is up."""
        Lab.up(self.lab.name, len(self.lab.hosts))

    def cut_network(self, host: str) -> None:
        """Nobody reaches the host any more, nor it anybody; all on it goes on."""
        self.inside(host, "nft", "-f", "-", stdin=CUT)

    def mend_network(self, host: str) -> None:
        """It is as it was."""
        self.inside(host, "nft", "delete", "table", "inet", "cut")

    def inside(self, host: str, *argv: str, stdin: str = "") -> None:
        """Run a program in the network of a host, without the way there."""
        pid = str(inits(self.lab.host(host).power)[0])
        subprocess.run(["nsenter", "-t", pid, "-n", *argv], input=stdin, text=True, check=True)

    def heal(self) -> None:
        """Bring back whoever takes no part."""
        for server in self.status()["servers"]:
            if server["role"] == "fenced":
                code, output = self.call("rejoin", server["name"])
                if code and "does not have" in output:
                    output = self.ok("rejoin", server["name"], "--errant", "discard", "--yes")
                elif code:
                    raise AssertionError(output)

    def wait_for_one_writable(self, patience: float = 30) -> None:
        """Until one server at most takes writes, and all answer."""
        deadline = time.time() + patience
        while True:
            servers = self.status()["servers"]
            if all(server["up"] for server in servers) and sum(server["writable"] for server in servers) == 1:
                return
            assert time.time() < deadline, servers
            time.sleep(0.5)


def cut_off(group: DatabaseGroup, dice: random.Random, *words: str) -> float:
    """Begin a failover and kill it, with all that it started here, at a random moment; returns that."""
    seconds = dice.uniform(0.5, 14)
    process = group.start("failover", *words)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return seconds


def writable(group: DatabaseGroup) -> list[str]:
    """The servers that say they are writable."""
    return [server["name"] for server in group.status()["servers"] if server["writable"]]
