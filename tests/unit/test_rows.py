"""Rows as hosts keep them: every declared column there and back, and what becomes of the files on a host."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
import pytest
import zctl_rows
from hypothesis import given
from hypothesis import strategies as st

from zctl.errors import Invalid
from zctl.resources.base import Resource, attrs
from zctl.resources.registry import all_classes
from zctl.resources.rows import (
    ABOUT,
    HISTORY,
    Record,
    kept_columns,
    line_of,
    own_name,
    pack,
    parse_line,
    record_model,
    row_of,
    sum_of,
)
from zctl.run.runner import forget_secrets

KEPT = [cls for cls in all_classes() if cls.noun not in HISTORY]
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="\x7f"), max_size=12)
UUIDS = st.uuids().map(str)
TIMES = st.integers(0, 10**9).map(lambda seconds: datetime(2000, 1, 1) + timedelta(seconds=seconds))


def values_of(kind: Any, limits: list[Any], longest: int = 255) -> st.SearchStrategy[Any]:
    """Legal values of a column's type."""
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if type(None) in get_args(kind):
        return st.none() | st.one_of(
            [values_of(one, limits, longest) for one in get_args(kind) if one is not type(None)]
        )
    least = next(
        (
            m.ge if isinstance(m, annotated_types.Ge) else m.gt + 0.5
            for m in limits
            if hasattr(m, "ge") or hasattr(m, "gt")
        ),
        0,
    )
    most = next((m.le for m in limits if isinstance(m, annotated_types.Le)), 2**40)
    simple = {
        bool: st.booleans(),
        int: st.integers(int(least), int(most)),
        float: st.floats(least, most),
        str: TEXT.map(lambda text: text[:longest]),
        datetime: TIMES,
    }
    if kind in simple:
        return simple[kind]
    return st.lists(TEXT, max_size=3) if get_origin(kind) is list else st.dictionaries(TEXT, TEXT, max_size=3)


def rows_of(cls: type[Resource]) -> st.SearchStrategy[dict[str, Any]]:
    """Legal values of all columns of a type."""
    made: dict[str, st.SearchStrategy[Any]] = {}
    for name, about in attrs(cls).items():
        info = cls.model_fields[name]
        optional = type(None) in get_args(info.annotation)
        if name == "id" or about.ref:
            kind = UUIDS
        elif name == "name":
            kind = st.from_regex(own_name(cls), fullmatch=True, alphabet=st.characters(codec="ascii"))
        elif about.pattern:
            ascii_only = st.characters(codec="ascii", min_codepoint=32, max_codepoint=126)
            most = about.max_length or 255
            kind = st.from_regex(about.pattern, fullmatch=True, alphabet=ascii_only).filter(
                lambda t, most=most: len(t) <= most
            )
        else:
            kind = values_of(info.annotation, info.metadata, about.max_length or 255)
        made[name] = st.none() | kind if optional else kind
    return st.fixed_dictionaries(made)


@pytest.mark.parametrize("cls", KEPT, ids=lambda cls: cls.noun)
@given(data=st.data())
def test_every_column_comes_back(cls: type[Resource], data: st.DataObject) -> None:
    """Row -> line -> row: all that is declared and not observed is the same, and so is the line."""
    row = cls.build(**data.draw(rows_of(cls)))
    tags = data.draw(st.dictionaries(st.from_regex(r"[A-Za-z0-9][a-z./_-]{0,9}", fullmatch=True), TEXT, max_size=2))
    line = line_of(row, tags)
    assert "\n" not in line and line.isascii()
    record = parse_line(line)
    back = row_of(record)
    for name, _default in kept_columns(cls):
        assert getattr(back, name) == getattr(row, name), name
    assert record.tags == tags and line_of(back, record.tags) == line
    assert zctl_rows.parse(line).rows == {row.id: line}  # the host reads it the same way


def test_what_is_observed_is_not_kept() -> None:
    """Every column is either in the record or declared as observed, and a type's recorded values are columns."""
    for cls in KEPT:
        names = {name for name, _default in kept_columns(cls)}
        assert set(attrs(cls)) - names == {name for name, about in attrs(cls).items() if about.observed}
    watched = {f"{cls.noun}.{name}" for cls in KEPT for name, about in attrs(cls).items() if about.observed}
    assert {"vm.state", "volume.state", "host.facts", "eip.host_id"} <= watched


def forged(values: dict[str, Any], noun: str = "vm", **more: Any) -> str:
    """A line with a right sum, as somebody who is root on a host could write it."""
    text = json.dumps({"noun": noun, "row": values, **more})
    return f"{values.get('id', '0' * 36)} {sum_of(text)} {text}"


VALUES = {"id": "6d0f2b1e-0000-4000-8000-000000000001", "name": "web-1", "power": "Running"}


@pytest.mark.parametrize(
    ("values", "noun", "words"),
    [
        ({"name": "x; rm -rf /"}, "vm", "name"),
        ({"name": "{{ lookup('pipe', 'id') }}"}, "vm", "name"),
        ({"name": None}, "vm", "name"),
        ({"cpus": "many"}, "vm", "cpus"),
        ({"power": "Exploded"}, "vm", "power"),
        ({"host_id": "../../etc"}, "vm", "host_id"),
        ({"version": []}, "vm", "version"),
        ({"created_at": "yesterday"}, "vm", "created_at"),
        ({"description": "a\x00b"}, "vm", "description"),
        ({"file": "a\nb"}, "volume", "file"),
        ({"address": "-oProxyCommand=x", "cluster_id": VALUES["id"]}, "host", "address"),
        ({}, "spaceship", "does not know its type"),
    ],
)
def test_an_edited_record_is_refused(values: dict[str, Any], noun: str, words: str) -> None:
    """Whatever stands in a record, no row comes of it that the declaration forbids."""
    with pytest.raises(Invalid, match=words):
        row_of(parse_line(forged(VALUES | values, noun)))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        f"{VALUES['id']} 0000000000000000 {{}}",
        f"{VALUES['id']} {sum_of('{')} {{",
        f"{VALUES['id']} {sum_of('[]')} []",
        forged({"id": "x"}),
        forged(VALUES, "event"),
        forged(VALUES, tags=[1]),
        forged(VALUES).replace("web-1", "web-2"),
        f"{VALUES['id']} {sum_of('[' * 100000)} {'[' * 100000}",
    ],
)
def test_what_is_no_record(line: str) -> None:
    """Refused in words."""
    with pytest.raises(Invalid):
        parse_line(line)


def test_unknown_columns_of_a_newer_version_are_left_out() -> None:
    """They do not hide the row."""
    row = row_of(Record(VALUES["id"], "vm", VALUES | {"flavour": "sweet"}, {}))
    assert row.name == "web-1" and "flavour" not in record_model(type(row)).model_fields


def line(number: int, text: str = "{}") -> str:
    """A line as a host sees it."""
    return f"{number:036d} {zctl_rows.sum_of(text)} {text}"


def key(number: int) -> str:
    """Its uuid."""
    return f"{number:036d}"


LINES = st.dictionaries(st.integers(0, 9), st.sampled_from(["{}", '{"a":1}', '{"a":2}']))


@given(
    own=LINES,
    shared=LINES,
    left=LINES,
    sent=LINES,
    ours=LINES,
    purge=st.sets(st.integers(0, 9)),
    scope=st.none() | st.sets(st.integers(0, 9)),
)
def test_nothing_is_lost_that_nobody_named(
    own: Any, shared: Any, left: Any, sent: Any, ours: Any, purge: Any, scope: Any
) -> None:
    """Rows that are kept are sent anew, out of scope, named as deleted, or put aside."""
    kept = {
        name: zctl_rows.Kept({}, {key(n): line(n, text) for n, text in rows.items()})
        for name, rows in ((zctl_rows.OWN, own), (zctl_rows.SHARED, shared), (zctl_rows.LEFT, left))
    }
    message = {
        "own": [line(n, text) for n, text in sent.items() if scope is None or n in scope],
        "shared": [line(n, text) for n, text in ours.items()],
        "purge": [key(n) for n in purge],
    }
    scoped = None if scope is None else [key(n) for n in scope]
    files = zctl_rows.wanted(kept, message, scoped)
    assert files[zctl_rows.SHARED] == zctl_rows.by_uuid(message["shared"])
    assert zctl_rows.by_uuid(message["own"]).items() <= files[zctl_rows.OWN].items()
    before = {*own, *shared, *left}
    after = {int(uuid) for rows in files.values() for uuid in rows}
    assert before - after <= purge | (scope or set())
    if scope is None:
        assert set(files[zctl_rows.OWN]) == set(zctl_rows.by_uuid(message["own"]))


def part(lines: dict[int, str], shared: list[str]) -> dict[str, Any]:
    """What zctl sends for one host."""
    own = [line(number, text) for number, text in lines.items()]
    return {
        "host": {"uuid": "h", "name": "h1"},
        "own": {"vm": {entry[:36]: zctl_rows.told_sum(entry) for entry in own}},
        "shared": zctl_rows.digest(zctl_rows.by_uuid(shared)),
        "at": "2026-01-01T00:00:00",
        "packed": pack({"own": own, "purge": []}),
        "packed_shared": pack(shared),
    }


def test_a_host_tells_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing yet, all there, stale, missing, edited, damaged, forgotten; only root may read; check changes nothing."""
    monkeypatch.setattr(zctl_rows, "FOLDER", tmp_path / "etc")
    wish = part({1: "{}", 2: "{}"}, [line(5)])

    def seen(
        check: bool = True, wanted: dict[str, Any] = wish, scope: list[str] | None = None
    ) -> list[tuple[str, Any]]:
        told = zctl_rows.converge("i", wanted, scope, check)["results"]
        return [
            (entry["result"], entry["differences"][0]["actual"] if entry["differences"] else entry["observed"])
            for entry in told
        ]

    assert seen() == [("changed", None)] and not (tmp_path / "etc").exists()
    assert seen(False) == [("changed", None)] and seen() == []
    folder = tmp_path / "etc" / "i"
    assert folder.stat().st_mode & 0o777 == 0o700 and (folder / "own.rows").stat().st_mode & 0o777 == 0o600
    stale = part({1: '{"b":1}', 2: "{}"}, [line(5)])
    assert seen(wanted=stale) == [("unchanged", {"unkept": True})]  # no difference of the cloud, yet to be written
    assert seen(wanted=part({1: "{}", 2: "{}"}, [line(6)])) == [("unchanged", {"unkept": True})]
    text = (folder / "own.rows").read_text()
    (folder / "own.rows").write_text(text.replace(line(1), ""))
    assert seen() == [("changed", None)]
    (folder / "own.rows").write_text(text.replace(line(1), line(1)[:-1] + '"x":1}'))
    assert seen() == [("changed", "edited")]
    assert seen(False) == [("changed", "edited")] and seen() == [] and (folder / "own.rows").read_text() == text
    (folder / "own.rows").write_bytes(b"\xff\x00" * 50)
    assert seen() == [("changed", None)] and seen(False) and (folder / "own.rows").read_text() == text
    assert seen(False, part({3: "{}"}, [line(5)]), [key(3)]) == [] and key(1) in (folder / "own.rows").read_text()
    assert (folder / "own.rows").read_text().startswith(ABOUT)
    zctl_rows.converge("i", {"gone": True}, None, False)
    assert not (tmp_path / "etc").exists()


def test_a_host_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the host's failure, in words, and no VM's; what was there stays."""
    monkeypatch.setattr(zctl_rows, "FOLDER", tmp_path)

    def full(*_words: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zctl_rows, "write_text", full)
    told = zctl_rows.converge("i", part({1: "{}"}, []), None, False)["results"]
    assert [(entry["kind"], entry["uuid"], entry["result"]) for entry in told] == [("host", "h", "failed")]
    assert "No space left" in told[0]["reason"]


def test_what_is_kept_of_a_run_holds_no_rows(tmp_path: Path) -> None:
    """Records hold user data as the rows do: a run that is kept for a look has neither."""
    path = tmp_path / "inventory" / "hosts.json"
    path.parent.mkdir()
    state = {"rows": {"packed": pack({"own": ["secret"]}), "packed_shared": pack(["secret"]), "shared": "0"}}
    path.write_text(json.dumps(state))
    forget_secrets(tmp_path)
    found = json.loads(path.read_text())["rows"]
    assert found == {"packed": "(left out)", "packed_shared": "(left out)", "shared": "0"}
