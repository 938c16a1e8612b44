"""A running VM whose bridge or port somebody takes away has its network back after a converge."""

from __future__ import annotations

import json

import pytest

from tests.lab.cloud.zctl import Cloud

PORT = "$(ls /sys/class/net | grep ^zt- | head -1)"
BRIDGE = "zbr-$(ls /sys/class/net | grep ^zvx- | head -1 | cut -c5-)"
CUTS = {
    "bridge removed": f"ip link del {BRIDGE}",
    "bridge removed, port down": f"ip link del {BRIDGE}; ip link set {PORT} down",
    "port pulled": f"ip link set {PORT} nomaster",
}
# From each DHCP namespace of the host; the VM is in one of their networks.
REACH = "for n in $(ip netns list | cut -d' ' -f1); do ip netns exec $n ping -c 2 -W 2 {0} && exit 0; done; exit 1"


@pytest.mark.parametrize("kind", list(CUTS))
def test_a_vm_that_lost_its_bridge_is_reached_again(no_vms: Cloud, kind: str) -> None:
    words = ("--image", "tiny", "--instance-offering", "small", "--host", "h1")
    no_vms.ok("vm", "create", "web", *words, "--network", "private")
    no_vms.ok("wait", "vm", "web", "ip", "--timeout", "120")
    address = no_vms.rows("nic")[0]["ip"]
    no_vms.lab.ssh("h1", CUTS[kind])
    assert no_vms.lab.try_ssh("h1", REACH.format(address)).returncode
    found = json.loads(no_vms.ok("plan", "-o", "json"))["differences"]
    assert any(entry["noun"] == "l2-network" and entry["field"].startswith("guest zt-") for entry in found), found
    no_vms.ok("converge")
    assert json.loads(no_vms.ok("plan", "-o", "json"))["differences"] == []
    no_vms.lab.ssh("h1", REACH.format(address))
