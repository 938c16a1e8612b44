"""Files that people and timers depend on: replaced as a whole, or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from zctl.ownership import give


def replace_file(path: Path, text: str) -> None:
    """Write a file that is there afterwards as it was, or as it is to be, whatever happens; it is on the disk then.

    Its owner and mode stay; a new one is for the owner of its folder alone. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            if path.exists():
                about = path.stat()
                os.fchmod(file.fileno(), stat.S_IMODE(about.st_mode))
                if (about.st_uid, about.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), about.st_uid, about.st_gid)
            else:
                give(fresh)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def open_lock(path: Path) -> int:
    """A private file, made unless it is there, locked for this process until it is closed.

    Raises BlockingIOError while another one holds it, and OSError, with ELOOP for a link of any kind.

    Folders may belong to other users: a link that one of them laid there must not lead root to another file.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link") from None
        raise
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
        os.close(handle)
        raise OSError(errno.ELOOP, "it is a link, or no file")
    give(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    return handle


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
