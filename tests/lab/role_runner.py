"""Runs one role on lab hosts by itself, the way people do who use the collection without zctl.

Where a role only calls its module, its code goes to the host without Ansible around it, as zctl's own runs do it too:
hundreds of steps of tests wait for nothing else. Molecule and tests with other options go by Ansible.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible_runner

import zctl
from zctl.lab import Lab

INVENTORY = "11111111-2222-4333-8444-555555555555"
CONTENT = Path(zctl.__file__).parent / "content"
STRAIGHT = {"l3_services": "zctl_guests", "vm": "zctl_guests"}  # what their own code begins with
LOOKED_AT = {*STRAIGHT, "network"}


class Host:
    """A lab host as action plugins see theirs."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name

    def _low_level_execute_command(self, command: str, in_data: bytes) -> dict[str, Any]:
        done = subprocess.run(self.lab.ssh_argv(self.name, command), input=in_data, capture_output=True)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


def ask(lab: Lab, name: str, concern: str, state: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What the code of one concern answers on a host. Options: check, scope."""
    if str(CONTENT) not in sys.path:
        sys.path.append(str(CONTENT))
    from ansible_collections.zctl.cloud.plugins.plugin_utils import straight

    check = bool(options.get("check"))
    arguments = {"inventory": INVENTORY, "state": {concern: state}, "steps": [concern], "scope": options.get("scope")}
    arguments |= {"check": check, "sources": {}, "uploads": {}}
    begin = "zctl_look" if check else STRAIGHT[concern]
    answer: dict[str, Any] = straight.ask(Host(lab, name), begin, arguments, None)
    assert "results" in answer, answer
    return answer


def run_role(
    lab: Lab, folder: Path, concern: str, state: dict[str, Any], hosts: tuple[str, ...] = ("h1",), **options: Any
) -> dict[str, Any]:
    """Apply a concern's state to hosts; returns each host's last answer of the role's module.

    Options: user, check, scope, steps, fail (default false), and `more`: other concerns' states.
    """
    if set(options) <= {"check", "scope"} and concern in (LOOKED_AT if options.get("check") else STRAIGHT):
        return {name: ask(lab, name, concern, state, **options) for name in hosts}
    inventory = {
        "all": {
            "hosts": {name: {"ansible_host": str(lab.host(name).address)} for name in hosts},
            "vars": {
                "ansible_user": options.get("user", "root"),
                "ansible_become": options.get("user", "root") != "root",
                "ansible_ssh_private_key_file": str(lab.ssh_key),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.folder}/known_hosts",
                "ansible_python_interpreter": "/usr/bin/python3",
            },
        }
    }
    play = {"hosts": "all", "gather_facts": False, "roles": [f"zctl.cloud.{concern}"]}
    values: dict[str, Any] = {
        "zctl_state": {"inventory": INVENTORY, concern: state, **options.get("more", {})},
        "zctl_fail": options.get("fail", False),
    }
    values |= {f"zctl_{word}": options[word] for word in ("scope", "steps") if word in options}
    for name, content in (("hosts.json", inventory), ("play.json", [play]), ("values.json", values)):
        (folder / name).write_text(json.dumps(content))
    done = ansible_runner.run(
        private_data_dir=str(folder),
        inventory=str(folder / "hosts.json"),
        playbook=str(folder / "play.json"),
        cmdline=f"-e @{folder}/values.json" + (" --check --diff" if options.get("check") else ""),
        envvars={
            "ANSIBLE_COLLECTIONS_PATH": str(CONTENT),
            "ANSIBLE_PIPELINING": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        quiet=True,
    )
    answers = {}
    for event in done.events:
        answer = event.get("event_data", {}).get("res") or {}
        if event["event"] in ("runner_on_ok", "runner_on_failed") and "results" in answer:
            answers[event["event_data"]["host"]] = answer
    assert set(answers) == set(hosts), done.stdout.read()[-3000:]
    return answers


def by_name(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The results of one host by resource name."""
    return {result["name"]: result for result in answer["results"]}
