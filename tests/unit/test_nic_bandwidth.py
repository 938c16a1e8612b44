"""Bandwidth of network cards: as users write it, as libvirt has it, and how it is changed."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
import zctl_vm_bandwidth as bandwidth
import zctl_vm_diff as vm_diff
import zctl_vm_errors as vm_errors
import zctl_vm_spec as vm_spec
from hypothesis import given
from hypothesis import strategies as st
from zctl_vm_differences import differences

from tests.unit.conftest import Zctl
from zctl.units import format_rate, parse_rate

limits = st.tuples(*[st.none() | st.integers(1, 10**9)] * 2)
CARD = vm_spec.NicSpec("11111111-0000-4000-8000-000000000001", "52:54:00:00:00:01", "zbr-1", "zt-1")
SPEC = vm_spec.DomainSpec("u", "web", "z-web", "i", "qemu", 1, 1024, nics=(CARD,))
VM = ("--image", "tiny", "--instance-offering", "small", "--network", "lan")


@pytest.mark.parametrize(("text", "rate"), [("100M", 10**8), ("2.5g", 25 * 10**8), ("8000", 8000), ("9k", 9000)])
def test_rates_are_powers_of_a_thousand(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "1", "7K", "-5M", "10MB", "fast", "2T", "100 M"])
def test_other_words_are_no_rates(text: str) -> None:
    with pytest.raises(ValueError, match="bandwidth"):
        parse_rate(text)


@given(st.integers(8000, 10**12))
def test_rates_read_back(rate: int) -> None:
    assert parse_rate(format_rate(rate)) == rate


@given(limits, limits)
def test_limits_are_set_and_taken_away(before: bandwidth.Limits, after: bandwidth.Limits) -> None:
    element = ET.fromstring("<interface><mac address='x'/></interface>")
    for wanted in (before, after):
        bandwidth.render(wanted, element)
        assert bandwidth.found(element) == wanted
    assert (element.find("bandwidth") is None) == (after == (None, None))


def test_a_burst_that_somebody_has_set_stays() -> None:
    text = "<interface><bandwidth><inbound average='1000' peak='2000' burst='64'/></bandwidth></interface>"
    element = ET.fromstring(text)
    bandwidth.render((1000, None), element)
    assert ET.tostring(element, encoding="unicode").replace('"', "'").replace(" />", "/>") == text


def with_limits(spec: vm_spec.DomainSpec, *values: int | None) -> vm_spec.DomainSpec:
    card = vm_spec.replace(spec.nics[0], limits=values)
    return vm_spec.replace(spec, nics=(card,))


def test_what_libvirt_cannot_count_is_rounded_up() -> None:
    assert bandwidth.wanted({"inbound": 1_500_000, "outbound": None}) == (188, None)


def test_a_running_guest_gets_its_limits_at_once() -> None:
    wanted = with_limits(SPEC, 1250, None)
    desired = vm_diff.Desired(wanted, "Running", True)
    actual = vm_diff.Actual(SPEC, SPEC, "Running", True)
    plan = vm_diff.diff(actual, desired)
    assert [step.op for step in plan.steps] == ["define", "limit-nic"]
    assert plan.pending == ()
    by_hand = vm_diff.Actual(wanted, with_limits(SPEC, 9, None), "Running", True)
    assert [step.op for step in vm_diff.diff(by_hand, desired).steps] == ["limit-nic"]
    told = differences(by_hand, desired)[0]
    assert (told["actual"], told["desired"]) == (
        "bridge zbr-1, port zt-1, inbound 72K",
        "bridge zbr-1, port zt-1, inbound 10M",
    )


def test_a_kernel_that_cannot_limit_is_told_in_words() -> None:
    said = vm_errors.explain("internal error: Child process (tc qdisc add) ... Error: Specified qdisc kind is unknown.")
    assert said.startswith("the kernel cannot limit network cards: it lacks sch_htb")


def test_a_cards_bandwidth_is_shown_changed_and_taken_away(cloud: Zctl) -> None:
    cloud.ok("vm", "create", "web", *VM)
    card = cloud.rows("nic")[0]["name"]
    cloud.ok("nic", "update", card, "--inbound", "10000K", "--outbound", "1.5M")
    shown = cloud.ok("nic", "show", card)
    assert "10M" in shown and "1500K" in shown
    sent = cloud.hosts.runs[-1].state["vm"]["vms"][0]["nics"][0]
    assert (sent["inbound"], sent["outbound"]) == (10**7, 1500000)
    cloud.ok("nic", "update", card, "--inbound", "none")
    assert cloud.hosts.runs[-1].state["vm"]["vms"][0]["nics"][0]["inbound"] is None
    assert "bandwidth" in cloud.fails("nic", "update", card, "--inbound", "7K", code=2)
