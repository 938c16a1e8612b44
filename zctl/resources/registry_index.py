"""The nouns and their one-line help, found by file name; imports no declaration. Not a noun."""

from __future__ import annotations

from functools import cache
from pathlib import Path

NOT_NOUNS = {"__init__", "base"}
GROUP = "zctl.resources"


def first_line(path: Path) -> str:
    """The first line of a file's docstring, without reading or compiling the rest."""
    with path.open(encoding="utf-8") as file:
        return file.readline().strip().strip('"')


@cache
def noun_files() -> dict[str, str]:
    """Nouns and their one-line help, from file names and first lines; imports nothing."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        line = first_line(path)
        if path.stem not in NOT_NOUNS and not line.endswith("Not a noun."):
            found[path.stem.replace("_", "-")] = line
    return found


@cache
def foreign_nouns() -> dict[str, str]:
    """Nouns of other packages: entry points NOUN = module:Class."""
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=GROUP)}
