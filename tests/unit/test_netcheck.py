"""Probes, what is heard of them, and what that says."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zctl_netcheck import is_tagged
from zctl_netcheck_frames import Ears, Probe, arp_probe, probe_frame, read_arp, read_probe, sizes_of

from zctl.plan.netcheck import Wire, judge, matrix

MAC = b"\x02\x00\x00\x00\x00\x01"
OURS, RUN = "11111111-2222-4333-8444-555555555555", "00000000-0000-4000-8000-000000000001"
WIRE, OTHER = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"
HOSTS = {f"bbbbbbbb-0000-4000-8000-00000000000{number}": f"h{number}" for number in (1, 2, 3)}
H1, H2, H3 = HOSTS
NAMES = {"networks": {WIRE: "wire", OTHER: "other"}, "hosts": HOSTS}


@given(st.uuids(), st.integers(128, 9000), st.booleans())
def test_a_probe_is_read_as_it_was_sent(identity: Any, size: int, done: bool) -> None:
    probe = Probe(RUN, OURS, WIRE, str(identity), size, done)
    frame = probe_frame(MAC, probe)
    assert len(frame) == 14 + size
    assert read_probe(frame) == probe
    assert read_probe(frame[:-1]) is None, "a frame that was cut has not arrived"


@given(st.binary(max_size=200))
def test_anything_else_is_no_probe(frame: bytes) -> None:
    assert read_probe(frame) is None


def test_arp_asks_without_claiming_an_address() -> None:
    frame = arp_probe(MAC, "10.0.0.1")
    assert frame[28:32] == b"\0\0\0\0" and frame[38:42] == b"\x0a\0\0\x01"
    assert read_arp(frame) is None, "an ARP probe says nothing of who has what"
    answer = frame[:20] + b"\0\x02" + b"\x02\x99\0\0\0\x01" + b"\x0a\0\0\x01" + frame[32:]
    assert read_arp(answer) == ("10.0.0.1", "02:99:00:00:00:01")


def test_frames_with_a_vlan_tag_are_another_networks() -> None:
    assert is_tagged([(263, 8, (1 << 4).to_bytes(4, "little") + bytes(16))])
    assert not is_tagged([(263, 8, bytes(20))]) and not is_tagged([])


def ears(**more: Any) -> Ears:
    check = {"uuid": WIRE, "inventory": OURS, "run": RUN, "host": H1, "hosts": [H2], "ask": ["10.0.0.1"], **more}
    return Ears(check, 1500)


def test_a_host_is_finished_when_all_have_heard_all() -> None:
    own = ears()
    small, large = sizes_of(1500)
    for size in (small, large):
        assert not own.has_all
        own.take_probe(Probe(RUN, OURS, WIRE, H2, size, False))
    assert own.has_all and not own.is_finished
    own.take_probe(Probe(RUN, OURS, WIRE, H2, small, True))
    assert own.is_finished


def test_what_does_not_belong_here_is_told_and_old_probes_are_not() -> None:
    own = ears()
    own.take_probe(Probe(RUN, OURS, OTHER, H2, 128, False))
    own.take_probe(Probe(OURS, OURS, OTHER, H3, 128, False))  # of a check that ran a moment ago
    own.take_probe(Probe(RUN, OURS, WIRE, H1, 128, False))  # our own
    own.take_arp("10.0.0.1", "02:99:00:00:00:01")
    own.take_arp("10.0.0.2", "02:99:00:00:00:01")
    seen = own.observed()
    assert seen["strangers"] == [[OURS, OTHER, H2]]
    assert seen["answers"] == {"10.0.0.1": ["02:99:00:00:00:01"]}
    assert seen["heard"] == {}


def wire(hosts: dict[str, str] = HOSTS, **more: Any) -> Wire:
    values = {"kind": "no-vlan", "nic": "eth1", "vlan": None, "group": None, **more}
    return Wire(WIRE, "wire", hosts=hosts, **values)


def all_heard(lost: set[tuple[str, str]] = frozenset(), small: set[tuple[str, str]] = frozenset()) -> Any:  # type: ignore[assignment]
    """What hosts observed when everything but these pairs (from, to) arrives."""
    heard = {}
    for host, name in HOSTS.items():
        came = {
            other: ["small"] if (other_name, name) in small else ["large", "small"]
            for other, other_name in HOSTS.items()
            if other != host and (other_name, name) not in lost
        }
        heard[host] = {"heard": came, "strangers": [], "answers": {}, "mtu": 1500}
    return heard


def texts(*arguments: Any, **more: Any) -> list[str]:
    return [fault.text for fault in judge(wire(**more), *arguments, {}, NAMES).faults]


ALL = set(itertools.permutations(HOSTS.values(), 2))
OUT, INTO = {("h1", "h2"), ("h1", "h3")}, {("h2", "h1"), ("h3", "h1")}


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (set(), []),
        ({("h1", "h2")}, ["nothing passes from h1 to h2, though it passes from h2 to h1"]),
        ({("h2", "h3"), ("h3", "h2")}, ["h2 and h3: nothing passes in either direction"]),
        (OUT, ["nobody hears h1, though it hears others"]),
        (INTO, ["h1 hears nobody, though others hear it"]),
        (OUT | INTO, ["h1 is cut off: nobody hears it, and it hears nobody"]),
        (ALL, ["no host hears any other (h1, h2, h3)"]),
    ],
)
def test_what_does_not_arrive_is_told_once(lost: set[tuple[str, str]], words: list[str]) -> None:
    verdict = judge(wire(), all_heard(lost), {}, NAMES)
    assert [fault.text for fault in verdict.faults] == words
    assert {pair for fault in verdict.faults for pair in fault.pairs} == lost


@given(st.sets(st.sampled_from(sorted(ALL))))
def test_every_way_that_is_closed_is_named(lost: set[tuple[str, str]]) -> None:
    verdict = judge(wire(), all_heard(lost), {}, NAMES)
    assert {pair for fault in verdict.faults for pair in fault.pairs} == lost


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"kind": "vlan", "vlan": 100}, "let VLAN 100 pass, tagged, on the switch ports of eth1 of h1 and h2"),
        ({"kind": "vxlan", "group": "239.192.0.1"}, "the multicast group 239.192.0.1"),
        ({"kind": "vxlan"}, "let UDP port 4789 pass between h1 and h2"),
        ({}, "check cable, switch port and untagged VLAN of eth1 of h1 and h2"),
    ],
)
def test_what_to_do_depends_on_the_kind(kind: dict[str, Any], words: str) -> None:
    fault = judge(wire(**kind), all_heard({("h1", "h2")}), {}, NAMES).faults[0]
    assert words in fault.remedy


def test_large_packets_that_do_not_arrive() -> None:
    assert texts(all_heard(small={("h1", "h2")}), kind="vxlan") == [
        "packets of 1500 bytes do not arrive, for which the network below has to carry 1550, small ones do: h1 -> h2"
    ]


def test_addresses_mtus_strangers_and_hosts_that_took_no_part() -> None:
    heard = all_heard()
    heard[H1]["answers"] = {"10.0.0.1": ["02:99"], "10.0.0.2": ["02:aa"], "10.0.0.3": ["02:03"], "10.0.0.9": ["02:9"]}
    heard[H2]["answers"] = {"10.0.0.1": ["02:98"]}
    heard[H2]["mtu"] = 1400
    heard[H3]["strangers"] = [[OURS, OTHER, H1], ["x", "y", "z"]]
    about = {
        "macs": {"10.0.0.3": "02:03", "10.0.0.9": "02:01"},
        "owners": {"10.0.0.1": "the gateway of net", "10.0.0.2": "the DHCP address of net"},
        "services": frozenset({"10.0.0.2"}),
    }
    assert texts(heard, **about) == [
        "the MTU is not the same on all hosts: h1 1500, h2 1400, h3 1500",
        "h3 hears probes of l2-network other from h1 on wire: both are on one wire",
        "h3 hears probes of a network of another inventory (x) from z on wire: both are on one wire",
        "10.0.0.1, the gateway of net, is answered by 02:98 and 02:99, as h1, h2 heard",
        "10.0.0.2, the DHCP address of net, is answered by 02:aa, as h1 heard",
        "10.0.0.9, an address of ours, is answered by 02:9, as h1 heard",
    ]
    found = judge(wire(), {H1: heard[H1]}, {H2: "no route", H3: "eth1 is down"}, NAMES)
    assert [f.text for f in found.faults if f.kind == "host"] == [
        "h2 took no part: no route",
        "h3 took no part: eth1 is down",
    ]


@given(st.integers(2, 60), st.integers(1, 30))
def test_the_matrix_fits_and_has_everybody(number: int, length: int) -> None:
    hosts = {str(n): f"{'n' * length}{n}" for n in range(number)}
    heard = {
        host: {"heard": {o: ["large"] for o in hosts if o != host}, "strangers": [], "answers": {}, "mtu": 1500}
        for host in hosts
    }
    lines = matrix(judge(wire(hosts), heard, {}, NAMES), 78)
    assert max(map(len, lines)) <= 78
    assert sum(line.count("ok") for line in lines) == number * (number - 1)
