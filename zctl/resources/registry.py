"""The resource types: the files of this folder, and entry points of the group zctl.resources. Not a noun."""

from __future__ import annotations

import importlib
from functools import cache

from zctl.errors import Misuse, did_you_mean
from zctl.resources.base import Resource
from zctl.resources.registry_index import foreign_nouns, noun_files


@cache
def resource_class(noun: str) -> type[Resource]:
    """The declaration of a noun; imports its module. Raises Misuse for an unknown noun."""
    if noun in noun_files():
        module = importlib.import_module(f"zctl.resources.{noun.replace('-', '_')}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Resource) and value.noun == noun:
                return value
    target = foreign_nouns().get(noun)
    if target is None:
        raise Misuse(f"there is no resource type {noun!r}", remedy=did_you_mean(noun, noun_files()))
    module_name, _, class_name = target.partition(":")
    found: type[Resource] = getattr(importlib.import_module(module_name), class_name)
    return found


@cache
def all_classes() -> tuple[type[Resource], ...]:
    """Every resource type, referred-to ones before those that refer to them."""
    from zctl.resources.base import references

    waiting = {cls.noun: cls for cls in map(resource_class, (*noun_files(), *foreign_nouns()))}
    ordered: list[type[Resource]] = []
    while waiting:
        ready = [
            cls
            for cls in waiting.values()
            if not any(about.ref in waiting and about.ref != cls.noun for about in references(cls).values())
        ]
        assert ready, f"reference cycle among {sorted(waiting)}"
        for cls in sorted(ready, key=lambda cls: cls.noun):
            ordered.append(waiting.pop(cls.noun))
    return tuple(ordered)
