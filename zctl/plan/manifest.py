"""Manifests: documents out of YAML, with the places of their fields, in an order in which they can be made.

Pure but for reading files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zctl.errors import Invalid, Misuse, did_you_mean
from zctl.plan import manifest_set
from zctl.plan.manifest_set import SET, Layers, joined
from zctl.plan.yaml_text import Mapping, documents

MAX_BYTES = 32 * 2**20
API_VERSION = "zctl/v1"
KEYS = ("apiVersion", "kind", "name", "tags", "description", "template", "spec")


@dataclass(frozen=True)
class Document:
    """One resource as written: its kind, its values by public name, where it stands, and where each field stands."""

    kind: str
    values: dict[str, Any]
    place: str
    lines: dict[str, str] = field(default_factory=dict)

    def at(self, name: str) -> str:
        """file:line of a field, or of the document."""
        return self.lines.get(name, self.place)


@dataclass(frozen=True)
class Manifest:
    """All documents of one call, and the set that they belong to ('' for none)."""

    documents: list[Document]
    set_name: str = ""


@dataclass(frozen=True)
class Raw:
    """A document before variables, defaults and templates."""

    value: Mapping
    file: str

    def at(self, line: int) -> str:
        """file:line."""
        return f"{self.file}:{line}"


def read(
    sources: list[str],
    kinds: list[str],
    *,
    set_name: str = "",
    variables: dict[str, Any] | None = None,
    given: dict[str, str] | None = None,
) -> Manifest:
    """All documents of files, folders (their *.yaml and *.yml) and '-' (stdin).

    `variables` come from files and the environment, `given` from the command line: each of these must be used.
    Raises Invalid with file, line, field and the legal values.
    """
    raws = [raw for source in sources for name, text in texts(source) for raw in parse(text, name)]
    layers = manifest_set.collect([raw for raw in raws if raw.value.get("kind") == SET], kinds)
    if set_name and layers.name not in ("", set_name):
        raise Misuse(f"the documents belong to the set {layers.name}, not {set_name}", remedy="leave --set out")
    layers.variables |= (variables or {}) | (given or {})
    found = [document(raw, layers, kinds) for raw in raws if raw.value.get("kind") != SET]
    unused = sorted(set(given or {}) - layers.used)
    if unused:
        hint = did_you_mean(unused[0], layers.used)
        raise Misuse(
            f"no document uses the variable {unused[0]}", remedy=hint or "write it as ${var." + unused[0] + "}"
        )
    name = layers.name or set_name
    if not found and not name:
        raise Invalid(f"there is no document in {', '.join(sources)}", remedy="a document begins with kind: and name:")
    check_unique(found)
    return Manifest(found, name)


def texts(source: str) -> Iterator[tuple[str, str]]:
    """(name, content) of each file that a source means."""
    if source == "-":
        yield "stdin", sys.stdin.read(MAX_BYTES + 1)
        return
    path = Path(source)
    files = (
        sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml") and p.is_file()) if path.is_dir() else [path]
    )
    for file in files:
        try:
            if file.stat().st_size > MAX_BYTES:
                raise Invalid(f"{file} is larger than {MAX_BYTES // 2**20} MiB", remedy="split it")
            yield str(file), file.read_text(encoding="utf-8")
        except OSError as error:
            raise Invalid(f"cannot read {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Invalid(f"{file} is not UTF-8 text") from None


def parse(text: str, file: str) -> Iterator[Raw]:
    """The documents in one YAML text; empty ones are left out."""
    if len(text) > MAX_BYTES:
        raise Invalid(f"{file} is larger than {MAX_BYTES // 2**20} MiB", remedy="split it")
    for value, line in documents(text, file):
        if value is None:
            continue
        if not isinstance(value, Mapping):
            raise Invalid(f"a document is a mapping with kind, name and spec [{file}:{line}]")
        yield Raw(value, file)


def document(raw: Raw, layers: Layers, kinds: list[str]) -> Document:
    """One document: kind, name, description, tags and template at the top, the rest under spec."""
    value = raw.value
    check_top(raw, kinds)
    kind, where = value["kind"], raw.at(value.line)
    spec = value.get("spec") if value.get("spec") is not None else Mapping(value.line)
    name = layers.filled(value.get("name"), raw.at(value.lines.get("name", value.line)))
    if not isinstance(name, str):
        raise Invalid(f"{kind}: name is missing or not text [{raw.at(value.lines.get('name', value.line))}]")
    if not isinstance(spec, Mapping):
        raise Invalid(f"{kind} {name}: spec is not a mapping [{raw.at(value.lines['spec'])}]")
    for key in ("name", "description", "tags", "template"):
        if key in spec:
            raise Invalid(f"{key} belongs at the top of the document, not under spec [{raw.at(spec.lines[key])}]")
    values, lines = layers.below(kind, value.get("template"), raw.at(value.lines.get("template", value.line)))
    for key, entry in spec.items():
        lines[key] = raw.at(spec.lines[key])
        values[key] = layers.filled(entry, lines[key])
    for key in ("description", "tags"):
        if key in value:
            lines[key] = raw.at(value.lines[key])
            entry = layers.filled(value[key], lines[key])
            values[key] = joined(values.get(key), entry) if key == "tags" else entry
    values["name"] = name
    lines["name"] = raw.at(value.lines["name"])
    return Document(kind, values, where, lines)


def check_top(raw: Raw, kinds: list[str]) -> None:
    """Raise Invalid for unknown keys, kinds and versions."""
    value = raw.value
    for key in value:
        if key not in KEYS:
            raise Invalid(
                f"there is no key {key!r} at the top of a document [{raw.at(value.lines[key])}]",
                remedy=did_you_mean(key, KEYS) or "fields go under spec:",
            )
    kind = value.get("kind")
    if kind not in kinds:
        where = raw.at(value.lines.get("kind", value.line))
        raise Invalid(
            f"there is no kind {kind!r} [{where}]" if kind else f"kind is missing [{where}]",
            remedy=did_you_mean(str(kind), [*kinds, SET]) or "kinds: " + ", ".join([*kinds, SET]),
        )
    if value.get("apiVersion", API_VERSION) != API_VERSION:
        raise Invalid(
            f"apiVersion {value['apiVersion']!r} is not {API_VERSION} [{raw.at(value.lines['apiVersion'])}]",
            remedy="a newer manifest needs a newer zctl",
        )


def check_unique(documents: list[Document]) -> None:
    """Raise Invalid when two documents describe one resource."""
    seen: dict[tuple[str, str], str] = {}
    for entry in documents:
        key = (entry.kind, entry.values["name"])
        if key in seen:
            raise Invalid(f"{entry.kind} {entry.values['name']} is described twice [{seen[key]} and {entry.place}]")
        seen[key] = entry.place


def in_dependency_order(documents: list[Document], needs: dict[str, set[str]]) -> list[Document]:
    """The documents with what others refer to first; within a kind in the order they were written."""
    rank = ranks(needs)
    return sorted(documents, key=lambda entry: rank[entry.kind])


def ranks(needs: dict[str, set[str]]) -> dict[str, int]:
    """A number for each kind, higher than those of all kinds that it needs."""
    found: dict[str, int] = {}

    def depth(kind: str) -> int:
        if kind not in found:
            found[kind] = 0
            found[kind] = 1 + max((depth(other) for other in needs[kind] if other in needs), default=0)
        return found[kind]

    for kind in needs:
        depth(kind)
    return found
