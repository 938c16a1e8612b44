# SPDX-License-Identifier: Apache-2.0
"""What a host keeps of the inventory: its rows, so that the inventory can be made anew out of nothing but the hosts.

/etc/zctl/inventory/INVENTORY/ holds three files of lines `UUID SUM JSON`, one for each row. `own` are the rows that no
other host keeps, such as those of its VMs. `shared` is what all hosts keep: networks, offerings, the hosts themselves.
`left` are rows that the inventory did not know any more when it wrote the others and that nobody has deleted: they are
younger than the dump which it was restored from. SUM tells a line that somebody has edited. The lines are made by
zctl, and nothing here looks into them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_results as results
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import read_text, write_text
except ImportError:
    import zctl_results as results  # type: ignore[no-redef]
    from zctl_system import read_text, write_text  # type: ignore[no-redef]

Json = dict[str, Any]
FOLDER = Path("/etc/zctl/inventory")
FORMAT = 1
OWN, SHARED, LEFT = "own", "shared", "left"
ENDING = ".rows"
ABOUT = "# zctl "
DIGITS = 16


@dataclass
class Kept:
    """One file: what it says of itself, its lines by uuid, and the uuids of lines that cannot be trusted."""

    about: Json = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)


def sum_of(text: str) -> str:
    """The sum of a line's JSON."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:DIGITS]


def told_sum(line: str) -> str:
    """The sum that a line says it has."""
    return line.split(" ", 2)[1]


def parse(text: str | None) -> Kept:
    """The lines of a file. One that is damaged or edited hides no other."""
    kept = Kept()
    for line in (text or "").split("\n"):
        if line.startswith(ABOUT):
            kept.about = parse_about(line[len(ABOUT) :])
            continue
        words = line.split(" ", 2)
        if not line or len(words[0]) != 36:
            continue
        if len(words) == 3 and words[1] == sum_of(words[2]):
            kept.rows[words[0]] = line
        else:
            kept.damaged.add(words[0])
    kept.damaged -= set(kept.rows)
    return kept


def parse_about(text: str) -> Json:
    """What a file says of itself; nothing when that is damaged."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def render(about: Json, rows: dict[str, str]) -> str:
    """A file's text."""
    return "\n".join([ABOUT + json.dumps(about, sort_keys=True), *(rows[key] for key in sorted(rows)), ""])


def digest(rows: dict[str, str]) -> str:
    """One sum for all lines of a file."""
    return sum_of("\n".join(f"{key} {told_sum(rows[key])}" for key in sorted(rows)))


def by_uuid(lines: list[str]) -> dict[str, str]:
    """The lines by the uuid that they begin with."""
    return {line[:36]: line for line in lines}


def unpack(packed: str) -> Any:
    """What zctl has packed, so that Ansible carries one text and not thousands of values."""
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def wanted(kept: dict[str, Kept], sent: Json, scope: list[str] | None) -> dict[str, dict[str, str]]:
    """What the files are to hold: with a scope the host's own rows outside of it stay as they are. Pure.

    What nobody has named as deleted is not thrown away: the inventory may have been restored from an older dump.
    """
    own, shared, purge = by_uuid(sent[OWN]), by_uuid(sent[SHARED]), set(sent["purge"])
    before = kept[OWN].rows
    if scope is not None:
        own = {key: line for key, line in before.items() if key not in purge and key not in scope} | own
    unknown = {**kept[LEFT].rows, **kept[SHARED].rows, **before}
    known = purge | set(own) | set(shared) | set(scope or ())
    return {OWN: own, SHARED: shared, LEFT: {key: line for key, line in unknown.items() if key not in known}}


def is_stale(kept: dict[str, Kept], part: Json, scope: list[str] | None) -> bool:
    """Whether rows are to be written though none is missing: they changed by a verb that needs no host. Pure."""
    own = {key: total for group in part["own"].values() for key, total in group.items()}
    if any(told_sum(kept[OWN].rows[key]) != total for key, total in own.items() if key in kept[OWN].rows):
        return True
    return scope is None and (digest(kept[SHARED].rows) != part["shared"] or set(kept[OWN].rows) != set(own))


def differences(kept: dict[str, Kept], part: Json) -> list[Json]:
    """A result for each own row that is missing or was edited; one for all when the host keeps nothing yet. Pure."""
    count = sum(map(len, part["own"].values()))
    if count and not kept[OWN].about:
        told = results.difference("records", None, f"{count} rows of the inventory")
        return [results.result("host", part["host"], "changed", "it keeps no records", [told])]
    found = []
    for noun, group in part["own"].items():
        for key in group:
            if key in kept[OWN].rows:
                continue
            edited = key in kept[OWN].damaged
            told = results.difference("record", "edited" if edited else None, "as zctl writes it")
            reason = "its record was edited" if edited else "its record is missing"
            found.append(results.result(noun, {"uuid": key}, "changed", reason, [told]))
    return found


def converge(inventory: str, part: Json, scope: list[str] | None, check: bool) -> Json:
    """Bring the files to what is wanted. A failure is the host's: no VM is the worse for it."""
    if not part:
        return results.outcome([])
    folder = FOLDER / inventory
    if part.get("gone"):
        return remove(folder, check)
    kept = read(folder)
    found = differences(kept, part)
    if check or not part["packed"]:
        stale = not found and is_stale(kept, part, scope)
        return results.outcome(
            [*found, *([results.result("host", part["host"], "unchanged", "", unkept=True)] if stale else [])]
        )
    sent = {**unpack(part["packed"]), SHARED: unpack(part["packed_shared"])}
    files = wanted(kept, sent, scope)
    about = {"format": FORMAT, "inventory": inventory, "host": part["host"]["uuid"]}
    try:
        write(folder, about, files, part["at"])
    except OSError as error:
        words = f"the records of the inventory cannot be written to {folder}: {error.strerror or error}"
        return results.outcome([results.result("host", part["host"], "failed", words)])
    return results.outcome(found if scope is None else [])


def read(folder: Path) -> dict[str, Kept]:
    """All three files."""
    return {name: parse(read_text(folder / f"{name}{ENDING}")) for name in (OWN, SHARED, LEFT)}


def write(folder: Path, about: Json, files: dict[str, dict[str, str]], at: str) -> None:
    """Write the files, `left` first: what leaves another file is never nowhere. Only root may read them."""
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (LEFT, OWN, SHARED):
        path = folder / f"{name}{ENDING}"
        if name == LEFT and not files[LEFT]:
            continue
        # When all of it was true is written once, in the file that is written by every run.
        write_text(path, render({**about, **({"at": at} if name == SHARED else {})}, files[name]), 0o600)
    if not files[LEFT]:
        (folder / f"{LEFT}{ENDING}").unlink(missing_ok=True)


def remove(folder: Path, check: bool) -> Json:
    """Forget the inventory, because it lets go of the host. What is not ours stays."""
    if not check and folder.is_dir():
        for name in (OWN, SHARED, LEFT):
            (folder / f"{name}{ENDING}").unlink(missing_ok=True)
        for path in (folder, folder.parent):
            if not any(path.iterdir()):
                path.rmdir()
    return results.outcome([])
