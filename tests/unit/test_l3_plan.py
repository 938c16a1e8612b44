"""DHCP, namespaces, leases and the filter between hosts, as texts and values."""

from __future__ import annotations

import json
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
import zctl_l3_leases
from hypothesis import given
from hypothesis import strategies as st
from zctl_l3_filter import (
    HOOKS,
    RULES,
    TYPES,
    Filter,
    own_differences,
    parse_filter,
    render_filter,
    rule_words,
    shared_differences,
    table_name,
    wanted_filter,
)
from zctl_l3_plan import (
    dnsmasq_config,
    host_line,
    lease_changes,
    lease_differences,
    namespace_lines,
    namespace_mac,
    own_addresses6,
    port_differences,
)
from zctl_results import in_scope

Json = dict[str, Any]
OURS = "11111111-2222-4333-8444-555555555555"


def network(number: int = 1, **more: Any) -> Json:
    return {
        "uuid": f"cccccccc-0000-4000-8000-{number:012d}",
        "name": f"net-{number}",
        "inventory": OURS,
        "l2": "aaaaaaaa-0000-4000-8000-000000000001",
        "bridge": "zbr-aaaaaaaa01",
        "uplink": "eth1",
        "namespace": f"zl3-cccccccc{number:02d}",
        "veth": f"zv-cccccccc{number:02d}",
        "cidr": "10.20.0.0/20",
        "gateway": None,
        "dhcp_ip": f"10.20.0.{number}",
        "dns": [],
        "domain": None,
        "mtu": None,
        "leases": [],
        **more,
    }


SIX = {"cidr6": "fd00:1:2:3::/64", "gateway6": "fd00:1:2:3::1", "dhcp_ip6": "fd00:1:2:3::fe"}


def lease(number: int, **more: Any) -> Json:
    entry = {"uuid": f"dddddddd-0000-4000-8000-{number:012d}", "name": f"vm-{number}"}
    return {**entry, "mac": f"52:54:00:00:00:{number:02x}", "ip": f"10.20.1.{number}", **more}


def test_options_are_given_only_when_there_is_something_to_give() -> None:
    bare = dnsmasq_config(network(), "/x", 1500)
    assert "dhcp-option=option:router\n" in bare  # without a value: dnsmasq would name itself
    assert "dhcp-option=option:dns-server\n" in bare
    assert "option:mtu" not in bare and "domain-name" not in bare
    full = dnsmasq_config(network(gateway="10.20.0.9", dns=["192.0.2.1", "192.0.2.2"], domain="a.test"), "/x", 1450)
    for line in ("option:router,10.20.0.9", "option:dns-server,192.0.2.1,192.0.2.2", "domain-name,a.test", "mtu,1450"):
        assert f"{line}\n" in full


def test_only_known_macs_are_answered() -> None:
    lines = dnsmasq_config(network(), "/x", 1500).splitlines()
    assert "dhcp-range=10.20.0.0,static,255.255.240.0,1h" in lines
    assert "dhcp-ignore=tag:!known" in lines and "dhcp-hostsdir=/x/hosts" in lines and "port=0" in lines
    assert host_line(lease(3)) == "52:54:00:00:00:03,10.20.1.3,vm-3\n"


def test_ipv6_is_served_where_a_network_has_it() -> None:
    """DHCPv6 by MAC; router advertisements name the namespace only where the hosts are the router."""
    dns = ["192.0.2.1", "2001:db8::53"]
    routed = dnsmasq_config(network(**SIX, dns=dns, domain="a.test"), "/x", 1450)
    for line in (
        "dhcp-range=fd00:1:2:3::,static,64,10m",
        "enable-ra",
        "ra-param=eth0,mtu:1450,600,0",
        "dhcp-option=option:dns-server,192.0.2.1",
        "dhcp-option=option6:dns-server,[2001:db8::53]",
        "dhcp-option=option6:domain-search,a.test",
    ):
        assert f"{line}\n" in routed
    here = dnsmasq_config(network(**SIX, gateway_here=True), "/x", 1500)
    assert "ra-param=eth0,mtu:1500,600,1800\n" in here and "option6" not in here
    assert "::" not in dnsmasq_config(network(), "/x", 1450)
    assert host_line(lease(3, ip6="fd00:1:2:3::9")) == "52:54:00:00:00:03,10.20.1.3,[fd00:1:2:3::9],vm-3\n"


def test_the_namespace_has_its_ipv6_addresses_without_asking_for_them() -> None:
    """The link-local one is the same on every host; who forwards is told to be a router."""
    here = network(**SIX, gateway="10.20.0.9", gateway_here=True)
    _, inside = namespace_lines(here, "02:00:00:00:00:01", 1500)
    own = [f"{address}/64" for address in own_addresses6(here)]
    assert [f"addr add {address} dev eth0 nodad" for address in own] == [line for line in inside if "nodad" in line]
    assert len(own) == 3 and own[0].startswith("fe80::")
    assert len(own_addresses6(network(**SIX))) == 2 and own_addresses6(network()) == []
    port = {"master": here["bridge"], "flags": ["UP"], "mtu": 1500}
    settings = {"disable_ipv6": "0", "accept_ra": "0", "forwarding": "1"}
    addresses = ["10.20.0.1/20", "10.20.0.9/20", *own]
    seen = {"mac": "02:00:00:00:00:01", "up": True, "mtu": 1500, "addresses": addresses, "ipv6": settings}
    assert port_differences(here, seen["mac"], 1500, port, seen) == []
    spoiled = seen | {"addresses": addresses[:-1], "ipv6": settings | {"forwarding": "0"}}
    fields = [entry["field"] for entry in port_differences(here, seen["mac"], 1500, port, spoiled)]
    assert fields == ["namespace.address", "namespace.ipv6.forwarding"]


def test_what_a_network_with_ipv6_lacks_in_the_filter_is_told() -> None:
    """Its way out, and each address that stays on the host."""
    six = network(1, **SIX, gateway="10.20.0.9", gateway_here=True)
    macs = {six["uuid"]: "02:00:00:00:00:01"}
    four = wanted_filter([network(1, gateway="10.20.0.9", gateway_here=True)], macs)
    assert own_differences(wanted_filter([six], macs), six, macs[six["uuid"]]) == []
    fields = [entry["field"] for entry in own_differences(four, six, macs[six["uuid"]])]
    assert fields == ["filter.uplinks6", *["filter.own_targets"] * 3]


def test_a_router_on_the_wire_may_advertise_itself() -> None:
    """Only where all networks of a way out have the hosts as their router, advertisements from outside are dropped."""
    here, there = network(1, **SIX, gateway_here=True), network(2, **SIX)
    macs = {entry["uuid"]: "02:00:00:00:00:01" for entry in (here, there)}
    assert wanted_filter([here], macs).routers6 == {"eth1"}
    assert wanted_filter([here, there], macs).routers6 == frozenset()
    assert wanted_filter([here, there], macs).uplinks6 == {"eth1"}


def test_the_mac_of_the_services_differs_between_hosts_and_is_locally_administered() -> None:
    uuid = network()["uuid"]
    first, second = namespace_mac("one", uuid), namespace_mac("two", uuid)
    assert first != second and first.startswith("02:") and len(first) == 17
    assert first == namespace_mac("one", uuid)


def test_the_port_is_known_again() -> None:
    mac = namespace_mac("one", network()["uuid"])
    outside, inside = namespace_lines(network(), mac, 1450)
    assert "mtu 1450" in outside[0] and f"addr add {network()['dhcp_ip']}/20 dev eth0" in inside
    port = {"master": "zbr-aaaaaaaa01", "flags": ["UP"], "mtu": 1450}
    own = {"mac": mac, "up": True, "mtu": 1450, "addresses": ["10.20.0.1/20"]}

    def fields(port: Json | None, inside: Json | None) -> list[str]:
        return [entry["field"] for entry in port_differences(network(), mac, 1450, port, inside)]

    assert fields(port, own) == []
    assert fields(port, {**own, "mac": "02:00:00:00:00:00"}) == ["namespace.mac"]
    assert fields(port, {**own, "up": False, "addresses": []}) == ["namespace.state", "namespace.address"]
    assert fields({**port, "master": "br0", "flags": []}, own) == ["port.bridge", "port.state"]
    assert fields(None, None) == ["namespace", "port"] and fields(port, {}) == ["namespace.port"]


def test_a_lease_file_differs_by_mac_address_and_name() -> None:
    wanted = host_line(lease(1))
    assert lease_differences(wanted, wanted) == []
    edited = wanted.replace("10.20.1.1", "10.20.1.9")
    assert lease_differences(edited, wanted) == [{"field": "lease.ip", "actual": "10.20.1.9", "desired": "10.20.1.1"}]
    assert lease_differences(None, wanted)[0]["actual"] is None
    assert lease_differences("", wanted)[0]["field"] == "lease"
    assert lease_differences(wanted + "\n", wanted)[0]["actual"] == "with lines or blanks added"


texts = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["1", "2", "3"]))
scopes = st.one_of(st.none(), st.lists(st.sampled_from("abcdefgh")))


@given(texts, texts, scopes)
def test_lease_files_get_there_and_others_stay(desired: dict[str, str], present: dict[str, str], scope: Any) -> None:
    """What is in scope becomes as desired; what is not stays."""
    wanted = {key: text for key, text in desired.items() if in_scope(key, scope)}
    changes = lease_changes(wanted, present, {key for key in present if in_scope(key, scope)})
    after = dict(present)
    after.update({key: wanted[key] for key in changes["added"] | changes["changed"]})
    for key in changes["removed"]:
        del after[key]
    for key in set(present) | set(desired):
        source = desired if in_scope(key, scope) else present
        assert after.get(key) == source.get(key)


class Services:
    """Stands in for systemctl and the DHCP service; counts what they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.released: list[tuple[str, str]] = []
        monkeypatch.setattr(zctl_l3_leases, "run", self.calls.append)
        monkeypatch.setattr(zctl_l3_leases, "release", lambda _name, _server, holders: self.released.extend(holders))


def test_leases_come_and_go_without_a_restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    services = Services(monkeypatch)
    folder = tmp_path / network()["uuid"] / "hosts"
    first = zctl_l3_leases.leases(tmp_path, network(leases=[lease(1), lease(2)]), None, False, True)
    assert [entry["result"] for entry in first] == ["changed", "changed"] and services.calls == []
    added = zctl_l3_leases.leases(tmp_path, network(leases=[lease(3)]), [lease(3)["uuid"]], False, True)
    assert [entry["result"] for entry in added] == ["changed"] and services.calls == []
    assert len(list(folder.iterdir())) == 3
    gone = zctl_l3_leases.leases(tmp_path, network(), [lease(1)["uuid"]], False, True)
    assert [(entry["result"], entry["name"]) for entry in gone] == [("removed", "vm-1")]
    assert len(list(folder.iterdir())) == 2
    assert services.calls == [["systemctl", "try-reload-or-restart", f"zctl-l3@{network()['uuid']}.service"]]
    assert services.released == [("52:54:00:00:00:01", "10.20.1.1")], "it would refuse the address to another MAC"
    assert zctl_l3_leases.leases(tmp_path, network(leases=[lease(2), lease(3)]), None, False, True)[0]["result"] == (
        "unchanged"
    )


def test_check_mode_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    services = Services(monkeypatch)
    found = zctl_l3_leases.leases(tmp_path, network(leases=[lease(1)]), None, True, True)
    assert found[0]["result"] == "changed" and list(tmp_path.iterdir()) == [] and services.calls == []


def test_a_lease_of_a_network_that_is_not_served_fails(tmp_path: Path) -> None:
    found = zctl_l3_leases.leases(tmp_path, network(leases=[lease(1)]), [lease(1)["uuid"]], False, False)
    assert found[0]["result"] == "failed" and "net-1 is not served on this host" in found[0]["reason"]
    assert list(tmp_path.iterdir()) == []


def as_expression(rule: str) -> list[Json]:
    """One of our rules as `nft -j` shows it."""
    if rule in {"iifname @uplinks udp dport { 67, 68 } drop", "oifname @uplinks udp dport { 67, 68 } drop"}:
        ports = {"payload": {"protocol": "udp", "field": "dport"}}
        return [
            {"match": {"op": "==", "left": {"meta": {"key": rule.split(maxsplit=1)[0]}}, "right": "@uplinks"}},
            {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "udp"}},
            {"match": {"op": "==", "left": ports, "right": {"set": [67, 68]}}},
            {"drop": None},
        ]
    if "udp dport" in rule or "icmpv6" in rule:
        return as_expression6(rule)
    key, _, protocol, *field, elements, _ = rule.split()
    payload = {"payload": {"protocol": protocol, "field": " ".join(field)}}
    match = {"op": "==", "left": {"concat": [{"meta": {"key": key}}, payload]}, "right": elements}
    return [{"match": match}, {"drop": None}]


def as_expression6(rule: str) -> list[Json]:
    """The same for the rules of IPv6."""
    implied = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "ipv6-icmp"}}
    icmp = {"payload": {"protocol": "icmpv6", "field": "type"}}
    if rule.startswith("icmpv6"):
        types = {"set": ["nd-neighbor-solicit", "nd-neighbor-advert"]}
        target = {"payload": {"base": "th", "offset": 64, "len": 128}}
        key = rule.partition(" } ")[2].split(maxsplit=1)[0]
        pair = {"concat": [{"meta": {"key": key}}, target]}
        return [
            implied,
            {"match": {"op": "==", "left": icmp, "right": types}},
            {"match": {"op": "==", "left": pair, "right": "@own_targets"}},
            {"drop": None},
        ]
    key, elements = rule.split()[:2]
    port = {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": elements}}
    if "icmpv6" in rule:
        kind = {"match": {"op": "==", "left": icmp, "right": rule.split()[-2]}}
        return [port, implied, kind, {"drop": None}]
    ports = {"payload": {"protocol": "udp", "field": "dport"}}
    return [port, {"match": {"op": "==", "left": ports, "right": {"set": [546, 547]}}}, {"drop": None}]


def as_nft_json(name: str, wanted: Filter) -> str:
    """What `nft -j list table` says of a filter."""
    items: list[Json] = [{"metainfo": {}}, {"table": {"family": "bridge", "name": name}}]
    for set_name in TYPES:
        elements = sorted(getattr(wanted, set_name))
        shown = [{"concat": list(entry)} if isinstance(entry, tuple) else entry for entry in elements]
        if set_name == "own_targets":
            shown = [{"concat": [port, f"{int(IPv6Address(ip)):#x}"]} for port, ip in elements]
        items.append({"set": {"name": set_name, "table": name, "elem": shown}})
    for chain, (hook, priority) in HOOKS.items():
        items.append({"chain": {"name": chain, "hook": hook, "prio": priority, "policy": "accept"}})
        items += [{"rule": {"chain": chain, "expr": as_expression(rule)}} for rule in RULES[chain]]
    return json.dumps({"nftables": items})


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True), st.sampled_from(["eth1", "zvx-bbbbbbbb01"]))
def test_the_filter_is_known_again(numbers: list[int], uplink: str) -> None:
    networks = [network(number, uplink=uplink) for number in numbers]
    networks[0] |= SIX
    macs = {entry["uuid"]: namespace_mac("one", entry["uuid"]) for entry in networks}
    wanted = wanted_filter(networks, macs)
    assert parse_filter(as_nft_json(table_name(OURS), wanted)) == wanted
    assert wanted.covers(wanted_filter(networks[:1], macs))
    assert not wanted.covers(wanted_filter([network(99)], {network(99)["uuid"]: "02:00:00:00:00:01"}))
    text = render_filter(OURS, wanted)
    assert text.startswith(f"table bridge {table_name(OURS)} {{}}\ndelete table bridge {table_name(OURS)}\n")
    assert all(entry["dhcp_ip"] in text and macs[entry["uuid"]] in text for entry in networks)


def test_without_networks_the_table_goes() -> None:
    assert wanted_filter([], {}) == Filter() == parse_filter("")
    assert render_filter(OURS, Filter()).count("\n") == 2


def test_a_filter_that_lost_a_rule_is_not_the_wanted_one() -> None:
    wanted = wanted_filter([network()], {network()["uuid"]: "02:00:00:00:00:01"})
    shown = json.loads(as_nft_json("t", wanted))
    shown["nftables"].pop()
    assert parse_filter(json.dumps(shown)) != wanted
    assert not parse_filter(json.dumps(shown)).covers(wanted)


def test_what_differs_in_the_filter_is_told_of_the_network_that_it_concerns() -> None:
    first, second = network(1), network(2)
    macs = {entry["uuid"]: namespace_mac("one", entry["uuid"]) for entry in (first, second)}
    wanted = wanted_filter([first, second], macs)
    actual = wanted_filter([first], macs)
    assert own_differences(actual, first, macs[first["uuid"]]) == []
    fields = [entry["field"] for entry in own_differences(actual, second, macs[second["uuid"]])]
    assert fields == ["filter.own_addresses", "filter.own_senders"]
    assert [e["field"] for e in own_differences(Filter(), second, "")] == ["filter"]
    assert shared_differences(actual, wanted, Filter()) == []
    assert [e["desired"] for e in shared_differences(wanted, actual, Filter())] == [None, None]
    assert shared_differences(wanted, actual, wanted_filter([second], macs)) == []


def test_a_rule_that_was_edited_is_shown_as_it_is() -> None:
    wanted = wanted_filter([network()], {network()["uuid"]: "02:00:00:00:00:01"})
    shown = json.loads(as_nft_json("t", wanted))
    rules = [item["rule"] for item in shown["nftables"] if "rule" in item]
    rules[0]["expr"][-1] = {"accept": None}
    rules[1]["expr"].insert(1, {"counter": {"packets": 0}})
    (edited,) = shared_differences(parse_filter(json.dumps(shown)), wanted, Filter())
    assert edited["field"] == "filter.from_outside" and "dport { 67, 68 } accept" in edited["actual"]
    assert "counter" in edited["actual"] and "dport { 67, 68 } drop" in edited["desired"]
    assert rule_words([{"match": {"op": "!=", "left": {"meta": {"key": "mark"}}, "right": 5}}]) == "meta mark != 5"
