"""The text of a folder that ansible-playbook runs without zctl. Pure but for reading the collection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from zctl.plan.hoststate import CONCERNS
from zctl.run.connection import host_variables, known_hosts
from zctl.run.content import COLLECTION
from zctl.run.render import EARLY_REMOVAL, render_playbook, run_variables
from zctl.run.values import HostRun

EVERY_HOST = "zctl"
ALWAYS = (EVERY_HOST, "kvm", "qemu")
"""Groups that are there also without hosts, so that a pattern with them is never an unknown one."""
PLAYBOOK = "site.yml"
# Ansible fills in where the folder lies, so that it can be moved; ssh wants the quotes for a path with spaces.
KNOWN_HOSTS = Path('"{{ inventory_dir }}/../known_hosts"')
PARTS = ("galaxy.yml", "meta", "plugins", "roles")
LEFT_OUT = {"__pycache__", "inventory"}
"""The dynamic inventory is the one plugin that needs zctl."""

SETTINGS = """\
# The settings of zctl's own runs.
[defaults]
collections_path = collections
inventory = inventory/
forks = {forks}
gathering = explicit
no_target_syslog = True
host_key_checking = True
timeout = 8

[connection]
pipelining = True

[ssh_connection]
ssh_args = -o ControlMaster=auto -o ControlPersist=60s
retries = 2
"""
LINT = """\
# The collection is zctl's and is checked there.
exclude_paths:
  - collections/
"""
README = """\
# Hosts of a zctl inventory, for Ansible

Run `ansible-playbook site.yml --check --diff` in this folder to see what differs on the hosts, and
`ansible-playbook site.yml` to mend it; `--limit 'zone_NAME:&kvm'` chooses hosts, `ansible-inventory --graph` shows the
groups. Nothing in this folder is read by zctl, so what you change here stays unknown to the inventory.
It holds the state of the day it was rendered: networks and leases made since are removed by a run from here, so render
it again with `zctl render DIR --force` first.
"""


class Plain(str):
    """Text that Ansible must not take for a template."""

    __slots__ = ()


class Folded(str):
    """A line too long for one."""

    __slots__ = ()


class Dumper(yaml.SafeDumper):
    """YAML for people and for git: no anchors, lists indented, texts with braces marked as plain."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write what is there twice twice."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists lie deeper than their key, as ansible-lint wants them."""
        del indentless
        super().increase_indent(flow, False)


Dumper.add_representer(Plain, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'))
Dumper.add_representer(Folded, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style=">"))


def folder_files(hosts: list[tuple[HostRun, tuple[str, ...]]], forks: int) -> dict[str, bytes]:
    """Each file's path in the folder with its content; `hosts` are what would run with the groups of each host."""
    texts = {
        ".ansible-lint": LINT,
        "README.md": README,
        "ansible.cfg": SETTINGS.format(forks=forks),
        "known_hosts": known_hosts([run.connection for run, _groups in hosts]),
        "inventory/hosts.yml": render_groups(hosts),
        PLAYBOOK: render_site(),
    }
    for run, _groups in hosts:
        texts[f"inventory/host_vars/{run.connection.name}.yml"] = render_variables(run)
    return collection_files() | {path: text.encode() for path, text in texts.items()}


def render_site() -> str:
    """The playbook for people: everything on every host."""
    return render_playbook([EARLY_REMOVAL, *CONCERNS], EVERY_HOST, by_hand=True)


def render_groups(hosts: list[tuple[HostRun, tuple[str, ...]]]) -> str:
    """The inventory: all hosts, and in which groups they are."""
    groups: dict[str, dict[str, Any]] = {name: {} for name in ALWAYS}
    for run, names in hosts:
        for name in names:
            groups.setdefault(name, {}).setdefault("hosts", {})[run.connection.name] = {}
    return to_yaml({"all": {"children": {name: groups[name] for name in sorted(groups)}}})


def render_variables(run: HostRun) -> str:
    """One host's variables: how to reach it, and its state by concern."""
    # Whoever runs it gives passwords himself: ansible-playbook -K.
    reach = host_variables(replace(run.connection, sudo_password=""), KNOWN_HOSTS, own_socket=False)
    options = reach.pop("ansible_ssh_common_args", None)
    # The one template among the variables: where the folder lies.
    ours = {"ansible_ssh_common_args": Folded(options)} if options else {}
    return to_yaml({**plain(reach), **ours, **plain(run_variables(run))})


def plain(value: Any) -> Any:
    """The value with every text that Ansible could take for a template marked."""
    if isinstance(value, str):
        return Plain(value) if "{" in value else value
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return value


def to_yaml(value: Any) -> str:
    """The value in the order it is given."""
    text: str = yaml.dump(value, Dumper=Dumper, explicit_start=True, sort_keys=False, allow_unicode=True, width=120)
    return text


def collection_files() -> dict[str, bytes]:
    """Roles and plugins of the collection, as they are."""
    files = {}
    for part in PARTS:
        top = COLLECTION / part
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            inside = path.relative_to(COLLECTION)
            strays = LEFT_OUT.intersection(inside.parts) or any(part.startswith(".") for part in inside.parts)
            if path.is_file() and not strays and path.suffix != ".pyc":
                files[f"collections/ansible_collections/zctl/cloud/{inside}"] = path.read_bytes()
    return files
