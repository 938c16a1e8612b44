"""Ansible without zctl: the dynamic inventory and site.yml see the same as zctl does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.lab.cloud.test_vm import create
from tests.lab.cloud.zctl import Cloud

ROOT = Path(__file__).parents[3]


def ansible(cloud: Cloud, program: str, *words: str) -> str:
    """An Ansible program in the checkout, as a user would call it."""
    argv = [str(Path(sys.executable).parent / program), "-i", "inventory/", *words]
    environment = {
        **cloud.environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_NOCOLOR": "1",
    }
    done = subprocess.run(argv, cwd=ROOT, env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_groups_are_zones_and_clusters(cloud: Cloud) -> None:
    """--list has every host with its state, in the groups of its zone, cluster and virtualization."""
    listing = json.loads(ansible(cloud, "ansible-inventory", "--list"))
    assert sorted(listing["zone_z1"]["hosts"]) == ["h1", "h2", "h3"]
    assert sorted(listing["cluster_c1"]["hosts"]) == ["h1", "h2", "h3"]
    assert "h1" in str(listing["_meta"]["hostvars"]["h1"]["zctl_state"]["host"]["name"])


def test_site_yml_finds_nothing_to_do_and_mends_what_is_broken(no_vms: Cloud) -> None:
    """After zctl's own run a check shows no change; a domain that was stopped behind its back shows and is mended."""
    cloud = no_vms
    create(cloud, "web-1", "--host", "h1", "--description", "{{ lookup('pipe', 'touch /tmp/templated') }}")
    cloud.ok("converge", "--host", "h1")
    said = ansible(cloud, "ansible-playbook", "playbooks/site.yml", "--check", "--diff", "--limit", "h1")
    assert "changed=0" in said, said
    cloud.lab.ssh("h1", "virsh destroy z-web-1")
    said = ansible(cloud, "ansible-playbook", "playbooks/site.yml", "--check", "--diff", "--limit", "h1")
    assert "changed=1" in said and cloud.domains("h1")["z-web-1"] == "shut off"
    ansible(cloud, "ansible-playbook", "playbooks/site.yml", "--limit", "h1")
    assert cloud.domains("h1")["z-web-1"] == "running"
    assert not Path("/tmp/templated").exists()
