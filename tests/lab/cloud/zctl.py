"""Calling zctl as a user does: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.cloud import starter
from zctl.lab.lab import Lab


@dataclass
class Answer:
    """What one call said."""

    code: int
    out: str
    err: str


@dataclass
class Cloud:
    """An inventory of its own and the lab it works on."""

    home: Path
    lab: Lab
    extra: dict[str, str] = field(default_factory=dict)
    started: bool = True  # calls begin with everything imported; not when their time is measured

    @property
    def environment(self) -> dict[str, str]:
        """What zctl is called with."""
        return {**os.environ, "ZCTL_HOME": str(self.home), "ZCTL_SSH_KEY": str(self.lab.ssh_key), **self.extra}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin a call and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "zctl", *words],
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def call(self, *words: str, stdin: str | None = None) -> Answer:
        """One call, whatever comes of it."""
        if self.started:
            return Answer(*starter.call(words, self.environment, stdin or "", 600))
        done = subprocess.run(
            [sys.executable, "-m", "zctl", *words],
            env=self.environment,
            text=True,
            capture_output=True,
            input=stdin or "",
            timeout=600,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str, stdin: str | None = None) -> str:
        """One call that must succeed."""
        answer = self.call(*words, stdin=stdin)
        assert answer.code == 0, f"zctl {' '.join(words)} -> {answer.code}\n{answer.out}\n{answer.err}"
        return answer.out

    def fails(self, *words: str, code: int = 1, stdin: str | None = None) -> str:
        """One call that must fail in plain words; returns them."""
        answer = self.call(*words, stdin=stdin)
        assert answer.code == code, f"zctl {' '.join(words)} -> {answer.code}\n{answer.out}\n{answer.err}"
        assert "Traceback" not in answer.err
        return answer.err

    def rows(self, noun: str, *filters: str) -> list[dict[str, Any]]:
        """A list as values."""
        words = [word for text in filters for word in ("--filter", text)]
        found: list[dict[str, Any]] = json.loads(self.ok(noun, "list", "-o", "json", *words))
        return found

    def show(self, noun: str, name: str) -> dict[str, Any]:
        """One resource as values."""
        found: dict[str, Any] = json.loads(self.ok(noun, "show", name, "-o", "json"))
        return found

    def ip(self, vm: str, number: int = 0) -> str:
        """A VM's address."""
        return str(self.show("vm", vm)["ip"].split()[number])

    def domains(self, host: str) -> dict[str, str]:
        """Domains on a host with libvirt's word for their state."""
        lines = self.lab.ssh(host, "virsh list --all | tail -n +3").splitlines()
        return {words[1]: " ".join(words[2:]) for words in map(str.split, lines) if len(words) >= 3}

    def volumes(self, host: str) -> set[str]:
        """Names of the volume files on a host."""
        return set(self.lab.ssh(host, "ls /var/lib/zctl/storage/volumes 2>/dev/null || true").split())


def fetch(url: str, patience: float = 30, expect: str = "") -> str:
    """What a URL answers, tried until it does, and says what is expected: a guest may serve before it has its name."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(url, timeout=3) as answer:
                said = str(answer.read().decode())
            if expect in said:
                return said
            error: Exception = ValueError(f"{expect!r} is not in {said!r}")
        except (urllib.error.URLError, OSError) as problem:
            error = problem
        if time.monotonic() > deadline:
            raise AssertionError(f"{url} does not answer: {error}") from None
        time.sleep(0.3)


def ask(ip: str, script: str, patience: float = 30, expect: str = "") -> str:
    """What one of the guest's CGI scripts answers."""
    return fetch(f"http://{ip}/cgi-bin/{script}", patience, expect)
