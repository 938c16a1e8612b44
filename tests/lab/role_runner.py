"""Runs one role on lab hosts by itself, the way people do who use the collection without zctl."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import ansible_runner

import zctl
from zctl.lab import Lab

INVENTORY = "11111111-2222-4333-8444-555555555555"
CONTENT = Path(zctl.__file__).parent / "content"


def run_role(
    lab: Lab, folder: Path, concern: str, state: dict[str, Any], hosts: tuple[str, ...] = ("h1",), **options: Any
) -> dict[str, Any]:
    """Apply a concern's state to hosts; returns each host's last answer of the role's module.

    Options: user, check, scope, steps, fail (default false), and `more`: other concerns' states.
    """
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
