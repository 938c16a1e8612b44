"""Which dumps may go. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zctl.backup.folder import Condition, Dump


def expired(
    dumps: Iterable[Dump], keep: int, condition: Callable[[Dump], Condition] = Dump.condition
) -> tuple[list[Dump], list[tuple[Dump, Condition]]]:
    """The dumps older than the `keep` newest good ones, and those among the newer that are not good.

    `dumps` are those of one inventory and prefix. Newer is what was written later by their sequence, so a clock that
    was set back changes nothing. Only as many files are read as are needed; nothing goes while fewer than `keep` are
    good.
    """
    assert keep >= 1
    newest = sorted(dumps, key=lambda dump: (dump.manifest.sequence, dump.manifest.started_at), reverse=True)
    if len(newest) <= keep:
        return [], []
    good = 0
    bad: list[tuple[Dump, Condition]] = []
    for number, dump in enumerate(newest):
        if good == keep:
            return newest[number:], bad
        found = condition(dump)
        if found == "good":
            good += 1
        else:
            bad.append((dump, found))
    return [], bad
