"""IPv6 in the inventory, in frames, and in what namespaces translate."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
import zctl_eip_family as families
import zctl_eip_nd as nd
import zctl_eip_plan as plan
import zctl_metadata_plan as metadata
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.conftest import Zctl
from tests.unit.test_metadata import CARD, NIC
from zctl.plan.addresses import dhcp_address, first_free, is_host_address, is_inside, shared_range, whole_range

Json = dict[str, Any]
WORDS = ("--image", "tiny", "--instance-offering", "small")
NET = "fd00:7:7:7::"


@pytest.fixture
def six(cloud: Zctl) -> Zctl:
    """A public and a private network with both families, and VM web-1 on the private one."""
    cloud.ok("l2-network", "create", "outer", "--zone", "z1", "--physical-interface", "eth9")
    cloud.ok(
        *("l3-network", "create", "internet", "--l2-network", "outer", "--cidr", "198.51.100.0/24", "--public"),
        *("--gateway", "198.51.100.1", "--range", "198.51.100.10-198.51.100.20"),
        *("--cidr6", "2001:db8:0:1::/64", "--gateway6", "fe80::1", "--range", "2001:db8:0:1::10-2001:db8:0:1::1f"),
    )
    cloud.ok("l2-network", "create", "tunnel", "--zone", "z1", "--kind", "vxlan")
    cloud.ok(
        *("l3-network", "create", "private", "--l2-network", "tunnel", "--cidr", "10.7.0.0/24"),
        *("--gateway", "10.7.0.1", "--gateway-on", "hosts", "--range", "10.7.0.10-10.7.0.50"),
        *("--cidr6", f"{NET.upper()}/64", "--gateway6", f"{NET}1"),
    )
    cloud.ok("vm", "create", "web-1", *WORDS, "--network", "private", "--host", "h1")
    return cloud


def test_cards_have_an_address_of_each_family(six: Zctl) -> None:
    """Allocated or chosen, told to the host, its guest and its filter."""
    (row,) = [row for row in six.rows("l3-network") if row["name"] == "private"]
    assert (row["cidr6"], row["gateway6"]) == (f"{NET}/64", f"{NET}1")
    state = six.hosts.runs[-1].state
    network = next(entry for entry in state["l3_services"]["l3_networks"] if entry["name"] == "private")
    assert (network["dhcp_ip6"], network["gateway_here"]) == (f"{NET}fe", True)
    assert network["leases"][0]["ip6"] == f"{NET}100"
    assert state["security"]["nics"][0]["addresses"] == ["10.7.0.10", f"{NET}100"]
    (told,) = state["metadata"]["nics"]
    assert (told["ip6"], told["cards"][0]["cidr6"]) == (f"{NET}100", f"{NET}/64")
    six.ok("vm", "create", "web-2", *WORDS, "--network", f"private=10.7.0.20,{NET}0A", "--host", "h1")
    six.ok("nic", "create", "--vm", "web-1", "--l3-network", "private", "--ip6", f"{NET}b")
    addresses = {row["name"]: (row["ip"], row["ip6"]) for row in six.rows("nic")}
    assert addresses["web-2-nic0"] == ("10.7.0.20", f"{NET}a") and addresses["web-1-nic1"] == ("10.7.0.11", f"{NET}b")
    assert f"{NET}100" in six.ok("vm", "show", "web-1")


def test_a_network_without_ipv6_knows_nothing_of_it(cloud: Zctl) -> None:
    """No address, no lease, nothing in its state."""
    cloud.ok("vm", "create", "web-1", *WORDS, "--network", "lan", "--host", "h1")
    network = cloud.hosts.runs[-1].state["l3_services"]["l3_networks"][0]
    assert network["cidr6"] is None and network["leases"][0]["ip6"] is None
    assert cloud.rows("nic")[0]["ip6"] is None


def test_an_eip_of_each_family(six: Zctl) -> None:
    """A card has one of each; both are of one router; ranges hold for vips as for cards."""
    six.ok("eip", "create", "front", "--network", "internet", "--vm", "web-1")
    six.ok("eip", "create", "front6", "--network", "internet", "--address-family", "ipv6", "--vm", "web-1")
    (router,) = six.hosts.runs[-1].state["eip"]["routers"]
    assert [(eip["ip"], eip["private_ip"]) for eip in router["eips"]] == [("2001:db8:0:1::10", f"{NET}100")]
    six.ok("vip", "create", "v", "--l3-network", "internet", "--ip", "2001:DB8:0:1::1a")
    (vip,) = [row for row in six.rows("vip") if row["name"] == "v"]
    assert (vip["ip"], vip["address_family"]) == ("2001:db8:0:1::1a", "ipv6")
    assert {row["name"]: row["ip"] for row in six.rows("eip")} == {
        "front": "198.51.100.10",
        "front6": "2001:db8:0:1::10",
    }


REFUSED = [
    (("l3-network", "create", "x", "--cidr6", "fd00::/48"), "is a /48, router advertisements need a /64"),
    (("l3-network", "create", "x", "--cidr6", "fe80::/64"), "a meaning of its own"),
    (("l3-network", "create", "x", "--cidr6", "fd00::1/64"), "not a subnet"),
    (("l3-network", "create", "x", "--gateway6", "fd00::1"), "without an IPv6 subnet"),
    (("l3-network", "create", "x", "--cidr6", "fd00::/64", "--gateway6", "fd01::1"), "not a host address of fd00::/64"),
    (
        ("l3-network", "create", "x", "--cidr6", "fd00::/64", "--gateway6", "fd00::9", "--dhcp-ip6", "fd00::9"),
        "the DHCP address are both fd00::9",
    ),
    (
        ("l3-network", "create", "x", "--cidr6", "fd00::/64", "--gateway", "10.9.0.1", "--gateway-on", "hosts"),
        "need the gateway's IPv6 address too",
    ),
    (
        ("l3-network", "create", "x", "--cidr6", "fd00::/64", "--range", "fd00::ffff:ffff:ffff:0/112"),
        "one of the last 128",
    ),
    (("ip-range", "create", "r", "--l3-network", "lan", "--start", "fd00::1", "--end", "fd00::2"), "no IPv6 subnet"),
    (("nic", "create", "--vm", "web-1", "--l3-network", "private", "--ip6", f"{NET}100"), "belongs to nic web-1-nic0"),
    (("nic", "create", "--vm", "web-1", "--l3-network", "private", "--ip6", f"{NET}1"), "the gateway or DHCP address"),
    (("nic", "create", "--vm", "web-1", "--l3-network", "private", "--ip6", "fd01::5"), "no address for a card"),
    (("nic", "create", "--vm", "web-1", "--l3-network", "private", "--ip6", "10.7.0.30"), "not an IPv6 address"),
    (("nic", "create", "--vm", "web-1", "--l3-network", "lan", "--ip6", "fd01::5"), "has no IPv6 subnet"),
    (("vip", "create", "x", "--l3-network", "internet", "--ip", "2001:db8:0:1::20"), "is in no ip-range"),
    (("eip", "create", "x", "--vip", "v6", "--address-family", "ipv4", "--vm", "web-1"), "vip v6 is ipv6"),
    (("nat-gateway", "create", "x", "--l3-network", "private", "--vip", "v6"), "vip v6 is an IPv6 address"),
    (("port-forwarding", "create", "x", "--vip", "v6", "--ports", "80", "--nic", "web-1-nic0"), "is an IPv6 address"),
]


def test_refusals(six: Zctl) -> None:
    """What cannot be, in words, and nothing of it stays."""
    six.ok("vip", "create", "v6", "--l3-network", "internet", "--address-family", "ipv6")
    for words, said in REFUSED:
        before = six.dump()
        more = ("--l2-network", "tunnel", "--cidr", "10.9.0.0/24") if words[0] == "l3-network" else ()
        answer = six.call(*words, *more)
        assert answer.exit_code and said in answer.stderr, (words, answer.stderr)
        assert six.dump() == before, words


def test_an_eip_needs_a_card_with_ipv6(six: Zctl) -> None:
    """A card on a network without it has none to translate to."""
    six.ok("vm", "create", "old", *WORDS, "--network", "lan", "--host", "h1")
    six.ok("vip", "create", "v6", "--l3-network", "internet", "--address-family", "ipv6")
    assert "old-nic0 has no IPv6 address" in six.fails("eip", "create", "x", "--vip", "v6", "--vm", "old")


def test_addresses_are_chosen_within_what_a_subnet_has_to_give() -> None:
    """Neither any router's address nor those set aside; services are below what cards get."""
    subnet = "fd00::/64"
    assert first_free([shared_range(subnet)], {"fd00::100"}) == "fd00::101"
    assert dhcp_address(subnet, None) == "fd00::fe" and dhcp_address(subnet, "fd00::fe") == "fd00::fd"
    assert is_inside([whole_range(subnet)], "fd00::1") and not is_inside([("10.0.0.1", "10.0.0.9")], "fd00::1")
    assert not is_host_address(subnet, "fd00::") and not is_host_address(subnet, "fd00::ffff:ffff:ffff:ff80")
    assert is_host_address(subnet, "fd00::ffff:ffff:ffff:ff7f")
    assert is_host_address("10.0.0.0/24", "10.0.0.254") and not is_host_address("10.0.0.0/24", "10.0.0.255")


MAC = "02:7a:11:22:33:44"


def verify(packet: bytes) -> None:
    """The checksum holds, and so does the group's MAC."""
    body = packet[54:]
    pseudo = packet[22:54] + struct.pack("!II", len(body), 58)
    assert nd.checksum(pseudo + body) == 0
    assert packet[:2] == b"\x33\x33" and packet[2:6] == packet[50:54] and packet[21] == 255


@given(st.ip_addresses(v=6))
def test_neighbours_are_asked_and_told(address: ipaddress.IPv6Address) -> None:
    """A question is no answer; what is told names address and MAC."""
    text = str(address)
    question, answer = nd.solicitation(MAC, text), nd.advertisement(MAC, text)
    verify(question)
    verify(answer)
    assert nd.parse(question) is None and nd.parse(answer) == (text, MAC)
    assert nd.parse(answer[:60]) is None and nd.parse(b"") is None
    assert question[22:38] == bytes(16), "who asks has no address yet"


def router(**more: Any) -> Json:
    """A router with one eip of each family."""
    link = {"uuid": "pub", "name": "internet", "port": "p-1", "mac": MAC, "mark": 0x10000001}
    link |= {"cidr": "198.51.100.0/24", "gateway": "198.51.100.1", "cidr6": "2001:db8::/64", "gateway6": "fe80::1"}
    card = {"public": "pub", "mac": "52:54:00:00:00:01", "tap": "zt-1"}
    eips = [
        {"uuid": "e4", "name": "four", "ip": "198.51.100.20", "private_ip": "10.0.0.5", **card},
        {"uuid": "e6", "name": "six", "ip": "2001:db8::20", "private_ip": "fd00::5", **card},
    ]
    near = {"10.0.0.5": card["mac"], "fd00::5": card["mac"]}
    made = {"uuid": "r", "name": "private", "inventory": "1" * 32, "mac": "02:00:00:00:00:09", "gateway_here": False}
    made |= {"cidr": "10.0.0.0/24", "cidr6": "fd00::/64", "publics": [link], "eips": eips, "neighbours": near}
    return {**made, "snats": [], "exits": [], "forwards": [], **more}


def test_each_family_sees_its_own_part_of_a_router() -> None:
    """Addresses, routes, rules and neighbours of one family, by the same code."""
    four, six = (plan.wanted_inside(view) for view in families.views(router()))
    assert four["ports"] == {"p-1": ["198.51.100.20/32"], "eth0": []}
    assert six["ports"] == {"p-1": ["2001:db8::20/128", "fe80::7a:11ff:fe22:3344/64"]}
    assert six["routes"] == {
        "268435457": ["2001:db8::/64 dev p-1", "default via fe80::1 dev p-1", "fd00::/64 dev eth0"],
    }
    assert six["neighbours"] == {"fd00::5": "52:54:00:00:00:01"} and "fd00::5" not in four["neighbours"]
    seen = {"ports": {}, "rules": [], "routes": {}, "neighbours": {}}
    lines, _ = plan.inside_lines(seen, six)
    assert "addr add 2001:db8::20/128 dev p-1 nodad" in lines
    assert plan.inside_lines(six, six) == ([], [])
    assert [view["version"] for view in families.views(router(cidr6=None))] == [4]


def test_what_one_family_has_is_closed_to_the_other_all_the_same() -> None:
    """A network with IPv6 drops what is not for its cards, also when only IPv4 has something to translate."""
    only_four = router(eips=router()["eips"][:1])
    text = plan.router_table(families.views(only_four)[1])
    assert text.startswith("table ip6 ") and "policy drop" in text and "198.51" not in text
    both = plan.router_table(families.views(router())[1])
    assert "2001:db8::20 : fd00::5" in both and "dnat to ip6 daddr map @private_of" in both
    assert "nd-neighbor-solicit" in both and "10.0.0.5" not in both
    assert families.sysctls(router())["net.ipv6.conf.all.forwarding"] == "1"
    assert "net.ipv6.conf.all.forwarding" not in families.sysctls(only_four)
    gone = plan.router_table(families.views(router(eips=[]))[1])
    assert gone.count("\n") == 2, "nothing to translate at all: the table goes"


def test_only_the_family_of_an_eip_is_caught_from_a_physical_router() -> None:
    """Neighbour discovery is never handed to the namespace."""
    both = plan.catching_table("1" * 32, [router()])
    assert "chain catching6" in both and '"zt-1" . fd00::/64' in both and "fe80::/10, ff00::/8" in both
    four = plan.catching_table("1" * 32, [router(eips=router()["eips"][:1])])
    assert "catching6" not in four and "chain catching " in four


def test_neighbours_go_with_the_eips_that_needed_them() -> None:
    """Unless a way out reaches all cards; that is IPv4's only."""
    before = router()
    left = families.left_neighbours(before, router(eips=before["eips"][:1]))
    assert set(left) == {"10.0.0.5"}
    way = router(eips=[], snats=[{"uuid": "s", "name": "way", "ip": "198.51.100.21", "public": "pub"}])
    assert set(families.left_neighbours(before, way)) == {"10.0.0.5"}


def test_metadata_tell_of_ipv6() -> None:
    """As on EC2, where cloud-init sees that it has to ask by DHCPv6."""
    tree = metadata.tree({**NIC, "ip6": "fd00::5", "cards": [{**CARD, "ip6": "fd00::5", "cidr6": "fd00::/64"}]})
    own = f"meta-data/network/interfaces/macs/{CARD['mac']}"
    assert tree["meta-data/ipv6"] == tree[f"{own}/ipv6s"] == b"fd00::5"
    assert tree[f"{own}/subnet-ipv6-cidr-blocks"] == b"fd00::/64"
    assert not [path for path in metadata.tree(NIC) if "ipv6" in path]
