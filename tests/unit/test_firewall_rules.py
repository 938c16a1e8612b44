"""The firewall's rules as values: what is refused, what is let in, and that no text gets out of its place."""

from __future__ import annotations

import ipaddress
from itertools import pairwise
from typing import Any

import pytest
import zctl_firewall
from hypothesis import given
from hypothesis import strategies as st
from zctl_firewall_rules import (
    Connection,
    lets_in,
    lockouts,
    merge,
    other_filters,
    parse_rules,
    parse_ssh,
    present_connection,
    render,
)
from zctl_system import Trouble

ESTABLISHED = """\
0      0      [::ffff:198.18.0.11]:22   [::ffff:198.18.0.1]:39124 users:(("sshd",pid=85,fd=4),("sshd",pid=80,fd=4))
0      0      [fe80::1%eth0]:2222  [fe80::2%eth0]:50000 users:(("sshd-session",pid=90,fd=4))
0      36     198.18.0.11:443  198.18.0.1:40000 users:(("nginx",pid=70,fd=4))
0      0      198.18.0.11:41000  198.18.0.2:22 users:(("ssh",pid=71,fd=3))
0      0      198.18.0.11:41001  198.18.0.2:2049
"""


def written(*entries: Any) -> list[str]:
    """The lines of rules in the table, without what is always there."""
    usual = render([]).splitlines()
    return [line.strip() for line in render(parse_rules(list(entries))).splitlines() if line not in usual]


def test_rules_become_lines() -> None:
    assert written({"port": 22}) == ["tcp dport { 22 } counter accept"]
    assert written({"ports": [443, "80", "8000-8010", "8005-8020"], "protocol": "udp", "comment": "a b"}) == [
        'udp dport { 80, 443, 8000-8020 } counter accept comment "a b"'
    ]
    mixed = ["10.1.0.0/16", "10.0.0.0/8", "2001:db8::1", "192.0.2.7"]
    assert written({"port": 22, "from": mixed}) == [
        "ip saddr { 10.0.0.0/8, 192.0.2.7 } tcp dport { 22 } counter accept",
        "ip6 saddr { 2001:db8::1 } tcp dport { 22 } counter accept",
    ]
    assert written({"port": 22, "from": "0.0.0.0/0"}) == ["meta nfproto ipv4 tcp dport { 22 } counter accept"]


def test_the_order_of_what_is_always_there() -> None:
    lines = render(parse_rules([{"port": 22}]))
    order = [
        "established",
        "invalid",
        'iif "lo"',
        "{ 1, 2, 58 }",
        "dport { 22 }",
        "pkttype",
        "tcp reset",
        "admin-prohibited",
    ]
    places = [lines.index(words) for words in order]
    assert places == sorted(places)
    assert lines.count("hook") == 1 and "hook input" in lines and "policy accept" in lines


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (22, "22 is not a rule such as"),
        ({"port": 22, "form": []}, "unknown key form (there are: comment, from, port"),
        ({"protocol": "tcp"}, "one of port and ports"),
        ({"port": 22, "ports": [23]}, "one of port and ports"),
        ({"ports": []}, "ports is empty"),
        ({"port": None}, "ports is empty"),
        ({"port": True}, "True is not a port"),
        ({"port": 0}, "port 0 is not within"),
        ({"port": 65536}, "port 65536 is not within"),
        ({"port": "90-80"}, "port 90-80 is not within"),
        ({"port": "22 } accept; tcp dport { 1-65535"}, "is not a port"),
        ({"port": "22\n"}, None),
        ({"port": "2٢"}, "is not a port"),
        ({"port": 22, "protocol": "sctp"}, "neither tcp nor udp"),
        ({"port": 22, "from": []}, "from is empty: leave it out"),
        ({"port": 22, "from": ["office.example.org"]}, "is not an address or a network"),
        ({"port": 22, "from": [3221225985]}, "is not an address or a network"),
        ({"port": 22, "from": ["fe80::1%eth0"]}, "is not an address or a network"),
        ({"port": 22, "from": ["192.0.2.1/24"]}, "did you mean 192.0.2.0/24"),
        ({"port": 22, "comment": 'x" accept'}, "comment has quotes"),
        ({"port": 22, "comment": "x\ny"}, "comment has quotes"),
        ({"port": 22, "comment": "ä" * 51}, "longer than 100 bytes"),
    ],
)
def test_what_is_no_rule_is_named(entry: Any, words: str | None) -> None:
    if words is None:
        assert parse_rules([entry])[0].ports == ((22, 22),)
        return
    with pytest.raises(Trouble) as told:
        parse_rules([{"port": 1}, entry])
    assert str(told.value).startswith("firewall_rules[1]: ") and words in str(told.value)


ANYTHING = st.one_of(st.text(max_size=30), st.integers(), st.none(), st.booleans(), st.lists(st.text(max_size=9)))


@given(ANYTHING, ANYTHING, ANYTHING, st.text(max_size=120))
def test_no_text_gets_out_of_its_place(port: Any, protocol: Any, source: Any, comment: str) -> None:
    for entry in ({"port": port, "protocol": protocol, "from": source}, {"port": 22, "comment": comment}):
        try:
            lines = written(entry)
        except Trouble:
            continue
        for line in lines:
            before, _, said = line.partition(' comment "')
            assert before.endswith("counter accept") and said.count('"') == (1 if said else 0)
            assert set(before) <= set("abcdefghijklmnopqrstuvwxyz0123456789 {},-./:")


RANGE = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(sorted).map(tuple)
NETWORK = st.tuples(st.integers(0, 255), st.integers(20, 32)).map(
    lambda at: str(ipaddress.ip_network((0xC0000200 + at[0], at[1]), strict=False))
)
RULE = st.fixed_dictionaries(
    {"ports": st.lists(RANGE.map(lambda both: f"{both[0]}-{both[1]}"), min_size=1, max_size=4)},
    optional={"protocol": st.sampled_from(["tcp", "udp"]), "from": st.lists(NETWORK, min_size=1, max_size=3)},
)


@given(st.lists(RANGE, max_size=8))
def test_merged_ranges_hold_the_same_ports(ranges: list[tuple[int, int]]) -> None:
    merged = merge(ranges)
    assert {p for a, b in ranges for p in range(a, b + 1)} == {p for a, b in merged for p in range(a, b + 1)}
    assert all(before[1] + 1 < after[0] for before, after in pairwise(merged))


@given(st.lists(RULE, max_size=4), st.integers(1, 60), st.integers(0, 255))
def test_who_is_let_in_is_what_the_entries_say(entries: list[dict[str, Any]], port: int, last: int) -> None:
    address = ipaddress.IPv4Address(0xC0000200 + last)
    allowed = any(
        entry.get("protocol", "tcp") == "tcp"
        and any(int(text.split("-")[0]) <= port <= int(text.split("-")[1]) for text in entry["ports"])
        and any(address in ipaddress.ip_network(text) for text in entry.get("from", ["0.0.0.0/0"]))
        for entry in entries
    )
    assert lets_in(parse_rules(entries), "tcp", port, str(address)) is allowed
    assert bool(lockouts(parse_rules(entries), [Connection(port, str(address), 1)], {})) is not allowed


def test_whose_connection_it_is() -> None:
    connections = parse_ssh(ESTABLISHED)
    assert [(it.port, it.peer) for it in connections] == [(22, "198.18.0.1"), (2222, "fe80::2")]
    assert present_connection(connections, [300, 90, 1]) == connections[1]
    assert present_connection(connections, [300, 80]) == connections[0]
    assert present_connection(connections, [300]) is None


def test_what_would_be_cut_is_told_with_the_rule_to_add() -> None:
    connections = parse_ssh(ESTABLISHED)
    rules = parse_rules([{"port": 22, "from": "198.18.0.0/24"}, {"port": 8472, "protocol": "udp"}])
    assert lockouts(rules, connections, {"zvx-1": 4789, "zvx-2": 4789, "flannel": 8472}) == [
        "SSH from fe80::2 to port 2222: add {port: 2222, from: [fe80::2], comment: SSH}",
        "the tunnels of VMs (zvx-1, zvx-2) at UDP port 4789: add {port: 4789, protocol: udp, comment: VXLAN}",
    ]
    assert lockouts([], [], {}) == []


def test_chains_of_others() -> None:
    def chain(table: str, **more: Any) -> dict[str, Any]:
        usual = {"family": "inet", "table": table, "name": "in", "hook": "input", "type": "filter", "policy": "accept"}
        return {"chain": usual | more}

    shown = [
        {"metainfo": {}},
        chain("zctl_firewall"),
        chain("filter", policy="drop"),
        chain("a"),
        chain("b", type="nat"),
    ]
    shown += [chain("c", hook="forward"), chain("d", family="bridge"), {"chain": {"family": "inet", "name": "plain"}}]
    assert other_filters(shown) == ["inet a in", "inet filter in, which drops what it does not know"]


def test_what_is_not_as_wanted() -> None:
    good = zctl_firewall.Facts("text", "listing", "listing", zctl_firewall.UNIT_TEXT, True, True)
    assert zctl_firewall.plan(good, "text") == []
    assert zctl_firewall.plan(good, "other") == ["rules"]

    def but(**more: Any) -> list[str]:
        return zctl_firewall.plan(zctl_firewall.Facts(**{**good.__dict__, **more}), "text")

    assert but(loaded="") == but(loaded="edited") == but(listed="", loaded="") == ["what is loaded"]
    assert but(is_active=False) == but(is_enabled=False) == but(unit="edited") == ["zctl-firewall.service"]
