"""Where a lab keeps its things, and the lock that keeps two commands from working on labs at once.

The cache (base trees, guest image) belongs to the user and survives `down`. The state belongs to the machine,
because bridges, routes and addresses do.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zctl.lab.shell import LabError, Say

LOCK_PATIENCE = 900.0


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "zctl" / "lab"


def state_dir() -> Path:
    return Path(os.environ.get("ZCTL_LAB_STATE") or "/var/lib/zctl-lab")


def labs_dir() -> Path:
    return state_dir() / "labs"


def lab_dir(name: str) -> Path:
    return labs_dir() / name


def machine_file() -> Path:
    """What was changed on the machine and must be put back when the last lab goes."""
    return state_dir() / "machine.json"


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None when there is no such file."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise LabError(f"{path} is not valid JSON", remedy="take the lab down with 'zctl lab down'") from None
    return value if isinstance(value, dict) else None


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as stream:
        stream.write(text)
    new.chmod(mode)
    new.rename(path)


def write_json(path: Path, value: dict[str, Any]) -> None:
    write_file(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def machine_lock(say: Say) -> Iterator[None]:
    """Hold the machine's lab lock; the kernel releases it when its holder dies.

    Raises LabError when another command still holds it after LOCK_PATIENCE seconds.
    """
    state_dir().mkdir(parents=True, exist_ok=True)
    path = state_dir() / "lock"
    with path.open("a+") as stream:
        deadline = time.monotonic() + LOCK_PATIENCE
        told = False
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabError(
                        f"another 'zctl lab' command (pid {path.read_text().strip()}) has held {path} for too long",
                        remedy="wait for it or end it, then try again",
                    ) from None
                if not told:
                    say(f"waiting for another 'zctl lab' command (pid {path.read_text().strip()})")
                    told = True
                time.sleep(0.2)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
