"""IPv6: guests get their addresses, reach each other and the outside, and nothing that is not theirs gets anywhere."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from urllib.parse import quote

import pytest

from tests.lab.cloud.guests import Guest
from tests.lab.cloud.test_eip import Mirror
from tests.lab.cloud.zctl import Cloud, ask, fetch

WORDS = ("--image", "tiny", "--instance-offering", "small")
OUTSIDE, PRIVATE = "fd99:18::", "fd99:30::"
ROUTER = f"{OUTSIDE}1"
METADATA = "http://169.254.169.254/latest/meta-data/ipv6"
BEHIND = ("ip netns exec {} nft flush ruleset", "ip -n {} -6 neigh flush dev eth0 nud permanent")
Two = tuple[Guest, Guest]


class Mirror6(ThreadingHTTPServer):
    """A server outside of the cloud."""

    address_family = socket.AF_INET6


def on_router(cloud: Cloud, word: str, address: str) -> None:
    """Give the machine, which plays the physical router, an address, or take it away."""
    argv = ["ip", "-6", "address", word, f"{address}/64", "dev", cloud.lab.plan.data_bridge]
    subprocess.run([*argv, *(["nodad"] if word == "add" else [])], check=True)


@pytest.fixture(scope="module")
def mirror(cloud: Cloud) -> Iterator[str]:
    """It says whose address a request came from."""
    on_router(cloud, "add", ROUTER)
    server = Mirror6((ROUTER, 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://[{ROUTER}]:{server.server_port}/"
    server.shutdown()
    on_router(cloud, "del", ROUTER)


def service(cloud: Cloud, host: str) -> str:
    """The process of the private network's DHCP service on a host."""
    uuid = cloud.show("l3-network", "inner")["uuid"]
    return cloud.lab.ssh(host, f"systemctl show -P MainPID zctl-l3@{uuid}")


def namespace(cloud: Cloud) -> str:
    """The private network's namespace."""
    return f"zl3-{str(cloud.show('l3-network', 'inner')['uuid']).replace('-', '')[:10]}"


@pytest.fixture(scope="module")
def guests(cloud: Cloud, mirror: str) -> Iterator[Two]:
    """One on each of two hosts, reached by IPv4 to be told what to do. No service starts again because they come."""
    gateway = str(cloud.lab.plan.gateway)
    first = gateway.rpartition(".")[0]
    cloud.ok(
        *("l3-network", "create", "internet", "--l2-network", "wire", "--cidr", str(cloud.lab.plan.data), "--public"),
        *("--gateway", gateway, "--range", f"{first}.20-{first}.40", "--cidr6", f"{OUTSIDE}/64", "--gateway6", ROUTER),
    )
    cloud.ok("l2-network", "create", "isolated", "--zone", "z1", "--kind", "vxlan")
    cloud.ok(
        *("l3-network", "create", "inner", "--l2-network", "isolated", "--cidr", "10.30.0.0/24"),
        *("--gateway", "10.30.0.1", "--gateway-on", "hosts", "--range", "10.30.0.10-10.30.0.100"),
        *("--cidr6", f"{PRIVATE}/64", "--gateway6", f"{PRIVATE}1"),
    )
    before = [service(cloud, host) for host in ("h1", "h2")]
    made = []
    for name, host in (("one", "h1"), ("two", "h2")):
        cloud.ok("vm", "create", name, *WORDS, "--network", "inner", "--host", host)
        cloud.ok("eip", "create", f"control-{name}", "--network", "internet", "--vm", name)
        made.append(Guest(name, str(cloud.show("eip", f"control-{name}")["ip"]), address(cloud, name)))
    for guest in made:
        until(lambda guest=guest: guest.ip in fetch(f"http://{guest.control}/", 120), 120)  # type: ignore[misc]
    assert [service(cloud, host) for host in ("h1", "h2")] == before
    yield made[0], made[1]
    cloud.ok("vm", "delete", "one", "two", "--yes")
    cloud.ok("eip", "delete", *(row["name"] for row in cloud.rows("eip")), "--yes")
    cloud.ok("l3-network", "delete", "internet", "inner", "--yes", "--cascade")
    cloud.ok("l2-network", "delete", "isolated", "--yes")


def gets(guest: Guest, other: Guest, port: int = 80) -> bool:
    """Whether a guest gets another's page."""
    return f"hostname: {other.name}" in guest.run(f"timeout 4 wget -q -O - http://[{other.ip}]:{port}/")


def address(cloud: Cloud, vm: str) -> str:
    """The IPv6 address of a VM's card."""
    return str(cloud.show("nic", f"{vm}-nic0")["ip6"])


def until(holds: Callable[[], bool], patience: float = 30) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.5)


def test_guests_get_their_addresses_and_reach_each_other(cloud: Cloud, guests: Two) -> None:
    """By DHCPv6 and router advertisement, over the tunnel, with their metadata; the host itself takes nothing of it."""
    one, two = guests
    assert one.pings(two.ip) and two.pings(one.ip) and gets(two, one)
    said = one.run(f"ip -6 route; cat /proc/sys/net/ipv6/conf/eth0/mtu; wget -q -O - {METADATA}")
    assert "default via fe80:" in said and "\n1450\n" in said and one.ip in said
    assert one.pings(f"{PRIVATE}1"), "the gateway, on its own host"
    assert "proto ra" not in cloud.lab.ssh("h1", "ip -6 route")
    cloud.ok("plan", "--detailed-exitcode")


def test_an_eip(cloud: Cloud, guests: Two, mirror: str) -> None:
    """In and out, from another guest and itself; it moves, and comes back with its host without zctl."""
    taken = f"{OUTSIDE}133"
    on_router(cloud, "add", taken)
    cloud.ok("vip", "create", "front", "--l3-network", "internet", "--ip", taken)
    said = cloud.fails("eip", "create", "front", "--vip", "front", "--vm", "one")
    assert f"{taken} is answered for by" in said
    on_router(cloud, "del", taken)
    cloud.ok("eip", "create", "front", "--vip", "front", "--vm", "two")
    assert "hostname: two" in fetch(f"http://[{taken}]/")
    cloud.ok("eip", "attach", "front", "--vm", "one")
    assert "hostname: one" in fetch(f"http://[{taken}]/", 3)
    assert ask(f"[{taken}]", f"fetch?{quote(mirror)}").strip() == taken
    # Without an eip or a nat-gateway nobody leaves the network, with IPv6 as with IPv4.
    cloud.ok("eip", "create", "back", "--network", "internet", "--address-family", "ipv6", "--vm", "two")
    for guest in guests:
        assert "hostname: one" in ask(guest.control, f"fetch?{quote(f'http://[{taken}]/')}")
    cloud.ok("plan", "--detailed-exitcode")
    for command in BEHIND:
        cloud.lab.ssh("h1", command.format(namespace(cloud)))
        told = cloud.call("plan", "--host", "h1", "--detailed-exitcode")
        assert told.code == 2 and "eip " in told.out, told.out + told.err
        cloud.ok("converge", "--host", "h1")
        assert "hostname: one" in fetch(f"http://[{taken}]/", 5)
    cloud.lab.reboot("h1")
    cloud.lab.wait([cloud.lab.host("h1")])
    assert "hostname: one" in fetch(f"http://[{taken}]/", 90)
    cloud.ok("plan", "--detailed-exitcode")
    cloud.ok("eip", "detach", "front")
    assert not reaches(taken)
    cloud.ok("eip", "delete", "front", "back", "--yes")
    cloud.ok("vip", "delete", "front", "--yes")


def reaches(target: str) -> bool:
    """Whether a guest answers at an address outside."""
    try:
        return bool(fetch(f"http://[{target}]/", 2))
    except AssertionError:
        return False


def test_rules_about_ipv6(cloud: Cloud, guests: Two) -> None:
    """What a rule allows passes, all else is stopped, neighbours find each other in any case."""
    one, two = guests
    two.run("httpd -p 8080 -h /www")
    rules = ("--rule", f"ingress tcp 80 from {one.ip}/128", "--rule", "ingress tcp 8080 from fd99:31::/64")
    cloud.ok("security-group", "create", "six", *rules)
    cloud.ok("nic", "update", "two-nic0", "--security-group", "six")
    try:
        assert gets(one, two) and not gets(one, two, 8080) and not one.pings(two.ip)
        rules = (
            "--rule",
            "ingress icmpv6",
            "--rule",
            f"deny ingress tcp 80 from {PRIVATE}/64",
            "--rule",
            "ingress tcp",
        )
        cloud.ok("security-group", "update", "six", *rules)
        assert one.pings(two.ip) and not gets(one, two) and gets(one, two, 8080)
    finally:
        cloud.ok("nic", "update", "two-nic0", "--security-group", "")
        cloud.ok("security-group", "delete", "six", "--yes")
    assert gets(one, two)


LISTENER = (
    "ip netns add ear; ip link add ear0 type veth peer name eth0 netns ear; ip link set ear0 master BRIDGE up;"
    " ip netns exec ear sysctl -qw net.ipv6.conf.eth0.accept_ra=2; ip -n ear link set eth0 up"
)
ADVERTISE = """cat >/tmp/ra <<END
interface eth0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix fd99:66::/64 { }; };
END
radvd -n -C /tmp/ra -p /tmp/ra.pid -m none >/dev/null 2>&1 </dev/null &
sleep 3
kill $(cat /tmp/ra.pid)
"""


def test_what_is_not_its_own_gets_nowhere(cloud: Cloud, guests: Two) -> None:
    """Another source, another's place as a neighbour, a router that is none; with the switch off they do."""
    one, two = guests
    stolen = f"{PRIVATE}999"
    bridge = "zbr-" + str(cloud.show("l2-network", "isolated")["uuid"]).replace("-", "")[:10]
    cloud.lab.ssh("h1", LISTENER.replace("BRIDGE", bridge))
    try:
        one.run(f"ip -6 address add {stolen}/128 dev eth0; sleep 2")
        assert not one.pings(two.ip, f"-I {stolen}") and not two.pings(stolen)
        assert one.pings(two.ip), "its own address goes on"
        one.run(ADVERTISE)
        assert heard(cloud) == [False, True], "the network's own router is heard, another one is not"
        cloud.ok("nic", "update", "one-nic0", "--no-anti-spoofing")
        assert one.pings(two.ip, f"-I {stolen}") and two.pings(stolen)
        one.run(ADVERTISE)
        assert heard(cloud) == [True, True], "the test itself hears such a router"
        assert "fd99:66:" not in cloud.lab.ssh("h1", "ip -6 route")
        assert "fd99:66:" not in two.run("ip -6 route"), "the host of another guest lets it in no more"
    finally:
        cloud.ok("nic", "update", "one-nic0", "--anti-spoofing")
        cloud.lab.ssh("h1", "ip netns del ear; ip link del ear0 2>/dev/null || true")


def heard(cloud: Cloud) -> list[bool]:
    """Whether the listener knows of the false router's subnet, and of the network's own."""
    routes = json.loads(cloud.lab.ssh("h1", "ip -n ear -6 -j route"))
    known = {entry["dst"] for entry in routes}
    return ["fd99:66::/64" in known, f"{PRIVATE}/64" in known]
