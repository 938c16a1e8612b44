"""Plans in files: what was planned in one place is applied in another, or refused because the world moved."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import select
from sqlmodel import col

from zctl import __version__
from zctl.actions.apply import Judge
from zctl.actions.context import Context
from zctl.actions.intent import Options
from zctl.errors import Invalid, Refused
from zctl.inventory.head import HEAD
from zctl.inventory.lease import owner
from zctl.plan.changes import Plan
from zctl.plan.manifest import Document, Manifest
from zctl.resources.event import Event
from zctl.run.render import write_private

FORMAT = "zctl-plan/1"
KIND = "plan"


class SavedDocument(BaseModel):
    """A document with its variables, defaults and templates filled in."""

    model_config = ConfigDict(extra="forbid")
    kind: str
    values: dict[str, Any]
    place: str
    lines: dict[str, str]


class SavedPlan(BaseModel):
    """The content of a plan file."""

    model_config = ConfigDict(extra="forbid")
    format: str
    id: str
    zctl: str
    schema_revision: str
    inventory: str
    set_name: str
    prune: bool
    take_over: bool
    documents: list[SavedDocument]
    forecast: list[Any]

    @property
    def manifest(self) -> Manifest:
        """The documents."""
        found = [Document(entry.kind, entry.values, entry.place, entry.lines) for entry in self.documents]
        return Manifest(found, self.set_name)

    @property
    def options(self) -> Options:
        """How they are applied."""
        return Options(self.set_name, self.prune, self.take_over)


def save(context: Context, path: Path, manifest: Manifest, options: Options, plan: Plan) -> None:
    """Write a plan file that only its owner can read: documents may hold secrets."""
    with context.inventory.read() as db:
        inventory = context.inventory.identity(db)
    made = SavedPlan(
        format=FORMAT,
        id=str(uuid.uuid4()),
        zctl=__version__,
        schema_revision=HEAD,
        inventory=inventory,
        set_name=options.set_name,
        prune=options.prune,
        take_over=options.take_over,
        documents=[
            SavedDocument(kind=entry.kind, values=entry.values, place=entry.place, lines=entry.lines)
            for entry in manifest.documents
        ],
        forecast=json.loads(json.dumps(plan.fingerprint(), default=str)),
    )
    partial = path.with_name(f".{path.name}.{made.id[:8]}")
    if not path.parent.is_dir():
        raise Invalid(f"cannot write {path}: there is no folder {path.parent}")
    try:
        write_private(partial, made.model_dump_json(indent=1))
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Invalid(f"cannot write {path}: {error.strerror}") from None


def load(context: Context, path: Path) -> SavedPlan:
    """Read a plan file. Raises Refused when it is of another zctl or inventory, or has been applied."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(
            f"cannot read {path}: {error.strerror}", remedy="zctl plan -f FILE --out PATH makes one"
        ) from None
    except UnicodeDecodeError:
        raise Invalid(f"{path} is not a plan of zctl", remedy="manifests are given with -f") from None
    try:
        head = json.loads(text)
        found = head.get("format") if isinstance(head, dict) else None
        if found != FORMAT:
            raise ValueError
        require_same(path, "version of zctl", head.get("zctl"), __version__)
        require_same(path, "schema of the inventory", head.get("schema_revision"), HEAD)
        saved = SavedPlan.model_validate(head)
    except (ValueError, ValidationError):
        raise Invalid(f"{path} is not a plan of zctl", remedy="manifests are given with -f") from None
    with context.inventory.read() as db:
        identity = context.inventory.identity(db)
        applied = db.scalars(select(Event).where(col(Event.kind) == KIND, col(Event.resource_id) == saved.id)).first()
    if saved.inventory != identity:
        raise Refused(f"{path} was made for another inventory", remedy="plan again with this one")
    if applied is not None:
        raise Refused(
            f"{path} has been applied already, at {applied.created_at} UTC by {applied.actor}", remedy="plan again"
        )
    return saved


def require_same(path: Path, what: str, found: Any, here: str) -> None:
    """Raise Refused when a plan was made under other circumstances."""
    if found != here:
        raise Refused(f"{path} was made with another {what}: {found}, here is {here}", remedy="plan again")


def judge(saved: SavedPlan) -> Judge:
    """A judge that refuses everything but what was planned."""

    def compare(plan: Plan) -> None:
        now = json.loads(json.dumps(plan.fingerprint(), default=str))
        if now == saved.forecast:
            return
        planned = {json.dumps(entry) for entry in saved.forecast}
        present = {json.dumps(entry) for entry in now}
        changed = [json.loads(text) for text in sorted(planned ^ present)]
        names = ", ".join(dict.fromkeys(f"{noun} {name}" for _action, noun, name, _fields in changed))
        raise Refused(
            f"the inventory has changed since the plan was made: {names or 'the order of changes'}",
            remedy="plan again and look at what is different",
        )

    return compare


def remember(context: Context, saved: SavedPlan) -> None:
    """Write down that a plan was applied, so that it is not applied twice."""
    with context.inventory.write() as db:
        event = Event.build(
            name=f"event-{uuid.uuid4().hex[:13]}",
            what="applied a saved plan",
            kind=KIND,
            resource_id=saved.id,
            resource=saved.set_name or "plan",
            actor=owner().rpartition(":")[0].split(":")[0],
            reason=context.reason,
        )
        db.add(event)
