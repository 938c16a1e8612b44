"""Hosts: wrong keys, absent machines, maintenance, power cuts."""

from __future__ import annotations

from tests.lab.cloud.test_vm import create
from tests.lab.cloud.zctl import Cloud, fetch


def test_host_check_is_content(cloud: Cloud) -> None:
    """A prepared host has all it needs."""
    assert "has all it needs" in cloud.call("host", "check", "h1").err
    row = cloud.show("host", "h1")
    assert row["state"] == "Connected" and row["virtualization"] in ("kvm", "qemu") and row["facts"]["libvirt_version"]


def test_a_host_that_is_not_there(cloud: Cloud) -> None:
    """Nothing is stored of it."""
    said = cloud.fails("host", "create", "ghost", "--cluster", "c1", "--address", str(cloud.lab.plan.address(9)))
    assert "no SSH server answers" in said and "what to do" in said
    assert not [row for row in cloud.rows("host") if row["name"] == "ghost"]


def test_a_wrong_ssh_key_and_a_changed_host_key(cloud: Cloud, tmp_path) -> None:
    """Refused logins and unexpected host keys are told apart; nothing is changed."""
    other = tmp_path / "key"
    cloud.lab.ssh("h1", "true")
    import subprocess

    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    address = cloud.lab.host("h3").address
    cloud.ok("host", "update", "h3", "--key", str(other), "--dry-run")
    refused = cloud.call("host", "update", "h3", "--key", str(other))
    cloud.call("host", "update", "h3", "--key", str(cloud.lab.ssh_key))
    assert refused.code == 1 and "login is refused" in refused.err
    assert address in cloud.ok("host", "list")
    changed = cloud.call("host", "update", "h3", "--host-key", cloud.lab.host("h1").host_key)
    cloud.ok("host", "update", "h3", "--host-key", cloud.lab.host("h3").host_key)
    assert changed.code == 1 and "not the pinned one" in changed.err
    assert cloud.show("host", "h3")["state"] == "Connected"


def test_maintenance(no_vms: Cloud) -> None:
    """A host in maintenance is left alone; what was asked meanwhile is done when it leaves."""
    cloud = no_vms
    cloud.ok("host", "maintenance", "h3")
    assert "is Maintenance" in cloud.fails(
        "vm", "create", "web-1", "--image", "tiny", "--instance-offering", "small", "--host", "h3"
    )
    cloud.ok("host", "enable", "h3")
    assert cloud.show("host", "h3")["state"] == "Connected"


def test_a_host_reboots_without_zctl(no_vms: Cloud) -> None:
    """Bridges, DHCP and running VMs come back by themselves; a stopped VM stays stopped."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--host", "h1", "--network", "private")
    create(cloud, "web-2", "--host", "h1")
    cloud.ok("vm", "stop", "web-2", "--force")
    cloud.lab.reboot("h1")
    assert "web-1" in fetch(f"http://{ip}/", patience=60)
    assert cloud.domains("h1") == {"z-web-1": "running", "z-web-2": "shut off"}
    cloud.ok("converge", "--host", "h1")


def test_a_dead_host_and_its_return(no_vms: Cloud) -> None:
    """Its VMs are Unknown, deleting them succeeds at once, and they are cleaned up when it is back."""
    cloud = no_vms
    create(cloud, "web-1", "--host", "h2")
    create(cloud, "web-2", "--host", "h2")
    cloud.ok("vm", "stop", "web-2", "--force")
    cloud.lab.kill("h2")
    try:
        assert cloud.call("refresh").code == 1
        assert cloud.show("host", "h2")["state"] == "Disconnected"
        assert {row["name"]: row["state"] for row in cloud.rows("vm")} == {"web-1": "Unknown", "web-2": "Stopped"}
        answer = cloud.call("vm", "delete", "web-1", "--yes")
        assert answer.code == 0 and "when it is back" in answer.err
        said = cloud.fails("vm", "create", "web-3", "--image", "tiny", "--instance-offering", "small", "--host", "h2")
        assert "Disconnected" in said
    finally:
        Lab = type(cloud.lab)
        Lab.up(cloud.lab.name, hosts=3)
    cloud.ok("converge", "--host", "h2")
    assert cloud.domains("h2") == {"z-web-2": "shut off"}
    assert cloud.show("host", "h2")["state"] == "Connected"


def test_sudo_and_its_absence(no_vms: Cloud) -> None:
    """Another user than root works through sudo; without it the error says what to allow."""
    cloud = no_vms
    cloud.lab.ssh(
        "h3",
        "id op >/dev/null 2>&1 || useradd -m op; mkdir -p ~op/.ssh; cp /root/.ssh/authorized_keys ~op/.ssh/;"
        " chown -R op: ~op/.ssh; rm -f /etc/sudoers.d/op",
    )
    try:
        refused = cloud.call("host", "update", "h3", "--user", "op")
        assert refused.code == 1 and "sudo asks its user for a password" in refused.err
        cloud.lab.ssh("h3", "echo 'op ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/op")
        assert "host h3: " in cloud.call("converge", "--host", "h3").err
        create(cloud, "web-1", "--host", "h3")
        cloud.ok("plan", "--host", "h3", "--detailed-exitcode")
        cloud.lab.ssh("h3", "rm /etc/sudoers.d/op")
        assert "sudo asks its user for a password" in cloud.call("plan", "--host", "h3").out
        cloud.lab.ssh("h3", "echo 'op ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/op; mv /usr/bin/python3 /usr/bin/py3")
        assert "install python3" in cloud.call("plan", "--host", "h3").out
    finally:
        cloud.lab.ssh("h3", "test -e /usr/bin/python3 || mv /usr/bin/py3 /usr/bin/python3")
        cloud.ok("host", "update", "h3", "--user", "root")
