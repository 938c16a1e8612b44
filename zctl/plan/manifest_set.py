"""The document of kind Set: the name that marks what the manifests own, variables, defaults and templates. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from zctl.errors import Invalid, did_you_mean
from zctl.plan.yaml_text import Mapping

SET = "Set"
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
VARIABLE = re.compile(r"\$(\$?)\{var\.([^}:]*)(?::-([^}]*))?\}")
VARIABLE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
PARTS = ("variables", "defaults", "templates")
LAYER_KEYS = ("spec", "tags", "description")


class RawDocument(Protocol):
    """A document as read."""

    @property
    def value(self) -> Mapping:
        """Its mapping."""
        ...

    def at(self, line: int) -> str:
        """file:line."""
        ...


@dataclass(frozen=True)
class Layer:
    """Values that lie below a document's own: the defaults of a kind, or a template."""

    kind: str
    values: Mapping
    source: RawDocument
    base: str = ""


@dataclass
class Layers:
    """All that a Set gives: its name, variables, defaults by kind, templates by name."""

    name: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Layer] = field(default_factory=dict)
    templates: dict[str, Layer] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def below(self, kind: str, template: Any, where: str) -> tuple[dict[str, Any], dict[str, str]]:
        """What a document of that kind starts from, and where each value stands: defaults, then its templates."""
        values: dict[str, Any] = {}
        lines: dict[str, str] = {}
        layers = [self.defaults[kind]] if kind in self.defaults else []
        for layer in [*layers, *(self.chain(kind, template, where) if template is not None else ())]:
            self.lay(layer, values, lines)
        return values, lines

    def chain(self, kind: str, template: Any, where: str) -> list[Layer]:
        """The templates that a document names, the most general first."""
        found: list[Layer] = []
        name, at = template, where
        while name:
            layer = self.templates.get(name) if isinstance(name, str) else None
            if layer is None:
                hint = did_you_mean(str(name), self.templates) or "templates: " + (", ".join(self.templates) or "none")
                raise Invalid(f"there is no template {name!r} [{at}]", remedy=hint)
            if layer.kind != kind:
                raise Invalid(f"template {name} is for {layer.kind}, not {kind} [{at}]")
            if layer in found:
                raise Invalid(f"template {name} builds on itself [{at}]")
            found.append(layer)
            name, at = layer.base, layer.source.at(layer.values.line)
        return found[::-1]

    def lay(self, layer: Layer, values: dict[str, Any], lines: dict[str, str]) -> None:
        """Put one layer on top of what is there: tags are joined, everything else is replaced."""
        for key, entry in (layer.values.get("spec") or {}).items():
            lines[key] = layer.source.at(layer.values["spec"].lines[key])
            values[key] = self.filled(entry, lines[key])
        for key in ("description", "tags"):
            if key in layer.values:
                lines[key] = layer.source.at(layer.values.lines[key])
                entry = self.filled(layer.values[key], lines[key])
                values[key] = joined(values.get(key), entry) if key == "tags" else entry

    def filled(self, value: Any, where: str) -> Any:
        """The value with its variables replaced; a value that is one variable takes the variable's type."""
        if isinstance(value, str):
            return self.text(value, where) if "${var." in value else value
        if isinstance(value, list):
            return [self.filled(entry, where) for entry in value]
        if isinstance(value, dict):
            return {key: self.filled(entry, where) for key, entry in value.items()}
        return value

    def text(self, text: str, where: str) -> Any:
        """A text with variables in it."""
        whole = VARIABLE.fullmatch(text)
        if whole and not whole[1]:
            return self.value_of(whole, where)

        def put(found: re.Match[str]) -> str:
            if found[1]:
                return found[0][1:]
            value = self.value_of(found, where)
            if isinstance(value, dict | list):
                raise Invalid(f"variable {found[2]} is a list or mapping and must stand alone [{where}]")
            return str(value).lower() if isinstance(value, bool) else str(value)

        return VARIABLE.sub(put, text)

    def value_of(self, found: re.Match[str], where: str) -> Any:
        """The value of one variable, or what stands after ':-' when it has none."""
        name = found[2]
        if not VARIABLE_NAME.fullmatch(name):
            raise Invalid(f"{found[0]} names no variable: letters, digits and '_' only [{where}]")
        self.used.add(name)
        if name in self.variables:
            return self.variables[name]
        if found[3] is not None:
            return found[3]
        raise Invalid(
            f"variable {name} has no value [{where}]",
            remedy=did_you_mean(name, self.variables)
            or f"give --var {name}=VALUE, a --var-file, ZCTL_VAR_{name}, or variables: in the Set",
        )


def joined(below: Any, above: Any) -> Any:
    """Tags of one layer on those of the layers below."""
    return {**below, **above} if isinstance(below, dict) and isinstance(above, dict) else above


def collect(raws: list[Any], kinds: list[str]) -> Layers:
    """What the Set documents of one call give together. Raises Invalid with file and line."""
    layers = Layers()
    first = ""
    for raw in raws:
        value = raw.value
        check_keys(raw, value, ("apiVersion", "kind", "name", "description", "spec"), "at the top of a Set")
        name = value.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise Invalid(f"a Set needs a name of letters, digits, '.', '_' and '-' [{raw.at(value.line)}]")
        if layers.name not in ("", name):
            raise Invalid(f"two sets in one call: {layers.name} and {name} [{first} and {raw.at(value.line)}]")
        layers.name, first = name, first or raw.at(value.line)
        spec = mapping(raw, value, "spec")
        check_keys(raw, spec, PARTS, "under the spec of a Set")
        for part in PARTS:
            add_part(layers, raw, part, mapping(raw, spec, part), kinds)
    for name, layer in layers.templates.items():
        layers.chain(layer.kind, name, layer.source.at(layer.values.line))
    return layers


def add_part(layers: Layers, raw: Any, part: str, entries: Mapping, kinds: list[str]) -> None:
    """Take variables, defaults or templates of one Set document; each may be given once."""
    into: dict[str, Any] = getattr(layers, part)
    for name in entries:
        where = raw.at(entries.lines[name])
        if name in into:
            raise Invalid(f"{part}: {name} is given twice in set {layers.name} [{where}]")
        if part == "variables":
            if not VARIABLE_NAME.fullmatch(name):
                raise Invalid(f"variable name {name!r} is not legal: letters, digits and '_' [{where}]")
            into[name] = entries[name]
            continue
        layer = mapping(raw, entries, name)
        keys = (*LAYER_KEYS, "kind", "template") if part == "templates" else LAYER_KEYS
        check_keys(raw, layer, keys, f"in {part}")
        layer["spec"] = mapping(raw, layer, "spec")
        if "tags" in layer:
            layer["tags"] = mapping(raw, layer, "tags")
        kind = name if part == "defaults" else layer.get("kind", "Vm")
        if kind not in kinds:
            raise Invalid(f"there is no kind {kind!r} [{where}]", remedy=did_you_mean(str(kind), kinds))
        into[name] = Layer(kind, layer, raw, layer.get("template") or "")


def mapping(raw: Any, parent: Mapping, key: str) -> Mapping:
    """The mapping under a key, empty when nothing is there."""
    value = parent.get(key)
    if value is None:
        return Mapping(parent.lines.get(key, parent.line))
    if not isinstance(value, Mapping):
        raise Invalid(f"{key} is not a mapping [{raw.at(parent.lines[key])}]")
    return value


def check_keys(raw: Any, value: Mapping, legal: tuple[str, ...], place: str) -> None:
    """Raise Invalid for a key that has no meaning there."""
    for key in value:
        if key not in legal:
            raise Invalid(
                f"there is no key {key!r} {place} [{raw.at(value.lines[key])}]",
                remedy=did_you_mean(key, legal) or "keys: " + ", ".join(legal),
            )


def escaped(value: Any) -> Any:
    """The value so that nothing in it is taken for a variable when it is read back."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: f"${found[0]}", value)
    if isinstance(value, list):
        return [escaped(entry) for entry in value]
    if isinstance(value, dict):
        return {key: escaped(entry) for key, entry in value.items()}
    return value
