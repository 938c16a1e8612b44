"""VMs on real hosts: made, reached, stopped, started, put aside, deleted."""

from __future__ import annotations

import time
from xml.etree import ElementTree

from tests.lab.cloud.zctl import Cloud, ask, fetch


def create(cloud: Cloud, name: str, *more: str) -> str:
    """A small VM on the flat network, up and answering; returns its address."""
    cloud.ok("vm", "create", name, "--image", "tiny", "--instance-offering", "small", "--network", "flat", *more)
    ip = cloud.ip(name)
    fetch(f"http://{ip}/")
    return ip


def test_a_vm_answers_over_the_network_and_goes_without_a_trace(no_vms: Cloud) -> None:
    """The main job: create, reach by HTTP, delete."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--host", "h1", "--reason", "trying it")
    assert "web-1" in fetch(f"http://{ip}/")
    row = cloud.show("vm", "web-1")
    assert (row["state"], row["host"], row["power"]) == ("Running", "h1", "Running")
    cloud.ok("wait", "vm", "web-1", "ip", "--timeout", "20")
    assert any(event["reason"] == "trying it" for event in cloud.rows("event", "resource=web-1"))
    root = cloud.rows("volume")[0]
    assert cloud.volumes("h1") == {f"{root['uuid']}.qcow2"}
    cloud.ok("vm", "delete", "web-1", "--yes")
    assert "z-web-1" not in cloud.domains("h1")
    assert cloud.volumes("h1") == set()
    assert cloud.rows("nic") == []


def test_stop_start_reboot(no_vms: Cloud) -> None:
    """A stop asks the guest, a start brings the same addresses, a reboot happens once."""
    cloud = no_vms
    ip = create(cloud, "web-1")
    host = cloud.show("vm", "web-1")["host"]
    before = time.monotonic()
    cloud.ok("vm", "stop", "web-1")
    assert time.monotonic() - before < 30, "the guest was forced off instead of asked"
    assert cloud.show("vm", "web-1")["state"] == "Stopped"
    assert cloud.domains(host)["z-web-1"] == "shut off"
    cloud.ok("vm", "start", "web-1")
    assert cloud.ip("web-1") == ip
    fetch(f"http://{ip}/")
    cloud.ok("vm", "reboot", "web-1", "--force")
    fetch(f"http://{ip}/")
    assert cloud.show("vm", "web-1")["state"] == "Running"


def test_destroy_keeps_the_disk_and_recover_brings_it_back(no_vms: Cloud) -> None:
    """What was written on a data volume survives destroy, recover, start."""
    cloud = no_vms
    ip = create(cloud, "db-1", "--disk", "scratch")
    ask(ip, "write?vdb")
    cloud.ok("vm", "stop", "db-1")
    cloud.ok("vm", "start", "db-1")
    cloud.ok("vm", "destroy", "db-1", "--yes")
    assert cloud.show("vm", "db-1")["state"] == "Destroyed"
    assert "it is destroyed" in cloud.fails("vm", "start", "db-1")
    cloud.ok("vm", "recover", "db-1")
    cloud.ok("vm", "start", "db-1")
    assert "zctl" in ask(ip, "read?vdb")


def test_a_data_volume_outlives_its_vm(no_vms: Cloud) -> None:
    """Deleting a VM leaves its data volumes, which another VM of the host can use."""
    cloud = no_vms
    ip = create(cloud, "db-1", "--disk", "scratch", "--host", "h1")
    ask(ip, "write?vdb")
    cloud.ok("vm", "stop", "db-1")
    cloud.ok("vm", "delete", "db-1", "--yes")
    assert [row["name"] for row in cloud.rows("volume")] == ["db-1-data1"]
    other = create(cloud, "db-2", "--host", "h1")
    cloud.ok("volume", "attach", "db-1-data1", "--vm", "db-2")
    assert "zctl" in ask(other, "read?vdb")
    cloud.ok("volume", "detach", "db-1-data1")
    assert "vdb" not in ask(other, "disks")
    elsewhere = cloud.fails("volume", "attach", "db-1-data1", "--vm", "nobody")
    assert "does not exist" in elsewhere


def test_a_vm_killed_behind_zctls_back_shows_as_such(no_vms: Cloud) -> None:
    """refresh reads states back; converge and start mend."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--host", "h2")
    cloud.lab.ssh("h2", "virsh destroy z-web-1")
    cloud.ok("refresh")
    row = cloud.show("vm", "web-1")
    assert (row["state"], row["power"]) == ("Stopped", "Running")
    cloud.ok("converge", "--host", "h2")
    fetch(f"http://{ip}/")
    cloud.lab.ssh("h2", "virsh destroy z-web-1; virsh undefine z-web-1")
    cloud.ok("refresh")
    assert cloud.show("vm", "web-1")["state"] == "Unknown"
    cloud.ok("vm", "start", "web-1")
    fetch(f"http://{ip}/")


def test_update_in_place(no_vms: Cloud) -> None:
    """CPU and memory change without replacing the VM; what waits for a restart is told."""
    cloud = no_vms
    create(cloud, "web-1")
    before = cloud.show("vm", "web-1")
    cloud.ok("vm", "update", "web-1", "--memory", "128M", "--cpus", "2", "--description", "a <b> & {{ c }} 'd' $(e)")
    after = cloud.show("vm", "web-1")
    assert after["uuid"] == before["uuid"] and after["ip"] == before["ip"]
    assert [words.split(" (")[0] for words in after["pending"]] == ["memory 96M -> 128M"]
    cloud.ok("vm", "stop", "web-1")
    cloud.ok("vm", "start", "web-1")
    assert cloud.show("vm", "web-1")["pending"] == []
    xml = ElementTree.fromstring(cloud.lab.ssh(after["host"], "virsh dumpxml z-web-1"))
    assert xml.findtext("description") == "a <b> & {{ c }} 'd' $(e)"
    assert "nothing to change" in cloud.fails("vm", "update", "web-1", code=2)


def test_a_nic_can_be_added_to_a_running_vm(no_vms: Cloud) -> None:
    """nic create plugs a card in, nic delete takes it away."""
    cloud = no_vms
    ip = create(cloud, "web-1")
    cloud.ok("nic", "create", "--vm", "web-1", "--l3-network", "private")
    nic = next(row for row in cloud.rows("nic") if row["l3_network"] == "private")
    assert nic["mac"] in ask(ip, "ip")
    cloud.ok("nic", "delete", nic["name"], "--yes")
    assert nic["mac"] not in ask(ip, "ip")


def test_the_disk_full_on_the_host(no_vms: Cloud) -> None:
    """A create that fails half way says why and leaves nothing."""
    cloud = no_vms
    folder = "/var/lib/zctl/storage/volumes"
    cloud.lab.ssh(
        "h3", f"mkdir -p {folder} && mount -t tmpfs -o size=64k tmpfs {folder} && head -c 60k /dev/zero > {folder}/fill"
    )
    try:
        said = cloud.fails(
            "vm",
            "create",
            "web-1",
            "--image",
            "tiny",
            "--instance-offering",
            "small",
            "--network",
            "flat",
            "--host",
            "h3",
        )
        assert "No space left on device" in said and "undone" in said
        assert cloud.rows("vm") == [] and cloud.rows("nic") == [] and cloud.rows("volume") == []
        assert cloud.domains("h3") == {}
        assert cloud.volumes("h3") == {"fill"}
    finally:
        cloud.lab.ssh("h3", f"umount {folder}")


def test_a_hosts_journal_does_not_tell_what_zctl_was_given(no_vms: Cloud) -> None:
    """Ansible's modules would write all their arguments there."""
    create(no_vms, "web-1", "--host", "h1", "--description", "canary-4711")
    no_vms.ok("plan")
    assert "canary-4711" not in no_vms.lab.ssh("h1", "journalctl --no-pager -b")
