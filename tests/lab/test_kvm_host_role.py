"""The kvm_host role alone: on a prepared host, on one whose /dev/kvm is a trap, on one where nothing is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.role_runner import run_role
from zctl.lab import Lab

BARE = "test-bare"


def probe(lab: Lab, folder: Path, **options: Any) -> dict[str, Any]:
    result: dict[str, Any] = run_role(lab, folder, "kvm_host", {"virt_type": "auto"}, **options)["h1"]["results"][0]
    return result


def test_a_prepared_host_is_read_and_then_left_alone(lab: Lab, tmp_path: Path) -> None:
    probe(lab, tmp_path)
    found = probe(lab, tmp_path)
    seen = found["observed"]
    assert found["result"] == "unchanged", found["reason"]
    assert (seen["virt_type"], seen["problems"], seen["missing_packages"]) == ("qemu", [], [])
    assert seen["qemu_version"]
    assert seen["libvirt_version"]
    assert {"host0", "data0"} <= {nic["name"] for nic in seen["nics"]}
    assert lab.ssh("h1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "1"


def test_settings_come_back(lab: Lab, tmp_path: Path) -> None:
    probe(lab, tmp_path)
    lab.ssh("h1", "rm /etc/sysctl.d/90-zctl.conf; echo 0 >/proc/sys/net/ipv4/ip_forward; systemctl stop libvirtd.socket"
            " libvirtd-ro.socket libvirtd-admin.socket libvirtd")  # fmt: skip
    read = probe(lab, tmp_path, scope=[])
    assert read["result"] == "unchanged"
    assert "90-zctl.conf" in read["reason"] or read["observed"]["problems"]
    dry = probe(lab, tmp_path, check=True)
    assert lab.ssh("h1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
    assert dry["result"] != "unchanged"
    assert probe(lab, tmp_path)["result"] == "changed"
    assert lab.ssh("h1", "cat /proc/sys/net/ipv4/ip_forward; systemctl is-active libvirtd").split() == ["1", "active"]


def test_a_device_file_is_no_proof_of_virtualization(lab: Lab, tmp_path: Path) -> None:
    lab.ssh("h1", "mknod /dev/kvm c 10 232 && rm -f /var/lib/zctl/virt-type.json")
    try:
        seen = probe(lab, tmp_path)["observed"]
    finally:
        lab.ssh("h1", "rm /dev/kvm")
    if Path("/dev/kvm").exists() and seen["virt_type"] == "kvm":
        pytest.skip("hardware virtualization works on this machine")
    assert seen["virt_type"] == "qemu"
    assert "/dev/kvm" in seen["virt_reason"]


@pytest.fixture
def bare() -> Iterator[Lab]:
    """A host with Python and sshd only."""
    Lab.down(BARE)
    yield Lab.up(BARE, 1, bare=True)
    Lab.down(BARE)


def test_a_bare_host_gets_what_it_needs(bare: Lab, tmp_path: Path) -> None:
    before = probe(bare, tmp_path, scope=[])
    assert before["result"] == "unchanged"
    assert "qemu-system-x86" in before["observed"]["missing_packages"]
    after = probe(bare, tmp_path)
    assert after["observed"]["missing_packages"] == []
    assert after["observed"]["problems"] == []
    assert after["observed"]["virt_type"] in ("kvm", "qemu")
    assert "QEMU" in bare.ssh("h1", "virsh -c qemu:///system version")
