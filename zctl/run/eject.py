"""Writing a rendered folder into a place that may hold other people's files, and telling a whole one from a part."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path, PurePosixPath

from zctl.errors import Refused

MARKER = ".zctl-render"
Known = dict[str, str]
"""path in the folder -> SHA256 of what was written there"""


def eject(folder: Path, files: dict[str, bytes], last: str, *, force: bool) -> int:
    """Make the folder hold these files; returns how many were written or removed.

    `last` is what makes the folder usable: it goes first and comes last, so that what a kill leaves does not run.
    Raises Refused when the folder is not one that a render may write into, or cannot be written.
    """
    try:
        known = inspect(folder, force=force)
        return bring(folder, files, known, last)
    except OSError as error:
        raise Refused(
            f"it cannot be read and written: {error.strerror or error}",
            resource=f"folder {folder}",
            remedy="mend that, then the same command, with --force if files are there already",
        ) from None


def bring(folder: Path, files: dict[str, bytes], known: Known, last: str) -> int:
    """Write what has changed, remove what is no longer wanted; `known` is what earlier renders wrote."""
    wanted = {path: digest(content) for path, content in files.items()}
    for path in {*wanted, *known}:
        refuse_links(folder, path)
    for path in sorted(wanted.keys() - known.keys()):
        if (folder / path).exists():
            raise Refused(
                "it was not written by zctl render, which needs that name",
                resource=f"file {folder / path}",
                remedy="move it away",
            )
    stale = sorted(path for path in known.keys() - wanted.keys() if is_same(folder / path, known[path]))
    changed = sorted(path for path, mark in wanted.items() if not is_same(folder / path, mark))
    if not (stale or changed) and read_marker(folder) == (wanted, True):
        return 0
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    write_marker(folder, known | wanted, whole=False)
    (folder / last).unlink(missing_ok=True)
    for path in stale:
        remove(folder, path)
    for path in sorted({*changed, last}, key=lambda path: (path == last, path)):
        write(folder, path, files[path])
    write_marker(folder, wanted, whole=True)
    return len(stale) + len(changed)


def inspect(folder: Path, *, force: bool) -> Known:
    """What an earlier render wrote there. Raises Refused unless the folder is new, empty, or ours and `force`."""
    label, remedy = f"folder {folder}", "name a folder that is empty or not there yet"
    if not folder.exists() and not folder.is_symlink():
        return {}
    if not folder.is_dir():
        raise Refused("it is not a folder", resource=label, remedy=remedy)
    if folder.stat().st_mode & 0o002:
        # Ansible ignores an ansible.cfg in such a folder, and anybody could change what runs as root on the hosts.
        raise Refused("everybody can write into it", resource=label, remedy=f"chmod o-w {folder}")
    if not any(folder.iterdir()):
        return {}
    known, whole = read_marker(folder)
    if known is None:
        raise Refused("it holds other things than a render", resource=label, remedy=remedy)
    if not force:
        state = "it has been rendered before" if whole else "an earlier render of it did not come to its end"
        raise Refused(state, resource=label, remedy="--force renders it anew; files that you added stay")
    return known


def read_marker(folder: Path) -> tuple[Known | None, bool]:
    """What the marker says was written, and whether that render came to its end; None when it is not a marker."""
    try:
        said = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        files = {str(path): str(mark) for path, mark in said["files"].items()}
        whole = bool(said["whole"])
    except FileNotFoundError:
        return None, False
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, False
    if any(PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts for path in files):
        return None, False
    return files, whole


def write_marker(folder: Path, known: Known, *, whole: bool) -> None:
    """Say what is written there, in an order that does not change."""
    text = json.dumps({"about": "written by zctl render", "files": known, "whole": whole}, indent=1, sort_keys=True)
    write(folder, MARKER, f"{text}\n".encode())


def write(folder: Path, path: str, content: bytes) -> None:
    """Put a file in its place whole, readable by its owner only."""
    target = folder / path
    for parent in reversed(PurePosixPath(path).parents):
        (folder / parent).mkdir(mode=0o700, exist_ok=True)
    new = target.with_name(f".{target.name}.zctl-new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)
    new.replace(target)


def remove(folder: Path, path: str) -> None:
    """Delete a file of an earlier render, and the folders that are empty then."""
    (folder / path).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for parent in PurePosixPath(path).parents[:-1]:
            (folder / parent).rmdir()


def refuse_links(folder: Path, path: str) -> None:
    """Raises Refused when a link would lead the writing to another place."""
    for part in (PurePosixPath(path), *PurePosixPath(path).parents[:-1]):
        if (folder / part).is_symlink():
            raise Refused(
                "it is a link, and what zctl renders would be written elsewhere",
                resource=f"file {folder / part}",
                remedy="remove the link",
            )


def digest(content: bytes) -> str:
    """What tells whether a file is as it was written."""
    return hashlib.sha256(content).hexdigest()


def is_same(path: Path, mark: str) -> bool:
    """Whether the file is there with the content that the mark was made from."""
    try:
        return digest(path.read_bytes()) == mark
    except OSError:
        return False
