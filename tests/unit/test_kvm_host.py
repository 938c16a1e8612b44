"""What is read of a machine, what it lacks, and the boot sector that judges its virtualization."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import zctl_kvm_host as kvm_host
import zctl_kvm_host_bootsector as bootsector
import zctl_kvm_host_daemon as daemon
import zctl_kvm_host_facts as facts
import zctl_kvm_host_packages as packages
import zctl_kvm_host_virt as virt


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n', "debian"),
        ("ID=ubuntu\nID_LIKE=debian\n", "debian"),
        ("ID=rocky\nID_LIKE='rhel centos fedora'\n", "redhat"),
        ("# comment\nID=void\n", ""),
        ("", ""),
    ],
)
def test_os_release(text, family):
    assert facts.parse_os_release(text)["family"] == family


def test_memory():
    assert facts.parse_memory("MemTotal:       16384 kB\nMemFree: 1 kB\n") == 16384 * 1024
    assert facts.parse_memory("") == 0


def test_nics_leave_out_the_loopback_and_what_zctl_made():
    links = [
        {"ifname": "lo", "link_type": "loopback"},
        {"ifname": "zbr-0123456789", "link_type": "ether"},
        {
            "ifname": "eth0", "link_type": "ether", "address": "52:54:00:00:00:01", "mtu": 1500,
            "flags": ["UP", "LOWER_UP"], "addr_info": [{"local": "192.0.2.1", "prefixlen": 24}, {}],
        },
        {"ifname": "br0", "link_type": "ether", "flags": [], "linkinfo": {"info_kind": "bridge"}},
    ]  # fmt: skip
    eth0, br0 = facts.parse_nics(links)
    assert eth0 == {
        "name": "eth0", "mac": "52:54:00:00:00:01", "mtu": 1500, "up": True, "carrier": True,
        "addresses": ["192.0.2.1/24"], "kind": "physical", "bridge": None,
    }  # fmt: skip
    assert br0["kind"] == "bridge"


def test_this_machine_is_read():
    found = facts.read_machine()
    assert found["cpus"] >= 1
    assert found["memory_bytes"] > 0
    assert found["arch"]


def test_missing_packages(monkeypatch):
    monkeypatch.setattr(packages, "_is_there", lambda name: name not in ("qemu-img", "python:libvirt", "libvirtd"))
    assert packages.missing_packages("debian") == ["qemu-utils", "python3-libvirt"]
    assert packages.missing_packages("redhat") == ["qemu-img", "python3-libvirt"]


@pytest.fixture
def machine(monkeypatch):
    """A prepared machine, of which a test can change one thing."""
    found = {
        "root": True, "user": "root", "arch": "x86_64", "nics": [],
        "os": {"family": "debian", "name": "Debian", "id": "debian", "version": "12"},
    }  # fmt: skip
    monkeypatch.setattr(facts, "read_machine", lambda: dict(found))
    monkeypatch.setattr(packages, "missing_packages", lambda _family, _metadata: found.get("missing", []))
    monkeypatch.setattr(virt, "read_verdict", lambda store: virt.Verdict(found.get("virt", "qemu"), "no /dev/kvm"))
    monkeypatch.setattr(kvm_host, "sysctl_differences", list)
    monkeypatch.setattr(kvm_host, "read_libvirt", lambda: ({"libvirt_version": "9.0.0"}, found.get("trouble", "")))
    monkeypatch.setattr(daemon, "look", lambda: ("libvirtd", found.get("units", {})))
    monkeypatch.setattr(
        daemon,
        "start",
        lambda change, _silent: ([], "libvirtd does not start") if change else (["libvirtd started"], ""),
    )
    return found


def probe(read_only=False, check=False, require=True, **state):
    return kvm_host.converge(state, {"uuid": "u", "name": "h1"}, read_only, check, require)["results"][0]


def test_a_prepared_host_is_unchanged(machine):
    found = probe()
    assert (found["uuid"], found["kind"], found["result"]) == ("u", "host", "unchanged")
    assert found["observed"]["virt_type"] == "qemu"
    assert found["observed"]["problems"] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"root": False, "user": "joe"}, "joe is not root"),
        ({"arch": "aarch64"}, "aarch64"),
        ({"os": {"family": "", "name": "Void"}}, "Void is neither"),
        ({"trouble": "refused"}, "libvirtd does not start"),
        ({"missing": ["qemu-utils"]}, "qemu-utils"),
    ],
)
def test_problems_come_in_plain_words(machine, changes, words):
    machine.update(changes)
    found = probe()
    assert found["result"] == "failed"
    assert words in found["reason"]
    seen = probe(read_only=True)
    assert seen["result"] == "unchanged"
    assert words in seen["observed"]["problems"][0] or "trouble" in changes


def test_packages_are_no_failure_before_the_role_had_its_chance(machine):
    machine["missing"] = ["qemu-utils"]
    assert probe(require=False)["result"] == "changed"
    assert probe(check=True)["result"] == "changed"


def test_wanting_kvm_where_it_does_not_work_fails(machine):
    assert "does not work here" in probe(virt_type="kvm")["reason"]
    machine["virt"] = "kvm"
    assert probe(virt_type="kvm")["result"] == "unchanged"
    assert probe(virt_type="qemu")["observed"]["virt_type"] == "qemu"


def fields(entry):
    return {d["field"]: (d["actual"], d["desired"]) for d in entry["differences"]}


def test_what_is_not_as_wanted_is_told_field_by_field(machine):
    assert fields(probe()) == {}
    machine["units"] = {"libvirtd.service": {"UnitFileState": "disabled"}}
    assert fields(probe(check=True)) == {"libvirtd.service.enabled": ("disabled", "enabled")}
    machine["trouble"] = "refused"
    silent = probe(check=True)
    assert silent["result"] == "changed" and fields(silent)["libvirt"] == ("does not answer", "answers")
    assert "refused" in probe(read_only=True)["observed"]["problems"]
    machine["missing"] = ["qemu-utils"]
    assert fields(probe(check=True)) == {"package qemu-utils": (None, "installed")}


def test_the_daemon_that_is_used_is_chosen():
    text = (
        "Id=libvirtd.service\nActiveState=inactive\nUnitFileState=disabled\n\n"
        "Id=virtqemud.socket\nActiveState=active\nUnitFileState=enabled\n"
    )
    units = daemon.parse_units(text)
    assert daemon.chosen(["libvirtd", "virtqemud"], units) == "virtqemud"
    assert daemon.chosen(["libvirtd"], units) == "libvirtd"
    assert daemon.chosen([], units) is None


def test_kernel_settings_differ_by_line_and_by_value(monkeypatch, tmp_path):
    monkeypatch.setattr(kvm_host, "SYSCTL_FILE", str(tmp_path / "90-zctl.conf"))
    monkeypatch.setattr(kvm_host, "SYSCTL", {"a.b": "1"})
    (tmp_path / "a.b").write_text("0\n")
    monkeypatch.setattr(kvm_host, "_sysctl_path", lambda key: str(tmp_path / key))
    found = kvm_host.sysctl_differences()
    assert [(d["actual"], d["desired"]) for d in found] == [(None, "as zctl writes it"), ("0", "1")]
    assert len(kvm_host._mend_sysctl(found, False)) == 2 and not (tmp_path / "90-zctl.conf").exists()
    kvm_host._mend_sysctl(found, True)
    assert kvm_host.sysctl_differences() == []
    (tmp_path / "90-zctl.conf").write_text("a.b = 0\n")
    assert kvm_host.sysctl_differences()[0]["actual"] == "a.b = 0"


def test_sysctl_file():
    assert kvm_host.render_sysctl({"b.c": "1", "a": "0"}).splitlines()[1:] == ["a = 0", "b.c = 1"]


def test_the_boot_sector_is_the_output_of_its_source(tmp_path):
    if not (shutil.which("as") and shutil.which("ld")):
        pytest.skip("needs GNU as and ld")
    source = tmp_path / "sector.S"
    source.write_text(bootsector.SOURCE)
    subprocess.run(["as", "-o", tmp_path / "sector.o", source], check=True)
    flags = ["-Ttext", "0x7c00", "--oformat", "binary"]
    subprocess.run(["ld", *flags, "-o", tmp_path / "sector", tmp_path / "sector.o"], check=True)
    assert (tmp_path / "sector").read_bytes() == bootsector.image()


def fake_qemu(tmp_path, script):
    """A program in QEMU's place."""
    path = tmp_path / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_sector_is_believed_only_when_it_ends_as_it_should(tmp_path):
    assert virt.try_sector(fake_qemu(tmp_path, f"exit {bootsector.EXIT_CODE}"), "kvm") == ""
    assert virt.try_sector(fake_qemu(tmp_path, "echo refused >&2; exit 1"), "kvm") == "refused"
    assert "code 0" in virt.try_sector(fake_qemu(tmp_path, "exit 0"), "kvm")
    assert "hangs" in virt.try_sector(fake_qemu(tmp_path, "exec sleep 9"), "kvm", timeout=0.2)
    assert "cannot be run" in virt.try_sector(str(tmp_path / "none"), "kvm")


def test_the_kernel_is_believed_when_it_speaks(tmp_path):
    kernel = fake_qemu(tmp_path, "")
    for script, words in [("echo Linux version 6; sleep 9", ""), ("exec sleep 9", "hangs"), ("exit 1", "")]:
        found = virt.try_kernel(fake_qemu(tmp_path, script), "kvm", kernel, timeout=0.5)
        assert words in found
        assert bool(found) == bool(words)


def test_the_verdict_is_remembered_until_something_changes(tmp_path, monkeypatch):
    cache = tmp_path / "deep" / "virt.json"
    asked = []
    monkeypatch.setattr(virt, "qemu_binary", lambda: "/bin/sh")
    monkeypatch.setattr(virt, "probe", lambda qemu: asked.append(qemu) or virt.Verdict("kvm", "ran"))
    for _ in range(2):
        assert virt.read_verdict(True, str(cache)).virt_type == "kvm"
    assert len(asked) == 1
    cache.write_text(json.dumps({"key": "old", "virt_type": "qemu", "reason": ""}))
    assert virt.read_verdict(True, str(cache)).virt_type == "kvm"
    assert len(asked) == 2
