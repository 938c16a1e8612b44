"""Which folders and files of a management node have to be made, changed or removed. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zctl.errors import Refused
from zctl.node.wanted import File, Folder, is_ours

Kind = Literal["make", "change", "remove"]


@dataclass(frozen=True)
class Found:
    """What is at a path: its text (None for a folder, or for what is no plain file), owner, group and mode."""

    text: str | None
    owner: str
    group: str
    mode: int
    folder: bool = False


@dataclass(frozen=True)
class Change:
    """One thing to do, with the texts before and after."""

    kind: Kind
    thing: File | Folder
    before: Found | None = None

    @property
    def path(self) -> Path:
        """Where."""
        return self.thing.path

    def diff(self) -> list[str]:
        """What changes, as diff -u tells it; owner and mode in a line of their own."""
        lines = []
        old = self.before.text or "" if self.before else ""
        new = self.thing.text if isinstance(self.thing, File) and self.kind != "remove" else ""
        if old != new:
            before, after = (str(self.path) if there else "/dev/null" for there in (old, new))
            lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), before, after, lineterm=""))
        if self.before and self.kind == "change" and rights(self.before) != wanted_rights(self.thing):
            lines.append(f"{self.path}: {rights(self.before)} -> {wanted_rights(self.thing)}")
        return lines


def rights(found: Found) -> str:
    """Owner, group and mode of what is there."""
    return f"{found.owner}:{found.group} {found.mode:04o}"


def wanted_rights(thing: File | Folder) -> str:
    """Owner, group and mode that are wanted."""
    owner = thing.owner if isinstance(thing, Folder) else "root"
    return f"{owner}:{thing.group} {thing.mode:04o}"


def plan_folders(folders: Iterable[Folder], found: dict[Path, Found]) -> list[Change]:
    """What to do about folders. Raises Refused when something else is in a folder's place."""
    changes = []
    for folder in folders:
        there = found.get(folder.path)
        if there is None:
            changes.append(Change("make", folder))
        elif not there.folder:
            raise Refused("it is no folder", resource=str(folder.path), remedy="move it away")
        elif rights(there) != wanted_rights(folder):
            changes.append(Change("change", folder, there))
    return changes


def plan_files(files: Iterable[File], surplus: Iterable[Path], found: dict[Path, Found]) -> list[Change]:
    """What to do about files; those of `surplus` go when they are zctl's. Raises Refused for one that is not zctl's."""
    changes = []
    for file in files:
        there = found.get(file.path)
        if there is None:
            changes.append(Change("make", file))
            continue
        if file.theirs:
            continue
        require_ours(file.path, there)
        if there.text != file.text or rights(there) != wanted_rights(file):
            changes.append(Change("change", file, there))
    for path in surplus:
        there = found.get(path)
        if there is not None and there.text is not None and is_ours(there.text):
            changes.append(Change("remove", File(path, ""), there))
    return changes


def require_ours(path: Path, there: Found) -> None:
    """Raise Refused when a file was not made by zctl."""
    if there.text is None:
        raise Refused("it is no plain file, so not zctl's", resource=str(path), remedy="move it away")
    if not is_ours(there.text):
        raise Refused(
            "there is such a file already that zctl did not make, so it stays as it is",
            resource=str(path),
            remedy="move it away, then give the command again",
        )
