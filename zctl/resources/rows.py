"""Rows of the inventory as the text that hosts keep of them, and back. Not a noun."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from zctl.errors import Invalid, Misuse
from zctl.resources.base import Resource, attrs, references
from zctl.resources.registry import resource_class
from zctl.resources.spec import DESCRIPTION, NO_CONTROL, TAG_KEY, TAG_VALUE

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot
    from zctl.resources.host import Host

Json = dict[str, Any]
Tags = Mapping[str, Mapping[str, str]]
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ABOUT = "# zctl "
"""How the line begins in which a file says whose it is"""
DIGITS = 16
HISTORY = frozenset({"job", "event", "management-node", "tag"})
"""What hosts do not keep: what was, and tags, which are in the record of what they are pinned to"""


@dataclass(frozen=True)
class Record:
    """A row as a host keeps it: `values` by column, of which nothing has been proved yet."""

    uuid: str
    noun: str
    values: Json
    tags: dict[str, str]

    @property
    def name(self) -> str:
        """Its name, for messages."""
        return str(self.values.get("name") or self.uuid[:8])

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.noun} {self.name}"

    @property
    def age(self) -> tuple[int, str]:
        """What grows with each change."""
        version = self.values.get("version")
        return version if isinstance(version, int) else 0, str(self.values.get("updated_at") or "")

    @property
    def created_at(self) -> str:
        """When it was made, UTC, as ISO 8601."""
        return str(self.values.get("created_at") or "")


@cache
def kept_columns(cls: type[Resource]) -> tuple[tuple[str, Any], ...]:
    """The columns that hosts keep, each with its default."""
    fields = cls.model_fields
    return tuple((name, fields[name].default) for name, about in attrs(cls).items() if not about.observed)


def plain(value: Any) -> Any:
    """A value as JSON holds it."""
    return value.isoformat() if isinstance(value, datetime) else value


def line_of(row: Resource, tags: Mapping[str, str]) -> str:
    """The line `UUID SUM JSON` of a row. The same row always gives the same line."""
    values = {}
    for name, default in kept_columns(type(row)):
        value = getattr(row, name)
        if value is not None or default is not None:
            values[name] = plain(value)
    values |= row.recorded()
    found = {"noun": row.noun, "row": values} | ({"tags": dict(tags)} if tags else {})
    text = json.dumps(found, sort_keys=True, separators=(",", ":"))
    return f"{row.id} {sum_of(text)} {text}"


def sum_of(text: str) -> str:
    """The sum by which a line proves that nobody has edited it. Hosts compute the same."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def parse_line(line: str) -> Record:
    """The record of a line whose sum holds. Raises Invalid for anything else: what a host says is not trusted."""
    uuid, _, rest = line.partition(" ")
    total, _, text = rest.partition(" ")
    if not UUID.fullmatch(uuid) or total != sum_of(text):
        raise Invalid("it was edited or is damaged", resource=f"record {uuid[:36]!a}")
    try:
        found = json.loads(text)
        record = Record(uuid, found["noun"], found["row"], found.get("tags") or {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Invalid("it is no record of a row", resource=f"record {uuid}") from None
    shape = isinstance(record.noun, str) and isinstance(record.values, dict) and isinstance(record.tags, dict)
    if not shape or record.values.get("id") != uuid or record.noun in HISTORY:
        raise Invalid("it is no record of a row", resource=f"record {uuid}")
    return record


def parse_about(line: str) -> dict[str, str]:
    """What a file says of itself: host, inventory, and when it was true; nothing when that line is damaged."""
    try:
        found = json.loads(line.removeprefix(ABOUT))
    except (ValueError, RecursionError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


class Checked(BaseModel):
    """Base of the models of records. What a newer version has put in and this one does not know is left out."""

    model_config = ConfigDict(extra="ignore")


@cache
def record_model(cls: type[Resource]) -> type[Checked]:
    """What a record of a type may hold: the rules of its columns, whoever may set them."""
    fields: dict[str, Any] = {}
    for name, about in attrs(cls).items():
        info = cls.model_fields[name]
        constraints = [item for item in info.metadata if not type(item).__module__.startswith("sqlmodel")]
        kind: Any = info.annotation
        rule: Any = None
        if name == "description":
            rule = DESCRIPTION
        elif name == "name":
            # A name that no user may give is made of others', and so of more than these may hold.
            rule = Annotated[str, StringConstraints(pattern=own_name(cls), max_length=about.max_length or 255)]
        elif name == "id" or about.ref:
            rule = Annotated[str, StringConstraints(pattern=f"^{UUID.pattern}$")]
        elif is_text(kind) and not about.choices and about.max_length and not about.opaque:
            rule = Annotated[str, StringConstraints(pattern=about.pattern or NO_CONTROL, max_length=about.max_length)]
        if rule is not None:
            kind = rule | None if is_optional(info.annotation) else rule
        elif constraints:
            kind = Annotated[kind, *constraints]
        given = ... if info.is_required() or name in ("id", "name") else info.default_factory or info.default
        made = Field(default_factory=given) if callable(given) and given is not ... else Field(given)
        fields[name] = (kind, made)
    return create_model(f"{cls.__name__}Record", __base__=Checked, **fields)


def own_name(cls: type[Resource]) -> str:
    """The pattern of a type's names."""
    return NO_CONTROL if attrs(cls)["name"].when == "never" else cls.name_pattern


def is_optional(kind: Any) -> bool:
    """Whether a column may be empty."""
    return type(None) in getattr(kind, "__args__", ())


def is_text(kind: Any) -> bool:
    """Whether a column holds free text."""
    return kind is str or (is_optional(kind) and str in kind.__args__)


class CheckedTags(BaseModel):
    """The tags of a record."""

    tags: dict[TAG_KEY, TAG_VALUE]


def row_of(record: Record) -> Resource:
    """The row of a record, by the rules of its declaration. Raises Invalid."""
    try:
        cls = resource_class(record.noun)
    except Misuse:
        raise Invalid("this zctl does not know its type", resource=record.label) from None
    try:
        values = record_model(cls).model_validate(record.values).model_dump()
        CheckedTags(tags=record.tags)
        return cls.build(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"its record is not legal: {place}: {first['msg']}", resource=record.label) from None


@dataclass(frozen=True)
class Sorted:
    """All rows by who keeps them: hosts their own, everybody the shared ones."""

    own: dict[str, list[Resource]]
    shared: list[Resource]


def by_keeper(snapshot: Snapshot) -> Sorted:
    """Sort the rows of the inventory, once for each snapshot."""

    def work_out() -> Sorted:
        made = Sorted({}, [])
        for cls in snapshot.types():
            if cls.noun in HISTORY:
                continue
            alone = cls.keeper is not Resource.keeper
            for row in snapshot.all(cls):
                host = row.keeper(snapshot) if alone else None
                (made.shared if host is None else made.own.setdefault(host, [])).append(row)
        return made

    return snapshot.once(by_keeper, work_out)


def shared_lines(snapshot: Snapshot, tags: Tags) -> list[str]:
    """The lines that every host keeps, once for each snapshot."""
    return snapshot.once(
        shared_lines, lambda: sorted(line_of(row, tags.get(row.id, {})) for row in by_keeper(snapshot).shared)
    )


def shared_digest(snapshot: Snapshot, tags: Tags) -> str:
    """One sum for all of these, as hosts compute it."""
    return snapshot.once(
        shared_digest, lambda: sum_of("\n".join(line[: 37 + DIGITS] for line in shared_lines(snapshot, tags)))
    )


def own_rows(snapshot: Snapshot, host: str, scope: Collection[str] | None) -> list[Resource]:
    """The rows that only this host keeps; with a scope those in it and those that belong to them."""
    found = by_keeper(snapshot).own.get(host, [])
    if scope is None:
        return found
    return [
        row for row in found if row.id in scope or any(getattr(row, name) in scope for name in references(type(row)))
    ]


def state_of(
    snapshot: Snapshot, tags: Tags, host: Host, scope: Collection[str] | None, purge: Collection[str], at: datetime
) -> Json:
    """What the host's modules get: sums to compare with, and the lines themselves packed as two texts.

    `purge` are the uuids of rows that were deleted, `at` is the time of the snapshot.
    """
    rows = own_rows(snapshot, host.id, scope)
    lines = {row.id: line_of(row, tags.get(row.id, {})) for row in rows}
    own: dict[str, dict[str, str]] = {}
    for row in rows:
        own.setdefault(row.noun, {})[row.id] = lines[row.id][37 : 37 + DIGITS]
    return {
        "host": {"uuid": host.id, "name": host.name},
        "own": own,
        "shared": shared_digest(snapshot, tags),
        "at": at.isoformat(),
        "packed": pack({"own": sorted(lines.values()), "purge": sorted(purge)}),
        "packed_shared": snapshot.once(pack, lambda: pack(shared_lines(snapshot, tags))),
    }


def pack(value: Any) -> str:
    """A value as one short text, which Ansible carries unread."""
    return base64.b64encode(zlib.compress(json.dumps(value).encode(), 1)).decode()
