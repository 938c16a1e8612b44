"""l2-networks in the inventory: what is refused, and which hosts hear of each other's tunnels."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.conftest import FakeHosts, Zctl
from zctl.resources.host import Host
from zctl.run.values import HostResult, HostRun

NICS = [
    {"name": "eth0", "mtu": 1500, "addresses": ["198.18.0.{n}/24"], "bridge": None},
    {"name": "eth1", "mtu": 1500, "addresses": ["fe80::1/64", "10.9.0.{n}/24", "10.8.0.{n}/24"], "bridge": None},
    {"name": "eth2", "mtu": 1500, "addresses": [], "bridge": "br0"},
]
VLAN = ("--zone", "z1", "--kind", "vlan")


def nics_of(address: str) -> list[dict[str, Any]]:
    """The NICs of the host with that address."""
    number = address.rpartition(".")[2]
    return [{**nic, "addresses": [text.format(n=number) for text in nic["addresses"]]} for nic in NICS]


class Machines(FakeHosts):
    """Hosts that tell their NICs when they are prepared."""

    def answer(self, run: HostRun) -> HostResult:
        found = super().answer(run)
        for entry in found.results:
            if entry.kind == "host":
                entry.observed = {**entry.observed, "nics": nics_of(run.connection.address)}
        return found


@pytest.fixture
def known(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> Zctl:
    """The cloud, with hosts of which the NICs are known."""
    cloud.hosts = Machines()
    for module in ("converge", "drift", "release", "hosts"):
        monkeypatch.setattr(f"zctl.actions.{module}.execute", cloud.hosts)
    with cloud.inventory.write() as db:
        for host in db.query(Host):
            host.facts = {"nics": nics_of(host.address)}
            db.add(host)
    return cloud


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*VLAN, "--vlan", "5"), "a vlan network needs a NIC"),
        ((*VLAN, "--physical-interface", "eth1"), "a vlan network needs a VLAN id"),
        ((*VLAN, "--vlan", "5", "--physical-interface", "eth1"), "VLAN 5 of NIC eth1 already carries l2-network v5"),
        ((*VLAN, "--vlan", "6", "--physical-interface", "eth2"), "NIC eth2 of host h1 is a port of br0"),
        ((*VLAN, "--vlan", "6", "--physical-interface", "eth1", "--mtu", "1501"), "MTU 1501 does not fit on NIC eth1"),
        ((*VLAN, "--vlan", "6", "--physical-interface", "eth1", "--vni", "3"), "a vlan network has no VNI"),
        (("--zone", "z1", "--vlan", "6", "--physical-interface", "eth0"), "a no-vlan network has no VLAN id"),
        (("--zone", "z1", "--peers", "static", "--physical-interface", "eth0"), "a no-vlan network has no peers"),
        (("--zone", "z1", "--kind", "vxlan", "--vlan", "6"), "a vxlan network has no VLAN id"),
        (("--zone", "z1", "--kind", "vxlan", "--mtu", "1451"), "whose MTU is 1500, of which VXLAN takes 50"),
    ],
)
def test_what_cannot_be_is_refused(known: Zctl, words: tuple[str, ...], said: str) -> None:
    known.ok("l2-network", "create", "v5", *VLAN, "--vlan", "5", "--physical-interface", "eth1")
    assert said in known.fails("l2-network", "create", "bad", *words)


@pytest.mark.parametrize("number", ["0", "4095", "-1", "x"])
def test_a_vlan_id_out_of_range_is_misuse(cloud: Zctl, number: str) -> None:
    said = cloud.fails("l2-network", "create", "v", *VLAN, "--physical-interface", "eth1", "--vlan", number, code=2)
    assert "vlan" in said


def test_a_vlan_id_is_a_nics_own(known: Zctl) -> None:
    """The same id on another NIC, several on one, and beside a network without a VLAN."""
    for name, number, nic in (("a", "5", "eth1"), ("b", "6", "eth1"), ("c", "5", "eth0")):
        known.ok("l2-network", "create", name, *VLAN, "--vlan", number, "--physical-interface", nic)
    state = known.hosts.runs[-1].state["network"]["l2_networks"][0]
    assert (state["kind"], state["vlan"], state["interface"]) == ("vlan", 5, "eth0")
    assert state["device"] == state["bridge"].replace("zbr-", "zvl-")


def told(zctl: Zctl, network: str) -> dict[str, list[str]]:
    """What each host was last told of the others."""
    found = {}
    for run in zctl.hosts.runs:
        for entry in run.state["network"]["l2_networks"]:
            if entry["name"] == network and "network" in run.steps:
                found[run.connection.name] = entry["peers"]
    return found


TUNNEL = ("l2-network", "create", "tun", "--zone", "z1", "--kind", "vxlan", "--peers", "static")
NEW = ("host", "create", "h3", "--cluster", "c1", "--address", "198.18.0.3", "--host-key", "ssh-ed25519 AAAA")


def test_hosts_are_told_of_each_other_as_they_come_and_go(known: Zctl) -> None:
    known.ok(*TUNNEL)
    assert told(known, "tun") == {"h1": ["198.18.0.2"], "h2": ["198.18.0.1"]}
    known.ok(*NEW)
    assert told(known, "tun") == {
        "h1": ["198.18.0.2", "198.18.0.3"],
        "h2": ["198.18.0.1", "198.18.0.3"],
        "h3": ["198.18.0.1", "198.18.0.2"],
    }
    known.ok("host", "update", "h3", "--address", "198.18.0.33")
    assert told(known, "tun")["h1"] == ["198.18.0.2", "198.18.0.33"]
    known.ok("host", "delete", "h3", "--yes")
    assert told(known, "tun")["h1"] == ["198.18.0.2"] and told(known, "tun")["h2"] == ["198.18.0.1"]


def test_tunnels_over_a_named_nic_use_its_address_once_it_is_known(known: Zctl) -> None:
    """A new host's is known when it has been prepared: it and the others then hear of each other."""
    known.ok(*TUNNEL, "--physical-interface", "eth1")
    assert told(known, "tun") == {"h1": ["10.9.0.2"], "h2": ["10.9.0.1"]}
    known.ok(*NEW)
    assert told(known, "tun")["h1"] == ["10.9.0.2", "10.9.0.3"]
    assert told(known, "tun")["h3"] == ["10.9.0.1", "10.9.0.2"]


def test_a_host_that_is_away_hears_of_it_later_and_stops_nobody(known: Zctl) -> None:
    known.ok(*TUNNEL)
    known.hosts.away.add("h2")
    answer = known.call(*NEW)
    assert answer.exit_code == 0, answer.output
    assert "host h2 has not heard of it yet: it does not answer" in answer.stderr
    assert told(known, "tun")["h1"] == ["198.18.0.2", "198.18.0.3"]
    known.hosts.away.clear()
    known.hosts.runs.clear()
    known.ok("converge", "--host", "h2")
    assert told(known, "tun")["h2"] == ["198.18.0.1", "198.18.0.3"]


def test_without_such_tunnels_nobody_else_is_asked(known: Zctl) -> None:
    known.ok(*NEW)
    assert {run.connection.name for run in known.hosts.runs} == {"h3"}


def test_the_kind_of_peers_can_be_changed(known: Zctl) -> None:
    known.ok("l2-network", "create", "tun", "--zone", "z1", "--kind", "vxlan")
    assert known.rows("l2-network")[0]["name"] == "tun"
    known.ok("l2-network", "update", "tun", "--peers", "static")
    entry = known.hosts.runs[-1].state["network"]["l2_networks"][0]
    assert entry["group"] is None and entry["peers"]
