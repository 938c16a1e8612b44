"""The serial console, as a person uses it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.lab.cloud.test_vm import create
from tests.lab.cloud.zctl import Cloud


def test_a_shell_on_the_console(no_vms: Cloud) -> None:
    """What is typed reaches the guest, its answer comes back, Ctrl-] ends it; a stopped VM has none."""
    pytest.importorskip("libvirt", reason="libvirt-python is optional: it needs a compiler and libvirt's headers")
    cloud = no_vms
    create(cloud, "web-1")
    argv = [sys.executable, "-m", "zctl", "vm", "console", "web-1"]
    with subprocess.Popen(
        argv, env=cloud.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as console:
        assert console.stdin is not None and console.stdout is not None
        time.sleep(2)
        console.stdin.write(b"\necho from-$(hostname)-$((6*7))\n")
        console.stdin.flush()
        time.sleep(2)
        console.stdin.write(b"\x1d")
        console.stdin.flush()
        said, errors = console.communicate(timeout=20)
    assert console.returncode == 0 and b"from-web-1-42" in said, (said, errors)
    cloud.ok("vm", "stop", "web-1", "--force")
    assert "not running" in cloud.fails("vm", "console", "web-1")
