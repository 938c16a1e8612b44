"""Networks with real packets between real guests."""

from __future__ import annotations

from tests.lab.cloud.test_vm import create
from tests.lab.cloud.zctl import Cloud, ask


def test_guests_reach_each_other_over_the_tunnel(no_vms: Cloud) -> None:
    """Two VMs on different hosts talk over VXLAN, both ways, and get exactly their own addresses."""
    cloud = no_vms
    first = create(cloud, "web-1", "--host", "h1", "--network", "private")
    second = create(cloud, "web-2", "--host", "h2", "--network", "private")
    inner = [cloud.ip(name, 1) for name in ("web-1", "web-2")]
    assert inner[0] in ask(first, "ip") and inner[1] in ask(second, "ip")
    assert "web-2" in ask(first, f"fetch?http://{inner[1]}/")
    assert "web-1" in ask(second, f"fetch?http://{inner[0]}/")


def test_adding_a_vm_restarts_nothing(no_vms: Cloud) -> None:
    """The DHCP service of a network keeps its process."""
    cloud = no_vms
    create(cloud, "web-1", "--host", "h1")
    before = cloud.lab.ssh("h1", "pgrep -x dnsmasq | sort")
    create(cloud, "web-2", "--host", "h1")
    assert cloud.lab.ssh("h1", "pgrep -x dnsmasq | sort") == before


def test_an_address_is_given_again_to_another_vm(no_vms: Cloud) -> None:
    """No stale lease stands in the way."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--host", "h1")
    cloud.ok("vm", "delete", "web-1", "--yes")
    assert create(cloud, "web-2", "--host", "h1") == ip


def test_a_foreign_bridge_is_left_alone(no_vms: Cloud) -> None:
    """converge touches nothing that zctl did not make."""
    cloud = no_vms
    cloud.lab.ssh("h1", "ip link add mybr0 type bridge && ip addr add 192.0.2.1/24 dev mybr0 && ip link set mybr0 up")
    try:
        cloud.ok("converge", "--host", "h1")
        assert "192.0.2.1" in cloud.lab.ssh("h1", "ip -br addr show mybr0")
    finally:
        cloud.lab.ssh("h1", "ip link del mybr0")


def test_a_network_in_use_is_not_deleted(no_vms: Cloud) -> None:
    """Refused, naming what is in the way."""
    cloud = no_vms
    create(cloud, "web-1")
    said = cloud.fails("l3-network", "delete", "flat", "--yes", "--cascade")
    assert "in use by nic web-1-nic0" in said
