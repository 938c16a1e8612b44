"""One machine is enough: zctl runs on a lab host and manages that very host, without SSH."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.lab.cloud.zctl import Cloud
from zctl.lab.guest_image import cached_guest
from zctl.lab.lab import Lab

ROOT = Path(__file__).parents[3]
STEPS = """
set -e
export PYTHONPATH=/opt/site:/opt/src ZCTL_HOME=/root/zctl
z() { python3 -m zctl "$@" </dev/null; }
z init
z zone create z1
z cluster create c1 --zone z1
z host create here --cluster c1 --address local
z primary-storage create disks --zone z1 --path /var/lib/zctl/one
z image create tiny --source /opt/guest.qcow2
z l2-network create tunnel --zone z1 --kind vxlan --vni 777 --physical-interface host0
z l3-network create private --l2-network tunnel --cidr 10.21.0.0/24 --range 10.21.0.10-10.21.0.20
z vm create one --image tiny --cpus 1 --memory 96M --network private
z wait vm one ip --timeout 60
z vm list
z host check here
z plan --detailed-exitcode
z converge
z vm delete one --yes
z zone delete z1 --yes --cascade
"""


@pytest.fixture
def here(cloud: Cloud) -> Lab:
    """The lab, with zctl and its libraries on h2."""
    lab = cloud.lab
    version = lab.ssh("h2", "python3 -c 'import sys; print(*sys.version_info[:2])'").split()
    if [int(word) for word in version] != list(sys.version_info[:2]):
        pytest.skip("the lab's hosts have another Python than this one, whose libraries are lent to them")
    lab.ssh(
        "h2",
        "test -e /usr/lib/python3.11/sqlite3/__init__.py || (apt-get update -qq && apt-get install -y -qq python3)",
        timeout=300,
    )
    root = lab.host("h2").root
    for source, target in ((sysconfig.get_paths()["purelib"], "opt/site"), (f"{ROOT}/zctl", "opt/src/zctl")):
        (root / target).mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-rL", f"{source}/.", str(root / target)], check=True)
    subprocess.run(["cp", str(cached_guest().qcow2), str(root / "opt/guest.qcow2")], check=True)
    scripts = root / "usr/local/bin/ansible-playbook"
    scripts.write_text('#!/bin/sh\nexec python3 -m ansible playbook "$@"\n')
    scripts.chmod(0o755)
    return lab


def test_the_machine_itself_is_a_host(here: Lab) -> None:
    """From nothing to an answering VM on one machine."""
    said = here.ssh("h2", "bash -s", stdin=STEPS, timeout=300)
    assert "Running" in said and "10.21.0.10" in said and "no differences on 1 host" in said
