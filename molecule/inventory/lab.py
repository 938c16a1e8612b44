#!/usr/bin/env python3
"""Molecule's hosts: those of the lab `molecule`, as Ansible's inventory. Empty while there is no such lab."""

from __future__ import annotations

import json
import shlex
import sys

from zctl.errors import NotFound
from zctl.lab import Lab


def inventory() -> dict[str, object]:
    """The hosts with how to reach them, and what a state for them needs to know of the lab."""
    try:
        lab = Lab.open("molecule")
    except NotFound:
        return {"_meta": {"hostvars": {}}, "lab": {"hosts": []}}
    options = ["-o", f"UserKnownHostsFile={lab.folder}/known_hosts", "-o", "StrictHostKeyChecking=yes"]
    variables = {
        host.name: {
            "ansible_host": host.address,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(lab.ssh_key),
            "ansible_ssh_common_args": shlex.join(options),
            # Scenarios follow each other with new hosts at the same address: no connection may outlive its host, and
            # none may wait for ever for one that is gone.
            "ansible_ssh_args": "-o ControlMaster=no -o ServerAliveInterval=10 -o ServerAliveCountMax=3",
            "ansible_python_interpreter": "/usr/bin/python3",
            "lab_image": lab.status().get("images", {}).get("qcow2", ""),
            "lab_data": str(lab.plan.data),
            "lab_gateway": str(lab.plan.gateway),
            "lab_prefix": str(lab.plan.gateway).rpartition(".")[0],
        }
        for host in lab.hosts
    }
    return {"_meta": {"hostvars": variables}, "lab": {"hosts": list(variables)}}


if __name__ == "__main__":
    json.dump(inventory() if "--list" in sys.argv else {}, sys.stdout)
