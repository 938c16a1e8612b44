"""The way of a packet, step by step, and what it is written like. Pure."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field, replace
from typing import Any

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}
WIDTH = 80


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection; icmp is an echo request and has no port."""

    src: str
    dst: str
    protocol: str
    port: int = 0

    @property
    def text(self) -> str:
        """What it is, for people."""
        return f"{self.protocol} {self.src} -> {self.target}"

    @property
    def target(self) -> str:
        """Where it goes."""
        return f"{self.dst}:{self.port}" if self.port else self.dst

    def to(self, dst: str, port: int | None = None) -> Packet:
        """The same with another destination."""
        return replace(self, dst=dst, port=self.port if port is None or not self.port else port)

    def seen_as(self, src: str) -> Packet:
        """The same with another source."""
        return replace(self, src=src)


@dataclass
class Step:
    """One place that a packet comes by: what happens there, whether it passes, and what to do when it does not.

    `ask` is what to ask the host in order to know that the place is as it should be.
    """

    host: str
    place: str
    words: str
    passes: bool = True
    remedy: str = ""
    host_id: str = ""
    ask: dict[str, Any] | None = None
    checked: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        found = {"host": self.host, "place": self.place, "what": self.words, "passes": self.passes}
        return {**found, "remedy": self.remedy, "checked": self.checked}


@dataclass
class Trace:
    """A packet's way."""

    packet: Packet
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def stop(self) -> Step | None:
        """The step that drops it, if any."""
        return next((step for step in self.steps if not step.passes), None)

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        stop = self.stop
        return {
            "packet": {
                "from": self.packet.src,
                "to": self.packet.dst,
                "protocol": self.packet.protocol,
                "port": self.packet.port or None,
            },
            "verdict": "dropped" if stop else "passes",
            "dropped_by": stop.as_dict() if stop else None,
            "steps": [step.as_dict() for step in self.steps],
            "notes": self.notes,
        }


def lines(trace: Trace) -> list[str]:
    """The way for people, in 80 columns."""
    found = [trace.packet.text]
    for number, step in enumerate(trace.steps, start=1):
        place = f"{step.place} on {step.host}" if step.host else step.place
        mark = "" if step.passes else "DROPPED: "
        seen = " (seen)" if step.checked and step.passes else ""
        found += wrapped(f"{number:>2}. {place}: {mark}{step.words}{seen}", "    ")
        if not step.passes and step.remedy:
            found += wrapped(f"    what to do: {step.remedy}", "    ")
    for note in trace.notes:
        found += wrapped(f"note: {note}", "  ")
    return [*found, f"verdict: {'dropped' if trace.stop else 'passes'}"]


def wrapped(text: str, indent: str) -> list[str]:
    """A text in lines of the width; words that are longer are broken."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
