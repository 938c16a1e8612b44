"""Calls of zctl as processes that begin with everything imported: Python's start would be a third of a test's time.

Each call is a process of its own with the code of `python -m zctl`; it is a copy of a server that only imported things.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import runpy
import sys
import tempfile
from pathlib import Path

import zctl

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__])
_USED_LATER = (
    "ansible_runner",
    "drawsvg",
    "jinja2",
    "libvirt",
    "rich.table",
    "rich.tree",
    "sqlmodel",
    "tomllib",
    "yaml",
)

if "pytest" not in sys.modules:  # in the server
    for _module in pkgutil.walk_packages(zctl.__path__, "zctl."):
        # The collection's modules are for hosts, revisions are alembic's to load.
        if not any(part in _module.name for part in ("__main__", ".content", ".versions", ".env")):
            importlib.import_module(_module.name)
    for _name in _USED_LATER:
        importlib.import_module(_name)


def call(words: tuple[str, ...], environment: dict[str, str], stdin: str, seconds: float) -> tuple[int, str, str]:
    """Call zctl: its exit code, output and errors. TimeoutError when it takes too long; it is killed then."""
    with tempfile.TemporaryDirectory(prefix="zctl-call-") as name:
        folder = Path(name)
        (folder / "0").write_text(stdin)
        process = _SERVER.Process(target=_main, args=(words, environment, name))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"zctl {' '.join(words)} is not ready after {seconds:.0f} s")
        return process.exitcode, (folder / "1").read_text(), (folder / "2").read_text()


def _main(words: tuple[str, ...], environment: dict[str, str], folder: str) -> None:
    for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)):
        file = os.open(f"{folder}/{number}", flags)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["zctl", *words]
    runpy.run_module("zctl", run_name="__main__", alter_sys=True)
