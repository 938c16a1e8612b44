"""What libvirt says when a VM does not start, and what zctl makes of it: the cause, the resource, the remedy."""

from __future__ import annotations

import os

import pytest
import zctl_vm_errors as vm_errors
import zctl_vm_facts as vm_facts
from zctl_vm_errors import PathFacts

BLOCKDEV = (
    "internal error: process exited while connecting to monitor: 2026-01-02T03:04:05.678901Z qemu-system-x86_64:"
    ' -blockdev {"driver":"file","filename":"/s/volumes/a.qcow2","node-name":"libvirt-1-storage"}: '
)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "Cannot get interface MTU on 'zbr-0123456789': No such device",
            ["bridge zbr-0123456789 does not exist", "networks"],
        ),
        (
            BLOCKDEV + "Could not open '/s/volumes/a.qcow2': No such file or directory",
            ["/s/volumes/a.qcow2", "not mounted"],
        ),
        (
            "Cannot access backing file '/s/images/b.qcow2' of storage file '/s/volumes/a.qcow2' (as uid:64055,"
            " gid:64055): No such file or directory",
            ["/s/images/b.qcow2 does not exist"],
        ),
        (
            "internal error: process exited while connecting to monitor: qemu-system-x86_64: -device"
            ' {"driver":"virtio"}: Failed to get "write" lock\n'
            "Is another process using the image [/s/volumes/a.qcow2]?",
            ["/s/volumes/a.qcow2 is in use by another process", "another host"],
        ),
        (
            "internal error: process exited while connecting to monitor: qemu-system-x86_64: cannot set up guest memory"
            " 'pc.ram': Cannot allocate memory",
            ["memory", "stop other VMs", "cannot set up guest memory 'pc.ram'"],
        ),
        (
            "internal error: process exited while connecting to monitor: Could not access KVM kernel module: No such"
            " file or directory\nqemu-system-x86_64: failed to initialize kvm: No such file or directory",
            ["hardware virtualization", "qemu"],
        ),
        ("unsupported configuration: Emulator '/usr/bin/qemu-system-x86_64' does not support virt type 'kvm'", ["KVM"]),
        (
            "invalid argument: could not get preferred machine for /usr/bin/qemu-system-x86_64 type=kvm",
            ["hardware virtualization", "qemu"],
        ),
        (
            "operation failed: domain 'z-web' already exists with uuid 3f1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e03",
            ["z-web", "another name"],
        ),
        ("Unable to create tap device zt-0123456789: Device or resource busy", ["zt-0123456789", "in use"]),
        ("cannot write '/s/a': No space left on device", ["No space left on device"]),
        (
            "Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory",
            ["libvirt does not answer", "systemctl start libvirtd"],
        ),
    ],
)
def test_known_errors(message, words):
    reason = vm_errors.explain(message)
    for word in words:
        assert word in reason
    assert "internal error" not in reason


def test_an_unknown_error_comes_without_its_wrapping():
    assert vm_errors.explain(BLOCKDEV + "the moon is full") == "the moon is full"
    assert vm_errors.explain("") == ""


DENIED = BLOCKDEV + "Could not open '/s/volumes/a.qcow2': Permission denied"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"blocked_at": "/s", "owner": "root:root 0700"}, ["may not enter /s", "root:root 0700", "chmod o+x /s"]),
        ({"readable": False, "owner": "joe:joe 0600"}, ["may not read", "joe:joe 0600", "chown libvirt-qemu"]),
        ({"readable": False, "owner": "joe:joe 0600", "filesystem": "fuse.sshfs"}, ["allow_other"]),
        ({"filesystem": "fuse.glusterfs", "owner": "root:root 0644"}, ["allow_other"]),
        (
            {"guard": "AppArmor", "denial": 'apparmor="DENIED" operation="open"', "owner": "a:a 0644"},
            ["AppArmor denies", 'apparmor="DENIED"', "/s/volumes/** rwk,", "reload apparmor"],
        ),
        ({"guard": "SELinux", "owner": "a:a 0644"}, ["SELinux denies", "virt_image_t", "restorecon -R /s/volumes"]),
        ({"owner": "a:a 0644"}, ["libvirt-qemu", "a:a 0644"]),
    ],
)
def test_permission_denied_says_who_what_and_how(facts, words):
    path = vm_errors.path_in(DENIED)
    assert path == "/s/volumes/a.qcow2"
    reason = vm_errors.explain(DENIED, PathFacts(path=path, exists=True, qemu_user="libvirt-qemu", **facts))
    assert reason.startswith("permission denied")
    for word in words:
        assert word in reason


def test_path_facts_name_the_folder_that_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(vm_facts, "qemu_user", lambda: "nobody")
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    disk = folder / "disk.qcow2"
    disk.touch()
    for parent in [tmp_path, *tmp_path.parents]:
        if parent != parent.parent and parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o011)
    facts = vm_facts.read_path_facts(str(disk))
    assert facts.blocked_at == str(folder)
    assert facts.owner.endswith("0700")
    folder.chmod(0o711)
    assert vm_facts.read_path_facts(str(disk)).blocked_at is None
    assert not vm_facts.read_path_facts(str(folder / "none")).exists


def test_qemu_user_is_read_from_the_configuration(tmp_path):
    config = tmp_path / "qemu.conf"
    config.write_text('#user = "nobody"\nuser = "+107"\n')
    assert vm_facts.qemu_user(str(config)) == "107"
