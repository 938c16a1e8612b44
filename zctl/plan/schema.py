"""JSON Schemas: of manifests, from the declarations, and of the host state. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from zctl.plan.hoststate import SCHEMA_VERSION, HostState
from zctl.plan.manifest import API_VERSION

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema(kind: str, spec: type[BaseModel], description: str, name_pattern: str) -> dict[str, Any]:
    """The schema of one kind's documents: name, description and tags at the top, the other fields under spec."""
    whole = spec.model_json_schema(ref_template="#/$defs/{model}")
    properties = dict(whole.get("properties", {}))
    top = {key: properties.pop(key) for key in ("description", "tags") if key in properties}
    properties.pop("name", None)
    required = [key for key in whole.get("required", []) if key != "name"]
    inner: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        inner["required"] = required
    document = {
        "$schema": DRAFT,
        "title": kind,
        "description": description,
        "type": "object",
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind},
            "name": {"type": "string", "pattern": name_pattern},
            **top,
            "spec": inner,
        },
        "required": ["kind", "name", *(["spec"] if required else [])],
        "additionalProperties": False,
    }
    if "$defs" in whole:
        document["$defs"] = whole["$defs"]
    return document


def any_manifest_schema(kinds: list[str]) -> dict[str, Any]:
    """The schema of a document of any kind: what an editor is pointed to."""
    return {
        "$schema": DRAFT,
        "title": "zctl manifest",
        "type": "object",
        "required": ["kind", "name"],
        "properties": {"kind": {"enum": kinds}},
        "allOf": [
            {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": {"$ref": f"{kind}.json"}}
            for kind in kinds
        ],
    }


def host_state_schema() -> dict[str, Any]:
    """The schema of what the roles receive."""
    return {"$schema": DRAFT, "$id": f"hoststate.v{SCHEMA_VERSION}", **HostState.model_json_schema()}
