"""VLANs and bonds on hosts that have a kernel of their own, with real packets. An emulated host takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.role_runner import by_name, run_role
from tests.lab.wire import Client, flat, mac_of, unplug_all
from zctl.lab import Lab

Json = dict[str, Any]
BOTH = ("k1", "k2")
OURS = "ip -br link | grep -oE '^z(br|vl|vx)[^@ ]*' || true"
BOND = (
    "ip link add bond0 type bond mode active-backup miimon 100; ip link set data0 down; ip link set data0 master bond0;"
    " ip link set data0 up; ip addr add {0} dev bond0; ip link set bond0 up; ip route add 198.51.100.0/24 via {1}"
)


def vlan(number: int, interface: str = "data0", mark: int = 1, **more: Any) -> Json:
    """A VLAN l2-network."""
    entry = {"uuid": f"eeeeeeee-{mark:02d}00-4000-8000-000000000000", "name": f"vlan-{mark}", "kind": "vlan"}
    device = f"zvl-eeeeeeee{mark:02d}"
    names = {"bridge": f"zbr-eeeeeeee{mark:02d}", "device": device, "uplink": device}
    return {**entry, **names, "vlan": number, "interface": interface, **more}


class Role:
    """The network role on several hosts."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder

    def __call__(self, *networks: Json, hosts: tuple[str, ...] = BOTH, **options: Any) -> dict[str, dict[str, Json]]:
        shown = [{k: v for k, v in network.items() if k != "uplink"} for network in networks]
        answers = run_role(self.lab, self.folder, "network", {"l2_networks": shown}, hosts, **options)
        return {host: by_name(answer) for host, answer in answers.items()}


@pytest.fixture
def role(kernels: Lab, tmp_path: Path) -> Iterator[Role]:
    made = Role(kernels, tmp_path)
    yield made
    for host in BOTH:
        unplug_all(kernels, host)
    made()
    for host in BOTH:
        assert kernels.ssh(host, OURS) == ""


def clients(lab: Lab, networks: list[Json]) -> dict[tuple[str, str], Client]:
    """One client on each network of each host: 10.77.NETWORK.HOST, all in one subnet so that only wires part them."""
    made = {}
    for number, network in enumerate(networks, start=1):
        for place, host in enumerate(BOTH, start=1):
            client = Client(lab, host, network["bridge"], mac_of(place, number)).plug()
            client.address(f"10.77.{number}.{place}/16")
            made[network["name"], host] = client
    return made


def reaches(client: Client, address: str, words: str = "") -> bool:
    return (
        client.lab.try_ssh(client.host, f"ip netns exec {client.name} ping -c2 -W2 {words} {address}").returncode == 0
    )


def test_networks_with_and_without_vlan_share_a_nic(role: Role) -> None:
    """Each reaches its own other end, also with the largest packet, and no other; after a reboot too."""
    lab = role.lab
    networks = [flat(), vlan(100), vlan(200, mark=2), vlan(100, "host0", mark=3)]
    found = role(*networks)
    assert {entry["result"] for answer in found.values() for entry in answer.values()} == {"changed"}, found
    made = clients(lab, networks)
    check_wires(networks, made)
    lab.reboot("k1")
    lab.try_ssh("k1", "systemctl is-system-running --wait")  # it lets us in before its networks are there
    assert {entry["result"] for entry in role(*networks, check=True)["k1"].values()} == {"unchanged"}
    for client in made.values():
        if client.host == "k1":
            client.plug()
            number = [network["bridge"] for network in networks].index(client.bridge) + 1
            client.address(f"10.77.{number}.1/16")
    check_wires(networks, made)


def check_wires(networks: list[Json], made: dict[tuple[str, str], Client]) -> None:
    """Every pair of networks: packets pass within one and not from one to another."""
    for number, network in enumerate(networks, start=1):
        client = made[network["name"], "k1"]
        others = " ".join(f"10.77.{other}.2" for other in range(1, len(networks) + 1) if other != number)
        passes = f"ping -c2 -W3 -M do -s 1472 10.77.{number}.2 || exit 1"
        stops = f"for other in {others}; do ping -c1 -W1 $other && exit 2; done; exit 0"
        done = client.lab.try_ssh("k1", f"ip netns exec {client.name} sh -c '{passes}; {stops}'")
        assert done.returncode == 0, (network["name"], done.stdout)


def test_what_was_changed_by_hand_is_told_and_mended(role: Role) -> None:
    """Also when somebody else has the VLAN meanwhile: that stays theirs."""
    network = vlan(100)
    role(network, hosts=("k1",))
    role.lab.ssh("k1", f"ip link set {network['device']} nomaster down")
    told = role(network, hosts=("k1",))["k1"]["vlan-1"]
    assert {entry["field"] for entry in told["differences"]} == {"vlan.bridge", "vlan.state"}
    assert role(network, hosts=("k1",))["k1"]["vlan-1"]["result"] == "unchanged"
    role.lab.ssh("k1", f"ip link del {network['device']}; ip link add link data0 name theirs type vlan id 100")
    try:
        failed = role(network, hosts=("k1",))["k1"]["vlan-1"]
        assert failed["result"] == "failed"
        assert failed["reason"] == "VLAN 100 of NIC data0 is taken by theirs: remove it, or use another VLAN"
        assert "theirs" in role.lab.ssh("k1", "ip -br link")
    finally:
        role.lab.ssh("k1", "ip link del theirs")


def test_a_bond_is_taken_with_its_addresses(role: Role) -> None:
    """As any NIC: what it had moves to the bridge and comes back, and VLANs lie on it."""
    lab, plan = role.lab, role.lab.plan
    own = str(plan.gateway + 20)
    lab.ssh("k1", BOND.format(f"{own}/22", plan.gateway))
    try:
        networks = [flat(interface="bond0"), vlan(100, "bond0")]
        made = role(*networks, hosts=("k1",))["k1"]
        assert {entry["result"] for entry in made.values()} == {"changed"}, made  # the answer of the confirmation
        held = lab.ssh("k1", "ip -br -4 addr; ip route")
        assert f"{networks[0]['bridge']}" in held.split(own)[0].splitlines()[-1]
        assert f"198.51.100.0/24 via {plan.gateway} dev {networks[0]['bridge']}" in held
        assert lab.try_ssh("k1", f"ping -c2 -W2 {plan.gateway}").returncode == 0
        busy = role(vlan(300, "data0", mark=4), networks[0], networks[1], hosts=("k1",))["k1"]["vlan-4"]
        assert "NIC data0 is a port of bond0, which is not zctl's: name bond0" in busy["reason"]
        role(hosts=("k1",))
        assert f"198.51.100.0/24 via {plan.gateway} dev bond0" in lab.ssh("k1", "ip route")
        assert own in lab.ssh("k1", "ip -br addr show bond0")
    finally:
        role(hosts=("k1",))
        lab.ssh("k1", "ip link set data0 nomaster; ip link del bond0")
