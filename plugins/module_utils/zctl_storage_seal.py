"""What an image was when it was cached: a small hidden file beside it, by which a later look can tell that it is whole.

It lies in the storage, so that all hosts of a shared one see it.
"""

from __future__ import annotations

import json
import os
from typing import Any

Json = dict[str, Any]
SUFFIX = ".seal"


def seal_path(path: str) -> str:
    """Where an image's seal is."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}{SUFFIX}")


def is_seal(name: str) -> bool:
    """Whether a file in the folder of images is a seal."""
    return name.startswith(".") and name.endswith(SUFFIX)


def write_seal(path: str, size: int, digest: str | None) -> None:
    """Note the size in bytes and, when it is known, the sha256 of an image."""
    part = f"{seal_path(path)}.{os.getpid()}"
    with open(part, "w", encoding="utf-8") as out:
        json.dump({"size": size, "sha256": digest}, out)
    os.rename(part, seal_path(path))


def read_seal(path: str) -> Json | None:
    """What was noted of an image, None when nothing was or it cannot be understood: an older zctl notes nothing."""
    try:
        with open(seal_path(path), encoding="utf-8") as source:
            seal = json.load(source)
    except (OSError, ValueError):
        return None
    return seal if isinstance(seal, dict) and isinstance(seal.get("size"), int) else None


def remove_seal(path: str) -> bool:
    """Forget an image that is deleted; whether it was known."""
    try:
        os.unlink(seal_path(path))
    except OSError:
        return False
    return True


def remove_seals(folder: str) -> None:
    """Forget all images of a storage that is given up."""
    for entry in os.scandir(folder) if os.path.isdir(folder) else ():
        if is_seal(entry.name):
            os.unlink(entry.path)


def checksum_of(image: Json, seal: Json | None) -> str | None:
    """By what an image is known to be the same when it is fetched again, as `sha256:HEX`."""
    noted = (seal or {}).get("sha256")
    return image.get("checksum") or (f"sha256:{noted}" if noted else None)
