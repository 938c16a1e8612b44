"""What keeps the house in order: sizes, import direction, generated files, migrations."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from tests import generate
from zctl.inventory.engine import Inventory
from zctl.inventory.head import HEAD
from zctl.inventory.schema import alembic_config, initialise
from zctl.resources.registry import all_classes
from zctl.resources.registry_index import noun_files

ROOT = Path(__file__).parents[2]
FILES = [
    path
    for folder in ("zctl", "plugins", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "content" not in path.parts and "migrations" not in path.parts
]
MAY_IMPORT = {
    "cli": {"cli", "actions", "backup", "servers", "node", "inventory", "run", "resources", "plan", "lab"},
    "actions": {"actions", "backup", "servers", "node", "inventory", "run", "resources", "plan"},
    "backup": {"backup", "inventory", "resources", "plan"},
    "servers": {"servers", "run", "plan"},
    "node": {"node", "run", "plan"},
    "inventory": {"inventory", "resources", "plan"},
    "run": {"run", "plan"},
    "resources": {"resources", "plan"},
    "plan": {"plan"},
    "lab": {"lab", "cli"},
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    """Files under 400 lines, functions under 60."""
    text = path.read_text()
    assert len(text.splitlines()) < 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is too long"


def test_import_direction() -> None:
    """cli -> actions -> inventory, run -> resources -> plan; nothing the other way."""
    wrong = []
    for path in FILES:
        parts = path.relative_to(ROOT).parts
        if parts[0] != "zctl" or len(parts) < 3:
            continue
        for found in re.findall(r"^\s*(?:from|import) zctl\.(\w+)", path.read_text(), re.MULTILINE):
            if found in MAY_IMPORT and found not in MAY_IMPORT[parts[1]]:
                wrong.append(f"{path.relative_to(ROOT)} imports zctl.{found}")
    assert wrong == []


def test_only_the_command_line_prints() -> None:
    """Everything else returns, raises or tells a watcher."""
    for path in FILES:
        parts = path.relative_to(ROOT).parts
        if parts[0] == "zctl" and parts[1] not in ("cli", "lab"):
            assert not re.search(r"^\s*print\(", path.read_text(), re.MULTILINE), path


def test_generated_files_are_up_to_date() -> None:
    """Schemas and references; ./dev generate writes them."""
    assert generate.stale() == []


def test_every_noun_is_documented() -> None:
    """In the reference, by its name."""
    text = (ROOT / "docs/resources.md").read_text()
    assert all(f"\n## {noun}\n" in text for noun in noun_files())


def test_examples_follow_the_schemas() -> None:
    """Each document of each example is valid by its schema."""
    for path in (ROOT / "examples").glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            if document:
                schema = json.loads((ROOT / f"schemas/v1/{document['kind']}.json").read_text())
                jsonschema.validate(document, schema)


def test_migrations_make_what_the_declarations_say(tmp_path: Path) -> None:
    """From nothing to the newest revision gives exactly the tables declared, and again changes nothing."""
    all_classes()
    url = f"sqlite:///{tmp_path}/zctl.db"
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD
    assert initialise(url) == "made"
    assert initialise(url) == "unchanged"
    with Inventory(url).engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    assert (tmp_path / "zctl.db").stat().st_mode & 0o077 == 0
