"""Rendering a run into a private folder: playbook, inventory with the states, known hosts. Pure but for the writing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from zctl.ownership import give
from zctl.plan.hoststate import CONCERNS
from zctl.run.connection import host_variables, known_hosts
from zctl.run.content import PLAYBOOKS
from zctl.run.values import HostRun

EARLY_REMOVAL = "vm_removal"
PROBE = "probe"
ADOPT = "adopt"
LOOK = "look"
DATABASE = ("mysql_server", "mysql_replication")
NET_CHECK = "net_check"
NET_FACTS = "net_facts"
ROWS = "rows"
READ_ROWS = "read_rows"
GUESTS = (EARLY_REMOVAL, "storage", "l3_services", "metadata", "security", "vm", "eip", ROWS)
STEPS = (EARLY_REMOVAL, *CONCERNS, ROWS, PROBE, NET_CHECK, NET_FACTS, READ_ROWS, ADOPT, LOOK, *DATABASE)


def render_playbook(steps: list[str], hosts: str = "all", *, by_hand: bool = False) -> str:
    """The playbook that applies the steps in order, each on the hosts that need it. `hosts` is Ansible's pattern.

    `by_hand`: nobody but Ansible looks at the results, so the playbook itself fails in the end for those that failed.
    """
    environment = Environment(  # noqa: S701 - YAML of fixed words, no HTML
        loader=FileSystemLoader(PLAYBOOKS),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    ordered = [step for step in STEPS if step in steps]
    guests = [step for step in ordered if step in GUESTS]
    template = environment.get_template("converge.yml.j2")
    return template.render(hosts=hosts, by_hand=by_hand, steps=ordered, guests=guests, removal=EARLY_REMOVAL)


def untemplated(value: Any) -> Any:
    """The value with every text that Ansible could take for a template marked as plain."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value} if "{" in value else value
    if isinstance(value, dict):
        return {key: untemplated(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [untemplated(entry) for entry in value]
    return value


def run_variables(run: HostRun) -> dict[str, Any]:
    """What the roles read: the host's state, what of it to look at, and the steps."""
    return {"zctl_state": run.state, "zctl_scope": run.scope, "zctl_steps": list(run.steps)}


def render_inventory(runs: list[HostRun], known_hosts_file: Path) -> dict[str, Any]:
    """Ansible's inventory for the run. Hosts go by UUID, so that no name can be taken for a pattern or template."""
    hosts = {}
    for run in runs:
        hosts[run.connection.uuid] = {
            **untemplated(host_variables(run.connection, known_hosts_file)),
            **(as_text(run) if LOOK in run.steps else untemplated(run_variables(run))),
            "zctl_fail": False,
        }
    return {"all": {"hosts": hosts}}


def as_text(run: HostRun) -> dict[str, Any]:
    """What the role look reads. Ansible takes longer over each value of a state than the host over comparing it."""
    values = run_variables(run) | {"zctl_state": {"inventory": run.state["inventory"]}}
    return {**untemplated(values), "look_state": {"__ansible_unsafe": json.dumps(run.state)}}


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def write_run(folder: Path, runs: list[HostRun]) -> None:
    """Lay out the folder that ansible-runner works in."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(mode=0o700)
    give(folder.parent)
    give(folder)
    keys = folder / "known_hosts"
    write_private(keys, known_hosts([run.connection for run in runs]))
    write_private(folder / "inventory" / "hosts.json", json.dumps(render_inventory(runs, keys)))
    steps = sorted({step for run in runs for step in run.steps})
    write_private(folder / "project" / "converge.yml", render_playbook(steps))
