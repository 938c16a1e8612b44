"""Working out what documents ask for, within one transaction: what is created, changed, removed, refused, or waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import IntegrityError

from zctl.actions.crud import reaches_hosts, scope_of
from zctl.errors import NotFound, NotYet, Refused, ZctlError
from zctl.inventory import outstanding, removal, store
from zctl.inventory.compare import Known
from zctl.inventory.outstanding import Scope
from zctl.plan.changes import UNSTABLE, Change, Plan
from zctl.plan.manifest import Document
from zctl.resources.base import Resource, attrs, public_name
from zctl.resources.registry import all_classes, resource_class
from zctl.resources.vm import Vm
from zctl.resources.volume import Volume

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Options:
    """How documents are applied: their set, whether what they leave out goes, whether other sets' things are taken."""

    set_name: str = ""
    prune: bool = False
    take_over: bool = False


@dataclass(frozen=True)
class Checked:
    """A document whose values are legal by themselves, with its type and the values as they will be stored."""

    document: Document
    cls: type[Resource]
    given: dict[str, Any]


@dataclass
class Intent:
    """The state of working out documents in one transaction `db`."""

    db: Session
    options: Options
    reason: str | None = None
    plan: Plan = field(default_factory=Plan)
    touched: list[Resource] = field(default_factory=list)
    scope: Scope = field(default_factory=dict)
    later: list[tuple[Checked, ZctlError]] = field(default_factory=list)
    unplugged: dict[str, str] = field(default_factory=dict)
    removed: list[Resource] = field(default_factory=list)
    errors: list[ZctlError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.known = Known(self.db)
        self.plan.set_name = self.options.set_name
        self.made: dict[tuple[str, str], Resource] = {}
        self.documented: set[tuple[str, str]] = set()
        self.missing: set[str] = set()
        self.waiting: set[str] = set()  # what is missing only until its host has been looked at

    def work_out(self, documents: list[Checked], everything: list[Checked] | None = None) -> None:
        """Carry the documents into the transaction, in their order, then what is pruned.

        `everything` are all documents of the manifest, when these are only some of them.
        """
        self.documented = {(entry.cls.noun, entry.given["name"]) for entry in everything or documents}
        pruned = not self.options.prune or self.prune(retry=False)
        if pruned and self.plan.changes:
            self.known = Known(self.db)
        for entry in documents:
            self.begin_group(entry, documents)
            self.one(entry)
        if not pruned:
            self.db.flush()
            self.known = Known(self.db)
            self.prune(retry=True)
        outstanding.join(self.scope, scope_of(self.db, self.touched))

    def begin_group(self, entry: Checked, documents: list[Checked]) -> None:
        """Before the first security-group: make all new ones without rules, which may speak of each other."""
        groups = [one for one in documents if one.cls.noun == "security-group"]
        if not groups or entry is not groups[0]:
            return
        for one in groups:
            if one.given.get("rules") and self.known.row(one.cls, one.given["name"]) is None:
                values = {key: value for key, value in one.document.values.items() if key != "rules"}
                given = {key: value for key, value in one.given.items() if key != "rules"}
                self.one(replace(one, document=replace(one.document, values=values), given=given))

    def one(self, entry: Checked) -> None:
        """One document. What cannot be done is noted, and the transaction stays as it was before it."""
        name, noun = entry.given["name"], entry.cls.noun
        row = self.known.row(entry.cls, name) or self.made.get((noun, name))
        owned = not self.options.set_name or (row is not None and row.manifest_set == self.options.set_name)
        try:
            if row is not None and owned and (noun, name) not in self.made and not self.known.differs(row, entry.given):
                self.plan.unchanged += 1
                return
            with self.attempt():
                if row is None:
                    self.create(entry)
                else:
                    self.update(entry, row, owned)
        except ZctlError as error:
            self.note(entry, error)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part of the work that is as if it had never been when it fails."""
        changes, touched, made = list(self.plan.changes), list(self.touched), dict(self.made)
        scope, unplugged = {host: dict(uuids) for host, uuids in self.scope.items()}, dict(self.unplugged)
        removed = self.removed
        try:
            with self.db.begin_nested():
                yield
        except (ZctlError, IntegrityError) as error:
            self.plan.changes, self.touched, self.made = changes, touched, made
            self.scope, self.unplugged, self.removed = scope, unplugged, removed
            if isinstance(error, IntegrityError):
                raise Refused(f"another resource has it already: {error.orig}", remedy="choose another value") from None
            raise

    def note(self, entry: Checked, error: ZctlError) -> None:
        """Remember a document that cannot be carried out, or not yet."""
        noun, name = entry.cls.noun, entry.given["name"]
        error.field = error.field or (naming(entry, error.resource) if isinstance(error, NotFound) else "")
        place = entry.document.at(error.field)
        follows = isinstance(error, NotFound) and error.resource in self.missing
        label = f"{noun} {name}"
        brought = {label, *cards_of(entry)}
        self.missing |= brought
        if isinstance(error, NotYet) or (follows and error.resource in self.waiting):
            self.later.append((entry, error))
            self.waiting |= brought
            why = "placed as soon as its host has been looked at"
            self.plan.changes.append(Change("later", noun, name, why=why, place=place))
            return
        if follows:
            error = Refused(f"it needs {error.resource}, which is refused", resource=label)
        if place not in error.what:
            error.what = f"{error.what} [{place}]"
        exists = self.known.row(entry.cls, name) is not None
        impact = {error.field: impact_of(entry.cls, error.field)} if exists and not follows else {}
        why = error.what if error.resource in ("", label) else f"{error.resource} {error.what}"
        self.errors.append(error)
        self.plan.changes.append(Change("refuse", noun, name, {}, impact, why, error.remedy, place))

    def create(self, entry: Checked) -> None:
        """Make what is not there, with all that belongs to it."""
        row, made = store.create(self.db, entry.cls, entry.document.values, self.reason)
        row.manifest_set = self.options.set_name or None
        self.db.flush()
        self.touched += made
        for part in made:
            self.made[(part.noun, part.name)] = part
            self.plan.changes.append(
                Change("create", part.noun, part.name, self.described(part), place=entry.document.place)
            )

    def update(self, entry: Checked, row: Resource, owned: bool) -> None:
        """Change what differs, and take what belongs to no set."""
        place = entry.document.place
        if not owned and row.manifest_set and not self.options.take_over:
            raise Refused(
                f"it belongs to the set {row.manifest_set}",
                resource=row.label,
                remedy="take it out of that set's manifests, or add --take-over",
            )
        self.drop_surplus(entry, row)
        sizes = {volume.id: volume.size for volume in self.known.snapshot.by(Volume, "vm_id", row.id)}
        values = {key: value for key, value in entry.document.values.items() if key != "name"}
        changes, made = store.update(self.db, row, values, self.reason)
        reach = reaches_hosts(type(row), changes)
        impact: dict[str, str] = {**row.impact(changes)}
        fields = {key: (self.shown(row, key, old), self.shown(row, key, new)) for key, (old, new) in changes.items()}
        if not owned:
            fields["set"] = (row.manifest_set, self.options.set_name)
            row.manifest_set = self.options.set_name
            store.touch(self.db, row)
        if fields:
            self.plan.changes.append(Change("update", row.noun, row.name, fields, impact, place=place))
        for part in made:
            if self.known.snapshot.get(type(part), part.id) is not None:
                if part.id in sizes:
                    grown = {"size": (sizes[part.id], getattr(part, "size", None))}
                    self.plan.changes.append(Change("update", part.noun, part.name, grown, place=place))
            elif (part.noun, part.name) not in self.made:
                self.made[(part.noun, part.name)] = part
                self.plan.changes.append(Change("create", part.noun, part.name, self.described(part), place=place))
        if not fields and not made:
            self.plan.unchanged += 1
        if made or reach:
            self.touched += [row, *made]

    def drop_surplus(self, entry: Checked, row: Resource) -> None:
        """Cards go and disks are unplugged that came with the resource and are not asked for any more."""
        inputs = {name: entry.given[name] for name in type(row).inputs if entry.given.get(name) is not None}
        for part in row.surplus(self.known.snapshot, inputs) if inputs else []:
            if (part.noun, part.name) in self.documented or part.manifest_set:
                continue
            if part.noun == "volume":
                part.vm_id = None
                store.touch(self.db, part)
                self.plan.changes.append(
                    Change("update", part.noun, part.name, {"vm": (row.name, None)}, place=entry.document.place)
                )
                self.touched += [part, row]
            else:
                self.remove([part])

    def prune(self, retry: bool) -> bool:
        """Remove what belongs to the set and is in no document; False when something is still in use."""
        going = [
            row
            for cls in prunable()
            for row in self.known.snapshot.all(cls)
            if row.manifest_set == self.options.set_name and (row.noun, row.name) not in self.documented
        ]
        if not going:
            return True
        try:
            with self.attempt():
                self.remove(self.unplug(going))
        except Refused as error:
            if retry:
                error.remedy = "keep it in a document, or take what uses it out of the inventory too"
                self.errors.append(error)
                noun, _, name = error.resource.partition(" ")
                self.plan.changes.append(Change("refuse", noun, name, why=error.what, remedy=error.remedy))
            return False
        return True

    def unplug(self, going: list[Resource]) -> list[Resource]:
        """Take disks out of VMs that stay; these are deleted when their hosts have let go of them. The rest is left."""
        ids = {row.id for row in going}
        rest = []
        for row in going:
            vm = self.known.snapshot.get(Vm, row.vm_id) if isinstance(row, Volume) else None
            if not isinstance(row, Volume) or vm is None or vm.id in ids or row.kind == "root":
                rest.append(row)
                continue
            row.vm_id = None
            store.touch(self.db, row)
            self.unplugged[row.id] = vm.id
            self.touched += [row, vm]
            self.plan.changes.append(Change("remove", row.noun, row.name))
        return rest

    def remove(self, rows: list[Resource]) -> None:
        """Delete rows with what belongs to them."""
        work = removal.work_out(self.db, rows, cascade=False)
        outstanding.join(self.scope, removal.delete(self.db, work, self.known.snapshot, self.reason))
        self.removed = self.removed + work.rows
        gone = {row.id for row in work.rows}
        self.touched = [row for row in self.touched if row.id not in gone]
        for host in [key for key in self.scope if key in gone]:
            del self.scope[host]
        self.plan.changes += [Change("remove", row.noun, row.name) for row in reversed(work.rows)]

    def described(self, row: Resource) -> dict[str, tuple[Any, Any]]:
        """The values worth showing of a new resource."""
        found = {}
        for name, about in attrs(type(row)).items():
            value = getattr(row, name)
            if about.listed == "list" and name not in ("name", "state", *UNSTABLE) and value is not None:
                found[public_name(name)] = (None, self.shown(row, public_name(name), value))
        return found

    def shown(self, row: Resource, public: str, value: Any) -> Any:
        """A value for people: the name instead of the id of another resource."""
        about = attrs(type(row)).get(f"{public}_id")
        if about is None or not about.ref or value is None:
            return value
        other = self.db.get(resource_class(about.ref), value)
        return other.name if other is not None else value

    def hosts(self) -> dict[str, list[str]]:
        """Host names, with the parts of their state that are looked at."""
        from zctl.plan.assemble import in_order

        host_class = resource_class("host")
        found = {}
        for key, uuids in self.scope.items():
            host = self.db.get(host_class, key)
            if host is not None:
                found[host.name] = in_order({word for words in uuids.values() for word in words.split(",") if word})
        return dict(sorted(found.items()))


def cards_of(entry: Checked) -> set[str]:
    """The network cards that come with a VM, which others may name."""
    networks = (entry.given.get("networks") or []) if entry.cls is Vm else []
    return {f"nic {entry.given['name']}-nic{number}" for number in range(len(networks))}


def naming(entry: Checked, resource: str) -> str:
    """The field in which a document names a resource, or an empty string."""
    name = resource.partition(" ")[2]
    for key, value in entry.given.items():
        texts = value if isinstance(value, list) else [value]
        if key != "name" and any(isinstance(text, str) and text.partition("=")[0] == name for text in texts):
            return key
    return ""


def impact_of(cls: type[Resource], public: str) -> str:
    """What changing a field that cannot change would have meant."""
    if public in cls.inputs:
        return cls.inputs[public].impact
    for name, about in attrs(cls).items():
        if public_name(name) == public:
            return "replace" if about.when == "create" and about.impact == "live" else about.impact
    return "live"


def prunable() -> list[type[Resource]]:
    """The types that manifests can own, those that refer to others before these."""
    return [cls for cls in reversed(all_classes()) if cls.manifest and not cls.read_only]
