"""zctl net check against wires with each of the faults that it is for, made on the machine that plays the switch."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.cloud.test_vm import create
from tests.lab.cloud.zctl import Cloud
from zctl.lab import Lab
from zctl.lab.machine import links
from zctl.lab.power import inits

Json = dict[str, Any]
NAMESPACE, STRANGER = "zctl-test-dup", "02:99:00:00:00:01"
LEFT = "ip -br link | cut -d' ' -f1 | sort; ip netns list | cut -d' ' -f1; nft list ruleset; pgrep -x python3; true"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def look(cloud: Cloud, *words: str, code: int = 1) -> dict[str, Json]:
    """The verdicts by network."""
    answer = cloud.call("net", "check", "-o", "json", "--wait", "4", *words)
    assert answer.code == code, answer.out + answer.err
    return {entry["l2_network"]: entry for entry in json.loads(answer.out)["networks"]}


def lost(verdict: Json, word: str = "nothing") -> set[tuple[str, str]]:
    return {(entry["from"], entry["to"]) for entry in verdict["pairs"] if entry["arrives"] == word}


@pytest.fixture
def after(cloud: Cloud) -> Iterator[Callable[..., None]]:
    """What ends a fault."""
    ends: list[tuple[str, ...]] = []
    yield lambda *words: ends.append(words)
    for words in reversed(ends):
        subprocess.run(words, check=False, capture_output=True)


def test_all_is_well_and_nothing_is_left_behind(cloud: Cloud) -> None:
    """Six ways on each network, in the few seconds of one task; hosts are as they were."""
    before = [cloud.lab.ssh(host.name, LEFT) for host in cloud.lab.hosts]
    text = cloud.ok("net", "check")
    assert "l2-network wire (no-vlan, data0, MTU 1500): 6 of 6 ways are open" in text
    assert "l2-network tunnel (vxlan, MTU 1450): 6 of 6 ways are open" in text
    assert max(map(len, text.splitlines())) <= 80
    assert [cloud.lab.ssh(host.name, LEFT) for host in cloud.lab.hosts] == before
    only = look(cloud, "--l2-network", "wire", "--host", "h1", "--host", "h3", code=0)
    assert {(e["from"], e["to"]) for e in only["wire"]["pairs"]} == {("h1", "h3"), ("h3", "h1")}


def test_a_check_that_is_killed_leaves_nothing(cloud: Cloud, after: Callable[..., None]) -> None:
    isolate(cloud.lab, after, "h1", "h2")
    before = [cloud.lab.ssh(host.name, LEFT) for host in cloud.lab.hosts]
    process = cloud.start("net", "check", "--wait", "60", "--l2-network", "wire")
    deadline = time.monotonic() + 20
    while not cloud.lab.try_ssh("h1", "grep -l ^0003 /proc/net/packet; grep -c 0003 /proc/net/packet").stdout.strip(
        "0\n"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    process.kill()
    process.wait()
    for host in cloud.lab.hosts:
        cloud.lab.try_ssh(host.name, "kill -9 $(pgrep -x python3)")
    time.sleep(1)
    assert [cloud.lab.ssh(host.name, LEFT) for host in cloud.lab.hosts] == before


def isolate(lab: Lab, after: Callable[..., None], *hosts: str) -> None:
    """Ports that are isolated pass nothing to each other."""
    for name in hosts:
        port = lab.host(name).power.data_port
        subprocess.run(["bridge", "link", "set", "dev", port, "isolated", "on"], check=True)
        after("bridge", "link", "set", "dev", port, "isolated", "off")


def test_two_switch_ports_that_do_not_reach_each_other(cloud: Cloud, after: Callable[..., None]) -> None:
    isolate(cloud.lab, after, "h1", "h2")
    found = look(cloud)
    assert lost(found["wire"]) == {("h1", "h2"), ("h2", "h1")}
    assert [fault["text"] for fault in found["wire"]["faults"]] == ["h1 and h2: nothing passes in either direction"]
    assert found["tunnel"]["faults"] == []
    said = cloud.fails("net", "check", "--l2-network", "wire", "--wait", "2")
    assert "l2-network wire: not everything arrives" in said


def test_a_host_that_hears_nobody(cloud: Cloud, after: Callable[..., None]) -> None:
    """One way only: the switch passes nothing to its port, but everything from it."""
    port = cloud.lab.host("h3").power.data_port
    subprocess.run(["bridge", "link", "set", "dev", port, "bcast_flood", "off"], check=True)
    after("bridge", "link", "set", "dev", port, "bcast_flood", "on")
    found = look(cloud, "--l2-network", "wire")["wire"]
    assert lost(found) == {("h1", "h3"), ("h2", "h3")}
    assert [fault["text"] for fault in found["faults"]] == ["h3 hears nobody, though others hear it"]


def test_a_wire_whose_mtu_is_too_small_for_the_tunnel(cloud: Cloud, after: Callable[..., None]) -> None:
    port = cloud.lab.host("h3").power.management_port
    ip("link", "set", port, "mtu", "1400")
    after("ip", "link", "set", port, "mtu", "1500")
    found = look(cloud)
    assert lost(found["tunnel"], "small only") == {("h3", "h1"), ("h3", "h2")} or lost(
        found["tunnel"], "small only"
    ) == {("h1", "h3"), ("h2", "h3"), ("h3", "h1"), ("h3", "h2")}
    assert "for which the network below has to carry 1500" in found["tunnel"]["faults"][0]["text"]
    assert found["wire"]["faults"] == []


def test_addresses_that_somebody_else_has(no_vms: Cloud, after: Callable[..., None]) -> None:
    """A VM's, the DHCP service's and the gateway's are each answered by a stranger; the VM's own answer is none."""
    cloud = no_vms
    address = create(cloud, "web", "--host", "h2")
    assert look(cloud, "--l2-network", "wire", code=0)["wire"]["faults"] == []
    dhcp = cloud.show("l3-network", "flat")["dhcp_ip"]
    gateway = cloud.show("l3-network", "flat")["gateway"]
    ip("netns", "add", NAMESPACE)
    after("ip", "netns", "del", NAMESPACE)
    ip("link", "add", "zlabdup", "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
    ip("-n", NAMESPACE, "link", "set", "eth0", "address", STRANGER, "up")
    ip("link", "set", "zlabdup", "master", cloud.lab.plan.data_bridge, "up")
    for one in (address, dhcp, gateway):
        ip("-n", NAMESPACE, "address", "add", f"{one}/22", "dev", "eth0")
    texts = "\n".join(fault["text"] for fault in look(cloud, "--l2-network", "wire")["wire"]["faults"])
    assert f"{address}, the address of vm web, is answered by {STRANGER}" in texts
    assert f"{dhcp}, the DHCP address of flat, is answered by {STRANGER}" in texts
    gateways = next(line for line in texts.splitlines() if line.startswith(f"{gateway}, the gateway of flat"))
    assert STRANGER in gateways and links()[cloud.lab.plan.data_bridge]["address"] in gateways


def test_cables_that_were_exchanged(cloud: Cloud, after: Callable[..., None]) -> None:
    """On h1 the cables of two NICs are in each other's switch."""
    lab, switch = cloud.lab, "zlabtest"
    ip("link", "add", switch, "type", "bridge")
    after("ip", "link", "del", switch)
    ip("link", "set", switch, "up")
    for host in lab.hosts:
        port = f"zlabt{host.number}"
        ip("link", "add", port, "type", "veth", "peer", "name", "data1", "netns", str(inits(host.power)[0]))
        after("ip", "link", "del", port)
        ip("link", "set", port, "master", switch, "up")
    cloud.ok("l2-network", "create", "second", "--zone", "z1", "--physical-interface", "data1")
    try:
        assert look(cloud, "--l2-network", "second", code=0)["second"]["faults"] == []
        ip("link", "set", lab.host("h1").power.data_port, "master", switch)
        after("ip", "link", "set", lab.host("h1").power.data_port, "master", lab.plan.data_bridge)
        ip("link", "set", "zlabt1", "master", lab.plan.data_bridge)
        found = look(cloud, "--l2-network", "wire", "--l2-network", "second")
        strangers = [fault["text"] for fault in found["wire"]["faults"] if fault["kind"] == "stranger"]
        assert "h1 hears probes of l2-network second from h2 on wire: both are on one wire" in strangers
        assert {("h1", "h2"), ("h2", "h1")} <= lost(found["wire"])
    finally:
        cloud.ok("l2-network", "delete", "second", "--yes")


def test_a_host_that_is_away_is_named_and_the_others_are_checked(cloud: Cloud) -> None:
    cloud.lab.kill("h3")
    try:
        found = look(cloud, "--l2-network", "wire")["wire"]
        assert {("h1", "h2"), ("h2", "h1")} == {(e["from"], e["to"]) for e in found["pairs"]}
        assert [fault["kind"] for fault in found["faults"]] == ["host"]
        assert found["faults"][0]["text"].startswith("h3 took no part: ")
    finally:
        Lab.up(cloud.lab.name, 3)
