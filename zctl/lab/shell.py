"""Running programs on the machine, with errors that say which program failed and what it said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from zctl.errors import ZctlError

Say = Callable[[str], None]
"""Receives one line of progress."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAST_LINES = 12


class LabError(ZctlError):
    """The lab could not be brought to the wanted state."""

    code = "lab"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for programs: the system's own tools first, plain English messages, no prompts."""
    return {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(extra or {})}


def run(
    argv: Sequence[str | Path],
    *,
    what: str = "",
    stdin: str = "",
    timeout: float | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program and return what it printed; `what` says in the error what it was for.

    Raises LabError when the program is missing, fails or takes longer than `timeout` seconds.
    """
    words = [str(word) for word in argv]
    purpose = what or f"'{' '.join(words[:4])}' was run"
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            cwd=cwd,
            env=environment(env),
        )
    except FileNotFoundError:
        raise LabError(
            f"{purpose}: the program {words[0]} is missing", remedy="run 'zctl lab up' again: it installs what it needs"
        ) from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{purpose}: {words[0]} did not end within {timeout:g} seconds") from None
    if done.returncode:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-LAST_LINES:])
        raise LabError(f"{purpose}: {words[0]} failed with code {done.returncode}: {said}")
    return done.stdout


def succeeds(argv: Sequence[str | Path], *, timeout: float | None = None) -> bool:
    """Whether a program that asks a question answers yes (exit code 0)."""
    try:
        run(argv, timeout=timeout)
    except LabError:
        return False
    return True
