"""Adoption of VMs that virt-install made before zctl ever saw them: nothing stops, and nothing but the mark changes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cloud.zctl import Cloud
from zctl.lab.guest_image import cached_guest

HOST = "h1"
FOLDER = "srv/handmade"
NAMES = ("Web_1.example", "mail", "old")
MARK = re.compile(r"\s*<zctl:vm .*?</zctl:vm>", re.DOTALL)
EMPTY = re.compile(r"\s*<metadata[^>]*>\s*</metadata>")

MAKE = """
set -e
command -v virt-install >/dev/null || {
  apt-get -qq update >/dev/null 2>&1 && apt-get -qq install -y --no-install-recommends virtinst >/dev/null 2>&1
}
ip link add br0 type bridge && ip addr add 10.77.0.1/24 dev br0 && ip link set br0 up
virsh -q net-start default >/dev/null 2>&1 || true
cd /srv/handmade
qemu-img convert -O raw base.qcow2 web.img
qemu-img create -q -f qcow2 -F qcow2 -b /srv/handmade/base.qcow2 mail.qcow2
qemu-img create -q -f qcow2 mail-data.qcow2 32M
cp base.qcow2 old.qcow2
common="--virt-type qemu --import --osinfo detect=off,require=off --noautoconsole"
virt-install $common --name Web_1.example --memory 96 --vcpus 1,maxvcpus=2 --disk web.img,format=raw,bus=virtio \
  --network bridge=br0 --graphics vnc --metadata title="The web",description="hand made"
virt-install $common --name mail --memory 96 --disk mail.qcow2,bus=sata --disk mail-data.qcow2,bus=virtio \
  --network network=default --graphics none --autostart
virt-install $common --name old --memory 64 --disk old.qcow2,bus=virtio --network bridge=br0 --graphics none \
  --print-xml > old.xml
virsh -q define old.xml
virsh -q autostart old
"""
END = """
for name in Web_1.example mail old; do virsh -q destroy $name; virsh -q undefine --snapshots-metadata $name; done
virsh -q net-destroy default; ip link del br0; rm -rf /srv/handmade; true
"""

CHECK = """
import json
from zctl.actions import jobs
from zctl.actions.context import Context
from zctl.actions.converge import Report, prepare
from zctl.config import load
from zctl.inventory.engine import Inventory
from zctl.run.runner import execute

config = load()
context = Context(config, Inventory(config.url))
runs, _ = prepare(context, jobs.host_ids(context), True, None, Report())
found = execute(runs, context.run_settings(check=True), lambda *_: None).values()
print(json.dumps([[entry.kind, entry.name, entry.result] for host in found for entry in host.results]))
assert all(host.ok and not host.diffs for host in found), [(host.failure, host.diffs) for host in found]
"""


@pytest.fixture
def handmade(no_vms: Cloud) -> Iterator[Cloud]:
    """Three VMs on the first host that zctl did not make."""
    cloud = no_vms
    folder = Path(cloud.lab.host(HOST).root) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.qcow2").write_bytes(Path(cached_guest().qcow2).read_bytes())
    cloud.lab.ssh(HOST, MAKE, timeout=240)
    yield cloud
    cloud.lab.ssh(HOST, END, timeout=60)


def xml(cloud: Cloud, name: str) -> list[str]:
    """The domain as it runs and as it is configured."""
    return [cloud.lab.ssh(HOST, f"virsh dumpxml {flags} {name}") for flags in ("", "--inactive")]


def processes(cloud: Cloud) -> list[str]:
    """The QEMU processes with their start times."""
    return sorted(cloud.lab.ssh(HOST, "pgrep qemu-system | xargs -r ps -o pid=,lstart= -p").splitlines())


def unmarked(text: str) -> str:
    """The XML without zctl's mark."""
    return EMPTY.sub("", MARK.sub("", text)).strip()


def check_run(cloud: Cloud) -> list[list[str]]:
    """What a full converge in check mode says of every resource."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK], env=cloud.environment, text=True, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_vms_of_virt_install_are_taken_over_in_place(handmade: Cloud) -> None:
    """Processes go on, the XML differs in the mark only, check and converge find nothing; then zctl manages them."""
    cloud = handmade
    before, running = {name: xml(cloud, name) for name in NAMES}, processes(cloud)
    assert len(running) == 2
    answer = json.loads(cloud.ok("host", "adopt", HOST, "--name", "old=archive", "-o", "json"))
    assert sorted(entry["vm"] for entry in answer["adopted"]) == ["archive", "mail", "web-1-example"]
    after = {name: xml(cloud, name) for name in NAMES}
    for name in NAMES:
        for old, new in zip(before[name], after[name], strict=True):
            assert "zctl:vm" in new and unmarked(new) == unmarked(old)
    checked = check_run(cloud)
    assert {outcome for _kind, _name, outcome in checked} == {"unchanged"}
    assert {"archive", "mail", "web-1-example"} <= {name for kind, name, _outcome in checked if kind == "vm"}
    cloud.ok("converge")
    assert processes(cloud) == running
    assert {name: xml(cloud, name) for name in NAMES} == after
    again = json.loads(cloud.ok("host", "adopt", HOST, "-o", "json"))
    assert (again["adopted"], again["already"]) == ([], 3)
    use(cloud, before)


def use(cloud: Cloud, before: dict[str, list[str]]) -> None:
    """Memory, stop, start, a new disk and card, deletion: the rest of the domain and its files stay."""
    cloud.ok("vm", "update", "mail", "--memory", "128M")
    cloud.ok("vm", "stop", "mail")
    cloud.ok("vm", "start", "mail", "archive")
    assert cloud.domains(HOST) == {"Web_1.example": "running", "mail": "running", "old": "running"}
    config = unmarked(xml(cloud, "mail")[1])
    assert config.replace(str(128 * 1024), str(96 * 1024)) == unmarked(before["mail"][1])
    cloud.ok("volume", "create", "extra", "--size", "16M", "--vm", "mail")
    cloud.ok("nic", "create", "--vm", "mail", "--l3-network", "private")
    disks = cloud.lab.ssh(HOST, "virsh domblklist mail")
    assert all(word in disks for word in ("/srv/handmade/mail.qcow2", "/srv/handmade/mail-data.qcow2", "/var/lib/zctl"))
    assert {outcome for _kind, _name, outcome in check_run(cloud)} == {"unchanged"}
    cloud.lab.ssh(HOST, "virsh snapshot-create-as old s1 --disk-only")
    cloud.ok("converge")
    assert "old.s1" in cloud.lab.ssh(HOST, "virsh domblklist old")
    cloud.ok("vm", "delete", "mail", "archive", "web-1-example", "--yes")
    assert cloud.domains(HOST) == {}
    files = cloud.lab.ssh(HOST, "ls /srv/handmade").split()
    assert {"web.img", "mail.qcow2", "mail-data.qcow2", "old.qcow2", "old.s1"} <= set(files)


ODD = """
set -e
mkdir -p /srv/handmade && cd /srv/handmade
qemu-img create -q -f raw nbd.img 32M && qemu-img create -q -f qcow2 snap.qcow2 32M
qemu-nbd --fork --pid-file=/srv/handmade/nbd.pid -t -f raw -x export -p 10899 nbd.img
define() {
  cat > odd.xml <<XML
<domain type='qemu'><name>$1</name><uuid>$2</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>$3<console type='pty'/>
<console type='pty'><target type='virtio'/></console></devices></domain>
XML
  virsh -q define odd.xml
}
raw="<driver name='qemu' type='raw'/>"
define "nbd guest" 6f0e1c52-0000-4000-8000-000000000001 "<disk type='network' device='disk'>$raw
  <source protocol='nbd' name='export'><host name='127.0.0.1' port='10899'/></source>
  <target dev='vda' bus='virtio'/></disk>"
define $(printf 'x%.0s' $(seq 80)) 6f0e1c52-0000-4000-8000-000000000002 "<disk type='block' device='disk'>$raw
  <source dev='/dev/vg0/data'/><target dev='vda' bus='virtio'/></disk>
  <hostdev mode='subsystem' type='usb'><source startupPolicy='optional'>
  <vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>"
define "schnörkel.1" 6f0e1c52-0000-4000-8000-000000000003 "<disk type='file' device='disk'>
  <driver name='qemu' type='qcow2'/><source file='/srv/handmade/snap.qcow2'/><target dev='hda' bus='ide'/></disk>"
define twin 6f0e1c52-0000-4000-8000-000000000004 ""
virsh -q snapshot-create-as "schnörkel.1" first
virsh -q start "nbd guest"
"""
TWINS = """
for n in 4 5; do
  echo "<domain type='qemu'><name>$([ $n = 4 ] && echo other || echo 'nbd guest')</name>
  <uuid>6f0e1c52-0000-4000-8000-00000000000$n</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os></domain>" > /tmp/odd.xml
  virsh -q define /tmp/odd.xml
done
"""
ODD_END = """
for uuid in $(virsh list --all --uuid); do
  virsh -q destroy $uuid; virsh -q undefine --snapshots-metadata $uuid
done
[ -f /srv/handmade/nbd.pid ] && kill $(cat /srv/handmade/nbd.pid); rm -rf /srv/handmade; true
"""


def test_odd_domains(no_vms: Cloud) -> None:
    """NBD, a block device, passthrough, snapshots, two consoles, illegal names; a UUID on two hosts is refused."""
    cloud = no_vms
    cloud.lab.ssh(HOST, ODD, timeout=120)
    cloud.lab.ssh("h2", TWINS)
    try:
        running = processes(cloud)
        before = [
            cloud.lab.ssh(HOST, f"virsh dumpxml --inactive 6f0e1c52-0000-4000-8000-00000000000{n}") for n in (1, 2, 3)
        ]
        answer = cloud.call("host", "adopt", HOST, "h2", "-o", "json")
        assert answer.code == 1, answer.err
        found = json.loads(answer.out)
        assert sorted(entry["vm"] for entry in found["adopted"]) == [
            "nbd-guest",
            "nbd-guest-h2",
            "schnorkel-1",
            "x" * 63,
        ]
        assert sorted(entry["domain"] for entry in found["refused"]) == ["other", "twin"]
        assert all("UUID" in entry["reason"] for entry in found["refused"])
        after = [
            cloud.lab.ssh(HOST, f"virsh dumpxml --inactive 6f0e1c52-0000-4000-8000-00000000000{n}") for n in (1, 2, 3)
        ]
        assert [unmarked(text) for text in after] == [unmarked(text) for text in before]
        assert {outcome for _kind, _name, outcome in check_run(cloud)} == {"unchanged"}
        assert processes(cloud) == running
        cloud.ok("vm", "stop", "nbd-guest")
        cloud.ok("vm", "start", "nbd-guest")
        cloud.ok("vm", "update", "schnorkel-1", "--memory", "80M")
        assert "first" in cloud.lab.ssh(HOST, "virsh snapshot-list --name 6f0e1c52-0000-4000-8000-000000000003")
    finally:
        names = [row["name"] for row in cloud.rows("vm")]
        if names:
            cloud.ok("vm", "delete", *names, "--yes")
        for host in (HOST, "h2"):
            cloud.lab.ssh(host, ODD_END)
