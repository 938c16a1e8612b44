"""What is written down on a host of its networks, by all inventories: /etc/zctl, one JSON file for each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import read_text
except ImportError:
    from zctl_system import read_text  # type: ignore[no-redef]

Json = dict[str, Any]
NEEDED = {"uuid", "inventory", "name", "bridge"}


def read_records(paths: Iterable[Path], needed: set[str] = NEEDED) -> tuple[dict[str, Json], dict[Path, str]]:
    """The records by uuid, and by path what is wrong with those that cannot be used: one must not hide the others."""
    good: dict[str, Json] = {}
    bad: dict[Path, str] = {}
    for path in paths:
        try:
            value = json.loads(read_text(path) or "null")
        except (ValueError, OSError) as error:
            bad[path] = f"damaged: {error}"
            continue
        if isinstance(value, dict) and set(value) >= needed:
            good[value["uuid"]] = value
        else:
            bad[path] = "damaged: it is not a record of zctl's"
    return good, bad


def damaged_words(bad: dict[Path, str]) -> list[str]:
    """What to do about records that cannot be used."""
    remedy = "zctl converge writes it anew when it is wanted; else remove it"
    return [f"{path} is {why}: {remedy}" for path, why in bad.items()]
