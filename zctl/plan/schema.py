"""JSON Schemas: of manifests, from the declarations, and of the host state. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from zctl.plan.hoststate import SCHEMA_VERSION, HostState
from zctl.plan.manifest import API_VERSION
from zctl.plan.manifest_set import NAME, SET, VARIABLE_NAME

WITH_VARIABLE = {"type": "string", "pattern": r"\$\{var\."}
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema(kind: str, spec: type[BaseModel], description: str, name_pattern: str) -> dict[str, Any]:
    """The schema of one kind's documents: name, description, tags and template at the top, the rest under spec.

    What a document must give may come from a template or from defaults; zctl plan knows, an editor cannot.
    """
    whole = spec.model_json_schema(ref_template="#/$defs/{model}")
    properties = dict(whole.get("properties", {}))
    top = {key: properties.pop(key) for key in ("description", "tags") if key in properties}
    properties.pop("name", None)
    required = [key for key in whole.get("required", []) if key != "name"]
    inner: dict[str, Any] = {
        "type": "object",
        "properties": {key: or_variable(value) for key, value in properties.items()},
        "additionalProperties": False,
    }
    document = {
        "$schema": DRAFT,
        "title": kind,
        "description": description + (f" Needs {', '.join(required)}." if required else ""),
        "type": "object",
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind},
            "name": {"anyOf": [{"type": "string", "pattern": name_pattern}, WITH_VARIABLE]},
            "template": {"type": "string", "description": "template of the Set that it builds on"},
            **top,
            "spec": inner,
        },
        "required": ["kind", "name"],
        "additionalProperties": False,
    }
    if "$defs" in whole:
        document["$defs"] = whole["$defs"]
    return document


def or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value, or a text with a variable in its place."""
    about: dict[str, Any] = {key: schema[key] for key in ("description", "title", "default") if key in schema}
    rest = {key: value for key, value in schema.items() if key not in about}
    choices = rest.pop("anyOf", None) or [rest]
    return {**about, "anyOf": [*choices, WITH_VARIABLE]}


def set_schema(kinds: list[str]) -> dict[str, Any]:
    """The schema of the document that names a set and holds its variables, defaults and templates."""

    def layer(kind: str, more: dict[str, Any]) -> dict[str, Any]:
        parts = {key: {"$ref": f"{kind}.json#/properties/{key}"} for key in ("spec", "tags", "description")}
        return {"type": "object", "properties": {**more, **parts}, "additionalProperties": False}

    template = {"kind": {"enum": kinds}, "template": {"type": "string"}}
    by_kind = [
        {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": layer(kind, template)}
        for kind in kinds
    ]
    plain = {"if": {"not": {"required": ["kind"]}}, "then": layer("Vm", template)}
    return {
        "$schema": DRAFT,
        "title": SET,
        "description": "The name that marks what the manifests own, and what documents build on.",
        "type": "object",
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": SET},
            "name": {"type": "string", "pattern": NAME.pattern},
            "description": {"type": "string"},
            "spec": {
                "type": "object",
                "properties": {
                    "variables": {"type": "object", "propertyNames": {"pattern": VARIABLE_NAME.pattern}},
                    "defaults": {
                        "type": "object",
                        "properties": {kind: layer(kind, {}) for kind in kinds},
                        "additionalProperties": False,
                    },
                    "templates": {
                        "type": "object",
                        "additionalProperties": {"type": "object", "allOf": [plain, *by_kind]},
                    },
                },
                "additionalProperties": False,
            },
        },
        "required": ["kind", "name"],
        "additionalProperties": False,
    }


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
