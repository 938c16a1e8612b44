"""How hosts differ from the inventory, as values: field by field, with what on them is not zctl's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from zctl.plan.names import noun_of_kind

NOT_AS_WANTED = ("changed", "removed", "failed")


class Seen(Protocol):
    """One resource's result of a run in check mode."""

    uuid: str
    kind: str
    name: str
    result: Any
    reason: str
    differences: list[dict[str, Any]]


class Answer(Protocol):
    """One host's results of a run in check mode."""

    host: str
    results: Any
    unreachable: str
    failure: str
    foreign: list[dict[str, Any]]


@dataclass(frozen=True)
class Difference:
    """One field that is not as the inventory wants it; without a field the whole resource, told in `reason`.

    `waits` says that it was asked for and could not be brought to the host yet.
    """

    host: str
    noun: str
    name: str
    uuid: str
    field: str = ""
    actual: Any = None
    desired: Any = None
    reason: str = ""
    waits: bool = False


@dataclass
class Drift:
    """What a comparison found. `problems` are hosts that could not be compared, with the reason."""

    differences: list[Difference] = field(default_factory=list)
    foreign: list[dict[str, Any]] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether every host that answered is as it should be."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "hosts": self.hosts,
            "differences": [asdict(entry) for entry in self.differences],
            "foreign": self.foreign,
            "problems": self.problems,
        }


def compare(answers: Iterable[Answer], waiting: Mapping[str, Set[str]]) -> Drift:
    """Sort the answers of a run in check mode. `waiting`: host name -> uuids that have something outstanding there."""
    drift = Drift()
    for answer in sorted(answers, key=lambda answer: answer.host):
        drift.hosts.append(answer.host)
        if answer.unreachable or answer.failure:
            drift.problems[answer.host] = answer.unreachable or answer.failure
        for entry in answer.results:
            drift.differences += differences_of(answer.host, entry, waiting.get(answer.host, frozenset()))
        drift.foreign += [{"host": answer.host, **thing} for thing in answer.foreign]
    return drift


def differences_of(host: str, entry: Seen, waiting: Set[str]) -> list[Difference]:
    """The differences that one result tells."""
    if entry.result not in NOT_AS_WANTED:
        return []
    noun = noun_of_kind(entry.kind)
    waits = entry.uuid in waiting or "*" in waiting
    if entry.result == "failed" or not entry.differences:
        reason = entry.reason or ("is to be removed" if entry.result == "removed" else "is not as it should be")
        return [Difference(host, noun, entry.name, entry.uuid, reason=reason, waits=waits)]
    return [
        Difference(
            host,
            noun,
            entry.name,
            entry.uuid,
            str(found.get("field", "")),
            found.get("actual"),
            found.get("desired"),
            entry.reason,
            waits,
        )
        for found in entry.differences
    ]
