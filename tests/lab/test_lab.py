"""The lab itself: up, disturbed, crashed, down; and that its guest image works on its hosts.

These use a lab of their own, so that nothing is cut off under the other tests.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zctl.errors import NotFound, Refused
from zctl.lab import Lab
from zctl.lab.machine import links
from zctl.lab.paths import lab_dir
from zctl.lab.power import inits, processes

NAME = "test-own"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
DOMAIN = """
set -e
ip link add br0 type bridge && ip link set br0 up && ip link set data0 up master br0
ip netns add dhcp && ip link add v0 type veth peer name eth0 netns dhcp && ip link set v0 up master br0
ip -n dhcp address add {net}.2/22 dev eth0 && ip -n dhcp link set eth0 up
ip netns exec dhcp dnsmasq --port=0 --interface=eth0 --bind-dynamic --leasefile-ro --pid-file=/run/dhcp.pid \\
    --dhcp-range={net}.10,static --dhcp-host=52:54:00:00:00:01,tiny-1,{net}.10 --dhcp-option=3,{gateway} \\
    --dhcp-option=121,169.254.169.254/32,{net}.2,0.0.0.0/0,{gateway}
ip -n dhcp address add 169.254.169.254/32 dev eth0
mkdir -p /srv/metadata/latest
printf '#!/bin/sh\\necho ran >/www/user-data.txt\\n' >/srv/metadata/latest/user-data
ip netns exec dhcp busybox httpd -p 169.254.169.254:80 -h /srv/metadata
cd /var/lib/libvirt/images
qemu-img create -q -f qcow2 -b guest.qcow2 -F qcow2 tiny.qcow2 && qemu-img create -q -f raw data.raw 1M
cat >/root/tiny.xml <<END
<domain type='qemu'><name>tiny-1</name><memory unit='MiB'>96</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='{machine}'>hvm</type></os><features><acpi/></features><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$PWD/tiny.qcow2'/>
<target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$PWD/data.raw'/>
<target dev='vdb' bus='virtio'/></disk>
<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='virtio'/></interface>
<serial type='file'><source path='/var/log/tiny.log'/></serial></devices></domain>
END
virsh -q create /root/tiny.xml
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "zctl.lab", *words, "--name", NAME]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=300)


def ours() -> list[str]:
    """What of the lab is to be seen on the machine."""
    seen = [name for name, link in links().items() if link.get("ifalias") == f"zctl-lab:{NAME}"]
    seen += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{NAME}/" in line]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    seen += [word.decode() for word in commands if f"/labs/{NAME}/".encode() in word]
    known = {Lab.open(name).plan.table for name in Lab.names() if name != NAME}
    found = {line.split()[-1] for line in tables.splitlines() if " zlab" in line}
    return seen + sorted(found - known)


@pytest.fixture
def own() -> Iterator[Lab]:
    """Two hosts that a test may cut off."""
    yield Lab.up(NAME, 2)


@pytest.fixture(scope="module", autouse=True)
def clean() -> Iterator[None]:
    Lab.down(NAME)
    yield
    Lab.down(NAME)


def wait_for(what: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_status_tells_what_a_user_needs(own: Lab) -> None:
    done = run("status", "-o", "json")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert [host["state"] for host in seen["hosts"]] == ["running", "running"]
    assert oct(Path(seen["ssh_key"]).stat().st_mode & 0o777) == "0o600"
    for host in seen["hosts"]:
        scanned = subprocess.run(["ssh-keyscan", "-t", "ed25519", host["address"]], capture_output=True, text=True)
        assert host["host_key"] in scanned.stdout
    assert Path(seen["images"]["qcow2"]).is_file()
    assert "h2" in run("status").stdout


def test_hosts_are_different_machines_with_two_nics(own: Lab) -> None:
    ids = {own.ssh(host.name, "cat /etc/machine-id") for host in own.hosts}
    keys = {host.host_key for host in own.hosts}
    assert len(ids) == len(keys) == 2
    nics = json.loads(own.ssh("h1", "ip -j address"))
    addresses = {nic["ifname"]: [a["local"] for a in nic["addr_info"] if a["family"] == "inet"] for nic in nics}
    assert addresses["host0"] == [own.host("h1").address]
    assert addresses["data0"] == []
    assert "0% packet loss" in own.ssh("h1", f"ping -c 1 -W 2 {own.host('h2').address}")
    assert own.ssh("h1", "systemctl is-system-running --wait").strip() == "running"
    assert own.ssh("h1", "systemctl is-enabled libvirtd").strip() == "enabled"


def test_hosts_share_a_folder(own: Lab) -> None:
    own.ssh("h1", "echo hello >/srv/shared/from-h1; findmnt /srv/shared")
    assert own.ssh("h2", "cat /srv/shared/from-h1") == "hello\n"


def test_no_packet_for_a_lab_address_leaves_the_machine(own: Lab) -> None:
    routes = subprocess.run(["ip", "route", "show", "type", "unreachable"], capture_output=True, text=True).stdout
    assert "198.18.0.0/15" in routes
    nowhere = subprocess.run(["ip", "route", "get", "198.19.255.1"], capture_output=True, text=True)
    assert nowhere.returncode != 0


def test_ssh_passes_the_exit_code_on(own: Lab) -> None:
    assert run("ssh", "h1").returncode == 0
    done = subprocess.run([*command("ssh"), "h1", "--", "echo $((40 + 2)); exit 3"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "42\n")
    missing = run("ssh", "h9")
    assert missing.returncode == 1
    assert "h1, h2" in missing.stderr


def test_up_again_changes_nothing_and_more_hosts_are_added(own: Lab) -> None:
    before = own.ssh("h1", BOOT_ID)
    assert run("up", "--hosts", "2").returncode == 0
    assert run("up", "--hosts", "3").returncode == 0
    assert own.ssh("h1", BOOT_ID) == before
    assert [host.state for host in own.hosts] == ["running"] * 3


def test_a_host_keeps_its_disk_over_a_power_cycle(own: Lab) -> None:
    before = own.ssh("h2", f"echo kept >/root/note; {BOOT_ID}")
    assert run("reboot", "h2").returncode == 0
    assert own.ssh("h2", BOOT_ID) != before
    assert own.ssh("h2", "cat /root/note") == "kept\n"


def test_a_host_that_reboots_by_itself_comes_back(own: Lab) -> None:
    before = own.ssh("h2", BOOT_ID)
    own.try_ssh("h2", "systemctl reboot")
    assert wait_for(lambda: own.try_ssh("h2", BOOT_ID).stdout not in ("", before), 60)
    assert "0% packet loss" in own.ssh("h1", f"ping -c 1 -W 2 {own.host('h2').address}")


def test_a_killed_host_stays_off_until_up(own: Lab) -> None:
    assert run("kill", "h2").returncode == 0
    assert own.host("h2").state == "down"
    assert not processes(own.host("h2").power) + inits(own.host("h2").power)
    assert own.host("h1").state == "running"
    assert run("up", "--hosts", "2").returncode == 0
    assert own.host("h2").state == "running"


@pytest.mark.parametrize("delay", [0.15, 0.25, 0.35, 0.45, 0.6, 0.8])
def test_up_survives_its_own_crash(delay: float) -> None:
    Lab.down(NAME)
    victim = subprocess.Popen(command("up", "--hosts", "2"), stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(delay)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    lab = Lab.up(NAME, 2)
    assert [host.state for host in lab.hosts] == ["running", "running"]


@pytest.mark.parametrize("delay", [0.2, 0.35, 0.5])
def test_down_cleans_up_after_a_crash_of_up(delay: float) -> None:
    Lab.down(NAME)
    victim = subprocess.Popen(command("up", "--hosts", "2"), stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(delay)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    Lab.down(NAME)
    assert ours() == []
    assert not lab_dir(NAME).exists()


def test_two_at_once_take_turns() -> None:
    both = [subprocess.Popen(command("up", "--hosts", "2"), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    assert len(Lab.open(NAME).hosts) == 2


def test_down_leaves_what_it_did_not_make() -> None:
    Lab.up(NAME, 1)
    subprocess.run(["ip", "link", "add", "zlabx", "type", "bridge"], check=True)
    try:
        assert run("down").returncode == 0
        assert "zlabx" in links()
    finally:
        subprocess.run(["ip", "link", "delete", "zlabx"], check=True)
    assert ours() == []
    assert run("down").returncode == 0
    with pytest.raises(NotFound):
        Lab.open(NAME)


def test_a_bare_host_has_no_libvirt_but_can_install_packages() -> None:
    Lab.down(NAME)
    lab = Lab.up(NAME, 1, bare=True)
    assert lab.try_ssh("h1", "command -v virsh").returncode != 0
    assert lab.ssh("h1", "python3 -c 'import json, ssl, sqlite3'") == ""
    lab.ssh("h1", "apt-get update -qq && apt-get install -y -qq busybox", timeout=300)
    with pytest.raises(Refused):
        Lab.up(NAME, 1)
    Lab.down(NAME)


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_the_guest_image_boots_and_answers(machine: str) -> None:
    Lab.down(NAME)
    lab = Lab.up(NAME, 1)
    gateway = str(lab.plan.gateway)
    net = gateway.rpartition(".")[0]
    host = lab.host("h1")
    image = Path(lab.status()["images"]["qcow2"])
    target = host.root / "var/lib/libvirt/images/guest.qcow2"
    target.write_bytes(image.read_bytes())
    lab.ssh("h1", DOMAIN.format(net=net, gateway=gateway, machine=machine))
    base = f"http://{net}.10"
    assert wait_for(lambda: "hostname: tiny-1" in get(f"{base}/"), 60), lab.ssh("h1", "cat /var/log/tiny.log")
    assert f"{net}.10/22" in get(f"{base}/cgi-bin/ip")
    assert wait_for(lambda: get(f"{base}/user-data.txt") == "ran\n", 10), "user-data did not run"
    assert "1 packets received" in get(f"{base}/cgi-bin/ping?{gateway}")
    assert "vdb 1048576" in get(f"{base}/cgi-bin/disks")
    assert get(f"{base}/cgi-bin/write?vdb=hello%20disk") == "hello disk\n"
    assert get(f"{base}/cgi-bin/read?vdb") == "hello disk\n"
    with socket.create_connection((f"{net}.10", 7), 5) as tcp:
        tcp.sendall(b"tcp")
        assert tcp.recv(9) == b"tcp"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        for word in (b"one", b"two"):
            udp.sendto(word, (f"{net}.10", 7))
            assert udp.recv(9) == word
    lab.ssh("h1", "virsh -q shutdown tiny-1")
    assert wait_for(lambda: not lab.ssh("h1", "virsh list --name").strip(), 20), "the power button did nothing"
    assert image.stat().st_size < 32 << 20
