"""Real hosts for the tests below: the lab `test`, brought up once and taken down at the end.

ZCTL_KEEP_LAB=1 leaves it up, which makes the next run faster and lets you look around in it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zctl.lab import Lab

LAB = "test"
HOSTS = 3


def say(line: str) -> None:
    """Progress, visible with pytest -s."""
    print(f"lab: {line}", file=sys.stderr)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs root and a lab."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab `test` with three running hosts."""
    yield Lab.up(LAB, HOSTS, say=say)
    if os.environ.get("ZCTL_KEEP_LAB", "") in ("", "0"):
        Lab.down(LAB, say=say)
