"""A VM's bandwidth, measured with real traffic to a real guest, on a host whose kernel can limit it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cloud.conftest import manifest
from tests.lab.cloud.zctl import Cloud, ask
from zctl.lab import Lab
from zctl.lab.guest_image import cached_guest

BYTES = 400_000
LIMIT = 800_000  # bits a second: BYTES take 4 seconds


@pytest.fixture
def limited(kernels: Lab, tmp_path: Path) -> Iterator[Cloud]:
    """A cloud of one host with a kernel of its own."""
    made = Cloud(tmp_path, kernels)
    made.ok("init")
    made.ok("apply", "-f", "-", stdin=manifest(kernels, cached_guest().qcow2, 1))
    yield made
    made.ok("vm", "delete", "web", "--yes")
    made.ok("host", "delete", kernels.hosts[0].name, "--cascade", "--yes")


def echoed(ip: str) -> float:
    """Seconds until the guest has received so many bytes and sent them back."""
    with socket.create_connection((ip, 7), timeout=120) as wire:
        begin = time.monotonic()
        sender = threading.Thread(target=wire.sendall, args=(b"x" * BYTES,))
        sender.start()
        got = 0
        while got < BYTES:
            data = wire.recv(65536)
            assert data, "the guest hung up"
            got += len(data)
        sender.join()
        return time.monotonic() - begin


def test_limits_hold_and_go_while_the_guest_runs(limited: Cloud) -> None:
    """Each direction by itself; the guest is not started again, and a limit taken away by hand is told and mended."""
    cloud = limited
    cloud.ok("vm", "create", "web", "--image", "tiny", "--instance-offering", "small", "--network", "flat")
    ip, card = cloud.ip("web"), cloud.rows("nic")[0]["name"]
    ask(ip, "ip", 300)
    host = cloud.lab.hosts[0].name
    process = cloud.lab.ssh(host, "pgrep -f guest=z-web")
    free = echoed(ip)
    least = BYTES * 8 / LIMIT * 0.7  # the first packets pass as a burst
    for direction in ("inbound", "outbound"):
        cloud.ok("nic", "update", card, f"--{direction}", "800K")
        took = echoed(ip)
        assert least < took < least * 4, (direction, free, took)
        assert cloud.show("nic", card)[direction] == "800K"
        cloud.ok("nic", "update", card, f"--{direction}", "none")
    assert echoed(ip) < least
    cloud.ok("nic", "update", card, "--inbound", "800K")
    domain = cloud.lab.ssh(host, "virsh list --name").split()[0]
    tap = cloud.lab.ssh(host, "ls /sys/class/net | grep ^zt-").strip()
    cloud.lab.ssh(host, f"virsh domiftune {domain} {tap} --inbound 0 --live")
    assert "inbound 800K" in json.dumps(json.loads(cloud.ok("plan", "-o", "json"))["differences"])
    cloud.ok("converge")
    assert echoed(ip) > least
    assert cloud.lab.ssh(host, "pgrep -f guest=z-web") == process
