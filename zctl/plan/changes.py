"""What a run would change, as values: resource by resource, field by field, with what it means for what runs. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Action = Literal["create", "update", "remove", "refuse", "later"]
MARKS: dict[str, str] = {"create": "+", "update": "~", "remove": "-", "refuse": "!", "later": "+"}
WORST = ("remove", "replace", "data-moving", "restart", "live")
UNSTABLE = ("mac", "uuid", "created_at", "updated_at", "host_key", "problem")
"""Values that come out differently each time a plan is worked out, without meaning anything"""

# Seconds, measured on two cores with guests under emulation; told as "about".
START_SECONDS = 2.0
HOST_SECONDS = 0.6
HOST_SETUP_SECONDS = 3.0
DOMAIN_SECONDS = 0.8


@dataclass
class Change:
    """One resource's part of a plan. `fields` maps public names to (old, new), `impact` them to what it means."""

    action: Action
    noun: str
    name: str
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    impact: dict[str, str] = field(default_factory=dict)
    why: str = ""
    remedy: str = ""
    place: str = ""

    @property
    def label(self) -> str:
        """How messages call the resource."""
        return f"{self.noun} {self.name}"

    @property
    def mark(self) -> str:
        """The sign in front of it."""
        return MARKS[self.action]

    @property
    def worst(self) -> str:
        """The heaviest of its impacts."""
        if self.action == "remove":
            return "remove"
        return next((word for word in WORST if word in self.impact.values()), "live")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {key: value for key, value in asdict(self).items() if value not in ("", {})}
        if self.fields:
            found["fields"] = {
                name: {"old": old, "new": new, "impact": self.impact.get(name, "live")}
                for name, (old, new) in self.fields.items()
            }
        found["impact"] = self.worst
        return found

    def fingerprint(self) -> list[Any]:
        """What must come out alike for a saved plan to be still good."""
        fields = {name: list(pair) for name, pair in sorted(self.fields.items()) if name not in UNSTABLE}
        return [self.action, self.noun, self.name, fields]


@dataclass
class Plan:
    """All changes, the hosts that hear of them with the parts concerned, and how long it takes."""

    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0
    hosts: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    set_name: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return not self.changes

    def count(self, *actions: Action) -> int:
        """How many changes there are of these kinds."""
        return sum(change.action in actions for change in self.changes)

    @property
    def refused(self) -> list[Change]:
        """What cannot be done."""
        return [change for change in self.changes if change.action == "refuse"]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "set": self.set_name or None,
            "changes": [change.as_dict() for change in self.changes],
            "unchanged": self.unchanged,
            "hosts": self.hosts,
            "seconds": round(self.seconds, 1),
        }

    def fingerprint(self) -> list[Any]:
        """What must come out alike for a saved plan to be still good."""
        return [change.fingerprint() for change in self.changes]


def estimate(domains: dict[str, int], fresh: int, forks: int) -> float:
    """About how many seconds a run takes: `domains` counts the VMs to touch by host, `fresh` hosts are set up first."""
    if not domains:
        return 0.0
    rounds = -(-len(domains) // max(1, forks))
    return (
        START_SECONDS
        + HOST_SECONDS * rounds
        + DOMAIN_SECONDS * max(domains.values())
        + (HOST_SETUP_SECONDS if fresh else 0)
    )
