"""Public addresses in the inventory, with hosts played by a function."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.conftest import Zctl

WORDS = ("--image", "tiny", "--instance-offering", "small")


@pytest.fixture
def public(cloud: Zctl) -> Zctl:
    """A public network beside `lan`, and the VMs web-1 and web-2 on h1, on a network whose gateway the hosts are."""
    cloud.ok("l2-network", "create", "outer", "--zone", "z1", "--physical-interface", "eth9")
    cloud.ok(
        *("l3-network", "create", "internet", "--l2-network", "outer", "--cidr", "198.51.100.0/24", "--public"),
        *("--gateway", "198.51.100.1", "--range", "198.51.100.10-198.51.100.20"),
    )
    cloud.ok("l2-network", "create", "tunnel", "--zone", "z1", "--kind", "vxlan")
    cloud.ok(
        *("l3-network", "create", "private", "--l2-network", "tunnel", "--cidr", "10.7.0.0/24"),
        *("--gateway", "10.7.0.1", "--gateway-on", "hosts", "--range", "10.7.0.10-10.7.0.50"),
    )
    for name in ("web-1", "web-2"):
        cloud.ok("vm", "create", name, *WORDS, "--network", "private", "--host", "h1")
    cloud.hosts.runs.clear()
    return cloud


def routers(cloud: Zctl) -> list[dict[str, Any]]:
    """What the last run said of public addresses."""
    found: list[dict[str, Any]] = cloud.hosts.runs[-1].state["eip"]["routers"]
    return found


def test_an_eip_comes_moves_and_goes(public: Zctl) -> None:
    """Address, card, host: each change contacts just the hosts concerned, with what they need to know."""
    public.ok("eip", "create", "front", "--network", "internet", "--vm", "web-1")
    (row,) = public.rows("eip")
    assert (row["ip"], row["nic"]) == ("198.51.100.10", "web-1-nic0")
    (router,) = routers(public)
    (eip,) = router["eips"]
    assert (eip["ip"], eip["private_ip"], router["gateway_here"]) == ("198.51.100.10", "10.7.0.10", True)
    assert [run.steps for run in public.hosts.runs] == [("metadata", "eip", "rows")]
    told = {nic["name"]: nic["public_ipv4"] for nic in public.hosts.runs[-1].state["metadata"]["nics"]}
    assert told == {"web-1": "198.51.100.10"}
    public.ok("eip", "update", "front", "--nic", "web-2-nic0")
    assert routers(public)[0]["eips"][0]["private_ip"] == "10.7.0.11"
    told = {nic["name"]: nic["public_ipv4"] for nic in public.hosts.runs[-1].state["metadata"]["nics"]}
    assert told == {"web-1": None, "web-2": "198.51.100.10"}, "who loses it is told too"
    public.ok("eip", "detach", "front")
    assert routers(public) == [] and public.rows("eip")[0]["nic"] is None
    assert [nic["public_ipv4"] for nic in public.hosts.runs[-1].state["metadata"]["nics"]] == [None]
    public.ok("eip", "attach", "front", "--vm", "web-2")
    public.ok("vm", "stop", "web-2")
    assert "eip" in public.hosts.runs[-1].steps and routers(public) == []
    public.ok("vm", "start", "web-2")
    assert [entry["ip"] for entry in routers(public)[0]["eips"]] == ["198.51.100.10"]
    public.ok("eip", "delete", "front", "--yes")
    assert routers(public) == [] and public.rows("vip") == []


def apart_from_the_public_one(public: Zctl) -> None:
    """A VM whose network has the public one's addresses could not be told from its neighbours there."""
    public.ok("l2-network", "create", "twin", "--zone", "z1", "--kind", "vxlan")
    same = ("--cidr", "198.51.100.0/24", "--gateway", "198.51.100.1", "--range", "198.51.100.50-198.51.100.60")
    public.ok("l3-network", "create", "twin", "--l2-network", "twin", *same, "--gateway-on", "hosts")
    public.ok("nic", "create", "other", "--vm", "web-2", "--l3-network", "twin")
    said = public.fails("eip", "create", "e2", "--network", "internet", "--nic", "other")
    assert "l3-network twin (198.51.100.0/24) and l3-network internet (198.51.100.0/24) have the same" in said
    said = public.fails("nat-gateway", "create", "way", "--l3-network", "twin", "--network", "internet")
    assert "have the same addresses" in said
    public.ok("nic", "delete", "other", "--yes")


def test_what_an_eip_cannot_be(public: Zctl) -> None:
    """Each refusal names what is in the way."""
    public.ok("vip", "create", "v1", "--l3-network", "internet", "--ip", "198.51.100.15")
    assert "198.51.100.15 belongs to vip v1" in public.fails(
        "vip", "create", "v2", "--l3-network", "internet", "--ip", "198.51.100.15"
    )
    assert "not public" in public.fails("vip", "create", "v2", "--l3-network", "private")
    public.ok("eip", "create", "e1", "--vip", "v1", "--vm", "web-1")
    assert "web-1-nic0 has eip e1 already" in public.fails(
        "eip", "create", "e2", "--network", "internet", "--vm", "web-1"
    )
    assert [row["name"] for row in public.rows("vip")] == ["v1"]
    assert "in use by eip e1" in public.fails("vip", "delete", "v1", "--yes")
    assert "give --vip, or --network" in public.fails("eip", "create", "e2", code=2)
    apart_from_the_public_one(public)
    public.ok("vm", "delete", "web-1", "--yes")
    assert public.rows("eip")[0]["nic"] is None
    public.ok("eip", "delete", "e1", "--yes")
    assert [row["name"] for row in public.rows("vip")] == ["v1"]


def test_the_way_out(public: Zctl) -> None:
    """A nat-gateway is on one host, the others lead there; it moves with all that comes in by it."""
    public.ok("vm", "create", "far", *WORDS, "--network", "private", "--host", "h2")
    public.hosts.runs.clear()
    public.ok("nat-gateway", "create", "way", "--l3-network", "private", "--network", "internet", "--host", "h1")
    states = {run.connection.name: run.state["eip"]["routers"][0] for run in public.hosts.runs}
    assert states["h1"]["snats"][0]["ip"] == "198.51.100.10" and not states["h1"]["exits"]
    assert states["h2"]["exits"][0]["mac"] == states["h1"]["mac"] and not states["h2"]["snats"]
    assert set(states["h1"]["neighbours"]) == {"10.7.0.10", "10.7.0.11", "10.7.0.12"}
    public.ok("port-forwarding", "create", "ssh", "--vip", "way", "--ports", "2222", "--nic", "far-nic0", *PRIVATE)
    (rule,) = routers(public)[0]["forwards"]
    assert (rule["ip"], rule["start"], rule["private_ip"], rule["private_start"]) == (
        *("198.51.100.10", 2222),
        *("10.7.0.12", 22),
    )
    public.hosts.runs.clear()
    public.ok("nat-gateway", "update", "way", "--host", "h2")
    states = {run.connection.name: run.state["eip"]["routers"][0] for run in public.hosts.runs}
    assert states["h2"]["forwards"] and states["h2"]["snats"] and states["h1"]["exits"] and not states["h1"]["forwards"]
    public.hosts.runs.clear()
    public.ok("vm", "create", "near", *WORDS, "--network", "private", "--host", "h1")
    assert {run.connection.name for run in public.hosts.runs} == {"h1", "h2"}, "the way out has to know the new card"


PRIVATE = ("--private-port", "22")
REFUSED = [
    (("port-forwarding", "create", "x", "--vip", "v", "--ports", "80", "--nic", "web-2-nic0"), "has no nat-gateway"),
    (("nat-gateway", "create", "x", "--l3-network", "lan", "--network", "internet"), "is a router"),
    (("nat-gateway", "create", "x", "--l3-network", "private"), "give --vip, or --network"),
    (("eip", "create", "x", "--vip", "nope", "--vm", "web-1"), "vip nope: does not exist"),
]
REFUSED_WITH_A_WAY = [
    (("nat-gateway", "create", "x", "--l3-network", "private", "--network", "internet"), "has nat-gateway way already"),
    (
        ("port-forwarding", "create", "x", "--vip", "way", "--ports", "90-80", "--nic", "web-2-nic0"),
        "no range of ports",
    ),
    (("port-forwarding", "create", "x", "--vip", "way", "--ports", "http", "--nic", "web-2-nic0"), "ports"),
    (
        ("port-forwarding", "create", "x", "--vip", "way", "--ports", "70000", "--nic", "web-2-nic0"),
        "no range of ports",
    ),
    (("port-forwarding", "create", "x", "--vip", "way", "--ports", "85", "--nic", "web-2-nic0"), "rule has tcp 80-89"),
    (
        ("port-forwarding", "create", "x", "--vip", "way", "--ports", "1-9", "--nic", "web-2-nic0", *PRIVATE),
        "leads to the same ports",
    ),
    (("port-forwarding", "create", "x", "--vip", "way", "--ports", "9", "--nic", "web-1-nic0"), "has eip e1"),
    (("port-forwarding", "create", "x", "--vip", "e1", "--ports", "9", "--nic", "web-2-nic0"), "the address of eip e1"),
    (
        ("port-forwarding", "update", "rule", "--allowed-cidr", "10.0.0.1/8"),
        "'10.0.0.1/8' is not a CIDR",
    ),
    (("vip", "delete", "way", "--yes"), "in use by"),
    (("eip", "create", "x", "--network", "internet", "--vm", "web-2"), "port-forwarding rule leads to nic web-2-nic0"),
    (("eip", "create", "x", "--vip", "way", "--vm", "web-2"), "vip way is the address of nat-gateway way"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_refusals(public: Zctl, words: tuple[str, ...], said: str) -> None:
    """What cannot be, in words, and nothing of it stays."""
    public.ok("vip", "create", "v", "--l3-network", "internet")
    before = public.dump()
    answer = public.call(*words)
    assert answer.exit_code and said in answer.stderr, answer.stderr
    assert public.dump() == before


def test_refusals_with_a_way(public: Zctl) -> None:
    """The same where there is a nat-gateway and a rule."""
    public.ok("nat-gateway", "create", "way", "--l3-network", "private", "--network", "internet")
    public.ok("eip", "create", "e1", "--network", "internet", "--vm", "web-1")
    public.ok("port-forwarding", "create", "rule", "--vip", "way", "--ports", "80-89", "--nic", "web-2-nic0")
    for words, said in REFUSED_WITH_A_WAY:
        before = public.dump()
        answer = public.call(*words)
        assert answer.exit_code and said in answer.stderr, (words, answer.stderr)
        assert public.dump() == before, words
