"""zctl vm update: what waits is told, --restart does it at once and only when something waits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.conftest import Zctl
from zctl.actions import vms
from zctl.actions.context import Context
from zctl.config import load
from zctl.run.values import HostResult, HostRun

VM = ("--image", "tiny", "--instance-offering", "small", "--network", "lan")
WAITS = "boot disk -> network"


@pytest.fixture
def waiting(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> Zctl:
    """A cloud whose hosts can change the boot order only by a restart."""
    plain = cloud.hosts.answer
    started: dict[str, tuple[str | None, list[str]]] = {}

    def answer(run: HostRun) -> HostResult:
        found = plain(run)
        wanted: dict[str, Any] = {vm["uuid"]: vm for vm in run.state["vm"]["vms"]}
        for entry in found.results:
            vm = wanted.get(entry.uuid)
            if vm is None:
                continue
            if started.get(entry.uuid, (None, []))[0] != vm["reboot"] or entry.uuid not in started:
                started[entry.uuid] = vm["reboot"], vm["boot"]
            if started[entry.uuid][1] != vm["boot"]:
                entry.observed["pending"] = [WAITS]
        return found

    monkeypatch.setattr(cloud.hosts, "answer", answer)
    cloud.ok("vm", "create", "web-1", *VM)
    return cloud


def pending(cloud: Zctl) -> Any:
    return cloud.rows("vm")[0]["pending"]


def test_what_waits_is_told_on_stderr_and_shown(waiting: Zctl) -> None:
    said = waiting.call("vm", "update", "web-1", "--boot", "network")
    assert f"{WAITS} at the next start (now: zctl vm reboot web-1)" in said.stderr
    assert pending(waiting) == [f"{WAITS} at the next start"]
    waiting.ok("vm", "reboot", "web-1")
    assert pending(waiting) == []


def test_restart_does_it_at_once(waiting: Zctl) -> None:
    said = waiting.call("vm", "update", "web-1", "--boot", "network", "--restart", "-o", "json")
    assert json.loads(said.stdout)["pending"] == []
    assert "next start" not in said.stderr
    token = waiting.hosts.runs[-1].state["vm"]["vms"][0]["reboot"]
    assert token
    waiting.ok("vm", "update", "web-1", "--description", "x", "--restart")
    assert waiting.hosts.runs[-1].state["vm"]["vms"][0]["reboot"] == token


def test_restart_is_for_vms_only(waiting: Zctl) -> None:
    assert "No such option" in waiting.call("volume", "update", "web-1-root", "--restart").output
    waiting.call("vm", "update", "web-1", "--boot", "network", "--restart", "--dry-run")
    assert pending(waiting) == [] and waiting.rows("vm")[0]["boot"] == "disk"


def test_only_running_vms_that_wait_are_restarted(waiting: Zctl) -> None:
    waiting.ok("vm", "create", "web-2", *VM)
    waiting.ok("vm", "update", "web-1", "--boot", "network")
    context = Context(load(db=waiting.url), waiting.inventory)
    ids = [row["uuid"] for row in waiting.rows("vm")]
    assert [vm.name for vm in vms.restart_pending(context, [*ids, "gone"])] == ["web-1"]
    assert vms.restart_pending(context, ids) == []


def test_a_volume_with_a_file_grows_and_never_shrinks(waiting: Zctl) -> None:
    """A refused size leaves nothing behind that stops later verbs."""
    waiting.ok("volume", "update", "web-1-root", "--size", "3G")
    said = waiting.fails("volume", "update", "web-1-root", "--size", "2G")
    assert "it has 3G and cannot shrink to 2G" in said and "copy the data" in said
    waiting.ok("volume", "create", "spare", "--size", "3G")
    waiting.ok("volume", "update", "spare", "--size", "2G")
