"""Who owns what zctl makes in a data folder that belongs to another user."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def give(path: Path) -> None:
    """Give what root has just made to the owner of its folder: the user of the timers must be able to go on with it.

    Does nothing for other users, who cannot give anything away, and where root owns the folder.
    """
    if os.geteuid() != 0:
        return
    with suppress(OSError):
        folder = path.parent.stat()
        if folder.st_uid != 0 and path.lstat().st_uid == 0:
            os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)
