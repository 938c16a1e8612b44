"""Hosts that keep records as real ones do: the code that runs there works on a folder for each of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import zctl_rows
import zctl_rows_read

from tests.unit.conftest import FakeHosts
from zctl.run.render import LOOK, READ_ROWS, ROWS
from zctl.run.values import HostResult, HostRun, Result


@dataclass
class KeepingHosts(FakeHosts):
    """Hosts by address. `domains` are the marked ones: address -> inventory -> uuid -> name."""

    folder: Path = Path()
    domains: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    full: set[str] = field(default_factory=set)

    def __call__(self, runs: list[HostRun], settings: Any, _watch: Any) -> dict[str, HostResult]:
        """As the modules would answer, in check mode with what is as it should be."""
        self.runs += runs
        return {run.connection.uuid: self.play(run, settings.check or LOOK in run.steps) for run in runs}

    def play(self, run: HostRun, check: bool) -> HostResult:
        """One host's answer."""
        place = run.connection.address
        zctl_rows.FOLDER = self.folder / place
        if READ_ROWS in run.steps:
            found = HostResult(run.connection.name)
            if place in self.away:
                found.unreachable = "it does not answer"
                return found
            marked = self.domains.get(place, {})
            for entry in zctl_rows_read.answers(marked):
                found.results.append(result_of(entry, ""))
            return found
        found = self.answer(run)
        if check:
            found.results = [replace(entry, result="unchanged") for entry in found.results]
        if ROWS in run.steps and not found.unreachable:
            seen = zctl_rows.converge(run.state["inventory"], run.state[ROWS], run.scope, check)
            found.results += [result_of(entry, ROWS) for entry in seen["results"]]
        return found

    def files(self, address: str) -> dict[str, str]:
        """The files of a host by name."""
        return {path.stem: path.read_text() for path in (self.folder / address).rglob("*.rows")}

    def path(self, address: str, name: str) -> Path:
        """One file of a host."""
        return next((self.folder / address).rglob(f"{name}.rows"))


def result_of(entry: dict[str, Any], concern: str) -> Result:
    """A module's result as a run gives it."""
    return Result(
        entry["uuid"],
        entry["kind"],
        entry["name"],
        entry["result"],
        entry["reason"],
        entry["observed"],
        concern,
        entry.get("differences") or [],
    )


def play(monkeypatch: pytest.MonkeyPatch, folder: Path) -> KeepingHosts:
    """Have all actions meet such hosts."""
    hosts = KeepingHosts(folder=folder)
    monkeypatch.setattr(zctl_rows, "FOLDER", zctl_rows.FOLDER)
    for module in ("converge", "drift", "release", "hosts", "rebuild", "rebuild_read"):
        monkeypatch.setattr(f"zctl.actions.{module}.execute", hosts)
    monkeypatch.setattr("zctl.actions.rebuild_read.scan_host_key", lambda *_words: "ssh-ed25519 AAAA")
    return hosts
