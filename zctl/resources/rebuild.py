"""One inventory out of what hosts keep of it: the newest of each row, without what was deleted. Not a noun."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from zctl.errors import Invalid, Misuse
from zctl.resources.base import references
from zctl.resources.registry import resource_class
from zctl.resources.rows import ABOUT, Record, parse_about, parse_line

OWN, SHARED, LEFT = "own", "shared", "left"
PARTS = (OWN, SHARED, LEFT)


@dataclass(frozen=True)
class Said:
    """What one host keeps of one inventory; `at` is when it was true, `domains` the names of marked VMs by UUID.

    `host` is the host's UUID in that inventory, empty when it does not say; `domains` is None when libvirt is silent.
    """

    source: str
    host: str
    at: str
    records: dict[str, dict[str, Record]]
    damaged: tuple[str, ...] = ()
    domains: dict[str, str] | None = None

    @property
    def keeps(self) -> bool:
        """Whether it has any record."""
        return any(self.records.values())


@dataclass
class Merged:
    """The rows to make, by UUID; what is told about them; and those that were deleted since a host kept them."""

    records: dict[str, Record] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    gone: dict[str, Record] = field(default_factory=dict)


def said_by(source: str, texts: dict[str, str | None], domains: dict[str, str] | None) -> Said:
    """A host's files as values. A record that was edited or damaged is told and left out; it hides no other."""
    abouts: dict[str, dict[str, str]] = {}
    records: dict[str, dict[str, Record]] = {part: {} for part in PARTS}
    damaged = []
    for part in PARTS:
        for line in (texts.get(part) or "").split("\n"):
            if line.startswith(ABOUT):
                abouts[part] = parse_about(line)
            elif line:
                try:
                    record = parse_line(line)
                except Invalid as error:
                    damaged.append(f"{error} on {source}, in {part}.rows")
                    continue
                records[part][record.uuid] = record
    host = next((about["host"] for about in abouts.values() if about.get("host")), "")
    return Said(source, host, abouts.get(SHARED, {}).get("at", ""), records, tuple(damaged), domains)


def merge(said: list[Said], *, with_left: bool) -> Merged:
    """The newest record of each row. `with_left`: also what the inventory did not know when it last wrote.

    Without that only those of these are taken whose VM still exists, and what that VM needs.
    """
    made = Merged()
    for one in said:
        made.notes += one.damaged
    sources = choose(said, made)
    newest = max(said, key=lambda one: one.at, default=None)
    told = set().union(*(newest.records[part] for part in PARTS)) if newest else set()
    for uuid, parts in sources.items():
        record = made.records[uuid]
        if newest and parts == {SHARED} and uuid not in told and record.created_at < newest.at:
            made.gone[uuid] = made.records.pop(uuid)
    left = {uuid for uuid, parts in sources.items() if parts == {LEFT}}
    if not with_left:
        alive = {uuid for one in said for uuid in one.domains or {}}
        for uuid in left - needed(made.records, left, alive):
            record = made.records.pop(uuid)
            made.notes.append(f"{record.label} is not taken in: the inventory had lost it before, and nothing needs it")
    return made


def choose(said: list[Said], made: Merged) -> dict[str, set[str]]:
    """Fill in the newest record of each row; returns in which files it is found."""
    sources: dict[str, set[str]] = {}
    rank: dict[str, tuple[tuple[int, str], int, str]] = {}
    where: dict[str, str] = {}
    for one in said:
        for number, part in enumerate(reversed(PARTS)):
            for uuid, record in one.records[part].items():
                sources.setdefault(uuid, set()).add(part)
                place = (record.age, number, one.at)
                known = made.records.get(uuid)
                if known is not None and known != record and known.age == record.age:
                    better = place > rank[uuid]
                    first, second = (one.source, where[uuid]) if better else (where[uuid], one.source)
                    label = record.label if better else known.label
                    made.notes.append(f"{label}: {first} and {second} do not agree; {first} is believed")
                if known is None or place > rank[uuid]:
                    made.records[uuid], rank[uuid], where[uuid] = record, place, one.source
    return sources


def needed(records: dict[str, Record], left: set[str], alive: set[str]) -> set[str]:
    """Those of `left` that are VMs which are alive, belong to such VMs, or are referred to by what is taken."""
    targets = {uuid: set(targets_of(record)) for uuid, record in records.items()}
    taken = {uuid for uuid in records if uuid not in left or (uuid in alive and records[uuid].noun == "vm")}
    before: set[str] = set()
    while taken != before:
        before = set(taken)
        taken |= {target for uuid in before for target in targets[uuid] if target in left and target in records}
        owners = {uuid for uuid in taken & left if records[uuid].noun in ("vm", "nic")}
        taken |= {uuid for uuid in left if uuid in records and targets[uuid] & owners}
    return taken & left


def targets_of(record: Record) -> Iterable[str]:
    """The rows that a record refers to."""
    try:
        fields = references(resource_class(record.noun))
    except Misuse:
        return []
    return [value for name in fields if isinstance(value := record.values.get(name), str)]


def hosts_in(merged: Merged) -> list[Record]:
    """The records of hosts."""
    return [record for record in merged.records.values() if record.noun == "host"]


def unrecorded(said: list[Said], merged: Merged) -> list[tuple[str, str, str]]:
    """(host, VM's name, UUID) of domains that carry the mark though nobody keeps a record of their VM."""
    return [
        (one.source, name, uuid)
        for one in said
        for uuid, name in sorted((one.domains or {}).items())
        if uuid not in merged.records
    ]
