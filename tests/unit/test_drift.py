"""Drift, with hosts played by a function: what is told, what is mended, what is taken over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.conftest import FakeHosts, Zctl
from zctl.plan.hoststate import CONCERNS
from zctl.run.values import HostResult, HostRun, Result

WORDS = ("--image", "tiny", "--instance-offering", "small", "--network", "lan", "--disk", "data", "--host", "h1")


class Drifted(FakeHosts):
    """Hosts on which somebody changed the VM web-1."""

    found: list[dict[str, Any]] = []
    foreign: list[dict[str, Any]] = []

    def __call__(self, runs: list[HostRun], settings: Any, watch: Any) -> dict[str, HostResult]:
        """In check mode differences, else as ever."""
        if not settings.check:
            return super().__call__(runs, settings, watch)
        self.runs += runs
        answers = {}
        for run in runs:
            answer = HostResult(run.connection.name, foreign=self.foreign)
            if run.connection.name in self.away:
                answer.unreachable = "it does not answer"
            elif not self.broken.get("healed"):
                for vm in run.state["vm"]["vms"]:
                    if self.found and vm["name"] == "web-1":
                        answer.results.append(Result(vm["uuid"], "vm", vm["name"], "changed", "", {}, "vm", self.found))
            answers[run.connection.uuid] = answer
        return answers


@pytest.fixture
def drifted(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> Zctl:
    """A cloud with the VMs web-1 and web-2 on h1."""
    hosts = Drifted()
    for module in ("converge", "release", "hosts", "drift"):
        monkeypatch.setattr(f"zctl.actions.{module}.execute", hosts)
    cloud.hosts = hosts
    for name in ("web-1", "web-2"):
        cloud.ok("vm", "create", name, *WORDS)
    hosts.runs.clear()
    return cloud


def hosts_of(cloud: Zctl) -> Drifted:
    """The hosts behind the cloud."""
    assert isinstance(cloud.hosts, Drifted)
    return cloud.hosts


def test_no_drift(drifted: Zctl) -> None:
    """Nothing to tell, nothing stored, exit 0 also for monitoring."""
    before = drifted.dump()
    assert "no differences on 2 hosts" in drifted.ok("plan", "--detailed-exitcode")
    assert drifted.dump() == before
    assert [set(run.steps) for run in drifted.hosts.runs] == [{"look", *CONCERNS, "rows"}] * 2


def test_drift_is_told_field_by_field(drifted: Zctl) -> None:
    """Text, JSON, Markdown, exit codes; a host that is away fails the check, what waits is told apart."""
    hosts_of(drifted).found = [
        {"field": "state", "actual": "Stopped", "desired": "Running"},
        {"field": "memory", "actual": 2**29, "desired": 2**30},
    ]
    hosts_of(drifted).foreign = [{"kind": "domain", "name": "old", "owner": "virt-manager"}]
    answer = drifted.call("plan", "--detailed-exitcode")
    assert answer.exit_code == 2
    for words in (
        "~ vm web-1",
        "state: Stopped -> Running",
        "memory: 512M -> 1G",
        "not zctl's: domain old (virt-manager)",
    ):
        assert words in answer.stdout
    assert "asked for" not in answer.stdout
    found = json.loads(drifted.ok("plan", "-o", "json"))
    assert found["differences"][0] | {"uuid": ""} == {
        "host": "h1",
        "noun": "vm",
        "name": "web-1",
        "uuid": "",
        "field": "state",
        "actual": "Stopped",
        "desired": "Running",
        "reason": "",
        "waits": False,
    }
    assert "| h1 | vm web-1 | state: Stopped -&gt; Running |" in drifted.ok("plan", "-o", "markdown")
    assert drifted.ok("plan", "-o", "name") == "vm/web-1\n"
    hosts_of(drifted).away = {"h2"}
    answer = drifted.call("plan")
    assert answer.exit_code == 1 and "host h2: it does not answer" in answer.stdout and "h2" in answer.stderr
    drifted.ok("plan", "--host", "h1")


def test_a_part_is_compared_and_mended(drifted: Zctl) -> None:
    """--host, --noun and --name leave everything else alone."""
    drifted.ok("plan", "--noun", "vm", "--name", "web-2")
    (run,) = drifted.hosts.runs
    assert [vm["name"] for vm in run.state["vm"]["vms"]] == ["web-2"] and "network" not in run.steps
    drifted.hosts.runs.clear()
    drifted.ok("converge", "--noun", "vm", "--name", "web-1")
    (run,) = drifted.hosts.runs
    assert [vm["name"] for vm in run.state["vm"]["vms"]] == ["web-1"]
    drifted.hosts.runs.clear()
    drifted.ok("converge", "--host", "h2")
    assert [("look" in run.steps, run.connection.name) for run in drifted.hosts.runs] == [(True, "h2"), (False, "h2")]
    assert "add --noun" in drifted.fails("plan", "--name", "web-1", code=2)
    assert "does not exist" in drifted.fails("plan", "--host", "h9")
    assert "leave -f out" in drifted.fails("plan", "-f", "x", "--host", "h1", code=2)
    assert "no manifest" in drifted.fails("plan", "--prune", code=2)


def test_a_converge_leaves_alone_what_is_as_it_should_be(drifted: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """One comparison for each host; a run only for those that differ, and none for those that do not answer."""
    hosts = hosts_of(drifted)
    hosts.away = {"h1"}
    differing = Drifted.answer

    def answer(self: Drifted, run: HostRun) -> HostResult:
        found = differing(self, run)
        if "look" in run.steps:
            found.results = [Result(run.connection.uuid, "host", found.host, "unchanged", "", {}, "kvm_host")]
        return found

    monkeypatch.setattr(Drifted, "answer", answer)
    assert "host h2: 1 unchanged" in drifted.call("converge").stderr
    asked = sorted((run.connection.name, "look" in run.steps) for run in hosts.runs)
    assert asked == [("h1", True), ("h2", True)]
    hosts.runs.clear()
    hosts.away = set()
    drifted.ok("converge")
    assert all("look" in run.steps for run in hosts.runs) and len(hosts.runs) == 2
    assert drifted.rows("host", "name=h1")[0]["state"] == "Connected"
    monkeypatch.undo()


def test_the_hosts_values_are_taken_over(drifted: Zctl) -> None:
    """Size, power, boot order, a disk and a card that somebody took out; what has no place is left and told."""
    nic = drifted.rows("nic", "vm=web-1")[0]
    hosts_of(drifted).found = [
        {"field": "state", "actual": "Stopped", "desired": "Running"},
        {"field": "memory", "actual": 2**29, "desired": 2**30},
        {"field": "vcpus", "actual": 2, "desired": 1},
        {"field": "boot", "actual": ["network", "disk"], "desired": ["disk"]},
        {"field": "disk vdb", "actual": None, "desired": "/srv/x"},
        {"field": f"nic {nic['mac']}", "actual": None, "desired": "zbr"},
    ]
    assert "needs a yes" in drifted.fails("converge", "--accept", code=2)
    drifted.ok("converge", "--accept", "--dry-run")
    assert drifted.rows("vm", "name=web-1")[0]["cpus"] == 1
    drifted.ok("converge", "--accept", "--yes", "--reason", "night shift")
    row = drifted.rows("vm", "name=web-1")[0]
    assert (row["power"], row["memory"], row["cpus"], row["boot"]) == ("Stopped", 2**29, 2, "network,disk")
    assert drifted.rows("nic", "vm=web-1") == []
    assert drifted.rows("volume", "name=web-1-data1")[0]["vm"] is None
    hosts_of(drifted).found = [{"field": "domain", "actual": None, "desired": "z-web-1"}]
    answer = drifted.call("converge", "--accept", "--yes")
    assert answer.exit_code == 1 and "cannot take vm web-1" in answer.stderr


def test_dry_run_of_converge_is_the_plan(drifted: Zctl) -> None:
    """It says what would be mended."""
    hosts_of(drifted).found = [{"field": "state", "actual": "Stopped", "desired": "Running"}]
    assert "state: Stopped -> Running" in drifted.ok("converge", "--dry-run")
