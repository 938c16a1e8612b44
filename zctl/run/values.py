"""What goes into a run and what comes out of it, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["changed", "unchanged", "failed", "removed"]


@dataclass(frozen=True)
class Connection:
    """How a host is reached. `host_key` is the pinned key; without one an SSH host is refused.

    `sudo_password` is in plain text, for the private files of one run only.
    """

    name: str
    uuid: str
    address: str
    port: int = 22
    user: str = "root"
    key: str = ""
    host_key: str = ""
    sudo_password: str = field(default="", repr=False)

    @property
    def is_local(self) -> bool:
        """Whether it is the machine that zctl runs on."""
        return self.address == "local"


@dataclass(frozen=True)
class HostRun:
    """One host's part of a run: its state, what to look at (None: everything), and the steps in order."""

    connection: Connection
    state: dict[str, Any]
    scope: list[str] | None
    steps: tuple[str, ...]


@dataclass
class Result:
    """What happened to one resource on one host.

    `differences` says in which fields the host was not as wanted: each has `field`, `actual` and `desired`.
    """

    uuid: str
    kind: str
    name: str
    result: Outcome
    reason: str = ""
    observed: dict[str, Any] = field(default_factory=dict)
    concern: str = ""
    differences: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class HostResult:
    """What happened on one host.

    `unreachable` and `failure` are sentences; `observed` is what a concern saw beyond its results.
    """

    host: str
    results: list[Result] = field(default_factory=list)
    unreachable: str = ""
    failure: str = ""
    observed: dict[str, Any] = field(default_factory=dict)
    diffs: list[dict[str, Any]] = field(default_factory=list)
    foreign: list[dict[str, Any]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    @property
    def is_clean(self) -> bool:
        """Whether the host answered for its resources and nothing was, or would be, changed or written down."""
        return bool(self.results) and all(
            entry.result == "unchanged" and not entry.observed.get("unkept") for entry in self.results
        )

    @property
    def ok(self) -> bool:
        """Whether all steps ran and no resource failed."""
        return not (self.unreachable or self.failure or any(entry.result == "failed" for entry in self.results))
