"""Real hosts for the tests below: the lab `test` (or ZCTL_TEST_LAB), brought up once and taken down at the end.

When tests run in several processes, each has a lab of its own: `test-0`, `test-1` and so on.

What a killed run left of it is taken down first, because its hosts carry that run's networks and disks.
ZCTL_KEEP_LAB=1 takes a lab that is up as it is and leaves it up, to look around in it.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zctl.lab import Lab

LAB = os.environ.get("ZCTL_TEST_LAB") or "test"
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    LAB += worker.replace("gw", "-")
HOSTS = 3
LOCK = Path(f"/run/lock/zctl-lab-{LAB}")


def say(line: str) -> None:
    """Progress, visible with pytest -s."""
    print(f"lab: {line}", file=sys.stderr)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs root and a lab."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)


def keeps() -> bool:
    """Whether a lab that is up is taken as it is and left up."""
    return os.environ.get("ZCTL_KEEP_LAB", "") not in ("", "0")


@pytest.fixture(scope="session")
def kernels() -> Iterator[Lab]:
    """Two hosts with a kernel of their own and no others. They take a minute of a CPU to boot: all tests share them."""
    if not keeps():
        Lab.down(f"{LAB}-kernel", say=say)
    yield Lab.up(f"{LAB}-kernel", 0, full_kernel=2, say=say)
    if not keeps():
        Lab.down(f"{LAB}-kernel", say=say)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab with three running hosts that nobody has used yet."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run on this machine uses the same lab: wait for it
        if not keeps():
            Lab.down(LAB, say=say)
        yield Lab.up(LAB, HOSTS, say=say)
        if not keeps():
            Lab.down(LAB, say=say)
