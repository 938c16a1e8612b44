"""What VMs are told at 169.254.169.254, used by the real cloud-init of a Debian that boots for minutes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cloud.zctl import Answer, Cloud
from zctl.lab.guest_image import cloud_guest_image


@pytest.fixture(scope="module")
def debian(cloud: Cloud) -> Iterator[str]:
    """The image with the real cloud-init."""
    image = cloud_guest_image(lambda line: None).qcow2
    cloud.ok("image", "create", "debian", "--source", str(image), "--login", "debian")
    yield "debian"
    cloud.ok("image", "delete", "debian", "--yes")


def inside(cloud: Cloud, name: str, key: Path, command: str, patience: float = 400) -> str:
    """What a command says inside a VM, tried until its SSH server lets us in."""
    deadline = time.monotonic() + patience
    answer = Answer(-1, "", "")
    while time.monotonic() < deadline:
        answer = cloud.call("vm", "ssh", name, "-i", str(key), "--", command)
        if answer.code == 0:
            return answer.out
        time.sleep(5)
    raise AssertionError(f"vm ssh {name} {command}: {answer.err}")


def test_the_real_cloud_init(no_vms: Cloud, keys: Path, debian: str, tmp_path: Path) -> None:
    """It finds the data source by itself, sets host name and key, runs user data; the guest agent takes other keys."""
    cloud = no_vms
    (tmp_path / "data").write_text("#!/bin/sh\nhostname > /var/tmp/user-data-ran\n")
    size = ["--cpus", "1", "--memory", "512M", "--network", "private"]  # which nobody outside can reach
    more = ["--ssh-key", "me", "--user-data", str(tmp_path / "data")]
    cloud.ok("vm", "create", "real-1", "--image", debian, *size, *more)
    assert inside(cloud, "real-1", keys / "me", "cloud-init status --wait >/dev/null; cat /var/tmp/user-data-ran") == (
        "real-1\n"
    )
    found = inside(cloud, "real-1", keys / "me", "hostname; id -un; cat /run/cloud-init/result.json; ip route")
    assert found.splitlines()[:2] == ["real-1", "debian"]
    assert '"datasource": "DataSourceEc2"' in found and '"errors": []' in found
    assert "169.254.169.254 via" in found
    assert cloud.call("vm", "ssh", "real-1", "-i", str(keys / "other"), "--", "true").code != 0
    told = cloud.call("vm", "reset-ssh-key", "real-1", "--ssh-key", "other")
    assert "has the keys other now" in told.err, told.err
    assert "debian" in inside(cloud, "real-1", keys / "other", "id -un", 60)
    assert cloud.call("vm", "ssh", "real-1", "-i", str(keys / "me"), "--", "true").code != 0
