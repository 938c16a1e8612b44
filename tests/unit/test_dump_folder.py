"""The folder of dumps, cut off at any moment, and with what others laid there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.conftest import Zctl
from tests.unit.test_dump import dumped, files, folder_of
from zctl.backup import folder as dumps


def test_cut_between_two_names(zctl: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """No dump is ever without its manifest; what was half published or half removed is none, and goes."""
    place = folder_of(zctl)
    dumps.make(place)
    (place / "copy.json").write_text("{}")
    for step in range(8):
        dumped(zctl)
        with monkeypatch.context() as patch:
            left = step

            def cut(real: Any) -> Any:
                def run(*args: Any, **more: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        raise SystemExit  # nothing after it happens, as with a killed process
                    return real(*args, **more)

                return run

            patch.setattr(Path, "rename", cut(Path.rename))
            patch.setattr(Path, "unlink", cut(Path.unlink))
            zctl.call("dump_mysql", "--keep-amount", "1")
        for path in place.glob("zctl-*.zst"):
            assert path.with_name(f"{path.name}.json").is_file()
        assert all(
            row["condition"] == "good" for row in json.loads(zctl.ok("db", "list-backups", "--check", "-o", "json"))
        )
        last = dumped(zctl, "--keep-amount", "1")["file"]
        assert files(zctl) == [last]
        assert sorted(path.name for path in place.iterdir()) == [dumps.LOCK, "copy.json", last, f"{last}.json"]


def test_a_lock_that_is_a_link(zctl: Zctl, tmp_path: Path) -> None:
    """What it leads to is not touched."""
    dumps.make(folder_of(zctl))
    precious = tmp_path / "precious"
    precious.write_text("x")
    for link in (os.symlink, os.link):
        link(precious, folder_of(zctl) / dumps.LOCK)
        assert "is not zctl's: it is a link" in zctl.fails("dump_mysql") and precious.read_text() == "x"
        (folder_of(zctl) / dumps.LOCK).unlink()
