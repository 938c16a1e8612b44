"""Tunnels whose hosts are told of each other, and what a kernel without VLANs says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.test_full_kernel_l2 import OURS, Role, reaches, vlan
from tests.lab.wire import Client, mac_of, tunnel, unplug_all
from zctl.lab import Lab

HOSTS = ("h1", "h2")


@pytest.fixture
def role(lab: Lab, tmp_path: Path) -> Iterator[Role]:
    """The network role on hosts that share this machine's kernel."""
    made = Role(lab, tmp_path)
    yield made
    for host in HOSTS:
        unplug_all(lab, host)
    made(hosts=HOSTS)
    for host in HOSTS:
        assert lab.ssh(host, OURS) == ""


def test_tunnels_find_each_other_without_multicast(role: Role) -> None:
    """Only the hosts that are named are sent to, and only their tunnels are one wire."""
    lab, network = role.lab, tunnel(group=None, interface="host0")
    address = {host: str(lab.host(host).address) for host in HOSTS}
    wanted = {host: {**network, "peers": [address[other]]} for host, other in (HOSTS, HOSTS[::-1])}
    clients = []
    for place, host in enumerate(HOSTS, start=1):
        found = role(wanted[host], hosts=(host,))[host][network["name"]]
        assert found["result"] == "changed", found["reason"]
        clients.append(Client(lab, host, network["bridge"], mac_of(place, 1)).plug())
        clients[-1].address(f"10.77.1.{place}/16")
    assert reaches(clients[0], "10.77.1.2", "-M do -s 1422")
    lab.ssh("h1", f"bridge fdb del 00:00:00:00:00:00 dev {network['device']} dst {address['h2']}")
    told = role(wanted["h1"], hosts=("h1",), check=True)["h1"][network["name"]]
    assert told["differences"] == [{"field": "tunnel.peers", "actual": None, "desired": address["h2"]}]
    role(wanted["h1"], hosts=("h1",))
    lab.ssh("h1", f"ip -n {clients[0].name} neigh flush all")
    assert reaches(clients[0], "10.77.1.2")


def test_a_kernel_without_vlans_says_so(role: Role) -> None:
    """The machine's kernel, which hosts of the lab share when they have none of their own."""
    failed = role(vlan(100), hosts=("h1",))["h1"]["vlan-1"]
    assert failed["result"] == "failed"
    assert failed["reason"].startswith("the kernel has no VLAN devices: ")
