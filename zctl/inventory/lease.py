"""Leases: two processes never converge one host at once, and a dead process's lease is taken over."""

from __future__ import annotations

import getpass
import os
import platform
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlmodel import col

from zctl.errors import Conflict
from zctl.inventory.engine import Inventory
from zctl.resources.base import now
from zctl.resources.internal import Lease
from zctl.resources.job import Job

LIFETIME = timedelta(seconds=60)
HEARTBEAT_SECONDS = 10.0
POLL_SECONDS = 0.2


@cache
def owner() -> str:
    """This process, told apart from every other one: user@machine:boot:pid:start."""
    pid = os.getpid()
    return f"{_user()}@{platform.node()}:{_boot()}:{pid}:{_start(pid)}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return "unknown"


def _start(pid: int) -> str:
    """When a process started, in clock ticks since boot (proc(5), stat field 22); empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_dead(text: str) -> bool | None:
    """Whether an owner is gone for sure (True), alive (False), or on another machine, where only time tells (None)."""
    person, _, rest = text.partition("@")
    node, boot, pid, start = (rest.split(":") + [""] * 4)[:4]
    if node != platform.node() or not person:
        return None
    if boot != _boot():
        return True
    return not pid.isdigit() or _start(int(pid)) != start


def shown_owner(text: str) -> str:
    """An owner for people: who, where, which process."""
    person, _, rest = text.partition("@")
    node, _, pid, *_ = [*rest.split(":"), "", "", ""]
    return f"{person} on {node}, process {pid}"


def try_take(inventory: Inventory, hosts: list[str], purpose: str, bury: Callable[[str], object]) -> Lease | None:
    """Take all the leases, or none and return the one that is in the way. `bury` hears of owners found dead here."""
    with inventory.write() as db:
        held = {lease.host_id: lease for lease in db.scalars(select(Lease).where(col(Lease.host_id).in_(hosts)))}
        for lease in held.values():
            dead = is_dead(lease.owner)
            if dead:
                bury(lease.owner)
            if lease.owner != owner() and dead is not True and (dead is False or lease.expires_at > now()):
                return lease
        for host in hosts:
            lease = held.get(host) or Lease(host_id=host, owner="", purpose="", expires_at=now())
            lease.owner, lease.purpose, lease.expires_at = owner(), purpose[:255], now() + LIFETIME
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
    hosts = [*hosts, *(host for host in free if try_take(inventory, [host], purpose, bury) is None)]
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(inventory, hosts, stop), daemon=True)
    beat.start()
    try:
        yield hosts
    finally:
        stop.set()
        beat.join()
        with inventory.write() as db:
            db.execute(delete(Lease).where(col(Lease.host_id).in_(hosts), col(Lease.owner) == owner()))


def _beat(inventory: Inventory, hosts: list[str], stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with inventory.write() as db:
            db.execute(
                update(Lease)
                .where(col(Lease.host_id).in_(hosts), col(Lease.owner) == owner())
                .values(expires_at=now() + LIFETIME)
            )
            db.execute(
                update(Job).where(col(Job.owner) == owner(), col(Job.state) == "Running").values(heartbeat_at=now())
            )
