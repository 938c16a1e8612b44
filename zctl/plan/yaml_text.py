"""YAML as zctl reads it: plain values with the lines they stand on; no aliases, no duplicate keys, no deep nesting.

Built on PyYAML's event stream instead of its composer: the fast composer written in C overflows the stack on deeply
nested text, and the one written in Python is ten times slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from zctl.errors import Invalid

MAX_DEPTH = 32
TEXT = "tag:yaml.org,2002:str"
PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Mapping(dict[str, Any]):
    """A mapping that knows its line, and the line of each key."""

    line: int = 0

    def __init__(self, line: int = 0) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


def documents(text: str, place: str) -> Iterator[tuple[Any, int]]:
    """(value, line) of each document. Raises Invalid with `place` and line."""
    parser = PARSER(text)
    builder = Builder(parser, place)
    try:
        while not parser.check_event(yaml.StreamEndEvent):
            event = parser.get_event()
            if isinstance(event, yaml.DocumentStartEvent):
                line = parser.peek_event().start_mark.line + 1
                yield builder.value(0), line
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        last = len(text.splitlines())  # the parser counts a line after the last one
        where = f"{place}:{min(mark.line + 1, last)}" if mark else place
        raise Invalid(f"{error.problem or 'not YAML'} [{where}]") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Invalid(f"not YAML: {words} [{place}]") from None
    finally:
        parser.dispose()


class Builder:
    """Makes values out of a parser's events."""

    def __init__(self, parser: Any, place: str) -> None:
        self.parser = parser
        self.place = place
        self.resolver = Resolver()
        self.constructor = SafeConstructor()

    def refuse(self, what: str, event: Any) -> Invalid:
        """The error for something at an event."""
        return Invalid(f"{what} [{self.place}:{event.start_mark.line + 1}]")

    def value(self, depth: int) -> Any:
        """The value that begins with the next event."""
        event = self.parser.get_event()
        if isinstance(event, yaml.AliasEvent):
            raise self.refuse("aliases are not allowed in manifests", event)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if depth >= MAX_DEPTH:
            raise self.refuse(f"nested deeper than {MAX_DEPTH} levels", event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(depth)
        return self.mapping(event, depth)

    def scalar(self, event: Any) -> Any:
        """Text, number, yes or no, nothing."""
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.resolver.resolve(ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        if tag == TEXT:
            return event.value
        node = ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        return self.constructor.construct_object(node)

    def sequence(self, depth: int) -> list[Any]:
        """A list."""
        found = []
        while not self.parser.check_event(yaml.SequenceEndEvent):
            found.append(self.value(depth + 1))
        self.parser.get_event()
        return found

    def mapping(self, start: Any, depth: int) -> Mapping:
        """A mapping; keys are text and given once."""
        found = Mapping(start.start_mark.line + 1)
        while not self.parser.check_event(yaml.MappingEndEvent):
            event = self.parser.peek_event()
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise self.refuse(f"key {key!r} is not text", event)
            if key in found:
                raise self.refuse(f"key {key!r} is given twice", event)
            found.lines[key] = event.start_mark.line + 1
            found[key] = self.value(depth + 1)
        self.parser.get_event()
        return found
