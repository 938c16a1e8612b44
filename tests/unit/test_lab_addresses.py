"""The address plan: labs never overlap, names fit, and the packet filter holds guests back."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zctl.lab.addresses import ALL_LABS, INDEXES, MAX_HOSTS, Plan, free_index, host_name, host_number, ruleset

indexes = st.integers(0, INDEXES - 1)
numbers = st.integers(1, MAX_HOSTS)


def test_the_first_lab() -> None:
    plan = Plan(0)
    assert str(plan.management) == "198.18.0.0/24"
    assert (str(plan.machine), str(plan.address(1)), str(plan.address(3))) == (
        "198.18.0.1",
        "198.18.0.11",
        "198.18.0.13",
    )
    assert (str(plan.data), str(plan.gateway)) == ("198.18.8.0/22", "198.18.8.1")


def test_the_last_lab_ends_within_the_block() -> None:
    assert str(Plan(INDEXES - 1).data) == "198.19.248.0/22"


def test_no_two_networks_of_any_two_labs_overlap() -> None:
    networks = [network for index in range(INDEXES) for network in (Plan(index).management, Plan(index).data)]
    assert all(network.subnet_of(ALL_LABS) for network in networks)
    for number, network in enumerate(networks):
        assert not any(network.overlaps(other) for other in networks[number + 1 :])


@given(indexes, numbers)
def test_every_host_has_an_address_of_its_own_network(index: int, number: int) -> None:
    plan = Plan(index)
    assert plan.address(number) in plan.management
    assert plan.address(number) not in (plan.machine, plan.management.broadcast_address)


@given(indexes, numbers)
def test_interface_names_fit_and_are_recognized(index: int, number: int) -> None:
    plan = Plan(index)
    names = [plan.management_bridge, plan.data_bridge, plan.management_port(number), plan.data_port(number)]
    assert len(set(names)) == 4
    assert all(len(name) <= 15 and name.startswith("zlab") for name in names)


@given(numbers)
def test_host_names_lead_back_to_their_number(number: int) -> None:
    assert host_number(host_name(number)) == number


@pytest.mark.parametrize("name", ["", "h", "h0", "h01", "h100", "x1", "h1 ", ".h1.new"])
def test_other_names_are_no_hosts(name: str) -> None:
    assert host_number(name) is None


def test_the_lowest_free_index_is_taken() -> None:
    assert free_index(set()) == 0
    assert free_index({0, 1, 3}) == 2
    assert free_index(set(range(INDEXES))) is None


def test_only_the_management_network_is_masqueraded() -> None:
    rules = ruleset(Plan(2))
    masqueraded = [line for line in rules.splitlines() if "masquerade" in line]
    assert len(masqueraded) == 1
    assert "ip saddr 198.18.32.0/24" in masqueraded[0]
    assert 'iifname "zlab2d" drop' in rules
    assert 'oifname "zlab2d" drop' in rules
    assert IPv4Network("198.18.0.0/15") == ALL_LABS
