"""What every figure is made of: a value, its floor, its limit; medians; processes that must succeed."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 5


@dataclass
class Figure:
    """One measured promise."""

    name: str
    value: float
    floor: float
    limit: float
    unit: str = "x"

    def __post_init__(self) -> None:
        """Tell at once: a run takes a quarter of an hour."""
        sys.stderr.write(f"{self.name}: {self.ratio:.2f} (at most {self.limit})\n")

    @property
    def ratio(self) -> float:
        """How many times the floor; for an absolute figure the value itself."""
        return self.value / self.floor if self.unit == "x" else self.value


def median(action: Callable[[], None], rounds: int = ROUNDS) -> float:
    """Seconds of an action, the middle one of some rounds."""
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        action()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def run(argv: list[str], **more: str) -> None:
    """A process that must succeed; its words are shown when it does not."""
    done = subprocess.run(argv, env={**os.environ, **more}, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
