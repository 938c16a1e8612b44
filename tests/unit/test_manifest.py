"""Manifests as text: mistakes are told with file, line and field; variables, defaults and templates fill documents."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from zctl.errors import Invalid, Misuse, ZctlError
from zctl.plan.manifest import Manifest, read

KINDS = ["Vm", "Zone", "Cluster", "Nic"]

SET = """
kind: Set
name: shop
spec:
  variables: {size: 512M, count: 2, tier: web, lists: [a, b]}
  defaults:
    Vm: {spec: {image: tiny, memory: 256M}, tags: {owner: ops}}
  templates:
    web: {spec: {memory: "${var.size}", networks: [lan]}, tags: {role: web}}
    web-big: {template: web, spec: {cpus: 8}}
---
"""


def load(tmp_path: Path, text: str, **more: object) -> Manifest:
    """What a text says."""
    file = tmp_path / "m.yaml"
    file.write_text(text)
    return read([str(file)], KINDS, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("kind: Vm\nname: a\nspec: {", 3, "expected"),
        ("kind: Vm\nname: a\n\tspec: 1", 3, "tab character"),
        ("kind: Vm\nname: a\nname: b", 3, "given twice"),
        ("kind: Vm\nname: a\nspec:\n  cpus: 1\n  cpus: 2", 5, "given twice"),
        ("kind: Vm\nname: &x a\nspec: *x", 3, "aliases"),
        ("a: &a [1]\nb: &b [*a, *a]", 2, "aliases"),
        ("kind: Vm\nname: a\n" + "spec: " + "[" * 40 + "]" * 40, 3, "nested deeper"),
        ("kind: Vm\nname: a\n" + "spec: " + "{a: " * 100_000, 3, "nested deeper"),
        ("- a\n- b", 1, "is a mapping"),
        ("kind: Clustr\nname: a", 1, "did you mean Cluster?"),
        ("kind: Vm\nnam: a", 2, "did you mean name?"),
        ("kind: Vm\nspec: {}", 1, "name is missing"),
        ("kind: Vm\nname: 7", 2, "not text"),
        ("kind: Vm\nname: a\nspec: [1]", 3, "not a mapping"),
        ("kind: Vm\nname: a\nspec:\n  tags: {}", 4, "belongs at the top"),
        ("apiVersion: zctl/v9\nkind: Vm\nname: a", 1, "newer zctl"),
        ("kind: Vm\nname: a\n---\nkind: Vm\nname: a", 4, "described twice"),
        ("kind: Vm\nname: a\nspec:\n  1: 2", 4, "not text"),
        ("kind: Vm\nname: a\ntemplate: weeb", 3, "no template"),
        ("kind: Vm\nname: a\nspec:\n  image: ${var.image}", 4, "variable image has no value"),
        ("kind: Vm\nname: a\nspec:\n  image: ${var.a-b}", 4, "names no variable"),
        ("kind: !!python/object:os.system x\nname: a", 1, ""),
        ("kind: Vm\nname: a\nspec: !!binary x", 3, ""),
    ],
)
def test_mistakes_name_file_and_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    """Whatever is wrong, nobody has to search for it."""
    with pytest.raises(Invalid) as caught:
        load(tmp_path, text)
    assert f"m.yaml:{line}]" in str(caught.value), caught.value
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Set\nname: a\nspec: {variabels: {}}", "did you mean variables?"),
        ("kind: Set\nspec: {}", "needs a name"),
        ("kind: Set\nname: a\n---\nkind: Set\nname: b", "two sets"),
        ("kind: Set\nname: a\nspec: {templates: {x: {template: y}, y: {template: x}}}", "builds on itself"),
        ("kind: Set\nname: a\nspec: {templates: {x: {template: nowhere}}}", "no template"),
        ("kind: Set\nname: a\nspec: {templates: {x: {kind: Zoen}}}", "did you mean Zone?"),
        ("kind: Set\nname: a\nspec: {templates: {x: {specs: {}}}}", "did you mean spec?"),
        ("kind: Set\nname: a\nspec: {defaults: {Vmm: {}}}", "did you mean Vm?"),
        ("kind: Set\nname: a\nspec: {variables: {a-b: 1}}", "not legal"),
        (
            "kind: Set\nname: a\nspec: {templates: {z: {kind: Zone}}}\n---\nkind: Vm\nname: x\ntemplate: z",
            "is for Zone",
        ),
        (
            "kind: Set\nname: a\nspec: {variables: {l: [1]}}\n---\nkind: Vm\nname: x\nspec: {image: 'a${var.l}'}",
            "must stand alone",
        ),
    ],
)
def test_mistakes_in_a_set(tmp_path: Path, text: str, words: str) -> None:
    """The Set is checked as any document, cycles of templates too."""
    with pytest.raises(Invalid, match=r"m\.yaml:") as caught:
        load(tmp_path, text)
    assert words in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, binary, too large, empty: a sentence for each."""
    with pytest.raises(Invalid, match="cannot read"):
        read([str(tmp_path / "none.yaml")], KINDS)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match="UTF-8"):
        read([str(tmp_path / "b.yaml")], KINDS)
    with pytest.raises(Invalid, match="no document"):
        load(tmp_path, "---\n---\n")
    huge = tmp_path / "huge.yaml"
    with huge.open("w") as file:
        file.truncate(33 * 2**20)
    with pytest.raises(Invalid, match="larger than 32 MiB"):
        read([str(huge)], KINDS)


def test_ten_thousand_documents_are_read_in_seconds(tmp_path: Path) -> None:
    """A large manifest is not an attack."""
    one = "---\nkind: Vm\nname: vm-{n}\ntags: {{role: web}}\nspec: {{image: tiny, memory: 1G, networks: [lan]}}\n"
    begun = time.monotonic()
    found = load(tmp_path, "".join(one.format(n=n) for n in range(10_000)))
    assert len(found.documents) == 10_000 and time.monotonic() - begun < 30


def test_defaults_templates_and_the_document_lie_on_each_other(tmp_path: Path) -> None:
    """Defaults below templates below the document; tags are joined, the rest is replaced; lines are remembered."""
    found = load(
        tmp_path,
        SET + "kind: Vm\nname: a\ntemplate: web-big\ntags: {role: db}\nspec:\n  image: other\n"
        "---\nkind: Vm\nname: b\nspec: {memory: null}\n",
    )
    first, second = found.documents
    assert found.set_name == "shop"
    assert first.values == {
        "name": "a",
        "image": "other",
        "memory": "512M",
        "networks": ["lan"],
        "cpus": 8,
        "tags": {"owner": "ops", "role": "db"},
    }
    assert second.values == {"name": "b", "image": "tiny", "memory": None, "tags": {"owner": "ops"}}
    assert first.at("cpus").endswith("m.yaml:10") and first.at("image").endswith("m.yaml:17")


def test_variables(tmp_path: Path) -> None:
    """Alone they keep their type, within text they become text; the command line wins; defaults and $$ work."""
    text = SET + (
        "kind: Vm\nname: '${var.tier}-1'\ndescription: 'costs $${var.size} ${var.yes}'\n"
        "spec: {cpus: '${var.count}', networks: '${var.lists}', image: 'i-${var.version:-7}', host: '${var.none:-}'}\n"
    )
    values = load(tmp_path, text, variables={"yes": True, "tier": "app"}).documents[0].values
    assert (values["name"], values["cpus"], values["networks"]) == ("app-1", 2, ["a", "b"])
    assert (values["description"], values["image"], values["host"]) == ("costs ${var.size} true", "i-7", "")
    assert (
        load(tmp_path, text, variables={"yes": 1, "tier": "x"}, given={"tier": "y"}).documents[0].values["name"]
        == "y-1"
    )
    with pytest.raises(Misuse, match="did you mean tier"):
        load(tmp_path, text, variables={"yes": True}, given={"teir": "y"})


def test_one_set_a_call(tmp_path: Path) -> None:
    """--set may repeat the Set's name, not contradict it."""
    assert load(tmp_path, "kind: Zone\nname: z", set_name="mine").set_name == "mine"
    with pytest.raises(ZctlError, match="belong to the set shop"):
        load(tmp_path, SET + "kind: Zone\nname: z", set_name="mine")


def test_editors_complete_sets_from_the_schema() -> None:
    """The schema of a Set takes what zctl takes, and finds what zctl refuses."""
    folder = Path(__file__).parents[2] / "schemas" / "v1"
    files = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(schema)) for name, schema in files.items()
    )
    validator = Draft202012Validator(files["manifest.json"], registry=registry)
    good = yaml.safe_load(SET.replace("---", ""))
    assert not list(validator.iter_errors(good))
    for path, value in (
        ("defaults", {"Vm": {"spec": {"memry": 1}}}),
        ("templates", {"a": {"spec": {"cpus": "many"}}}),
        ("templates", {"a": {"kind": "Zone", "spec": {"cpus": 1}}}),
        ("variables", {"a-b": 1}),
    ):
        assert list(validator.iter_errors({**good, "spec": {path: value}})), (path, value)
    assert not list(
        validator.iter_errors({"kind": "Vm", "name": "${var.x}", "template": "web", "spec": {"cpus": "${var.n}"}})
    )
