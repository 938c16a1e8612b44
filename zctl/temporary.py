"""Private folders for passwords, keys and copies of the inventory that are needed for a moment only."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zctl.errors import ZctlError

NAME = re.compile(r"zctl-(?P<kernel>[0-9a-f.]+|unknown)-(?P<pid>\d+)-(?P<start>\d*)-[a-z0-9_]+")
DAY_SECONDS = 86_400


@contextmanager
def private_folder(place: str = "") -> Iterator[Path]:
    """A new folder that only this user can read, gone at the end; those that killed processes left go, too.

    Its name tells which process it belongs to. Raises ZctlError when it cannot be made.
    """
    from zctl.inventory.lease import owner

    clear()
    _, kernel, pid, start = owner().rsplit(":", 3)
    place = place or small_place()
    try:
        made = tempfile.TemporaryDirectory(prefix=f"zctl-{kernel}-{pid}-{start}-", dir=place)  # 0700
    except OSError as error:
        raise ZctlError(
            f"a folder for passing files cannot be made: {error.strerror}",
            resource=place,
            remedy="free space there, or set TMPDIR",
        ) from None
    with made as folder:
        yield Path(folder)


def small_place() -> str:
    """Where small files go, such as an option file with a password: often into memory."""
    return os.environ.get("TMPDIR") or tempfile.gettempdir()


def large_place() -> str:
    """Where files as large as the inventory go."""
    return os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108 - a new folder in it that only we can read


def left() -> list[Path]:
    """The private folders of this user whose processes are dead."""
    found = []
    for place in sorted({small_place(), large_place()}):
        with suppress(OSError):  # what cannot be read holds nothing of ours
            found += [path for path in sorted(Path(place).iterdir()) if is_left(path)]
    return found


def is_left(path: Path) -> bool:
    """Whether a path is a private folder of this user that nobody works in any more.

    Of a process before the last boot, or in another container, only time tells: none of them takes a day.
    """
    from zctl.inventory.lease import is_dead

    named = NAME.fullmatch(path.name)
    if named is None:
        return False
    try:
        about = path.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        return False
    dead = is_dead(f"@:{named['kernel']}:{named['pid']}:{named['start']}")
    return dead is True or (dead is None and time.time() - about.st_mtime > DAY_SECONDS)


def clear() -> None:
    """Remove the private folders that killed processes of this user left."""
    for path in left():
        shutil.rmtree(path, ignore_errors=True)
