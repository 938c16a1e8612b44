"""Reading rows for people: references by name, computed columns, filters. One query a table, never one a row."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlmodel import col

from zctl.errors import Misuse, did_you_mean
from zctl.resources.base import Resource, attrs, public_name
from zctl.resources.lookup import find
from zctl.resources.registry import resource_class
from zctl.resources.tag import Tag

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Row = dict[str, Any]


def all_columns(cls: type[Resource]) -> list[str]:
    """Every column that can be shown or filtered by, in order; `tags` is the last."""
    return [public_name(f) for f, about in attrs(cls).items() if about.listed != "hidden"] + [*cls.computed, "tags"]


def default_columns(cls: type[Resource], wide: bool) -> list[str]:
    """The columns of a list; the wide one adds further ones at the end."""
    abouts = {public_name(f): about.listed for f, about in attrs(cls).items()} | {
        k: c.listed for k, c in cls.computed.items()
    }
    found = [name for name, listed in abouts.items() if listed == "list"]
    if wide:
        found += [name for name, listed in abouts.items() if listed == "wide"] + ["tags"]
    return found


def require_columns(cls: type[Resource], names: list[str]) -> None:
    """Raise Misuse for a column that there is not."""
    legal = all_columns(cls)
    for name in names:
        if name not in legal and not name.startswith("tags."):
            raise Misuse(
                f"{cls.noun} has no column {name!r}", remedy=did_you_mean(name, legal) or "columns: " + ", ".join(legal)
            )


def read_rows(db: Session, cls: type[Resource], columns: list[str], filters: list[str], sort: list[str]) -> list[Row]:
    """The rows of a type as dictionaries of the columns asked for, filtered (KEY=VALUE, KEY!=VALUE) and sorted."""
    conditions = [parse_filter(text) for text in filters]
    sort = sort or [cls.default_sort]
    needed = list(
        dict.fromkeys([*columns, *(key for key, _, _ in conditions), *(key.removeprefix("-") for key in sort), "uuid"])
    )
    require_columns(cls, needed)
    rows = fetch(db, cls, needed, None)
    rows = [row for row in rows if all(matches(row, *condition) for condition in conditions)]
    for word in reversed(sort):
        rows.sort(key=partial(row_key, column=word.removeprefix("-")), reverse=word.startswith("-"))
    return rows


def row_key(row: Row, column: str) -> tuple[int, Any]:
    """What a row is sorted by."""
    return sort_key(value_of(row, column))


def read_row(db: Session, cls: type[Resource], name: str) -> Row:
    """Everything known of one resource."""
    return fetch(db, cls, all_columns(cls), find(db, cls, name).id)[0]


def fetch(db: Session, cls: type[Resource], needed: list[str], only: str | None) -> list[Row]:
    """The values of the needed columns, by plain queries without making objects."""
    fields = {public_name(f): (f, about) for f, about in attrs(cls).items()}
    stored = [name for name in needed if name in fields]
    table: Any = cls.__table__  # type: ignore[attr-defined]
    query = select(*(table.c[fields[name][0]] for name in stored))
    if only is not None:
        query = query.where(table.c.id == only)
    names: dict[str, dict[str, str]] = {}
    for name in stored:
        noun = fields[name][1].ref
        if noun and noun not in names:
            other: Any = resource_class(noun).__table__  # type: ignore[attr-defined]
            names[noun] = {row[0]: row[1] for row in db.execute(select(other.c.id, other.c.name))}
    rows = [dict(zip(stored, values, strict=True)) for values in db.execute(query)]
    for name in stored:
        if noun := fields[name][1].ref:
            known = names[noun]
            for row in rows:
                row[name] = known.get(row[name]) if row[name] else None
    for name in needed:
        if name in cls.computed:
            found = cls.computed[name].values(db, [row["uuid"] for row in rows])
            for row in rows:
                row[name] = found.get(row["uuid"])
    if any(name == "tags" or name.startswith("tags.") for name in needed):
        add_tags(db, cls, rows)
    return rows


def add_tags(db: Session, cls: type[Resource], rows: list[Row]) -> None:
    """Put each row's tags into it."""
    tags: dict[str, dict[str, str]] = {}
    for key, name, value in db.execute(
        select(col(Tag.resource_id), col(Tag.key), col(Tag.value))
        .where(col(Tag.kind) == cls.noun)
        .order_by(col(Tag.key))
    ):
        tags.setdefault(key, {})[name] = value
    for row in rows:
        row["tags"] = tags.get(row["uuid"], {})


def parse_filter(text: str) -> tuple[str, bool, str]:
    """KEY=VALUE or KEY!=VALUE to (key, whether equal, value)."""
    key, mark, value = text.partition("=")
    if not mark or not key.rstrip("!"):
        raise Misuse(f"filter {text!r} is not KEY=VALUE or KEY!=VALUE", remedy="such as --filter state=Running")
    return key.removesuffix("!").strip(), not key.endswith("!"), value.strip()


def value_of(row: Row, key: str) -> Any:
    """A column's value; tags.KEY reaches into the tags."""
    return row["tags"].get(key.removeprefix("tags.")) if key.startswith("tags.") else row.get(key)


def matches(row: Row, key: str, equal: bool, wanted: str) -> bool:
    """Whether a row's value, written as text, is the one wanted. Sizes match as numbers and as 10G."""
    value = value_of(row, key)
    if isinstance(value, bool):
        texts = {str(value).lower(), "yes" if value else "no"}
    elif isinstance(value, int):
        from zctl.units import format_size

        texts = {str(value), format_size(value)}
    elif isinstance(value, list):
        texts = {*map(str, value), " ".join(map(str, value))}
    else:
        texts = {"" if value is None else str(value)}
        if key == "ip" and value:
            texts |= set(str(value).split())
    return (wanted in texts) == equal


def sort_key(value: Any) -> tuple[int, Any]:
    """Numbers before text, nothing first; digits within text count as numbers, so that web-10 follows web-9."""
    import re

    if value is None:
        return (0, 0)
    if isinstance(value, int | float):
        return (1, value)
    return (
        2,
        [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", str(value)) if part],
    )
