"""Making and changing rows under the rules of their declarations. One session is one transaction of the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import delete, inspect, select
from sqlmodel import col

from zctl.errors import Invalid, NotFound, Refused
from zctl.inventory.lease import owner
from zctl.resources.base import Resource, attrs, now, public_name
from zctl.resources.event import Event
from zctl.resources.lookup import find, look_up, printable
from zctl.resources.registry import resource_class
from zctl.resources.spec import filled, settable, validate
from zctl.resources.tag import Tag

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    T = TypeVar("T", bound=Resource)
else:
    T = TypeVar("T")


DELETED = "deleted"


def create(db: Session, cls: type[T], values: dict[str, Any], reason: str | None = None) -> tuple[T, list[Resource]]:
    """Make a resource and what belongs to it; returns the row and all rows made with it, itself first.

    `values` are by public name, as a user writes them. Raises Invalid, NotFound or Refused; nothing is stored then
    because the caller's transaction ends.
    """
    given = validate(cls, "create", values)
    tags = given.pop("tags", None)
    inputs = {name: given.pop(name, about.default) for name, about in cls.inputs.items()}
    columns = resolve(db, cls, given)
    if "name" in columns and db.scalars(select(col(cls.id)).where(col(cls.name) == columns["name"])).first():
        raise Refused(
            "exists already", resource=f"{cls.noun} {columns['name']}", remedy="choose another name, or update it"
        )
    columns.setdefault("name", "")
    row = cls.build(**columns)
    resolve_inputs(db, cls, inputs)
    made = insert(db, row, inputs)
    set_tags(db, row, tags)
    record(db, row, "created", reason)
    return row, made


def insert(db: Session, row: Resource, inputs: dict[str, Any]) -> list[Resource]:
    """Prepare, check and store a row, then the rows it brings along. Returns them all, itself first."""
    with db.no_autoflush:
        parts = row.prepare(db, inputs)
        row.check(db)
    db.add(row)
    db.flush()
    made = [row]
    for part in parts:
        made += insert(db, part, {})
    return made


def resolve(db: Session, cls: type[Resource], given: dict[str, Any]) -> dict[str, Any]:
    """Public names to columns; names of other resources to their ids."""
    columns: dict[str, Any] = {}
    known = settable(cls, "create")
    for public, value in given.items():
        field = known[public]
        about = attrs(cls)[field]
        columns[field] = named(db, about.ref, value, public) if about.ref and value is not None else value
    return columns


def named(db: Session, noun: str, text: str, field: str) -> str:
    """The id of the resource that a field names. Raises NotFound with the field."""
    try:
        return find(db, resource_class(noun), text).id
    except NotFound as error:
        error.field = field
        raise


def resolve_inputs(db: Session, cls: type[Resource], inputs: dict[str, Any]) -> None:
    """Fail early for an input that names what does not exist."""
    for name, about in cls.inputs.items():
        if about.ref and inputs.get(name):
            named(db, about.ref, inputs[name], name)


def update(
    db: Session, row: Resource, values: dict[str, Any], reason: str | None = None
) -> tuple[dict[str, tuple[Any, Any]], list[Resource]]:
    """Change a resource in place. Returns the changed fields (old, new) and the rows made by it, or changed with it.

    `values` may repeat what already holds, also for fields that cannot change. Raises Invalid or Refused.
    """
    cls = type(row)
    given = validate(cls, "update", values)
    tags = given.pop("tags") or {} if "tags" in given else None
    inputs = {name: given.pop(name, None) for name in cls.inputs}
    before = {field: getattr(row, field) for field in attrs(cls)}
    columns = changeable(cls, row, resolve(db, cls, given))
    changed = {field for field, value in columns.items() if before[field] != value}
    if "name" in changed and look_up(db, cls, columns["name"]) is not None:
        raise Refused("exists already", resource=f"{cls.noun} {columns['name']}", remedy="choose another name")
    with db.no_autoflush:
        for field in changed:
            setattr(row, field, columns[field])
        parts = row.revise(db, inputs, changed, set(columns))
        differences = {
            public_name(f): (tellable(cls, f, old), tellable(cls, f, getattr(row, f)))
            for f, old in before.items()
            if getattr(row, f) != old
        }
        if differences:
            row.check(db)
    made = store_parts(db, parts)
    tag_changes = set_tags(db, row, tags)
    if "name" in changed:
        for tag in db.scalars(select(Tag).where(col(Tag.resource_id) == row.id)):
            tag.name = f"{row.noun}/{row.name}/{tag.key}"
    if differences or tag_changes or made:
        touch(db, row)
        record(
            db,
            row,
            "updated " + ", ".join(sorted({*differences, *tag_changes, *(part.label for part in made)})),
            reason,
        )
    return differences | tag_changes, made


def tellable(cls: type[Resource], field: str, value: Any) -> Any:
    """A field's value as it may be shown and logged."""
    return cls.opaque_words(field, value) if attrs(cls)[field].opaque and value is not None else value


def store_parts(db: Session, parts: list[Resource]) -> list[Resource]:
    """Store what an update made, and what it changed beside its own row."""
    made: list[Resource] = []
    for part in parts:
        if inspect(part).persistent:
            part.check(db)
            touch(db, part)
            made.append(part)
        else:
            made += insert(db, part, {})
    return made


def changeable(cls: type[Resource], row: Resource, columns: dict[str, Any]) -> dict[str, Any]:
    """The columns that may change; raises Refused when one that never can would have to."""
    found = {}
    for field, given in columns.items():
        about, value = attrs(cls)[field], cls.canonical(field, given)
        if about.when == "create":
            if value is not None and value != getattr(row, field):
                raise Refused(
                    f"{public_name(field)} cannot be changed after creation",
                    resource=row.label,
                    remedy=about.instead or f"make a new {cls.noun} beside it, then delete this one",
                    field=public_name(field),
                )
            continue
        found[field] = filled(cls, field, given)
    return found


def touch(db: Session, row: Resource) -> None:
    """Count a change. Two writers of one row cannot both win: the version they read is compared when it is stored."""
    row.version += 1
    row.updated_at = now()
    db.add(row)
    db.flush()


def set_tags(db: Session, row: Resource, tags: dict[str, str] | None) -> dict[str, tuple[Any, Any]]:
    """Make the tags of a resource these; None leaves them alone. Returns what changed."""
    if tags is None:
        return {}
    present = {tag.key: tag for tag in db.scalars(select(Tag).where(col(Tag.resource_id) == row.id))}
    changes: dict[str, tuple[Any, Any]] = {}
    for key, value in tags.items():
        tag = present.pop(key, None)
        if tag is None:
            db.add(
                Tag.build(name=f"{row.noun}/{row.name}/{key}", key=key, value=value, kind=row.noun, resource_id=row.id)
            )
            changes[f"tag {key}"] = (None, value)
        elif tag.value != value:
            changes[f"tag {key}"] = (tag.value, value)
            tag.value = value
    for key, tag in present.items():
        changes[f"tag {key}"] = (tag.value, None)
        db.delete(tag)
    return changes


def merge_tags(db: Session, row: Resource, added: dict[str, str]) -> dict[str, str]:
    """The tags of a resource with some added; an empty value takes one away."""
    tags = {tag.key: tag.value for tag in db.scalars(select(Tag).where(col(Tag.resource_id) == row.id))} | added
    return {key: value for key, value in tags.items() if value != ""}


def record(db: Session, row: Resource, what: str, reason: str | None = None, job: str | None = None) -> None:
    """Write down that something happened to a resource."""
    if what == DELETED:
        db.info.setdefault(DELETED, set()).add(row.id)
    event = Event.build(
        name="event",
        what=what[:1000],
        kind=row.noun,
        resource_id=row.id,
        resource=row.name,
        actor=owner().rpartition(":")[0].split(":")[0],
        reason=reason,
        job_id=job,
    )
    event.name = f"event-{event.id[:13]}"
    db.add(event)


def note_removals(db: Session, _context: Any, _instances: Any) -> None:
    """Called before each flush: no row goes without a word of it. Hosts forget only what is named as deleted."""
    for row in list(db.deleted):
        if isinstance(row, Resource) and row.noun not in ("event", "tag") and row.id not in db.info.get(DELETED, ()):
            record(db, row, DELETED)


def drop_tags(db: Session, ids: list[str]) -> None:
    """Remove the tags of deleted resources."""
    for start in range(0, len(ids), 500):
        db.execute(delete(Tag).where(col(Tag.resource_id).in_(ids[start : start + 500])))


def parse_tag(text: str) -> tuple[str, str]:
    """KEY=VALUE, or KEY alone."""
    key, _, value = text.partition("=")
    if not key:
        raise Invalid(f"tag {printable(text)} is not KEY=VALUE")
    return key, value
