"""Lab hosts with a kernel of their own: beside containers and instead of them, rebooted, killed, taken down."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.lab.test_lab import BOOT_ID, NAME, ours, run, wait_for
from zctl.errors import Misuse
from zctl.lab import Lab
from zctl.lab.power import processes

MODULES = "8021q bonding dm_thin_pool nfsd nbd wireguard sch_sfq act_police"


@pytest.fixture(scope="module", autouse=True)
def clean() -> Iterator[None]:
    Lab.down(NAME)
    yield
    Lab.down(NAME)


@pytest.fixture
def own() -> Iterator[Lab]:
    """A container and a machine with a kernel of its own."""
    yield Lab.up(NAME, 1, full_kernel=1)


def test_it_is_a_machine_of_its_own_on_the_labs_networks(own: Lab) -> None:
    assert [host.name for host in own.hosts] == ["h1", "k1"]
    assert own.ssh("k1", "uname -r") != own.ssh("h1", "uname -r")
    own.ssh("k1", f"modprobe -a {MODULES}")
    assert own.ssh("k1", "hostname").strip() == "k1"
    assert {"data0", "host0"} <= set(own.ssh("k1", "ls /sys/class/net").split())
    own.ssh("k1", f"ping -c1 -W5 {own.host('h1').address}")
    data = own.plan.gateway
    own.ssh("k1", f"ip link set data0 up; ip addr add {data + 7}/22 dev data0; ping -c1 -W5 {data}")
    known = {host["name"]: host for host in json.loads(run("status", "-o", "json").stdout)["hosts"]}
    assert (known["k1"]["kernel"], known["k1"]["state"], known["k1"]["root"]) == ("own", "running", None)
    assert known["h1"]["kernel"] == "machine"
    assert "k1" in run("status").stdout
    wait_for(lambda: "running" in own.try_ssh("k1", "systemctl is-system-running").stdout, 60)
    assert own.ssh("k1", "systemctl --failed --no-legend --plain || true").strip() == ""


def test_it_comes_back_and_leaves_nothing(own: Lab) -> None:
    """After a power cut `up` starts it with its disk; after a crash of its supervisor it is found; down ends it."""
    own.ssh("k1", "echo kept >/root/kept && sync")
    before = own.ssh("k1", BOOT_ID), own.ssh("k1", "cat /etc/machine-id")
    own.kill("k1")
    assert own.host("k1").state == "down" and own.host("h1").state == "running"
    assert run("up", "--hosts", "1", "--full-kernel", "1").returncode == 0
    assert own.ssh("k1", "cat /root/kept").strip() == "kept"
    assert own.ssh("k1", BOOT_ID) != before[0] and own.ssh("k1", "cat /etc/machine-id") == before[1]
    power = own.host("k1").power
    os.kill(processes(power)[0], signal.SIGKILL)
    assert Lab.up(NAME, 1, full_kernel=1).host("k1").state == "running"
    assert len(processes(power)) == 1
    Lab.down(NAME)
    assert ours() == [] and processes(power) == []


def test_a_lab_of_no_hosts_is_refused() -> None:
    with pytest.raises(Misuse, match="1 to 99 hosts of each kind, not 0"):
        Lab.up(NAME, 0)
