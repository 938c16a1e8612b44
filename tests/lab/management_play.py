"""Runs the roles of a management node on a lab host with the real command, and tells how its tasks ended."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

from tests.lab.role_runner import CONTENT
from zctl.lab import Lab

Json = dict[str, Any]


@dataclass
class Done:
    """How a play ended: exit code (0, 2 failed, 4 unreachable), whether anything changed, what it said."""

    code: int
    changed: bool
    said: str
    answers: list[Json] = field(default_factory=list)

    @property
    def first(self) -> Json:
        """What the role's module answered first."""
        return self.answers[0]


def play(
    lab: Lab, folder: Path, role: str, *, check: bool = False, tasks: list[Json] | None = None, **variables: Any
) -> Done:
    """One role, or the tasks given, on h1; of tasks each is done, whatever became of those before it."""
    inventory = {"all": {"hosts": {"h1": {"ansible_host": str(lab.host("h1").address)}}}}
    values = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(lab.ssh_key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.folder}/known_hosts -o ConnectTimeout=4",
        "ansible_python_interpreter": "/usr/bin/python3",
        **variables,
    }
    what: Json = {"tasks": tasks, "ignore_errors": True} if tasks else {"roles": [f"zctl.cloud.{role}"]}
    plays = [{"hosts": "all", "gather_facts": False, **what}]
    for name, content in (("hosts.json", inventory), ("play.json", plays), ("values.json", values)):
        (folder / name).write_text(json.dumps(content))
    done = ansible_runner.run(
        private_data_dir=str(folder),
        inventory=str(folder / "hosts.json"),
        playbook=str(folder / "play.json"),
        cmdline=f"-e @{folder}/values.json" + (" --check --diff" if check else ""),
        envvars={
            "ANSIBLE_COLLECTIONS_PATH": str(CONTENT),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_RETRIES": "0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        quiet=True,
    )
    answers = [
        event["event_data"]["res"]
        for event in done.events
        if event["event"] in ("runner_on_ok", "runner_on_failed")
        and event["event_data"].get("task_action", "").startswith("zctl.cloud.")
    ]
    return Done(done.rc, any(answer.get("changed") for answer in answers), done.stdout.read(), answers)
