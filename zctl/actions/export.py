"""zctl export: the inventory as manifests that change nothing where they come from and make the same elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

from zctl.actions.apply import document_classes, needs
from zctl.errors import Misuse, did_you_mean
from zctl.inventory.listing import all_columns, parse_filter, read_rows
from zctl.inventory.snapshot import load
from zctl.inventory.tags import all_tags
from zctl.plan.manifest import API_VERSION, ranks
from zctl.plan.manifest_set import escaped
from zctl.resources.base import Resource, attrs, public_name
from zctl.resources.registry import resource_class
from zctl.resources.spec import default_of, settable
from zctl.units import format_size, parse_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot

PARTS_OF = {"nic": "vm", "volume": "vm", "ip-range": "l3-network", "security-group-rule": "security-group"}
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def export(db: Session, kinds: list[str], filters: list[str]) -> Iterator[str]:
    """Manifest texts, one a document, in an order that is always the same. Raises Misuse for an unknown kind."""
    classes = in_order(kinds)
    chosen = {cls.noun: selected(db, cls, filters) for cls in classes if has_columns(cls, filters)}
    if filters and not chosen:
        raise Misuse(f"no kind has all the columns of {' '.join(filters)}", remedy="zctl NOUN list --help")
    snapshot, tags = load(db), all_tags(db)
    owners = {noun for noun in PARTS_OF.values() if noun in chosen}
    for cls in in_order([]):
        rows = [row for row in snapshot.all(cls) if is_chosen(row, chosen, owners, narrowed=bool(kinds or filters))]
        for row in sorted(rows, key=lambda row: order_of(snapshot, row)):
            found = document(snapshot, row, tags.get(row.id, {}))
            if found is not None:
                yield text_of(found)
            elif cls.noun == "vm":
                yield f"# {row.label} was adopted: it stays where it is and cannot be made anew from a manifest.\n"


def in_order(kinds: list[str]) -> list[type[Resource]]:
    """The classes of these kinds (none: all), referred-to ones first."""
    known = document_classes()
    for kind in kinds:
        if kind not in known:
            raise Misuse(f"there is no kind {kind!r}", remedy=did_you_mean(kind, known) or "kinds: " + ", ".join(known))
    rank = ranks({name: needs(cls) for name, cls in known.items()})
    return [known[kind] for kind in sorted(kinds or known, key=lambda kind: (rank[kind], kind))]


def has_columns(cls: type[Resource], filters: list[str]) -> bool:
    """Whether the type has every column that the filters name."""
    legal = all_columns(cls)
    return all(key in legal or key.startswith("tags.") for key, _equal, _value in map(parse_filter, filters))


def selected(db: Session, cls: type[Resource], filters: list[str]) -> set[str]:
    """The ids that the filters let through."""
    return {row["uuid"] for row in read_rows(db, cls, ["uuid"], filters, [])}


def is_chosen(row: Any, chosen: dict[str, set[str]], owners: set[str], *, narrowed: bool) -> bool:
    """Whether a row is asked for, by itself or as a part of one that is."""
    if row.id in chosen.get(row.noun, ()):
        return True
    owner = PARTS_OF.get(row.noun)
    if not narrowed or owner is None or owner not in owners:
        return False
    return getattr(row, f"{owner.replace('-', '_')}_id") in chosen[owner]


def order_of(snapshot: Snapshot, row: Any) -> tuple[Any, ...]:
    """By name; a VM's cards and disks together, in their order."""
    if row.noun == "security-group-rule":
        group = snapshot.get(resource_class("security-group"), row.security_group_id)
        return (group.name if group else "", row.priority)
    if row.noun not in ("nic", "volume"):
        return (row.name,)
    vm = snapshot.get(resource_class("vm"), row.vm_id)
    return (vm.name if vm else "", row.device, row.name)


def document(snapshot: Snapshot, row: Resource, tags: dict[str, str]) -> dict[str, Any] | None:
    """One row as a document, without what is at its default."""
    cls = type(row)
    spec: dict[str, Any] = {}
    for public, field in settable(cls, "create").items():
        value, about = getattr(row, field), attrs(cls)[field]
        if public in ("name", "description") or value is None or value == default_of(cls, field):
            continue
        if about.ref:
            value = snapshot.need(resource_class(about.ref), value).name
        spec[public] = value
    found = row.exported(snapshot, spec)
    if found is None or (not found and cls.noun == "volume" and not (tags or row.description)):
        return None
    sizes = {public_name(name) for name, about in attrs(cls).items() if about.unit == "bytes"}
    sizes |= {name for name, about in cls.inputs.items() if about.unit == "bytes"}
    made: dict[str, Any] = {"apiVersion": API_VERSION, "kind": cls.__name__, "name": row.name}
    made |= {"description": row.description} if row.description else {}
    made |= {"tags": dict(sorted(tags.items()))} if tags else {}
    if found:
        made["spec"] = {key: exact_size(value) if key in sizes else value for key, value in found.items()}
    return {key: escaped(value) for key, value in made.items()}


def exact_size(value: Any) -> Any:
    """A size as people write it, when that is exact, else in bytes."""
    text = format_size(value)
    return text if text and parse_size(text) == value else value


def text_of(found: dict[str, Any]) -> str:
    """A document as YAML."""
    text: str = yaml.dump(found, Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}"
