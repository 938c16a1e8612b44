"""Networks with real packets between real guests."""

from __future__ import annotations

import json

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


def test_a_kernel_that_cannot_limit_a_card_says_so(no_vms: Cloud) -> None:
    """The hosts of the lab share a kernel without sfq and policers: nothing is left half done."""
    cloud = no_vms
    create(cloud, "web-1", "--host", "h1")
    card = cloud.rows("nic")[0]["name"]
    assert "the kernel cannot limit network cards" in cloud.fails("nic", "update", card, "--inbound", "10M")
    cloud.ok("nic", "update", card, "--inbound", "none")
    assert json.loads(cloud.ok("plan", "-o", "json"))["differences"] == []


def test_hosts_of_a_tunnel_are_told_of_each_other(cloud: Cloud) -> None:
    """Without multicast: every host sends to the two others, and hears the news when one goes and comes back."""
    cloud.ok("l2-network", "create", "told", "--zone", "z1", "--kind", "vxlan", "--peers", "static")
    try:
        device = "zvx-" + cloud.show("l2-network", "told")["uuid"].replace("-", "")[:10]
        peers = f"bridge fdb show dev {device} | sed -n 's/^00:00:00:00:00:00 dst \\([^ ]*\\).*/\\1/p' | sort"
        addresses = {host.name: str(host.address) for host in cloud.lab.hosts}

        def told(host: str) -> list[str]:
            return cloud.lab.ssh(host, peers).split()

        assert told("h1") == [addresses["h2"], addresses["h3"]]
        assert "6 of 6 ways are open" in cloud.ok("net", "check", "--l2-network", "told")
        cloud.lab.reboot("h2")
        assert told("h2") == [addresses["h1"], addresses["h3"]]
        cloud.lab.ssh("h1", f"bridge fdb del 00:00:00:00:00:00 dev {device} dst {addresses['h3']}")
        assert "nothing passes" in cloud.call("net", "check", "--l2-network", "told").out
        found = json.loads(cloud.ok("plan", "-o", "json"))["differences"]
        assert [entry["field"] for entry in found] == ["tunnel.peers"]
        cloud.ok("converge", "--host", "h1")
        assert told("h1") == [addresses["h2"], addresses["h3"]]
    finally:
        cloud.ok("l2-network", "delete", "told", "--yes")


def test_guests_of_two_networks_on_one_wire_get_their_own_addresses(no_vms: Cloud) -> None:
    cloud = no_vms
    cloud.ok(
        "l3-network", "create", "other", "--l2-network", "tunnel", "--cidr", "10.21.0.0/24", "--range", "10.21.0.0/28"
    )
    try:
        first = create(cloud, "web-1", "--host", "h1", "--network", "private")
        second = create(cloud, "web-2", "--host", "h2", "--network", "other")
        inner = [cloud.ip(name, 1) for name in ("web-1", "web-2")]
        assert inner[0].startswith("10.20.0.") and inner[1].startswith("10.21.0.")
        assert inner[0] in ask(first, "ip") and inner[1] in ask(second, "ip")
    finally:
        cloud.ok("vm", "delete", "web-1", "web-2", "--yes")
        cloud.ok("l3-network", "delete", "other", "--yes", "--cascade")
