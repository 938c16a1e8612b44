"""What lies in a storage without being of this inventory's desired state: told of, never touched."""

from __future__ import annotations

import os
import re
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_seal as seals
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import foreign
except ImportError:
    import zctl_storage_plan as plan  # type: ignore[no-redef]
    import zctl_storage_seal as seals  # type: ignore[no-redef]
    from zctl_results import foreign  # type: ignore[no-redef]

Json = dict[str, Any]
_OURS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(qcow2|raw)")


def unknown_files(storages: list[Json], state: Json) -> list[Json]:
    """Files in the folders of these storages that the state does not name; one scandir for each folder."""
    known = {entry["path"] for part in ("images", "volumes", "purge") for entry in state.get(part) or []}
    found = []
    for storage in storages:
        for name in (plan.IMAGES, plan.VOLUMES):
            for path, size in _files(os.path.join(storage["path"], name)):
                shared = storage["kind"] != "local" and _OURS.fullmatch(os.path.basename(path))
                if path not in known and not shared:  # on a shared one it may well be another host's
                    words = f"{owner_words(os.path.basename(path))}, {plan.human(size)}"
                    found.append({**foreign("file", path, words), "size": size})
    return found


def _files(folder: str) -> list[tuple[str, int]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        if not seals.is_seal(entry.name):
            try:
                found.append((entry.path, entry.stat(follow_symlinks=False).st_size))
            except OSError:
                continue  # it has just gone
    return found


def owner_words(name: str) -> str:
    """Who seems to have put a file into a storage."""
    if ".part" in name:
        return "zctl, begun and not finished"
    if _OURS.fullmatch(name):
        return "named as zctl does: not wanted on this host"
    return "unknown file"


def other_owner(storage: Json, marker: Json) -> Json:
    """The storage of somebody else whose marker lies where ours should be."""
    owner = f"zctl, inventory {marker['inventory']}, storage {marker.get('name', '?')} ({marker['storage']})"
    return foreign("storage", storage["path"], owner)
