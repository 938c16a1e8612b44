"""Bridges, tunnels and NICs: what is planned brings any host there, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zctl_network_guests import read_guests
from zctl_network_plan import Facts, Impossible, mark_of, plan_removal, routes_of, strays
from zctl_network_tunnel import plan_network

from tests.unit.ip_machine import IpMachine

Json = dict[str, Any]
OURS, OTHERS = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"


def nic(name: str, *addresses: str, **more: Any) -> Json:
    info = []
    for text in addresses:
        local, _, length = text.partition("/")
        family = "inet6" if ":" in local else "inet"
        info.append({"family": family, "local": local, "prefixlen": int(length), "scope": "global"})
    mac = f"52:54:00:00:00:{sum(name.encode()) % 256:02x}"
    return {"ifname": name, "flags": ["UP"], "mtu": 1500, "address": mac, "addr_info": info, **more}


def host(*links: Json, routes: tuple[Json, ...] = ()) -> Facts:
    return Facts({link["ifname"]: link for link in links}, list(routes))


def flat(interface: str = "eth1", number: int = 1, **more: Any) -> Json:
    entry = {"uuid": f"aaaaaaaa-0000-4000-8000-{number:012d}", "name": f"flat-{number}", "kind": "no-vlan"}
    return {**entry, "bridge": f"zbr-aaaaaaaa{number:02d}", "interface": interface, "mtu": None, "device": None, **more}


def tunnel(number: int = 1, **more: Any) -> Json:
    entry = {"uuid": f"bbbbbbbb-0000-4000-8000-{number:012d}", "name": f"tun-{number}", "kind": "vxlan"}
    names = {"bridge": f"zbr-bbbbbbbb{number:02d}", "device": f"zvx-bbbbbbbb{number:02d}"}
    return {**entry, **names, "interface": None, "vni": number, "group": f"239.192.0.{number}", "mtu": None, **more}


def unicast(number: int = 1, peers: list[str] | None = None, **more: Any) -> Json:
    return tunnel(number, **{"group": None, "peers": peers or [], **more})


def vlan(number: int = 1, interface: str = "eth1", identity: int = 5, **more: Any) -> Json:
    entry = {"uuid": f"cccccccc-0000-4000-8000-{number:012d}", "name": f"vlan-{number}", "kind": "vlan", "mtu": None}
    names = {"bridge": f"zbr-cccccccc{number:02d}", "device": f"zvl-cccccccc{number:02d}"}
    return {**entry, **names, "interface": interface, "vlan": identity, **more}


DEFAULT: Json = {"dst": "default", "gateway": "198.18.0.1", "dev": "eth0", "protocol": "static", "flags": []}
ETH0 = nic("eth0", "198.18.0.11/24")
ETH1 = nic("eth1")


def bring(machine: IpMachine, network: Json, management: str | None = None, stored: Json | None = None) -> Json:
    """Plan, carry out, and check that nothing is left to do; returns what would be written down."""
    steps = plan_network(network, machine.facts, OURS, management, stored)
    machine.run(steps.lines)
    machine.bridge(steps.fdb)
    assert bool(steps.lines or steps.fdb) == bool(steps.differences), (
        "whatever is done mends a difference, and the other way round"
    )
    record = {**network, "inventory": OURS, "taken": steps.taken or (stored or {}).get("taken")}
    again = plan_network(network, machine.facts, OURS, management, record)
    assert (again.lines, again.fdb) == ([], [])
    return record


def test_a_nic_without_addresses_just_becomes_a_port() -> None:
    machine = IpMachine(host(ETH0, ETH1, routes=(DEFAULT,)))
    record = bring(machine, flat())
    assert machine.links["eth1"]["master"] == "zbr-aaaaaaaa01"
    assert machine.links["zbr-aaaaaaaa01"]["addrgenmode"] == "none"
    assert record["taken"] is None
    assert machine.links["eth0"] == ETH0 and machine.routes == [DEFAULT]


def test_the_nic_under_the_connection_gives_everything_to_the_bridge() -> None:
    other = {"dst": "10.9.0.0/16", "gateway": "198.18.0.2", "dev": "eth0", "table": "77", "flags": []}
    machine = IpMachine(host(ETH0, routes=(DEFAULT, other)))
    record = bring(machine, flat("eth0"))
    bridge = machine.links["zbr-aaaaaaaa01"]
    assert bridge["address"] == ETH0["address"]
    assert [entry["local"] for entry in bridge["addr_info"]] == ["198.18.0.11"]
    assert machine.links["eth0"]["addr_info"] == []
    assert {(r["dst"], r["dev"], r.get("table")) for r in machine.routes} == {
        ("default", "zbr-aaaaaaaa01", None),
        ("10.9.0.0/16", "zbr-aaaaaaaa01", "77"),
    }
    machine.run(plan_removal(record, machine.facts, OURS).lines)
    assert "zbr-aaaaaaaa01" not in machine.links
    assert [entry["local"] for entry in machine.links["eth0"]["addr_info"]] == ["198.18.0.11"]
    assert {(r["dst"], r["dev"]) for r in machine.routes} == {("default", "eth0"), ("10.9.0.0/16", "eth0")}


def test_after_a_reboot_what_the_nic_has_now_counts() -> None:
    """The address was changed in the host's own files while the network was there."""
    machine = IpMachine(host(ETH0, routes=(DEFAULT,)))
    record = bring(machine, flat("eth0"))
    machine = IpMachine(host(nic("eth0", "198.18.0.99/24"), routes=(DEFAULT,)))
    bring(machine, flat("eth0"), stored=record)
    assert [entry["local"] for entry in machine.links["zbr-aaaaaaaa01"]["addr_info"]] == ["198.18.0.99"]


def test_after_a_reboot_that_left_the_nic_bare_what_was_written_down_counts() -> None:
    """networkd leaves a taken NIC alone, so nobody has given it its address."""
    machine = IpMachine(host(ETH0, routes=(DEFAULT,)))
    record = bring(machine, flat("eth0"))
    machine = IpMachine(host(nic("eth0")))
    bring(machine, flat("eth0"), stored=record)
    assert [entry["local"] for entry in machine.links["zbr-aaaaaaaa01"]["addr_info"]] == ["198.18.0.11"]
    assert [(r["dst"], r["gateway"]) for r in machine.routes] == [("default", "198.18.0.1")]


def test_another_nic_takes_the_place_of_the_first() -> None:
    machine = IpMachine(host(ETH0, ETH1, nic("eth2"), routes=(DEFAULT,)))
    record = bring(machine, flat("eth1"))
    bring(machine, flat("eth2"), stored=record)
    assert "master" not in machine.links["eth1"]
    assert machine.links["eth2"]["master"] == "zbr-aaaaaaaa01"


def test_a_tunnel_follows_its_nic_into_the_bridge() -> None:
    machine = IpMachine(host(ETH0, routes=(DEFAULT,)))
    record = bring(machine, tunnel(), "198.18.0.11")
    assert machine.links["zvx-bbbbbbbb01"]["linkinfo"]["info_data"]["link"] == "eth0"
    assert machine.links["zvx-bbbbbbbb01"]["mtu"] == 1450
    bring(machine, flat("eth0"))
    bring(machine, tunnel(), "198.18.0.11", record)
    assert machine.links["zvx-bbbbbbbb01"]["linkinfo"]["info_data"]["link"] == "zbr-aaaaaaaa01"


def test_mtu_as_given() -> None:
    machine = IpMachine(host(ETH0, ETH1, routes=(DEFAULT,)))
    bring(machine, tunnel(mtu=1300), "198.18.0.11")
    bring(machine, flat(mtu=9000))
    assert (machine.links["zvx-bbbbbbbb01"]["mtu"], machine.links["eth1"]["mtu"]) == (1300, 9000)


BRIDGE = {"ifname": "br0", "flags": ["UP"], "mtu": 1500, "addr_info": [], "linkinfo": {"info_kind": "bridge"}}
LEASED = nic("eth1", "192.0.2.7/24")
LEASED["addr_info"][0]["dynamic"] = True
WAYS = {"dst": "10.0.0.0/8", "flags": [], "nexthops": [{"dev": "eth0", "gateway": "198.18.0.1"}, {"dev": "eth1"}]}


@pytest.mark.parametrize(
    ("network", "facts", "words"),
    [
        (flat("eth7"), host(ETH0, ETH1), "no NIC eth7 on this host (there are: eth0, eth1)"),
        (flat("lo"), host(nic("lo"), ETH1), "no NIC lo"),
        (flat(), host({**ETH1, "master": "br0"}, BRIDGE), "a port of br0, which is not zctl's"),
        (flat(), host({**ETH1, "master": "zbr-x"}), "a port of zbr-x, of another network of zctl"),
        (flat("br0"), host(BRIDGE), "br0 is a bridge"),
        (flat(), host(LEASED), "192.0.2.7 from DHCP"),
        (flat("eth0"), host(ETH0, routes=(WAYS,)), "several ways"),
        (flat(), host(ETH1, {**BRIDGE, "ifname": "zbr-aaaaaaaa01"}), "zbr-aaaaaaaa01 that is not zctl's"),
        (tunnel(interface="eth7"), host(ETH0), "no NIC eth7"),
        (tunnel(interface="eth1"), host(ETH0, ETH1), "eth1 has no IPv4 address"),
        (tunnel(), host(ETH1), "no NIC has the default route"),
    ],
)
def test_what_cannot_be_is_said(network: Json, facts: Facts, words: str) -> None:
    with pytest.raises(Impossible) as caught:
        plan_network(network, facts, OURS, None, None)
    assert words in str(caught.value)


def test_a_network_with_vms_on_it_stays() -> None:
    machine = IpMachine(host(ETH0, ETH1))
    record = bring(machine, flat())
    machine.links["zt-0000000001"] = nic("zt-0000000001", master="zbr-aaaaaaaa01")
    with pytest.raises(Impossible, match="VMs are still plugged into zbr-aaaaaaaa01"):
        plan_removal(record, machine.facts, OURS)


def test_a_bridge_of_another_inventory_is_not_removed() -> None:
    machine = IpMachine(host(ETH0, ETH1))
    record = bring(machine, flat())
    with pytest.raises(Impossible, match="not zctl's any more"):
        plan_removal({**record, "inventory": OTHERS}, machine.facts, OTHERS)


def test_what_a_killed_call_left_is_found() -> None:
    machine = IpMachine(host(ETH0, ETH1, BRIDGE, routes=(DEFAULT,)))
    bring(machine, tunnel(), "198.18.0.11")
    found = strays(machine.facts, OURS, set())
    assert [(entry["kind"], entry["bridge"], entry["device"]) for entry in found] == [
        ("vxlan", "zbr-bbbbbbbb01", "zvx-bbbbbbbb01")
    ]
    assert strays(machine.facts, OTHERS, set()) == []
    assert strays(machine.facts, OURS, {tunnel()["uuid"]}) == []
    machine.run(plan_removal(found[0], machine.facts, OURS).lines)
    assert set(machine.links) == {"eth0", "eth1", "br0"}


def test_routes_through_gateways_come_last() -> None:
    near = {"dst": "198.18.9.0/24", "dev": "eth0", "scope": "link", "protocol": "static", "flags": []}
    kernel = {"dst": "198.18.0.0/24", "dev": "eth0", "protocol": "kernel", "flags": []}
    shortcut = {**DEFAULT, "dst": "::/0", "gateway": "fe80::1", "metric": 1024, "flags": ["onlink"]}
    assert routes_of([DEFAULT, shortcut, kernel, near], "eth0") == [
        "198.18.9.0/24",
        "default via 198.18.0.1",
        "::/0 via fe80::1 metric 1024 onlink",
    ]


# --- any host, any networks -------------------------------------------------------------------------------------------
NICS = ("eth0", "eth1", "eth2")
octets = st.integers(1, 250)


@st.composite
def hosts(draw: st.DrawFn) -> Facts:
    """NICs with and without addresses and routes, some of them ports of somebody's bridge."""
    links = [BRIDGE]
    routes = []
    for number, name in enumerate(NICS):
        addresses = draw(st.lists(octets, max_size=3, unique=True))
        owned = draw(st.booleans()) and not addresses and number
        link = nic(name, *(f"198.18.{number}.{octet}/24" for octet in addresses))
        links.append({**link, "master": "br0"} if owned else {**link, "flags": draw(st.sampled_from([[], ["UP"]]))})
        if addresses and draw(st.booleans()):
            links[-1]["flags"] = ["UP"]
            target = draw(st.sampled_from(["default", "10.1.0.0/16"]))
            gateway = f"198.18.{number}.254"
            routes.append({"dst": target, "gateway": gateway, "dev": name, "metric": number + 1, "flags": []})
    return host(*links, routes=tuple(routes))


networks = st.lists(
    st.one_of(
        st.builds(flat, st.sampled_from(NICS), st.integers(1, 3), mtu=st.sampled_from([None, 1400])),
        st.builds(tunnel, st.integers(1, 3), interface=st.sampled_from([None, *NICS])),
        st.builds(unicast, st.integers(1, 3), st.lists(st.sampled_from(["198.18.0.12", "198.18.0.13"]), unique=True)),
        st.builds(vlan, st.integers(1, 3), st.sampled_from(NICS), st.sampled_from([5, 6])),
    ),
    max_size=4,
    unique_by=lambda network: network["uuid"],
)


def owned_addresses(machine: IpMachine) -> set[str]:
    return {entry["local"] for link in machine.links.values() for entry in link["addr_info"]}


@given(hosts(), networks)
def test_any_host_gets_there_and_back(facts: Facts, wanted: list[Json]) -> None:
    """What can be made is there after one pass; no address is ever lost; taking all away leaves the host as it was."""
    machine = IpMachine(facts)
    before = owned_addresses(machine)
    records = []
    for network in sorted(wanted, key=lambda entry: ("no-vlan", "vlan", "vxlan").index(entry["kind"])):
        try:
            records.append(bring(machine, network))
        except Impossible:
            continue
        assert owned_addresses(machine) == before
    assert machine.links["br0"] == BRIDGE
    for link in machine.links.values():
        if link.get("ifalias"):
            assert link["ifalias"] in {mark_of(OURS, record) for record in records}
    for record in reversed(records):
        machine.run(plan_removal(record, machine.facts, OURS).lines)
    assert set(machine.links) == set(facts.links)
    for name, link in facts.links.items():
        now = machine.links[name]
        assert sorted(e["local"] for e in now["addr_info"]) == sorted(e["local"] for e in link["addr_info"])
        assert now.get("master") == link.get("master")

    def key(route: Json) -> tuple[Any, ...]:
        return route["dst"], route["dev"], route.get("gateway"), route.get("metric")

    assert sorted(map(key, machine.routes)) == sorted(map(key, facts.routes))


def fields(machine: IpMachine, network: Json, guests: dict[str, str] | None = None) -> dict[str, Any]:
    """What is not as wanted, and that the steps for it mend it."""
    facts = Facts(machine.facts.links, machine.facts.routes, guests or {})
    steps = plan_network(network, facts, OURS, "198.18.0.11", None)
    machine.run(steps.lines)
    assert plan_network(network, machine.facts, OURS, "198.18.0.11", None).differences == []
    return {entry["field"]: (entry["actual"], entry["desired"]) for entry in steps.differences}


def test_each_field_of_a_tunnel_that_is_not_as_wanted_is_named() -> None:
    machine = IpMachine(host(ETH0))
    network = tunnel()
    assert fields(machine, network) == {"bridge": (None, "zbr-bbbbbbbb01"), "tunnel": (None, "zvx-bbbbbbbb01")}
    bridge, device = (machine.links[network[key]] for key in ("bridge", "device"))
    bridge.update(flags=[], mtu=1300, mtu_by_hand=True)
    bridge["linkinfo"]["info_data"] = {"stp_state": 1, "forward_delay": 200}
    assert fields(machine, network) == {
        "bridge.stp_state": (1, 0),
        "bridge.forward_delay": (200, 0),
        "bridge.mtu": (1300, 1450),
        "bridge.state": ("down", "up"),
    }
    device["linkinfo"]["info_data"].update(id=99, group="239.9.9.9")
    assert fields(machine, network) == {"tunnel.vni": (99, 1), "tunnel.group": ("239.9.9.9", "239.192.0.1")}
    machine.links["zvx-bbbbbbbb01"].pop("master")
    assert fields(machine, network) == {"tunnel.bridge": (None, "zbr-bbbbbbbb01")}


def test_vms_get_their_network_back() -> None:
    machine = IpMachine(host(ETH0, nic("zt-1", mtu=1400), nic("zt-2"), nic("zt-3", mtu=1400)))
    network = tunnel()
    fields(machine, network)
    machine.links["zt-3"].update(master="zbr-bbbbbbbb01", flags=[])
    machine.links["zt-1"]["flags"] = []
    assert Facts(machine.links).lost_guests() == ["zt-1", "zt-2"]
    found = fields(machine, network, {"zt-1": "zbr-bbbbbbbb01", "zt-2": "zbr-other"})
    assert found == {
        "guest zt-1": (None, "zbr-bbbbbbbb01"),
        "guest zt-1.state": ("down", "up"),
        "guest zt-3.state": ("down", "up"),
    }


def test_where_a_port_belongs_is_read_of_libvirt(tmp_path: Path) -> None:
    (tmp_path / "web.xml").write_text(
        "<domstatus><domain><devices><interface type='bridge'><source bridge='zbr-1'/><target dev='zt-1'/></interface>"
        "<interface type='user'/></devices></domain></domstatus>"
    )
    (tmp_path / "half.xml").write_text("<domstatus>")
    assert read_guests(["zt-1", "zt-9"], tmp_path) == {"zt-1": "zbr-1"}
    assert read_guests([], tmp_path) == {}
