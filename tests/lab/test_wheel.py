"""The wheel: into an empty environment, and then from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*argv: str | Path, cwd: Path, **more: str) -> str:
    """A program that must succeed; what it printed."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, argv)), cwd=cwd, env={**environment, **more}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_pip_install_into_an_empty_environment(tmp_path: Path) -> None:
    """`pip install .` gives a zctl that finds its roles, and without libvirt-python all but the console works."""
    venv, home = tmp_path / "venv", tmp_path / "home"
    run(sys.executable, "-m", "venv", venv, cwd=tmp_path)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        ROOT,
        cwd=tmp_path,
    )
    run(venv / "bin/pip", "install", "-q", next(tmp_path.glob("*.whl")), cwd=tmp_path)
    zctl = venv / "bin/zctl"
    for words in (["init"], ["zone", "create", "z1"], ["cluster", "create", "c1", "--zone", "z1"]):
        run(zctl, *words, cwd=Path("/"), ZCTL_HOME=str(home))
    assert "z1" in run(zctl, "cluster", "list", cwd=Path("/"), ZCTL_HOME=str(home))
    code = (
        "from zctl.run.content import COLLECTION as c, SCHEMAS as s; print((c/'roles/vm').is_dir(), (s/'v1').is_dir())"
    )
    assert run(venv / "bin/python", "-c", code, cwd=Path("/")).strip() == "True True"
    done = subprocess.run(
        [zctl, "vm", "console", "x"], env={**os.environ, "ZCTL_HOME": str(home)}, capture_output=True, text=True
    )
    assert done.returncode == 1 and "zctl[libvirt]" in done.stderr
