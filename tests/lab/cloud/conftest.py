"""A cloud on the lab's hosts, made from manifests once for this folder and deleted at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cloud.zctl import Cloud
from zctl.lab.guest_image import cached_guest
from zctl.lab.lab import Lab

MANIFEST = """
kind: Zone
name: z1
---
kind: Cluster
name: c1
spec: {{zone: z1, cpu_overcommit: 100, memory_overcommit: 2}}
---
{hosts}
kind: PrimaryStorage
name: disks
spec: {{zone: z1, path: /var/lib/zctl/storage, overcommit: 10}}
---
kind: Image
name: tiny
spec: {{source: {image}}}
---
kind: InstanceOffering
name: small
spec: {{cpus: 1, memory: 96M}}
---
kind: DiskOffering
name: scratch
spec: {{size: 16M}}
---
kind: L2Network
name: wire
spec: {{zone: z1, kind: no-vlan, physical_interface: data0}}
---
kind: L3Network
name: flat
spec:
  l2_network: wire
  cidr: {data}
  gateway: {gateway}
  ranges: [{first}.50-{first}.250]
---
kind: L2Network
name: tunnel
spec: {{zone: z1, kind: vxlan}}
---
kind: L3Network
name: private
spec: {{l2_network: tunnel, cidr: 10.20.0.0/24, ranges: [10.20.0.10-10.20.0.200]}}
"""


def manifest(lab: Lab, image: Path, hosts: int = 3) -> str:
    """The test cloud as text."""
    documents = "".join(
        f"kind: Host\nname: {host.name}\n"
        f"spec: {{cluster: c1, address: {host.address}, host_key: '{host.host_key}'}}\n---\n"
        for host in lab.hosts[:hosts]
    )
    plan = lab.plan
    return MANIFEST.format(
        hosts=documents, image=image, data=plan.data, gateway=plan.gateway, first=str(plan.gateway).rpartition(".")[0]
    )


@pytest.fixture(scope="package")
def cloud(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Three hosts, two networks, one image, no VMs."""
    made = Cloud(tmp_path_factory.mktemp("zctl"), lab)
    made.ok("init")
    made.ok("apply", "-f", "-", stdin=manifest(lab, cached_guest().qcow2))
    yield made
    delete_everything(made)


def delete_everything(cloud: Cloud) -> None:
    """Remove the cloud; the hosts must be as they were but for what the host role installed."""
    for noun in ("vm", "volume", "nic", "l3-network", "l2-network", "primary-storage", "host"):
        names = [row["name"] for row in cloud.rows(noun)]
        if names:
            cloud.ok(noun, "delete", *names, "--yes", "--cascade")
    for host in cloud.lab.hosts:
        left = cloud.lab.ssh(
            host.name,
            "ip -br link | grep -E '^z(br|vx|v|t)-' || true; ip netns list; virsh list --all --name; "
            "ls /etc/zctl/inventory 2>/dev/null || true",
        )
        assert not left.strip(), f"left on {host.name}: {left}"


@pytest.fixture(scope="module")
def keys(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two keypairs, me and other, and the folder with their private keys."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("me", "other"):
        cloud.ok("keypair", "create", name, "--generate", "--out", str(folder / name))
    yield folder
    cloud.ok("keypair", "delete", "me", "other", "--yes")


@pytest.fixture
def no_vms(cloud: Cloud) -> Iterator[Cloud]:
    """The cloud, without VMs before and after."""
    yield cloud
    names = [row["name"] for row in cloud.rows("vm")]
    if names:
        cloud.ok("vm", "delete", *names, "--yes")
    loose = [row["name"] for row in cloud.rows("volume")]
    if loose:
        cloud.ok("volume", "delete", *loose, "--yes")
