"""What net trace says, by the inventory and by what hosts answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from zctl_security_model import admits, members_of

from tests.unit.conftest import Zctl
from zctl.actions import net_facts
from zctl.actions.trace_filters import verdict
from zctl.inventory.snapshot import load
from zctl.inventory.store import create, update
from zctl.plan.assemble import host_state
from zctl.plan.trace import NUMBERS, Packet
from zctl.resources.host import Host
from zctl.resources.lookup import find
from zctl.resources.nic import Nic
from zctl.resources.registry import resource_class
from zctl.resources.vm import Vm
from zctl.run.values import HostResult, HostRun, Result

WORDS = ("--image", "tiny", "--instance-offering", "small")


@pytest.fixture
def cloud_(cloud: Zctl) -> Zctl:
    """A public network on the wire of `lan`; private networks with and without a way out; VMs on both hosts."""
    with cloud.inventory.write() as db:

        def make(noun: str, name: str, **values: Any) -> None:
            create(db, resource_class(noun), {"name": name, **values})

        def change(noun: str, name: str, **values: Any) -> None:
            update(db, find(db, resource_class(noun), name), values)

        make("l3-network", "internet", l2_network="wire", cidr="10.0.0.0/24", public=True, gateway="10.0.0.1", **POOL)
        for name, cidr in (("private", "10.7.0"), ("shut", "10.8.0")):
            make("l2-network", f"t-{name}", zone="z1", kind="vxlan")
            ends = {"cidr": f"{cidr}.0/24", "gateway": f"{cidr}.1", "ranges": [f"{cidr}.10-{cidr}.50"]}
            make("l3-network", name, l2_network=f"t-{name}", gateway_on="hosts", **ends)
        make("l2-network", "t-alone", zone="z1", kind="vxlan")
        make("l3-network", "alone", l2_network="t-alone", cidr="10.9.0.0/24", ranges=["10.9.0.0/28"])
        vms = (("a", "h1", "private"), ("b", "h2", "private"), ("c", "h1", "shut"), ("d", "h1", "alone"))
        for name, host, network in (*vms, ("e", "h2", "lan"), ("f", "h2", "private"), ("off", "h2", "private")):
            make("vm", name, image="tiny", cpus=1, memory="512M", networks=[network], host=host)
        find(db, Vm, "off").power = "Stopped"
        make("nat-gateway", "way", l3_network="private", network="internet", host="h2")
        make("eip", "front", network="internet", vm="a")
        make("vip", "spare", l3_network="internet")
        make("eip", "loose", network="internet")
        make("port-forwarding", "ssh", vip="way", ports="2222", nic="b-nic0", private_port=22)
        make("port-forwarding", "few", vip="way", ports="5000-5009", nic="b-nic0", allowed_cidr="192.0.2.0/24")
        make("load-balancer", "web", vip="way", l3_network="private", port=80, targets=TARGETS)
        make("load-balancer", "none", vip="way", l3_network="private", port=81)
        make("security-group", "sg", rules=["deny ingress tcp 23", "ingress tcp 22-80 from 10.7.0.0/24"])
        make("security-group", "out", member_access=False, rules=["deny egress udp"])
        change("nic", "f-nic0", security_groups=["sg"])
        change("nic", "c-nic0", security_groups=["out"], ingress_policy="allow")
    return cloud


TARGETS = ["off-nic0", "f-nic0:8080", "b-nic0:8080"]
POOL = {"ranges": ["10.0.0.100-10.0.0.120"]}
FRONT, WAY, LOOSE, SPARE = "10.0.0.101", "10.0.0.100", "10.0.0.103", "10.0.0.102"
CASES: list[tuple[str, str, str, str, str]] = [
    # from, to, protocol, verdict, words of a step
    ("a", "b", "", "passes", "out to host h2"),
    ("a", "b:443", "", "passes", "delivered to vm b as tcp 10.7.0.10 -> 10.7.0.11:443"),
    ("b", "f:443", "", "dropped", "no rule of security-group sg speaks of it"),
    ("b", "f:80", "", "passes", "rule sg-2 (priority 2)"),
    ("b", "f:23", "", "dropped", "rule sg-1 (priority 1): deny ingress tcp 23"),
    ("a", "off", "", "dropped", "it does not run, so it receives nothing"),
    ("off", "a", "", "dropped", "it does not run, so it sends nothing"),
    ("a", "10.7.0.49", "", "dropped", "no card has 10.7.0.49"),
    ("a", "10.7.0.1", "", "passes", "it answers"),
    ("a", "10.7.0.1:80", "", "dropped", "nothing listens on tcp 80"),
    ("a", "10.7.0.50:67", "udp", "passes", "it answers"),
    ("a", "169.254.169.254:80", "", "passes", "the metadata service answers"),
    ("a", "169.254.169.254:81", "", "dropped", "nothing listens on tcp 81"),
    ("c", "169.254.169.254:80", "", "passes", "always let through"),
    ("c", "10.8.0.1:67", "udp", "dropped", "rule out-1 (priority 1): deny egress udp"),
    ("c", "192.0.2.1:443", "", "dropped", "it has no way out"),
    ("d", "192.0.2.1:443", "", "dropped", "it has no gateway"),
    ("d", "d", "", "passes", "the VM's own address"),
    ("a", "192.0.2.1:443", "", "passes", f"eip front: 10.7.0.10 becomes {FRONT}"),
    ("b", "192.0.2.1:443", "", "passes", f"nat-gateway way: 10.7.0.11 becomes {WAY}"),
    ("e", "192.0.2.1:443", "", "passes", "out to the router 10.0.0.1"),
    ("e", "10.0.0.1", "", "passes", "out to the router"),
    ("e", "10.0.0.14", "", "passes", "out to whoever has the address"),
    ("b", f"{FRONT}:80", "", "passes", f"eip front: {FRONT} becomes 10.7.0.10"),
    ("e", f"{FRONT}:80", "", "passes", "vip front is on the same wire"),
    ("192.0.2.1", f"{FRONT}:80", "", "passes", "delivered to vm a as tcp 192.0.2.1 -> 10.7.0.10:80"),
    ("192.0.2.1", "a", "", "passes", f"eip front: {FRONT} becomes 10.7.0.10"),
    ("192.0.2.1", "b", "", "dropped", "nobody outside knows a way"),
    ("192.0.2.1", "e:22", "", "passes", "by the router of l3-network lan"),
    ("192.0.2.1", LOOSE, "", "dropped", "eip loose stands for no card"),
    ("192.0.2.1", SPARE, "", "dropped", "vip spare is not used"),
    ("192.0.2.1", WAY, "", "passes", "answers the ping for vip way itself"),
    ("192.0.2.1", f"{WAY}:2222", "", "passes", "becomes 10.7.0.11:22"),
    ("192.0.2.1", f"{WAY}:2223", "", "dropped", "no port-forwarding and no load-balancer has tcp 2223"),
    ("192.0.2.1", f"{WAY}:2222", "udp", "dropped", "has udp 2222"),
    ("192.0.2.1", f"{WAY}:5003", "", "passes", "becomes 10.7.0.11:5003"),
    ("192.0.3.1", f"{WAY}:5003", "", "dropped", "only for 192.0.2.0/24, not for 192.0.3.1"),
    ("192.0.2.1", f"{WAY}:80", "", "passes", "haproxy asks one of 3 targets from 10.7.0.14"),
    ("192.0.2.1", f"{WAY}:81", "", "dropped", "load-balancer none has no target"),
    ("b", f"{WAY}:80", "", "passes", "haproxy asks one of 3 targets"),
    ("c", "b", "", "dropped", "it has no way out"),
    ("b", "c", "", "dropped", "private address of l3-network shut"),
    ("b", "10.8.0.33", "", "dropped", "no card has it"),
]


def test_verdicts(cloud_: Zctl) -> None:
    """Each way, both ways: who lets it pass, or who drops it."""
    for source, target, protocol, wanted, words in CASES:
        more = ("--protocol", protocol) if protocol else ()
        answer = cloud_.call("net", "trace", "--from", source, "--to", target, *more, "--offline")
        said = " ".join(answer.stdout.split())
        assert answer.exit_code == (wanted == "dropped"), (source, target, answer.output, answer.exception)
        assert f"verdict: {wanted}" in said and words in said, (source, target, answer.stdout)
        assert ("DROPPED" in said) == (wanted == "dropped")
        assert max(map(len, answer.stdout.splitlines())) <= 80
    what_drops_it_has_a_remedy(cloud_)


def what_drops_it_has_a_remedy(cloud_: Zctl) -> None:
    """The words that help, and all of it as JSON."""
    answer = cloud_.call("net", "trace", "--from", "b", "--to", "f:443", "--offline", "-o", "json")
    found = json.loads(answer.stdout)
    assert found["verdict"] == "dropped" and found["steps"][-1] == found["dropped_by"]
    assert found["dropped_by"]["remedy"] == (
        "zctl security-group-rule create --security-group sg --direction ingress --protocol tcp --ports 443"
        " --cidr 10.7.0.11/32"
    )
    assert found["packet"] == {"from": "10.7.0.11", "to": "10.7.0.12", "protocol": "tcp", "port": 443}
    cloud_.ok(*found["dropped_by"]["remedy"].split()[1:])
    cloud_.ok("net", "trace", "--from", "b", "--to", "f:443", "--offline")


MISTAKES = [
    (("--from", "a", "--to", "b:80x"), "is not NAME, ADDRESS"),
    (("--from", "a", "--to", "b", "--protocol", "tcp"), "tcp needs a port"),
    (("--from", "a", "--to", "b:80", "--protocol", "icmp"), "icmp has no ports"),
    (("--from", "a", "--to", "b:80", "--protocol", "sctp"), "not known"),
    (("--from", "nope", "--to", "b"), "no vm or nic 'nope'"),
    (("--from", "a", "--to", "bb"), "no vm or nic 'bb'"),
    (("--from", "192.0.2.1", "--to", "192.0.2.2"), "neither 192.0.2.1 nor 192.0.2.2 is of this cloud"),
    (("--from", "a", "--to", "fd00::1"), "only IPv4"),
    (("--from", "192.0.2.300", "--to", "a"), "is not an address"),
]


def test_what_cannot_be_traced(cloud: Zctl) -> None:
    """In words."""
    for name in ("a", "b"):
        cloud.ok("vm", "create", name, *WORDS, "--network", "lan", "--host", "h1")
    for words, said in MISTAKES:
        answer = cloud.call("net", "trace", *words, "--offline")
        assert answer.exit_code in (1, 2) and said in answer.stderr, (words, answer.output)


def answering(problem: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Hosts that answer questions by a function."""

    def execute(runs: list[HostRun], _settings: Any, _watch: Any) -> dict[str, HostResult]:
        found = {}
        for run in runs:
            host = HostResult(run.connection.name)
            for ask in run.state["net_facts"]:
                host.results.append(Result(ask["uuid"], "net-facts", ask["what"], "unchanged", "", problem(ask)))
            found[run.connection.uuid] = host
        return found

    return execute


def test_what_hosts_say_counts(cloud_: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is not on its bridge drops what the inventory lets pass; what comes after is not told."""
    filters_agree_with_what_hosts_load(cloud_)
    monkeypatch.setattr(net_facts, "require_ansible", lambda: None)
    monkeypatch.setattr(net_facts, "execute", answering(lambda _ask: {"problem": ""}))
    said = cloud_.ok("net", "trace", "--from", "a", "--to", "b:80")
    assert "(seen)" in said and "verdict: passes" in said
    lost = {"problem": "zt-0 is no port, not of zbr-0"}
    monkeypatch.setattr(
        net_facts, "execute", answering(lambda ask: lost if ask["what"] == "device" else {"problem": ""})
    )
    answer = cloud_.call("net", "trace", "--from", "a", "--to", "b:80")
    said = " ".join(answer.stdout.split())
    assert answer.exit_code == 1 and "but zt-0 is no port" in said and "zctl converge --host h1" in said
    assert answer.stdout.count("\n 2.") == 0
    for states, word in ((("DOWN", "DOWN"), "no target is healthy"), (("DOWN", "UP"), "1 of 2 UP")):
        balancer = next(row["uuid"] for row in cloud_.rows("load-balancer", "name=web"))
        health = {balancer: {str(n): {"state": state} for n, state in enumerate(states)}}
        told = {"problem": "", "balancers": health}
        monkeypatch.setattr(
            net_facts, "execute", answering(lambda ask, told=told: told if ask["what"] == "health" else {"problem": ""})
        )
        answer = cloud_.call("net", "trace", "--from", "192.0.2.1", "--to", f"{WAY}:80")
        assert word in " ".join(answer.stdout.split()), answer.stdout
        assert answer.exit_code == ("UP" not in states)


def filters_agree_with_what_hosts_load(cloud_: Zctl) -> None:
    """For many packets the trace's verdict of groups is the one by which hosts cut connections."""
    with cloud_.inventory.read() as db:
        snapshot = load(db)
        for nic in snapshot.all(Nic):
            host = next(row for row in snapshot.all(Host) if row.name in ("h1", "h2") and on(snapshot, nic, row))
            state = host_state(snapshot, host).model_dump()["security"]
            model = {key: {entry["uuid"]: entry for entry in state[key]} for key in ("nics", "groups")}
            if nic.id not in model["nics"]:
                continue
            for protocol in NUMBERS:
                for port in (0,) if protocol == "icmp" else (22, 23, 80, 81, 443):
                    for other in ("10.7.0.11", "10.7.0.13", "192.0.2.1", "169.254.169.254"):
                        for direction in ("ingress", "egress"):
                            ends = (other, nic.ip or "") if direction == "ingress" else (nic.ip or "", other)
                            packet = Packet(ends[0], ends[1], protocol, port)
                            flow = {"src": ends[0], "dst": ends[1], "sport": 40000, "dport": port}
                            flow["protocol"] = NUMBERS[protocol]
                            own = verdict(snapshot, nic, direction, packet).passes
                            here = admits(model, model["nics"][nic.id], direction, flow, members_of(model))
                            assert own == here, (nic.name, packet)


def on(snapshot: Any, nic: Nic, host: Host) -> bool:
    """Whether a card's VM is on a host."""
    return bool(snapshot.need(Vm, nic.vm_id).host_id == host.id)
