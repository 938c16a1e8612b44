"""Load balancers in the inventory, with hosts played by a function."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.conftest import Zctl
from zctl.actions import net_facts
from zctl.run.values import HostResult, HostRun, Result

WORDS = ("--image", "tiny", "--instance-offering", "small")


@pytest.fixture
def public(cloud: Zctl) -> Zctl:
    """A public network; a private one with a way out on h2; the VMs web-1 and web-2 on h1."""
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
    cloud.ok("nat-gateway", "create", "way", "--l3-network", "private", "--network", "internet", "--host", "h2")
    cloud.hosts.runs.clear()
    return cloud


def balancers(cloud: Zctl) -> dict[str, list[dict[str, Any]]]:
    """What the last runs said of load balancers, by host."""
    return {
        run.connection.name: [entry for router in run.state["eip"]["routers"] for entry in router["balancers"]]
        for run in cloud.hosts.runs
    }


CREATE = ("load-balancer", "create")
WEB = ("--l3-network", "private", "--port", "80", "--target", "web-1-nic0:8080", "--target", "web-2-nic0")


def test_it_lives_where_the_way_out_is(public: Zctl) -> None:
    """Only that host hears of it, first with the package; others of the network share the address to the targets."""
    public.ok(
        *CREATE, "web", "--network", "internet", *WEB, "--allowed-cidr", "192.0.2.0/24", "--allowed-cidr", "9.9.9.9"
    )
    (row,) = public.rows("load-balancer")
    assert (row["ip"], row["targets"]) == ("198.51.100.11", "web-1-nic0:8080 web-2-nic0:80")
    (entry,) = balancers(public)["h2"]
    assert list(balancers(public)) == ["h2"] and public.hosts.runs[0].steps == ("kvm_host", "eip", "rows")
    assert public.hosts.runs[0].state["kvm_host"]["balancers"]
    assert (entry["ip"], entry["port"], entry["source"]) == ("198.51.100.11", 80, "10.7.0.12")
    assert [(t["ip"], t["port"]) for t in entry["targets"]] == [("10.7.0.10", 8080), ("10.7.0.11", 80)]
    assert entry["allowed"] == ["192.0.2.0/24", "9.9.9.9/32"]
    public.hosts.runs.clear()
    public.ok(*CREATE, "tls", "--vip", "web", "--l3-network", "private", "--port", "443", "--target", "web-1-nic0")
    assert public.hosts.runs[0].steps == ("eip", "rows"), "the package is there"
    assert {row["source_ip"] for row in public.rows("load-balancer")} == {"10.7.0.12"}
    assert "10.7.0.12 belongs to load-balancer" in public.fails(
        "nic", "create", "--vm", "web-1", "--l3-network", "private", "--ip", "10.7.0.12"
    )
    public.hosts.runs.clear()
    public.ok("nat-gateway", "update", "way", "--host", "h1")
    found = balancers(public)
    assert len(found["h1"]) == 2 and not found["h2"]
    assert "in use by load-balancer tls" in public.fails("load-balancer", "delete", "web", "--yes")
    assert "kvm_host" in next(run for run in public.hosts.runs if run.connection.name == "h1").steps
    public.ok("load-balancer", "delete", "web", "tls", "--yes")
    assert public.rows("vip", "name=web") == []


def test_targets_come_and_go(public: Zctl) -> None:
    """An update says all of them; a deleted VM is none any more; what holds already contacts nobody."""
    public.ok(*CREATE, "web", "--network", "internet", *WEB)
    public.hosts.runs.clear()
    public.ok("load-balancer", "update", "web", "--target", "web-2-nic0:80")
    assert [t["name"] for t in balancers(public)["h2"][0]["targets"]] == ["web-2-nic0"]
    public.hosts.runs.clear()
    public.ok("load-balancer", "update", "web", "--target", "web-2-nic0")
    assert not public.hosts.runs
    public.ok("load-balancer", "update", "web", "--algorithm", "least_connections", "--idle-timeout", "60")
    assert balancers(public)["h2"][0]["algorithm"] == "least_connections"
    public.ok("vm", "delete", "web-2", "--yes")
    assert balancers(public)["h2"][0]["targets"] == []
    public.ok("load-balancer", "update", "web", "--target", "")
    public.ok("load-balancer", "delete", "web", "--yes")
    assert balancers(public)["h2"] == []
    assert public.rows("vip", "name=web") == [] and public.rows("load-balancer-target") == []


def test_it_goes_with_its_network(public: Zctl) -> None:
    """Also when it shares the address of the way out, which goes too."""
    public.ok(*CREATE, "web", "--vip", "way", *WEB)
    public.ok("vm", "delete", "web-1", "web-2", "--yes")
    assert "load-balancer web" in public.fails("l3-network", "delete", "private", "--yes")
    public.ok("l3-network", "delete", "private", "--yes", "--cascade")
    assert public.rows("load-balancer") == [] and public.rows("vip") == []


def test_health(public: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """States by target as the host tells them; what it does not have is UNKNOWN; a host that fails is named."""
    public.ok(*CREATE, "web", "--network", "internet", *WEB)
    key = public.rows("load-balancer")[0]["uuid"]
    told = {"state": "DOWN", "check": "L4TOUT", "since": 5, "connections": 0}
    answers: list[dict[str, Any]] = [
        {"problem": "", "balancers": {key: {"10.7.0.10:8080": told}}},
        {"problem": "haproxy does not answer: zctl converge", "balancers": {}},
    ]

    def execute(runs: list[HostRun], _settings: Any, _watch: Any) -> dict[str, HostResult]:
        (run,) = runs
        (ask,) = run.state["net_facts"]
        assert run.connection.name == "h2" and ask["what"] == "health"
        found = Result(ask["uuid"], "net-facts", "health", "unchanged", "", answers.pop(0))
        return {run.connection.uuid: HostResult("h2", [found])}

    monkeypatch.setattr(net_facts, "require_ansible", lambda: None)
    monkeypatch.setattr(net_facts, "execute", execute)
    lines = [line.split() for line in public.ok("load-balancer", "health", "web").splitlines()]
    assert lines[0] == ["TARGET", "IP", "STATE", "CHECK", "SECONDS", "CONNECTIONS"]
    assert lines[1] == ["web-1-nic0:8080", "10.7.0.10", "DOWN", "L4TOUT", "5", "0"]
    assert lines[2][:3] == ["web-2-nic0:80", "10.7.0.11", "UNKNOWN"]
    said = public.fails("load-balancer", "health", "web")
    assert "load-balancer web on host h2: haproxy does not answer" in said and "zctl converge --host h2" in said


def test_manifests_hold_targets(public: Zctl) -> None:
    """What is exported is what holds, and makes the same again."""
    public.ok(*CREATE, "web", "--network", "internet", *WEB)
    text = public.ok("export", "--kind", "LoadBalancer", "--kind", "Vip")
    assert "web-1-nic0:8080" in text
    public.ok("plan", "-f", "-", "--detailed-exitcode", stdin=text)
    public.ok("apply", "-f", "-", stdin=text.replace("web-1-nic0:8080", "web-1-nic0:81"))
    assert public.rows("load-balancer")[0]["targets"] == "web-1-nic0:81 web-2-nic0:80"


REFUSED = [
    ((*CREATE, "x", *WEB), "give --vip, or --network"),
    ((*CREATE, "x", "--vip", "web", *WEB), "load-balancer web has tcp 80 of vip web"),
    ((*CREATE, "x", "--vip", "e1", *WEB), "the address of eip e1"),
    ((*CREATE, "x", "--vip", "nope", *WEB), "vip nope: does not exist"),
    (
        (*CREATE, "x", "--vip", "web", "--l3-network", "private", "--port", "2205"),
        "port-forwarding rule has tcp 2200-2210",
    ),
    ((*CREATE, "x", "--vip", "web", "--l3-network", "lan", "--port", "81"), "lan has no nat-gateway"),
    ((*CREATE, "x", "--vip", "odd", "--l3-network", "private", "--port", "81"), "of another public network"),
    ((*CREATE, "x", "--vip", "web", "--l3-network", "private", "--port", "0"), "port"),
    (
        (*CREATE, "x", "--vip", "web", "--l3-network", "private", "--port", "81", "--target", "far-nic0"),
        "is on l3-network lan",
    ),
    ((*CREATE, "x", "--vip", "web", "--l3-network", "private", "--port", "81", "--target", "web-1-nic0:x"), "NIC:PORT"),
    (
        (*CREATE, "x", "--vip", "web", "--l3-network", "private", "--port", "81", *2 * ("--target", "web-1-nic0")),
        "given twice",
    ),
    (
        (*CREATE, "x", "--vip", "web", "--l3-network", "private", "--port", "81", "--target", "no"),
        "nic no: does not exist",
    ),
    (("load-balancer", "update", "web", "--allowed-cidr", "10.0.0.1/8"), "is not a CIDR"),
    (("load-balancer", "update", "web", "--allowed-cidr", "fd00::/8"), "is IPv6"),
    (("load-balancer", "update", "web", "--health-check-interval", "2"), "no longer than the interval"),
    (("load-balancer", "update", "web", "--algorithm", "random"), "algorithm"),
    (("load-balancer", "update", "web", "--target", "far-nic0"), "is on l3-network lan"),
    (
        ("port-forwarding", "create", "x", "--vip", "web", "--ports", "70-90", "--nic", "web-2-nic0"),
        "has tcp 80 of vip web",
    ),
    (("eip", "create", "x", "--vip", "web", "--vm", "web-2"), "vip web is the address of"),
    (("nat-gateway", "delete", "way", "--yes"), "port-forwarding rule, load-balancer web come in by it"),
    (("vip", "delete", "web", "--yes"), "in use by load-balancer web"),
]


def test_refusals(public: Zctl) -> None:
    """What cannot be, in words, and nothing of it stays."""
    public.ok(*CREATE, "web", "--network", "internet", *WEB)
    public.ok("vm", "create", "far", *WORDS, "--network", "lan", "--host", "h1")
    public.ok("eip", "create", "e1", "--network", "internet", "--vm", "web-1")
    public.ok("port-forwarding", "create", "rule", "--vip", "web", "--ports", "2200-2210", "--nic", "web-2-nic0")
    public.ok("l2-network", "create", "second", "--zone", "z1", "--physical-interface", "eth8")
    public.ok(
        *("l3-network", "create", "other", "--l2-network", "second", "--cidr", "203.0.113.0/24", "--public"),
        *("--range", "203.0.113.10-203.0.113.20"),
    )
    public.ok("vip", "create", "odd", "--l3-network", "other")
    for words, said in REFUSED:
        before = public.dump()
        answer = public.call(*words)
        assert answer.exit_code and said in answer.stderr, (words, answer.stderr)
        assert public.dump() == before, words
