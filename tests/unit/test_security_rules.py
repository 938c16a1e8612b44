"""Rules of security groups as lines of nftables: the same verdict as rule by rule, whatever the rules."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from zctl_security_rules import NFT_WORDS, NUMBERS, layers, members_set, rule_lines, rule_matches

Json = dict[str, Any]
GROUPS = ("aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000")
MEMBERS = {GROUPS[0]: {"10.0.0.1", "fd00::1"}, GROUPS[1]: {"10.0.0.2", "10.1.0.1"}}
CIDRS = ("10.0.0.0/8", "10.0.0.0/24", "10.0.0.0/30", "10.1.0.0/16", "10.0.0.2/32", "0.0.0.0/0", "::/0", "fd00::/64")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.9", "10.1.0.1", "192.0.2.1", "fd00::1", "fd00:1::1")


@st.composite
def rules(draw: st.DrawFn) -> Json:
    """One rule as the inventory lets it be."""
    protocol = draw(st.sampled_from(["all", "tcp", "udp", "icmp", "icmpv6"]))
    remote = draw(st.sampled_from([None, *CIDRS, *GROUPS]))
    if protocol in ("icmp", "icmpv6") and remote and "/" in remote and (":" in remote) != (protocol == "icmpv6"):
        remote = None
    ports = sorted(draw(st.tuples(*[st.integers(1, 12)] * 2))) if protocol in ("tcp", "udp") else None
    ports = ports if draw(st.booleans()) else None
    return {
        "direction": draw(st.sampled_from(["ingress", "egress"])),
        "protocol": protocol,
        "first": ports[0] if ports else None,
        "last": ports[1] if ports else None,
        "cidr": remote if remote and "/" in remote else None,
        "group": remote if remote in GROUPS else None,
        "allow": draw(st.booleans()),
    }


@st.composite
def packets(draw: st.DrawFn) -> Json:
    """A packet that begins a connection: what kind, from whom, to which port."""
    remote = ip_address(draw(st.sampled_from(ADDRESSES)))
    pings = "icmp" if remote.version == 4 else "icmpv6"
    return {
        "remote": remote,
        "protocol": draw(st.sampled_from(["tcp", "udp", pings])),
        "port": draw(st.integers(1, 14)),
    }


def within(value: Any, element: str) -> bool:
    """Whether a field's value is in one field of an element."""
    if "/" in element:
        net = ip_network(element)
        return bool(value.version == net.version and value in net)
    if "-" in element and element[0].isdigit():
        first, last = map(int, element.split("-"))
        return bool(first <= value <= last)
    return str(value) == element


def line_matches(line: str, packet: Json, side: str) -> bool:
    """What the kernel does with a line of ours."""
    version = packet["remote"].version
    fields = {
        f"ip {side}": packet["remote"] if version == 4 else None,
        f"ip6 {side}": packet["remote"] if version == 6 else None,
        "meta l4proto": NFT_WORDS[packet["protocol"]],
        "th dport": packet["port"],
        "ether type": "ip" if version == 4 else "ip6",
    }
    rest = line
    while rest:
        found = re.match(
            r"((?:ether type|ip6? [sd]addr|meta l4proto|th dport)(?: \. [a-z0-9 ]+?)*) (@\w+|\{[^}]*\}|ip6?)", rest
        )
        assert found, f"not understood: {rest!r} of {line!r}"
        values = [fields[name] for name in found[1].split(" . ")]
        if any(value is None for value in values):
            return False
        if found[2].startswith("@"):
            group = next(key for key in GROUPS if members_set(key, version) == found[2][1:])
            hit = str(packet["remote"]) in MEMBERS[group]
        else:
            elements = [element.split(" . ") for element in found[2].strip("{} ").split(", ")]
            hit = any(all(within(v, part) for v, part in zip(values, e, strict=True)) for e in elements)
        if not hit:
            return False
        rest = rest[found.end() :].strip()
    return True


def verdict_of_lines(lines: list[str], packet: Json, side: str) -> str:
    """The first line that matches decides."""
    for line in lines:
        match, _, verdict = line.rpartition(" ") if " " in line else ("", "", line)
        if line_matches(match, packet, side):
            return verdict
    return ""


@given(st.lists(rules(), max_size=12), packets(), st.sampled_from(["ingress", "egress"]))
def test_lines_decide_as_the_rules_do(given_rules: list[Json], packet: Json, direction: str) -> None:
    """Runs of rules become sets, and no packet's verdict changes by that."""
    lines = rule_lines(given_rules, direction)
    number = NUMBERS[packet["protocol"]]
    first = next(
        (
            rule
            for rule in given_rules
            if rule["direction"] == direction and rule_matches(rule, number, packet["remote"], packet["port"], MEMBERS)
        ),
        None,
    )
    wanted = "" if first is None else "accept" if first["allow"] else "drop"
    assert verdict_of_lines(lines, packet, "saddr" if direction == "ingress" else "daddr") == wanted


@given(st.lists(rules(), max_size=20))
def test_elements_of_a_set_are_apart(given_rules: list[Json]) -> None:
    """nft refuses sets whose elements overlap."""
    for line in rule_lines(given_rules, "ingress"):
        for elements in re.findall(r"\{([^}]*)\}", line):
            boxes = [[span(part) for part in text.strip().split(" . ")] for text in elements.split(",")]
            for place, one in enumerate(boxes):
                for other in boxes[place + 1 :]:
                    assert any(a[1] < b[0] or b[1] < a[0] for a, b in zip(one, other, strict=True)), line


def span(part: str) -> tuple[int, int]:
    """First and last value of a field of an element."""
    if "/" in part or ":" in part or part.count(".") == 3:
        net = ip_network(part)
        base = 2**64 if net.version == 6 else 0
        return int(net.network_address) + base, int(net.broadcast_address) + base
    if part[0].isdigit():
        first, _, last = part.partition("-")
        return int(first), int(last or first)
    number = NUMBERS[{word: name for name, word in NFT_WORDS.items()}[part]]
    return number, number


def test_a_thousand_rules_are_few_lines() -> None:
    """The cost of a packet does not grow with rules of equal verdict."""
    many = [
        {
            "direction": "ingress",
            "protocol": "tcp",
            "first": 1000 + n,
            "last": 1000 + n,
            "cidr": f"10.{n % 250}.0.0/16",
            "group": None,
            "allow": True,
        }
        for n in range(1000)
    ]
    assert len(rule_lines(many, "ingress")) == 1
    assert rule_lines(many, "egress") == []


def test_networks_within_networks_are_layers() -> None:
    """Nested ones are in sets of their own, others share one."""
    nets = [ip_network(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "192.0.2.0/24")]
    found = [[str(net) for net in layer] for layer in layers(nets)]
    assert found == [["10.0.0.0/8", "192.0.2.0/24"], ["10.1.0.0/16"], ["10.1.1.0/24"]]
