"""Leases: two processes never converge one host at once, and a dead process's lease is taken over."""

from __future__ import annotations

import getpass
import os
import platform
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlmodel import col

from zctl.errors import Conflict, ZctlError
from zctl.inventory.engine import Inventory
from zctl.resources.clock import clock
from zctl.resources.internal import Lease
from zctl.resources.job import Job

LIFETIME = timedelta(seconds=60)
HEARTBEAT_SECONDS = 10.0
POLL_SECONDS = 0.2
UNKNOWN = "unknown"


@cache
def owner() -> str:
    """This process, told apart from every other one: user@machine:kernel:pid:start."""
    pid = os.getpid()
    return f"{_user()}@{platform.node()}:{kernel()}:{pid}:{_start(pid)}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@cache
def kernel() -> str:
    """Marks the processes that can see each other: the kernel since its last boot, and the PID namespace on it.

    Host names do not: two machines may have the same one, and so may two containers on one kernel. Where processes of
    one machine are shown different boot ids (systemd-nspawn does that to services), only heartbeats tell who lives.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino:x}"
    except OSError:
        return UNKNOWN


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s stat from the state on; none when the process cannot be seen."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _start(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when there is none, or only a zombie."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def is_dead(text: str) -> bool | None:
    """Whether an owner is gone for sure (True), alive (False), or not to be seen from here: only time tells (None).

    What ran before this machine's last boot cannot be told from what runs on a machine with the same name.
    """
    _person, _, rest = text.partition("@")
    _node, mark, pid, start = (rest.split(":") + [""] * 4)[:4]
    if mark != kernel() or mark == UNKNOWN:
        return None
    if not pid.isdigit():
        return True
    if _stat(int(pid)):
        return _start(int(pid)) != start
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # it is there, but /proc hides the processes of other users (hidepid)
    return None


def is_alive(text: str, seen: datetime | None, present: datetime) -> bool:
    """Whether an owner lives, as far as that can be told: here by its process, elsewhere by its last sign of life."""
    dead = is_dead(text)
    return not dead if dead is not None else seen is not None and seen + LIFETIME >= present


def shown_owner(text: str) -> str:
    """An owner for people: who, where, which process."""
    person, _, rest = text.partition("@")
    node, _, pid, *_ = [*rest.split(":"), "", "", ""]
    return f"{person} on {node}, process {pid}"


def try_take(inventory: Inventory, hosts: list[str], purpose: str, bury: Callable[[str], object]) -> Lease | None:
    """Take all the leases, or none and return the one that is in the way. `bury` hears of owners found dead here."""
    with inventory.write() as db:
        held = {lease.host_id: lease for lease in db.scalars(select(Lease).where(col(Lease.host_id).in_(hosts)))}
        present = clock(db)
        for lease in held.values():
            dead = is_dead(lease.owner)
            if dead:
                bury(lease.owner)
            if lease.owner != owner() and dead is not True and (dead is False or lease.expires_at > present):
                return lease
        for host in hosts:
            lease = held.get(host) or Lease(host_id=host, owner="", purpose="", expires_at=present)
            lease.owner, lease.purpose, lease.expires_at = owner(), purpose[:255], present + LIFETIME
            db.add(lease)
    return None


@contextmanager
def hold(
    inventory: Inventory,
    hosts: list[str],
    purpose: str,
    timeout: float,
    waiting: Callable[[str], None],
    bury: Callable[[str], object] = str,
    free: Collection[str] = (),
) -> Iterator[list[str]]:
    """Hold the leases of hosts, waiting for others to finish. Raises Conflict when that takes over `timeout` seconds.

    Those of the hosts `free` are held too as far as nobody else has them; yields the hosts that are held.
    `bury` is called with the owner of a lease that is taken over because its process is dead.
    """
    stop = threading.Event()
    # From the beginning: who waits for a host is alive too, and its job must not be taken over meanwhile.
    beat = threading.Thread(target=_beat, args=(inventory, stop), daemon=True)
    beat.start()
    try:
        _wait_for(inventory, hosts, purpose, timeout, waiting, bury)
        hosts = [*hosts, *(host for host in free if try_take(inventory, [host], purpose, bury) is None)]
        yield hosts
    finally:
        stop.set()
        beat.join()
        with inventory.write() as db:
            db.execute(delete(Lease).where(col(Lease.host_id).in_(hosts), col(Lease.owner) == owner()))


def _wait_for(
    inventory: Inventory,
    hosts: list[str],
    purpose: str,
    timeout: float,
    waiting: Callable[[str], None],
    bury: Callable[[str], object],
) -> None:
    """Take the leases of hosts, as soon as nobody else has one of them. Raises Conflict after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    told = False
    while (lease := try_take(inventory, hosts, purpose, bury)) is not None:
        who = f"{shown_owner(lease.owner)} ({lease.purpose})"
        if time.monotonic() > deadline:
            raise Conflict(f"the host is held by {who}", resource="host", remedy="wait for it, or end that process")
        if not told:
            waiting(f"waiting for {who}")
            told = True
        time.sleep(POLL_SECONDS)


def _beat(inventory: Inventory, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        # The server may be away for a moment, as in a failover. What is alive must not fall silent for that.
        with suppress(ZctlError):
            sign_of_life(inventory)


def sign_of_life(inventory: Inventory) -> None:
    """Prolong this process's leases and jobs, and its machine's row."""
    from zctl.inventory import nodes

    with inventory.write() as db:
        present = clock(db)
        db.execute(update(Lease).where(col(Lease.owner) == owner()).values(expires_at=present + LIFETIME))
        db.execute(
            update(Job).where(col(Job.owner) == owner(), col(Job.state) == "Running").values(heartbeat_at=present)
        )
        nodes.beat(db)
