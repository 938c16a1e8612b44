"""apply on real hosts: killed at any moment, with a host that goes away, with parts that come and go."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.cloud.zctl import Cloud

VMS = "---\n".join(
    f"kind: Vm\nname: a-{n}\nspec: {{image: tiny, instance_offering: small, networks: [private], power: Stopped,"
    f" host: h{n % 3 + 1}, disks: [scratch]}}\n"
    for n in range(9)
)


def settled(cloud: Cloud, text: str) -> None:
    """What the manifest says is there once, everywhere, and nothing else is wanted."""
    cloud.ok("apply", "-f", "-", "--set", "a", "--prune", "--yes", stdin=text)
    assert "nothing to change" in cloud.ok("plan", "-f", "-", "--set", "a", "--prune", stdin=text)
    assert "no differences on 3 hosts" in cloud.ok("plan", "--detailed-exitcode")


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_at_random_points_and_apply_again(no_vms: Cloud, seed: int) -> None:
    """Wherever it dies, the next apply comes to the same end, forward and back."""
    chance = random.Random(seed)
    for text in (VMS, "kind: Set\nname: a\n"):
        file = no_vms.home / "kill.yaml"
        file.write_text(text)
        running = no_vms.start("apply", "-f", str(file), "--set", "a", "--prune", "--yes")
        time.sleep(chance.uniform(0.2, 3.5))
        running.send_signal(signal.SIGKILL)
        running.wait()
        settled(no_vms, text)
    assert no_vms.rows("vm") == [] and not any(no_vms.domains(host) for host in ("h1", "h2", "h3"))
    names = [row["name"] for row in no_vms.rows("volume")]
    no_vms.ok("volume", "delete", *names, "--yes")
    assert not any(no_vms.volumes(host) for host in ("h1", "h2", "h3"))


def test_a_host_that_goes_away_in_mid_apply(no_vms: Cloud) -> None:
    """The rest is finished, exit 1 names the host, and applying again finishes its part."""
    file = no_vms.home / "away.yaml"
    file.write_text(VMS)
    running = no_vms.start("apply", "-f", str(file))
    time.sleep(1.2)
    no_vms.lab.kill("h2")
    out, err = running.communicate(timeout=300)
    try:
        assert running.returncode == 1, out + err
        assert "h2" in err
        for host in ("h1", "h3"):
            assert len(no_vms.domains(host)) == 3
    finally:
        no_vms.lab.up(no_vms.lab.name, hosts=3)
    deadline = time.monotonic() + 120
    while (answer := no_vms.call("apply", "-f", str(file))).code and time.monotonic() < deadline:
        time.sleep(2)  # libvirt on the host is starting
    assert answer.code == 0, answer.err
    assert len(no_vms.domains("h2")) == 3
    assert "no differences on 3 hosts" in no_vms.ok("plan", "--detailed-exitcode")


def validate(cloud: Cloud, folder: Path) -> None:
    """Every domain of ours, running and configured, is what libvirt's schema allows."""
    for host in ("h1", "h2", "h3"):
        for domain in cloud.domains(host):
            for which in ("", "--inactive"):
                file = folder / "domain.xml"
                file.write_text(cloud.lab.ssh(host, f"virsh dumpxml {domain} {which}"))
                done = subprocess.run(["virt-xml-validate", str(file), "domain"], capture_output=True, text=True)
                assert done.returncode == 0, (domain, which, done.stdout, done.stderr)


def test_parts_come_and_go_in_a_running_vm(no_vms: Cloud, tmp_path: Path) -> None:
    """Cards and disks follow the document while the guest runs: same QEMU, same MAC, same address."""
    spec = "{image: tiny, instance_offering: small, host: h1, networks: [NETS], disks: [DISKS]}"
    text = f"kind: Vm\nname: live\nspec: {spec}\n"

    def apply(networks: str, disks: str) -> tuple[str, str]:
        no_vms.ok("apply", "-f", "-", stdin=text.replace("NETS", networks).replace("DISKS", disks))
        disks_now = no_vms.lab.ssh("h1", "virsh domblklist z-live | grep -c volumes")
        cards_now = no_vms.lab.ssh("h1", "virsh domiflist z-live | grep -c 52:54")
        return disks_now.strip(), cards_now.strip()

    assert apply("flat", "") == ("1", "1")
    before = no_vms.lab.ssh("h1", "pgrep -f guest=z-live"), no_vms.show("vm", "live")["nics"]
    no_vms.ok("wait", "vm", "live", "ip", "--timeout", "120")  # a guest that listens can let go of a device
    assert apply("flat, private", "scratch") == ("2", "2")
    validate(no_vms, tmp_path)
    assert apply("flat", "") == ("1", "1")
    assert (no_vms.lab.ssh("h1", "pgrep -f guest=z-live"), no_vms.show("vm", "live")["nics"]) == before
    assert no_vms.rows("volume", "name=live-data1")[0]["vm"] is None
