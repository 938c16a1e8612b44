"""Load balancers: real connections from outside to guests on two hosts, with the way out on a third."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.lab.cloud.guests import Guest, make
from tests.lab.cloud.zctl import Cloud, fetch

SERVE = "httpd -p 8080 -h /www"
STOP = "kill $(ps | grep '[h]ttpd -p 8080' | awk '{ print $1 }')"
QUICK = ("--health-check-interval", "1", "--health-check-timeout", "1", "--healthy-threshold", "1")
HOME = "h3"


@dataclass
class Balanced:
    """The cloud, its two guests, and the public address."""

    cloud: Cloud
    one: Guest
    two: Guest
    vip: str

    def states(self) -> dict[str, str]:
        """What zctl tells of the targets of load balancer web."""
        rows = json.loads(self.cloud.ok("load-balancer", "health", "web", "-o", "json"))
        return {str(row["vm"]): str(row["state"]) for row in rows}

    def answering(self, times: int = 6) -> set[str]:
        """Who answers at the public address."""
        return {fetch(f"http://{self.vip}/", 10).split()[1] for _ in range(times)}

    def traced(self, source: str, target: str, *more: str) -> tuple[str, str]:
        """The verdict of a trace, and the place that drops the packet."""
        found = json.loads(self.cloud.call("net", "trace", "--from", source, "--to", target, *more, "-o", "json").out)
        stop = found["dropped_by"]
        return str(found["verdict"]), str(stop["place"]) if stop else ""


def opens(address: str, port: int) -> bool:
    """Whether a port takes a connection."""
    try:
        with socket.create_connection((address, port), 2):
            return True
    except OSError:
        return False


def until(say: Callable[[], object], wanted: object, patience: float = 20) -> None:
    """Wait until something is as wanted."""
    deadline = time.monotonic() + patience
    while (seen := say()) != wanted:
        assert time.monotonic() < deadline, f"{seen} is not {wanted}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def balanced(cloud: Cloud) -> Iterator[Balanced]:
    """Guests on h1 and h2 with a card to reach them by, and one on a network whose way out is on h3."""
    gateway = str(cloud.lab.plan.gateway)
    first = gateway.rpartition(".")[0]
    cloud.ok(
        *("l3-network", "create", "internet", "--l2-network", "wire", "--cidr", str(cloud.lab.plan.data), "--public"),
        *("--gateway", gateway, "--range", f"{first}.20-{first}.40"),
    )
    cloud.ok("l2-network", "create", "isolated", "--zone", "z1", "--kind", "vxlan")
    cloud.ok(
        *("l3-network", "create", "inner", "--l2-network", "isolated", "--cidr", "10.30.0.0/24"),
        *("--gateway", "10.30.0.1", "--gateway-on", "hosts", "--range", "10.30.0.10-10.30.0.100"),
    )
    cloud.ok("nat-gateway", "create", "way", "--l3-network", "inner", "--network", "internet", "--host", HOME)
    cloud.ok("load-balancer", "create", "web", "--network", "internet", "--l3-network", "inner", "--port", "80", *QUICK)
    source = str(cloud.show("load-balancer", "web")["source_ip"])
    cloud.ok("security-group", "create", "served", "--rule", f"ingress tcp 7-8080 from {source}")
    guests = [make(cloud, name, host, network="inner") for name, host in (("one", "h1"), ("two", "h2"))]
    cloud.ok("nic", "update", "two-nic1", "--security-group", "served")
    for guest in guests:
        guest.run(SERVE)
    cloud.ok("load-balancer", "update", "web", "--target", "one-nic1:8080", "--target", "two-nic1:8080")
    yield Balanced(cloud, *guests, str(cloud.show("load-balancer", "web")["ip"]))
    cloud.ok("vm", "delete", "one", "two", "--yes")
    cloud.ok("nat-gateway", "delete", "way", "--yes")
    cloud.ok("l3-network", "delete", "internet", "inner", "--yes", "--cascade")
    cloud.ok("l2-network", "delete", "isolated", "--yes")
    cloud.ok("security-group", "delete", "served", "--yes")


def test_who_is_healthy_gets_connections(balanced: Balanced) -> None:
    """Both answer; one whose server stops gets none and is DOWN, and is back when it serves again."""
    cloud = balanced.cloud
    until(balanced.states, {"one": "UP", "two": "UP"})
    assert balanced.answering() == {"one", "two"}
    cloud.ok("plan", "--detailed-exitcode")
    balanced.two.run(STOP)
    until(balanced.states, {"one": "UP", "two": "DOWN"})
    assert balanced.answering() == {"one"}
    balanced.two.run(SERVE)
    until(balanced.states, {"one": "UP", "two": "UP"})
    assert balanced.answering() == {"one", "two"}
    assert not balanced.one.gets(balanced.two.ip, 7), "its group lets the load balancer in, and nobody else"


def test_the_trace_says_what_packets_do(balanced: Balanced) -> None:
    """For pairs that can talk and pairs that cannot: who lets them pass, or who drops them, and real packets agree."""
    one, two, vip = balanced.one, balanced.two, balanced.vip
    outside = str(balanced.cloud.lab.plan.gateway)
    assert two.gets(one.ip, 7) and balanced.traced("two-nic1", "one-nic1:7") == ("passes", "")
    assert not one.gets(two.ip, 7)
    assert balanced.traced("one-nic1", "two-nic1:7") == ("dropped", "filter of nic two-nic1")
    assert not one.pings(two.ip) and balanced.traced("one-nic1", "two-nic1")[0] == "dropped"
    assert one.pings(two.control) and balanced.traced("one", "two") == ("passes", "")
    assert balanced.answering(1) and balanced.traced(outside, f"{vip}:80") == ("passes", "")
    one.run(f"ip route add {vip}/32 via 10.30.0.1 dev eth1")
    assert one.gets(vip, 80) and balanced.traced("one-nic1", f"{vip}:80") == ("passes", ""), (
        "a guest of the network itself"
    )
    assert not opens(vip, 81) and balanced.traced(outside, f"{vip}:81")[0] == "dropped"
    port = "zt-" + str(balanced.cloud.show("nic", "one-nic1")["uuid"]).replace("-", "")[:10]
    bridge = balanced.cloud.lab.ssh("h1", f"basename $(readlink /sys/class/net/{port}/brport/bridge)").strip()
    balanced.cloud.lab.ssh("h1", f"ip link set {port} nomaster")
    assert balanced.traced("two-nic1", "one-nic1:7") == ("dropped", f"port {port} of nic one-nic1")
    assert balanced.traced("two-nic1", "one-nic1:7", "--offline") == ("passes", "")
    assert not two.gets(one.ip, 7)
    balanced.cloud.lab.ssh("h1", f"ip link set {port} master {bridge}")
    assert two.gets(one.ip, 7)


def test_a_reload_cuts_nothing(balanced: Balanced) -> None:
    """A connection goes on when its target is taken out and others change; new ones go elsewhere."""
    cloud, vip = balanced.cloud, balanced.vip
    words = ("--vip", "web", "--l3-network", "inner", "--port", "7", *QUICK)
    cloud.ok("load-balancer", "create", "echo", *words, "--target", "two-nic1")
    with socket.create_connection((vip, 7), 10) as line:
        line.settimeout(10)
        assert echoes(line)
        cloud.ok("load-balancer", "update", "echo", "--target", "one-nic1")
        cloud.ok("load-balancer", "update", "web", "--target", "one-nic1:8080", "--algorithm", "source")
        assert echoes(line), "its target is none any more, and it goes on"
        assert balanced.answering() == {"one"}
        with socket.create_connection((vip, 7), 10) as other:
            other.settimeout(10)
            assert echoes(other)
    cloud.ok("load-balancer", "update", "web", "--allowed-cidr", "192.0.2.0/24")
    assert not opens(vip, 80), "not from there"
    cloud.ok("load-balancer", "update", "web", "--allowed-cidr", "", "--target", "one-nic1:8080", *BOTH)
    cloud.ok("load-balancer", "delete", "echo", "--yes")
    assert not opens(vip, 7)


BOTH = ("--target", "two-nic1:8080", "--algorithm", "round_robin")


def echoes(line: socket.socket) -> bool:
    """Whether what is sent comes back."""
    line.sendall(b"hello")
    return line.recv(5) == b"hello"


def test_it_survives_what_happens(balanced: Balanced) -> None:
    """haproxy killed, its files and the filter changed, the host restarted, the way out moved: it answers."""
    cloud, ssh = balanced.cloud, balanced.cloud.lab.ssh
    ssh(HOME, "pkill -9 haproxy")
    assert balanced.answering(1)
    ssh(HOME, "sed -i s/roundrobin/leastconn/ /etc/zctl/balancer/*/haproxy.cfg; systemctl stop 'zctl-balancer@*'")
    told = cloud.call("plan", "--host", HOME, "--detailed-exitcode")
    assert told.code == 2 and "load-balancer web" in told.out and "leastconn" in told.out, told.out
    cloud.ok("converge", "--host", HOME)
    assert balanced.answering() == {"one", "two"}
    cloud.lab.reboot(HOME)
    cloud.lab.wait([cloud.lab.host(HOME)])
    until(lambda: balanced.answering(1) <= {"one", "two"}, True)
    assert balanced.answering() == {"one", "two"}
    cloud.ok("plan", "--detailed-exitcode")
    cloud.ok("nat-gateway", "update", "way", "--host", "h1")
    assert balanced.answering() == {"one", "two"}
    assert ssh(HOME, "ls /etc/zctl/balancer; systemctl list-units --no-legend 'zctl-balancer@*'") == ""
    cloud.ok("plan", "--detailed-exitcode")
    cloud.ok("load-balancer", "delete", "web", "--yes")
    assert ssh("h1", "ls /etc/zctl/balancer; systemctl list-units --no-legend 'zctl-balancer@*'") == ""
    assert cloud.rows("vip", "name=web") == []
    cloud.ok("plan", "--detailed-exitcode")
