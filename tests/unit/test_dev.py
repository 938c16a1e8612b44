"""The developers' script names a missing prerequisite in one line, with the fix."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = (
    "bash",
    "cat",
    "cut",
    "df",
    "dirname",
    "env",
    "git",
    "id",
    "mktemp",
    "pwd",
    "rm",
    "sha256sum",
    "tail",
    "tr",
    "uname",
)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with the few programs that the checks need, as the only PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    stub(folder, "id", "echo 0")
    stub(folder, "apt-get", "exit 0")
    return folder


def stub(folder: Path, name: str, script: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def dev(tools: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(tools), "HOME": str(tools.parent), "XDG_CACHE_HOME": str(tools.parent / "cache")}
    return subprocess.run([str(ROOT / "dev"), *words], env=environment, capture_output=True, text=True, timeout=60)


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_not_root(tools: Path) -> None:
    stub(tools, "id", "echo 1000")
    assert "needs root" in (line := only_line(dev(tools, "demo")))
    assert "sudo ./dev demo" in line


def test_not_debian(tools: Path) -> None:
    (tools / "apt-get").unlink()
    assert "not Debian or Ubuntu" in only_line(dev(tools, "setup"))


def test_no_room(tools: Path) -> None:
    stub(tools, "df", "echo Avail; echo 3G")
    line = only_line(dev(tools, "setup"))
    assert "3 GB are free" in line
    assert "XDG_CACHE_HOME" in line


@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="this machine lacks an earlier prerequisite")
def test_old_python(tools: Path) -> None:
    stub(tools, "python3", 'case $1 in -V) echo "Python 3.9.2" ;; *) exit 1 ;; esac')
    line = only_line(dev(tools, "setup"))
    assert "Python 3.9.2" in line
    assert "apt-get install" in line


def test_misuse(tools: Path) -> None:
    assert "./dev help" in only_line(dev(tools, "tset"))
    assert "lint, unit, lab, molecule, full" in only_line(dev(tools, "test", "units"))
    assert dev(tools).returncode == 2
    assert "usage" in dev(tools, "help").stdout


def test_the_lock_names_no_place() -> None:
    text = (ROOT / "requirements.lock").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("    --hash=sha256:")]
    assert all("==" in line for line in lines)
    assert not [line for line in lines if "://" in line or line.startswith(("-", "/"))]
    assert os.access(ROOT / "dev", os.X_OK)
    assert os.access(ROOT / ".ci/run", os.X_OK)
