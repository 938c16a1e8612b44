"""How a resource type is declared: one class gives table, manifest schema, command line and documentation."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic_core import PydanticUndefined
from sqlalchemy import JSON, BigInteger, DateTime, String
from sqlalchemy.orm import declared_attr
from sqlmodel import Field, SQLModel

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.fragments import Fragment, Tombstone
    from zctl.plan.snapshot import Snapshot

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
NAME_RULE = "letters, digits, '.', '_' and '-', 1 to 80 characters, beginning with a letter or digit"
SEALED_PATTERN = r"^(ENC\([A-Za-z0-9_=-]+\))?$"
HOSTNAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
HOSTNAME_RULE = (
    "letters, digits and '-', 1 to 63 characters, not at either end a '-' (it becomes the guest's host name)"
)

When = Literal["create", "always", "never"]
Listed = Literal["list", "wide", "show", "hidden"]
OnDelete = Literal["refuse", "cascade", "owned", "detach"]
Impact = Literal["live", "restart", "data-moving", "replace", "remove"]


@dataclass(frozen=True)
class Attr:
    """What zctl knows of one field beyond its type.

    `when` says when a user may set it, `listed` where it is shown, `ref` the noun that it points to, and
    `on_delete` what happens to this row when that one is deleted: it forbids it, goes with it when the user says
    so (cascade), goes with it as its part (owned), or loses the reference (detach). `auto` marks a field that is
    allocated or derived when it is not given, `needed` one that a user must give though the column may be empty.
    What is `observed` on hosts is no part of what they keep of the row.
    `impact` is what a change of it means for what runs, `instead` what to do when it can never change. `option` is its
    name on the command line where that is not the field's; of an `opaque` one only size and hash are ever shown. A
    `secret` one is taken and kept as ENC(...) only, and opened where it is used.
    """

    help: str
    when: When = "always"
    listed: Listed = "show"
    unit: Literal["", "bytes", "seconds"] = ""
    ref: str = ""
    on_delete: OnDelete = "refuse"
    auto: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ""
    needed: bool = False
    max_length: int | None = None
    impact: Impact = "live"
    instead: str = ""
    option: str = ""
    opaque: bool = False
    secret: bool = False
    observed: bool = False


@dataclass(frozen=True)
class Input:
    """Something a user gives that is not a column: a VM's networks, a range's CIDR.

    The type's `holds` tells whether a row has it already, its `revise` brings a change about.
    """

    type: Any
    help: str
    default: Any = None
    unit: Literal["", "bytes"] = ""
    ref: str = ""
    option: str = ""
    impact: Impact = "live"


def now() -> datetime:
    """The present time in UTC, without a zone mark, as both databases store it."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def attr(
    default: Any = PydanticUndefined,
    *,
    help: str,
    when: When = "always",
    listed: Listed = "show",
    unit: Literal["", "bytes", "seconds"] = "",
    auto: bool = False,
    choices: tuple[str, ...] = (),
    ref: str = "",
    on_delete: OnDelete = "refuse",
    json: bool = False,
    max_length: int = 255,
    text: bool = False,
    needed: bool = False,
    impact: Impact = "live",
    instead: str = "",
    option: str = "",
    opaque: bool = False,
    secret: bool = False,
    observed: bool = False,
    **column: Any,
) -> Any:
    """Declare a field. Further keywords (ge, le, unique, index, default_factory ...) go to sqlmodel's Field.

    A pattern and the length of text are kept here, because sqlmodel forgets them beside a column type.
    """
    if unit == "bytes":
        column.setdefault("sa_type", BigInteger)
    elif json:
        column.setdefault("sa_type", JSON)
    elif choices:
        column.setdefault("sa_type", String(32))
    elif text:
        column.setdefault("sa_type", String(max_length))
    length = getattr(column.get("sa_type"), "length", None)
    pattern = column.pop("regex", SEALED_PATTERN if secret else "")
    fixed = (help, when, listed, unit, ref, on_delete, auto, choices, pattern, needed, length, impact, instead)
    about = Attr(*fixed, option, opaque, secret, observed)
    return Field(default, schema_extra={"json_schema_extra": {"attr": about}}, **column)


def ref(noun: str, default: Any = PydanticUndefined, **keywords: Any) -> Any:
    """Declare a reference to another resource; the field is called NOUN_id and users write the other's name."""
    keywords.setdefault("foreign_key", f"{noun.replace('-', '_')}.id")
    keywords.setdefault("index", True)
    keywords.setdefault("sa_type", String(36))
    return attr(default, ref=noun, **keywords)


@dataclass(frozen=True)
class Computed:
    """A column that is not stored: `values` maps row ids to what is shown, for many rows by one query."""

    help: str
    values: Callable[[Session, list[str]], dict[str, Any]]
    listed: Listed = "list"


class Resource(SQLModel):
    """What every resource has."""

    __allow_unmapped__ = True

    noun: ClassVar[str] = ""
    name_pattern: ClassVar[str] = NAME_PATTERN
    name_rule: ClassVar[str] = NAME_RULE
    read_only: ClassVar[bool] = False
    auto_name: ClassVar[bool] = False
    default_sort: ClassVar[str] = "name"
    inputs: ClassVar[dict[str, Input]] = {}
    computed: ClassVar[dict[str, Computed]] = {}
    manifest: ClassVar[bool] = True
    concerns: ClassVar[tuple[str, ...]] = ()
    quiet: ClassVar[frozenset[str]] = frozenset()

    id: str = attr(
        default_factory=lambda: str(uuid.uuid4()),
        help="UUID; never changes",
        when="never",
        listed="wide",
        primary_key=True,
        sa_type=String(36),
    )
    name: str = attr(help="name, unique among its kind", listed="list", sa_type=String(80), unique=True, index=True)
    description: str | None = attr(None, help="free text for people", listed="wide", text=True, max_length=1000)
    version: int = attr(1, help="grows with each change; two writers cannot both win", when="never", listed="hidden")
    manifest_set: str | None = attr(
        None,
        help="the set of manifests that made it and may prune it",
        when="never",
        listed="wide",
        sa_type=String(80),
        index=True,
    )
    created_at: datetime = attr(
        default_factory=now, help="when it was made, UTC", when="never", listed="wide", sa_type=DateTime
    )
    updated_at: datetime = attr(
        default_factory=now, help="when it was last changed, UTC", when="never", sa_type=DateTime
    )

    @declared_attr.directive
    def __tablename__(cls) -> str:
        return noun_of(cls.__name__).replace("-", "_")

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        table = getattr(cls, "__table__", None)
        return {} if table is None else {"version_id_col": table.c.version, "version_id_generator": False}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.noun = noun_of(cls.__name__)

    @property
    def label(self) -> str:
        """How messages call it: 'vm web-1'."""
        return f"{self.noun} {self.name}"

    @classmethod
    def build(cls, **values: Any) -> Self:
        """The one way to make a row: table models do not validate by themselves."""
        return cls.model_validate(values)

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """A user's value of a field as it is stored: what is only written differently is not a change. Pure."""
        return value

    @classmethod
    def opaque_words(cls, field: str, value: Any) -> str:
        """What may be told of an opaque field's value. Pure."""
        return "(not shown)"

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Fill what was not given and return further rows to be made with this one. May raise Refused."""
        return []

    def check(self, db: Session) -> None:
        """Raise Refused when the row, as it would stand, breaks a rule. Called before create and update."""

    @property
    def delete_note(self) -> str:
        """What people should know before they delete the row, in a few words."""
        return ""

    def check_delete(self, db: Session) -> None:
        """Raise Refused when a rule beyond plain references forbids deleting the row."""

    def companions(self, db: Session) -> list[Resource]:
        """Rows that this one refers to, that were made for it alone and go with it."""
        return []

    def deleted(self, db: Session) -> None:
        """Put in order what is left, in the transaction that has deleted the row."""

    def on_parent_delete(self, field: str) -> OnDelete:
        """What happens to this row when the one its reference `field` points to is deleted."""
        return references(type(self))[field].on_delete

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """Carry out an update's inputs that are not columns, and what follows from changed fields.

        `given` are all fields that the user named, also those that hold already. Returns the rows that are to be
        made, and the other rows that were changed.
        """
        return []

    def exported(self, snapshot: Snapshot, spec: dict[str, Any]) -> dict[str, Any] | None:
        """What a manifest says of the row so that it is made again just so: `spec` holds its settable fields.

        None when it comes with another row. Pure.
        """
        return spec

    def holds(self, snapshot: Snapshot, inputs: dict[str, Any]) -> bool:
        """Whether the row has what these inputs ask for, so that nothing needs to be revised. Pure."""
        return not inputs

    def surplus(self, snapshot: Snapshot, inputs: dict[str, Any]) -> list[Any]:
        """The parts of this row that these inputs no longer ask for. Pure."""
        return []

    def impact(self, changes: dict[str, tuple[Any, Any]]) -> dict[str, Impact]:
        """What changing these fields (public name: old, new) means for what runs; the row is as it was before. Pure."""
        by_name = {public_name(name): about.impact for name, about in attrs(type(self)).items()}
        return {name: by_name.get(name, "live") for name in changes}

    @staticmethod
    def desired(snapshot: Snapshot, host: str) -> list[Fragment]:
        """This type's share of the state of the host with that id. Pure."""
        return []

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Which hosts this row concerns, and the uuids on each that must be looked at. Pure."""
        return {}

    @classmethod
    def touched(cls, other: type[Resource]) -> tuple[str, ...]:
        """The concerns that have to look after a row of another type that `scope` names. Pure."""
        return other.concerns

    def news(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Further hosts that only have to hear when this row comes, goes or is `renamed`, and the uuids. Pure.

        What such a host cannot be told now waits for it, and is no failure.
        """
        return {}

    @property
    def renamed(self) -> bool:
        """Whether this transaction gives it another name in DNS; `revise` says so."""
        return bool(self.__dict__.get("_renamed"))

    def purge(self, snapshot: Snapshot) -> list[Tombstone]:
        """The data on hosts that goes when this row is deleted. Pure."""
        return []

    def keeper(self, snapshot: Snapshot) -> str | None:
        """The one host that keeps a record of this row; None when all do. Each change of it is brought there. Pure."""
        return None

    def recorded(self) -> dict[str, Any]:
        """Observed columns as a host is to keep them, where an inventory made anew would not find them out. Pure."""
        return {}

    def accept(self, db: Session, field: str, actual: Any) -> list[Resource] | None:
        """Take a value that a host has into the inventory; returns the rows changed, None when that cannot be."""
        return None

    def absorb(self, db: Session, host: str, observed: dict[str, Any]) -> None:
        """Take over what a host reported of this resource."""


def noun_of(class_name: str) -> str:
    """PrimaryStorage -> primary-storage, L3Network -> l3-network."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", class_name).lower()


@cache
def attrs(cls: type[Resource]) -> dict[str, Attr]:
    """The declared fields of a resource type, in order."""
    found: dict[str, Attr] = {}
    for name, info in cls.model_fields.items():
        extra = info.json_schema_extra
        about = extra.get("attr") if isinstance(extra, dict) else None
        if isinstance(about, Attr):
            found[name] = about
    return found


@cache
def references(cls: type[Resource]) -> dict[str, Attr]:
    """The fields that point to other resources."""
    return {name: about for name, about in attrs(cls).items() if about.ref}


def public_name(field: str) -> str:
    """The name that users see: a reference `cluster_id` is `cluster`, the rest is as declared."""
    return "uuid" if field == "id" else field.removesuffix("_id")
