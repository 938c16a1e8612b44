"""The comparison in one call: what travels to a host's Python, and how its answer is read."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from zctl.actions.converge import Report
from zctl.cli.progress import Progress
from zctl.plan.assemble import ip_of
from zctl.run.content import CONTENT
from zctl.run.runner import Collector
from zctl.run.values import Connection, HostResult, HostRun, Result

TALK = """
import json, subprocess, sys
from ansible_collections.zctl.cloud.plugins.plugin_utils import straight
args = json.loads(sys.stdin.read())
python = [sys.executable, *straight.ALONE, f"exec({straight.START!r})"]
done = subprocess.run(python, input=straight.CODE + straight.packed(args), capture_output=True)
answer = {"rc": done.returncode, "stdout": f"{{Last}}\\n{done.stdout.decode()}bye\\n", "stderr": done.stderr.decode()}
print(json.dumps(straight.read_answer(answer)))
"""


def talk(**more: Any) -> Any:
    """What the action gets from a Python that has nothing of zctl but what comes over its standard input."""
    args = {
        "begin": "zctl_look",
        "inventory": "i",
        "state": {},
        "steps": ["storage"],
        "scope": None,
        "sources": {},
        "uploads": {},
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", TALK],
        input=json.dumps(args),
        capture_output=True,
        text=True,
        env={"ANSIBLE_COLLECTIONS_PATH": str(CONTENT), "PYTHONPATH": str(CONTENT), "PATH": "/usr/sbin:/usr/bin:/bin"},
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_host_gets_all_the_code() -> None:
    """Every concern's code is there, in a Python that finds no other; a name of any script survives."""
    answer = talk(state={"storage": {"purge": [], "storages": []}, "kvm_host": {}})
    assert answer["steps"] == ["storage"] and answer["results"] == []
    answer = talk(steps=["kvm_host"], state={"host": {"uuid": "u", "name": "h\u00fc {{ 7*7 }} \u2603"}, "kvm_host": {}})
    assert answer["results"][0]["name"] == "h\u00fc {{ 7*7 }} \u2603"


def test_a_python_without_libvirt() -> None:
    """A host that has nothing yet is compared as far as it can be, and the rest is told."""
    answer = talk(steps=["vm", "storage"])
    if answer.get("failed"):  # this machine has no libvirt, or none that runs: either way storage was looked at
        assert "vm: " in answer["msg"]
    assert "storage" in answer["steps"]


def test_a_crash_is_a_failure_with_its_words() -> None:
    """Nothing that a host says can be taken for an answer when its Python fails."""
    answer = talk(state=None)
    assert answer["failed"] and "storage: it could not be looked at (AttributeError" in answer["msg"]
    answer = talk(steps=["storage", "network"], state={"storage": ["x"]})
    assert answer["failed"] and answer["steps"] == ["network"]
    answer = talk(steps=None)
    assert answer["failed"] and answer["rc"] == 1 and "Traceback" in answer["module_stderr"]


@pytest.mark.parametrize(("word", "clean"), [("unchanged", True), ("changed", False), ("failed", False)])
def test_clean(word: Any, clean: bool) -> None:
    """A host is clean by its answer only; no answer is none."""
    entry = Result("u", "vm", "web", word, "", {}, "vm")
    other = Result("v", "vm", "db", "unchanged", "", {}, "vm")
    assert HostResult("h1", results=[other, entry]).is_clean is clean
    assert not HostResult("h1").is_clean
    other.observed["unkept"] = True
    assert not HostResult("h1", results=[other]).is_clean


def test_a_host_is_found_by_an_address_not_by_a_name() -> None:
    """A NIC cannot be found by a host's DNS name, so that is not handed on as an address."""
    assert ip_of("192.0.2.1") == "192.0.2.1" and ip_of("2001:DB8:0::1") == "2001:db8::1"
    assert ip_of("kvm1.example.com") is None and ip_of("local") is None


def test_progress_of_many_hosts_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Hundreds of hosts give a few lines, not hundreds."""
    progress = Progress(quiet=False, color=False)
    progress.live, progress.begun = False, time.monotonic() - 60
    for number in range(300):
        progress.watch(f"h{number}", "look")
    progress.watch("h7", "unreachable")
    for number in range(300):
        progress.watch(f"h{number}", "done")
    progress.watch("h8", "network")
    assert capsys.readouterr().err.splitlines() == [
        "... h0: comparing",
        "... 299 hosts: comparing, h7: does not answer",
        "... h8: networks",
    ]


def test_the_trouble_of_a_concern_is_told_beside_failed_resources() -> None:
    """A host whose VMs could not be compared is a problem, whatever else failed there."""
    run = HostRun(Connection("h1", "u1", "192.0.2.1", 22, "root", None, ""), {}, None, ("look",))
    collector = Collector([run], lambda _host, _step: None)
    failed = {"uuid": "u1", "kind": "host", "name": "h1", "result": "failed", "reason": "no VM can run"}
    answer = {"results": [failed], "steps": ["kvm_host"], "trouble": "vm: libvirt is missing", "msg": "vm: ..."}
    data = {"host": "u1", "role": "zctl.cloud.look", "res": answer | {"exception": "(traceback unavailable)"}}
    collector.take({"event": "runner_on_failed", "event_data": data})
    (host,) = collector.hosts.values()
    assert host.failure == "vm: libvirt is missing" and [entry.reason for entry in host.results] == ["no VM can run"]
    report = Report(hosts={"u1": host})
    assert report.problem("u1", {"u1"}) == host.results[0] and report.problem("u1", {"u2"}) == "vm: libvirt is missing"
