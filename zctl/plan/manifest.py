"""Manifests: documents out of YAML, with their places, in an order in which they can be made. Pure but for reading."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zctl.errors import Invalid, did_you_mean

MAX_BYTES = 32 * 2**20
API_VERSION = "zctl/v1"
KEYS = ("apiVersion", "kind", "name", "tags", "description", "spec")


@dataclass(frozen=True)
class Document:
    """One resource as written: its kind, its values by public name, and where it stands."""

    kind: str
    values: dict[str, Any]
    place: str


class Loader(yaml.SafeLoader):
    """YAML without aliases and without duplicate keys: neither belongs into a manifest."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases, which can make a small file explode."""
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(
                None, None, "aliases are not allowed in manifests", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Refuse a key given twice."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(sources: list[str], kinds: list[str]) -> list[Document]:
    """All documents of files, folders (their *.yaml and *.yml) and '-' (stdin). Raises Invalid with file and line."""
    found = []
    for source in sources:
        for place, text in texts(source):
            found += parse(text, place, kinds)
    if not found:
        raise Invalid(f"there is no document in {', '.join(sources)}", remedy="a document begins with kind: and name:")
    check_unique(found)
    return found


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


def parse(text: str, place: str, kinds: list[str]) -> list[Document]:
    """The documents in one YAML text."""
    if len(text) > MAX_BYTES:
        raise Invalid(f"{place} is larger than {MAX_BYTES // 2**20} MiB", remedy="split it")
    loader = Loader(text)
    found = []
    try:
        while loader.check_node():
            node = loader.get_node()
            where = f"{place}:{node.start_mark.line + 1 if node else 1}"
            value = loader.construct_document(node)
            if value is not None:
                found.append(document(value, where, kinds))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise Invalid(f"{error.problem or 'not YAML'} [{place}{f':{mark.line + 1}' if mark else ''}]") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Invalid(
            f"not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__} [{place}]"
        ) from None
    finally:
        loader.dispose()
    return found


def document(value: Any, where: str, kinds: list[str]) -> Document:
    """One document: kind, name, description and tags at the top, the rest under spec."""
    if not isinstance(value, dict):
        raise Invalid(f"a document is a mapping with kind, name and spec [{where}]")
    for key in value:
        if key not in KEYS:
            raise Invalid(
                f"there is no key {key!r} at the top of a document [{where}]",
                remedy=did_you_mean(key, KEYS) or "fields go under spec:",
            )
    kind = value.get("kind")
    if kind not in kinds:
        raise Invalid(
            f"there is no kind {kind!r} [{where}]" if kind else f"kind is missing [{where}]",
            remedy=did_you_mean(str(kind), kinds) or "kinds: " + ", ".join(kinds),
        )
    if value.get("apiVersion", API_VERSION) != API_VERSION:
        raise Invalid(
            f"apiVersion {value['apiVersion']!r} is not {API_VERSION} [{where}]",
            remedy="a newer manifest needs a newer zctl",
        )
    if not isinstance(value.get("name"), str):
        raise Invalid(f"{kind}: name is missing or not text [{where}]")
    spec = value.get("spec") or {}
    if not isinstance(spec, dict):
        raise Invalid(f"{kind} {value['name']}: spec is not a mapping [{where}]")
    values = dict(spec)
    for key in ("name", "description", "tags"):
        if key in spec:
            raise Invalid(f"{key} belongs at the top of the document, not under spec [{where}]")
        if key in value:
            values[key] = value[key]
    return Document(kind, values, where)


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
    rank: dict[str, int] = {}

    def depth(kind: str) -> int:
        if kind not in rank:
            rank[kind] = 0
            rank[kind] = 1 + max((depth(other) for other in needs.get(kind, ()) if other in needs), default=0)
        return rank[kind]

    return sorted(documents, key=lambda entry: depth(entry.kind))
