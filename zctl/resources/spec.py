"""What a user may write of each resource type, as models made from the declarations. Not a noun."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticUndefined

from zctl.errors import Invalid, did_you_mean
from zctl.resources.base import Input, Resource, attrs, public_name
from zctl.resources.lookup import printable
from zctl.units import SIZE_PATTERN, parse_size

Purpose = Literal["create", "update"]
SIZE_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": SIZE_PATTERN}]}
SizeText = BeforeValidator(parse_size)
TAG_VALUE = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
DESCRIPTION = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
REFERENCE = Annotated[str, StringConstraints(min_length=1, max_length=255)]
TAG_KEY = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]


class Spec(BaseModel):
    """Base of the models: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


def field_type(cls: type[Resource], field: str) -> Any:
    """The type a user's value must have: names for references, sizes as text or number."""
    about, info = attrs(cls)[field], cls.model_fields[field]
    annotation: Any = info.annotation
    if about.ref:
        annotation = str
    constraints = [item for item in info.metadata if not type(item).__module__.startswith("sqlmodel")]
    if about.unit == "bytes":
        return Annotated[int, *constraints, SizeText, WithJsonSchema(SIZE_SCHEMA)]
    if field == "description":
        return DESCRIPTION
    if (about.pattern or about.max_length) and not about.choices:
        constraints.append(StringConstraints(pattern=about.pattern or NO_CONTROL, max_length=about.max_length))
    if about.ref:
        return REFERENCE
    if not constraints:
        return annotation
    inner = (
        annotation
        if annotation in (str, int, float)
        else next((t for t in get_args(annotation) if t is not type(None)), annotation)
    )
    return Annotated[inner, *constraints]


def input_type(about: Input) -> Any:
    """The type of an input that is not a column."""
    return Annotated[int, SizeText, WithJsonSchema(SIZE_SCHEMA)] if about.unit == "bytes" else about.type


def settable(cls: type[Resource], purpose: Purpose) -> dict[str, str]:
    """Public names of the fields that a user may set, to the names in the declaration."""
    legal = ("always",) if purpose == "update" else ("always", "create")
    return {public_name(field): field for field, about in attrs(cls).items() if about.when in legal}


@cache
def spec_model(cls: type[Resource], purpose: Purpose) -> type[Spec]:
    """The model of a creation, or of an update: the same fields, but nothing is required.

    An update may name what cannot change, as a manifest does; the store compares it.
    """
    fields: dict[str, Any] = {}
    for public, field in settable(cls, "create").items():
        about, info = attrs(cls)[field], cls.model_fields[field]
        kind = field_type(cls, field)
        if field == "name":
            kind = Annotated[str, StringConstraints(pattern=cls.name_pattern, max_length=255)]
        required = (
            purpose == "create"
            and (about.needed or (info.is_required() and not about.auto))
            and not (field == "name" and cls.auto_name)
        )
        fields[public] = (kind if required else kind | None, Field(... if required else None, description=about.help))
    for name, given in cls.inputs.items():
        fields[name] = (input_type(given) | None, Field(None, description=given.help))
    if cls.manifest:
        fields["tags"] = (
            dict[TAG_KEY, TAG_VALUE] | None,
            Field(None, description="keys and values for people and filters"),
        )
    return create_model(f"{cls.__name__}{purpose.title()}", __base__=Spec, __doc__=cls.__doc__, **fields)


def validate(cls: type[Resource], purpose: Purpose, values: dict[str, Any]) -> dict[str, Any]:
    """The given values, checked and converted, by public name. Raises Invalid naming field, value and what is legal."""
    name = values.get("name")
    label = f"{cls.noun} {printable(name)}" if isinstance(name, str) and name else cls.noun
    try:
        made = spec_model(cls, purpose).model_validate(values)
    except ValidationError as error:
        first = next((str(entry["loc"][0]) for entry in error.errors(include_url=False) if entry["loc"]), "")
        raise Invalid(_words(cls, purpose, error), resource=label, field=first) from None
    return {
        key: value
        for key, value in made
        if key in made.model_fields_set and not (value is None and purpose == "create")
    }


def _words(cls: type[Resource], purpose: Purpose, error: ValidationError) -> str:
    said = []
    secrets = {public_name(name) for name, about in attrs(cls).items() if about.secret}
    for entry in error.errors(include_url=False):
        place = ".".join(str(part) for part in entry["loc"])
        field = str(entry["loc"][0]) if entry["loc"] else ""
        kind = entry["type"]
        if kind == "extra_forbidden":
            legal = spec_model(cls, purpose).model_fields
            hint = did_you_mean(field, legal) or "fields: " + ", ".join(legal)
            said.append(f"there is no field {printable(place)} ({hint})")
        elif kind == "missing":
            said.append(f"{place} is missing (--{place.replace('_', '-')})" if place != "name" else "name is missing")
        elif field in secrets:
            said.append(f"{place} is not an encrypted value (zctl secret encrypt makes ENC(...) of one)")
        elif field == "name" and kind.startswith("string"):
            said.append(f"name {printable(str(entry['input']))} is not legal: {cls.name_rule}")
        else:
            said.append(f"{place} {printable(str(entry['input']))}: {entry['msg'].removeprefix('Value error, ')}")
    return "; ".join(dict.fromkeys(said))


def filled(cls: type[Resource], field: str, value: Any) -> Any:
    """A value to store: taking one away leaves the field's default. Raises Invalid where there is none."""
    if value is not None:
        return cls.canonical(field, value)
    if cls.model_fields[field].is_required():
        public = public_name(field)
        raise Invalid(f"{public} cannot be taken away", resource=cls.noun, remedy="give a value", field=public)
    return default_of(cls, field)


def default_of(cls: type[Resource], field: str) -> Any:
    """What a field holds when nobody gives it; None where it must be given."""
    info = cls.model_fields[field]
    return None if info.is_required() else info.get_default(call_default_factory=True)


def is_required(cls: type[Resource], public: str) -> bool:
    """Whether a creation must give that field."""
    field = spec_model(cls, "create").model_fields.get(public)
    return field is not None and field.default is PydanticUndefined
