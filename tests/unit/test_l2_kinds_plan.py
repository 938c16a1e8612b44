"""VLANs over NICs, and tunnels whose hosts are told of each other: what is planned brings any host there, and back."""

from __future__ import annotations

from typing import Any

import pytest
from zctl_network_plan import Facts, Impossible, mark_of, plan_removal, strays
from zctl_network_tunnel import plan_network

from tests.unit.ip_machine import IpMachine
from tests.unit.test_network_plan import (
    BRIDGE,
    DEFAULT,
    ETH0,
    ETH1,
    OURS,
    bring,
    flat,
    host,
    nic,
    tunnel,
    unicast,
    vlan,
)

Json = dict[str, Any]
PEERS = ["198.18.0.12", "198.18.0.13"]


def test_networks_with_and_without_vlan_share_a_nic_in_any_order() -> None:
    networks = [flat(), vlan(1, identity=5), vlan(2, identity=6), vlan(3, interface="eth0", identity=5)]
    for wanted in (networks, networks[::-1]):
        machine = IpMachine(host(ETH0, ETH1, routes=(DEFAULT,)))
        records = [bring(machine, network) for network in wanted]
        assert machine.links["eth1"]["master"] == flat()["bridge"]
        assert machine.links["eth0"] == ETH0, "a NIC that carries a VLAN stays as it is"
        for network in networks[1:]:
            device = machine.links[network["device"]]
            assert (device["link"], device["master"]) == (network["interface"], network["bridge"])
        for record in records:
            machine.run(plan_removal(record, machine.facts, OURS).lines)
        assert set(machine.links) == {"eth0", "eth1"}


def test_each_field_of_a_vlan_that_is_not_as_wanted_is_named() -> None:
    machine = IpMachine(host(ETH0, nic("eth1", flags=[])))
    network = vlan()
    steps = plan_network(network, machine.facts, OURS, None, None)
    assert {entry["field"] for entry in steps.differences} == {"bridge", "vlan", "port.state"}
    machine.run(steps.lines)
    device = machine.links[network["device"]]
    device.update(mtu=1400, flags=[])
    device.pop("master")
    fields = {e["field"]: (e["actual"], e["desired"]) for e in differences(machine, network)}
    assert fields["vlan.mtu"] == (1400, 1500)
    assert fields["vlan.bridge"] == (None, network["bridge"])
    assert fields["vlan.state"] == ("down", "up")
    device["linkinfo"]["info_data"]["id"] = 9
    assert differences(machine, network)[0] == {"field": "vlan.id", "actual": 9, "desired": 5}


def differences(machine: IpMachine, network: Json) -> list[Json]:
    """What is not as wanted, and that the steps for it mend it."""
    steps = plan_network(network, machine.facts, OURS, "198.18.0.11", None)
    machine.run(steps.lines)
    machine.bridge(steps.fdb)
    assert plan_network(network, machine.facts, OURS, "198.18.0.11", None).differences == []
    return steps.differences


SLAVE = {**ETH1, "master": "bond0"}
BOND = nic("bond0", linkinfo={"info_kind": "bond"})
THEIRS = nic("theirs", link="eth1", linkinfo={"info_kind": "vlan", "info_data": {"id": 5}})


@pytest.mark.parametrize(
    ("network", "facts", "words"),
    [
        (vlan(interface="eth7"), host(ETH0, ETH1), "no NIC eth7 on this host (there are: eth0, eth1)"),
        (vlan(interface="br0"), host(BRIDGE), "br0 is a bridge, which cannot carry the VLAN"),
        (vlan(), host({**ETH1, "master": "br0"}, BRIDGE), "a port of br0, which is not zctl's: free it"),
        (vlan(), host(SLAVE, BOND), "a port of bond0, which is not zctl's: name bond0, or use another NIC"),
        (vlan(), host(ETH1, THEIRS), "VLAN 5 of NIC eth1 is taken by theirs: remove it, or use another VLAN"),
        (vlan(mtu=9000), host(ETH1), "MTU 9000 does not fit on NIC eth1, whose MTU is 1500"),
        (vlan(), host(ETH1, nic("zvl-cccccccc01")), "zvl-cccccccc01 that is not zctl's"),
        (tunnel(mtu=1500), host(ETH0, routes=(DEFAULT,)), "give the network at most 1450, or raise the MTU of eth0"),
    ],
)
def test_what_cannot_be_is_said(network: Json, facts: Facts, words: str) -> None:
    with pytest.raises(Impossible) as caught:
        plan_network(network, facts, OURS, None, None)
    assert words in str(caught.value)


def test_a_bond_is_taken_as_any_nic() -> None:
    bond = nic("bond0", "198.18.0.11/24", linkinfo={"info_kind": "bond"})
    machine = IpMachine(host(SLAVE, bond, routes=({**DEFAULT, "dev": "bond0"},)))
    record = bring(machine, flat("bond0"))
    bring(machine, vlan(interface="bond0"))
    assert [entry["local"] for entry in machine.links[record["bridge"]]["addr_info"]] == ["198.18.0.11"]
    assert [route["dev"] for route in machine.routes] == [record["bridge"]]
    assert machine.links["eth1"] == SLAVE


def test_hosts_that_come_and_go() -> None:
    """The table of the tunnel follows; the tunnel itself stays."""
    machine = IpMachine(host(ETH0, routes=(DEFAULT,)))
    for peers in ([], PEERS, PEERS[:1], PEERS[1:], []):
        steps = plan_network(unicast(1, peers), machine.facts, OURS, "198.18.0.11", None)
        assert not machine.floods or not steps.lines
        machine.run(steps.lines)
        machine.bridge(steps.fdb)
        assert machine.floods.get(unicast()["device"], []) == peers


def test_a_table_that_was_changed_by_hand_is_told_and_mended() -> None:
    machine = IpMachine(host(ETH0, routes=(DEFAULT,)))
    network = unicast(1, PEERS)
    bring(machine, network, "198.18.0.11")
    machine.floods[network["device"]] = ["198.18.0.13", "198.18.0.99"]
    assert differences(machine, network) == [
        {"field": "tunnel.peers", "actual": "198.18.0.13, 198.18.0.99", "desired": "198.18.0.12, 198.18.0.13"}
    ]


def test_from_multicast_to_peers_and_back() -> None:
    """The tunnel is made anew, with its table."""
    machine = IpMachine(host(ETH0, routes=(DEFAULT,)))
    bring(machine, tunnel(), "198.18.0.11")
    told = differences(machine, unicast(1, PEERS))
    assert told == [{"field": "tunnel.group", "actual": "239.192.0.1", "desired": None}]
    assert machine.floods[tunnel()["device"]] == PEERS
    bring(machine, tunnel(), "198.18.0.11")
    assert tunnel()["device"] not in machine.floods


def test_a_vlan_that_a_killed_call_left_is_found() -> None:
    machine = IpMachine(host(ETH0, ETH1))
    bring(machine, vlan())
    found = strays(machine.facts, OURS, set())
    assert [(e["kind"], e["bridge"], e["device"]) for e in found] == [("vlan", vlan()["bridge"], vlan()["device"])]
    assert machine.links[vlan()["device"]]["ifalias"] == mark_of(OURS, vlan())
    machine.run(plan_removal(found[0], machine.facts, OURS).lines)
    assert set(machine.links) == {"eth0", "eth1"}
