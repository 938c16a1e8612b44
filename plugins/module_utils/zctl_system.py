"""The few effects that the network concerns need: running programs, reading and writing files as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any


class Trouble(Exception):
    """Something on the host did not work; the text says what and what to do."""


def run(argv: list[str], text: str | None = None) -> str:
    """Output of a program. Raises Trouble with its own last words when it fails or is missing."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Trouble(f"{argv[0]} is not installed (zctl converge installs what is missing)") from None
    if done.returncode:
        words = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise Trouble(f"{' '.join(argv[:3])}: {'; '.join(words.splitlines()[-2:])}")
    return done.stdout


def succeeds(argv: list[str]) -> bool:
    """Whether a program is there and ends well."""
    try:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def ip_json(*words: str) -> list[dict[str, Any]]:
    """What ip(8) says, as values."""
    return json.loads(run(["ip", "-j", "-d", *words]) or "[]")


def ip_batch(lines: list[str], namespace: str = "", version: int = 4) -> None:
    """Several ip commands in one process; the first that fails ends it. `version` is for what names no address."""
    if lines:
        words = [*(["-6"] if version == 6 else []), *(["-n", namespace] if namespace else [])]
        run(["ip", *words, "-batch", "-"], "\n".join(lines) + "\n")


def ip_batch_all(lines: list[str]) -> list[str]:
    """Several ip commands, each tried whatever became of the others. Returns what did not work."""
    if not lines:
        return []
    text = "\n".join(lines) + "\n"
    done = subprocess.run(["ip", "-force", "-batch", "-"], input=text, capture_output=True, text=True, check=False)
    return done.stderr.splitlines()


def answers(argv: list[str]) -> list[str]:
    """The lines that a program prints, however it ends: systemctl is-active tells by its exit code too."""
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()


def read_text(path: Path) -> str | None:
    """A file's text, or None when there is no such file. What is no UTF-8 in it equals nothing that zctl writes."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file, or None when there is none. Raises Trouble for a damaged one: unknown is not absent."""
    text = read_text(path)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Trouble(f"{path} is damaged: {error} (remove it, then zctl converge)") from None
    return value if isinstance(value, dict) else None


def write_text(path: Path, text: str, mode: int = 0o644) -> bool:
    """Make a file hold this text, as a whole or not at all; whether it was changed."""
    if read_text(path) == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".zctl-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return True


def write_json(path: Path, value: dict[str, Any]) -> bool:
    """Make a file hold this value; whether it was changed."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")
