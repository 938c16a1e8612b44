"""Public addresses that answer for VMs: real packets from outside, between guests, and from guests to the outside."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from tests.lab.cloud.zctl import Cloud, ask, fetch
from zctl.lab.lab import Lab

WORDS = ("--image", "tiny", "--instance-offering", "small")


class Mirror(BaseHTTPRequestHandler):
    """Says whose address a request came from."""

    def do_GET(self) -> None:
        """Answer."""
        body = self.client_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def mirror(lab: Lab) -> Iterator[str]:
    """A server outside of the cloud, at the physical router."""
    server = ThreadingHTTPServer((str(lab.plan.gateway), 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{lab.plan.gateway}:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def public(cloud: Cloud) -> Iterator[Cloud]:
    """A public network on the wire; a private one whose gateway every host is; VMs in it on two hosts."""
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
    for name, host in (("one", "h1"), ("two", "h1"), ("three", "h2")):
        cloud.ok("vm", "create", name, *WORDS, "--network", "inner", "--host", host)
    for name in ("one", "two", "three"):
        cloud.ok("wait", "vm", name, "ip", "--timeout", "120")
    yield cloud
    cloud.ok("vm", "delete", "one", "two", "three", "--yes")
    cloud.ok("l3-network", "delete", "internet", "inner", "--yes", "--cascade")
    cloud.ok("l2-network", "delete", "isolated", "--yes")


def eip(cloud: Cloud, name: str, vm: str) -> str:
    """Make an eip for a VM; returns its address."""
    cloud.ok("eip", "create", name, "--network", "internet", "--vm", vm)
    return str(cloud.show("eip", name)["ip"])


def source_of(address: str, mirror: str) -> str:
    """The address from which the guest behind an address is seen outside."""
    return ask(address, f"fetch?{quote(mirror)}").strip()


def is_silent(address: str) -> bool:
    """Whether nobody answers ARP for the address."""
    subprocess.run(["ip", "neigh", "flush", "to", address], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"who has it?", (address, 9))
    time.sleep(1.5)
    seen = subprocess.run(["ip", "neigh", "show", "to", address], capture_output=True, text=True, check=True).stdout
    return "lladdr" not in seen


@pytest.fixture(scope="module")
def front(public: Cloud) -> Iterator[str]:
    """An eip of VM one; tests that take it away give it back."""
    yield eip(public, "front", "one")
    public.ok("eip", "delete", "front", "--yes")


def test_in_and_out(public: Cloud, mirror: str, front: str) -> None:
    """From outside the VM answers, and what it asks outside comes from its eip; a check finds nothing."""
    assert "hostname: one" in fetch(f"http://{front}/")
    assert source_of(front, mirror) == front
    public.ok("plan", "--detailed-exitcode")


def test_guests_reach_each_other_and_themselves_by_eip(public: Cloud, front: str) -> None:
    """On the same host, on another one, and the VM itself."""
    others = {vm: eip(public, f"{vm}-ip", vm) for vm in ("two", "three")}
    try:
        for vm, address in others.items():
            assert "hostname: one" in ask(address, f"fetch?{quote(f'http://{front}/')}"), vm
            assert f"hostname: {vm}" in ask(front, f"fetch?{quote(f'http://{address}/')}"), vm
        assert "hostname: one" in ask(front, f"fetch?{quote(f'http://{front}/')}")
        assert "hostname: one" in ask(others["two"], "fetch?http%3A%2F%2F10.30.0.10%2F"), "still by its private address"
    finally:
        public.ok("eip", "delete", "two-ip", "three-ip", "--yes")


META = "http://169.254.169.254/latest/meta-data"


def told_of(address: str, path: str) -> str:
    """What the guest behind an address is told by the metadata service."""
    return ask(address, f"fetch?{quote(f'{META}/{path}')}").strip()


def test_guests_are_told_of_it(public: Cloud, front: str) -> None:
    """As soon as it comes, moves and goes, over all cards, with the address that it stands for."""
    other = eip(public, "three-ip", "three")
    try:
        card = f"network/interfaces/macs/{told_of(front, 'mac')}"
        expected = {"public-ipv4": front, "public-hostname": "one.inner", f"{card}/public-ipv4s": front}
        expected[f"{card}/ipv4-associations/{front}"] = "10.30.0.10"
        assert {path: told_of(front, path) for path in expected} == expected
        assert told_of(other, "public-ipv4") == other
        public.ok("eip", "attach", "front", "--vm", "two")
        assert told_of(front, "public-ipv4") == front and told_of(front, "local-hostname") == "two.inner"
        public.ok("eip", "detach", "front")
        gone = f"wget -q -O - {META}/public-ipv4 2>&1; wget -q -O - {META}/local-ipv4"
        said = public.lab.ssh(
            "h1", inside(public, "curl -s --data-binary @- http://10.30.0.11/cgi-bin/run"), stdin=gone
        )
        assert "404" in said and "10.30.0.11" in said
    finally:
        public.ok("eip", "delete", "three-ip", "--yes")
        public.ok("eip", "attach", "front", "--vm", "one")


def inside(cloud: Cloud, command: str) -> str:
    """A command in the namespace of network inner."""
    return f"ip netns exec zl3-{str(cloud.show('l3-network', 'inner')['uuid']).replace('-', '')[:10]} {command}"


def test_it_moves_stops_and_starts_with_vms(public: Cloud, front: str) -> None:
    """Attached to a VM of another host it answers there at once; a stopped VM's answers nowhere."""
    assert "hostname: one" in fetch(f"http://{front}/")
    public.ok("eip", "attach", "front", "--vm", "three")
    assert "hostname: three" in fetch(f"http://{front}/", 3)
    public.ok("vm", "stop", "three", "--force")
    assert is_silent(front)
    public.ok("vm", "start", "three")
    assert "hostname: three" in fetch(f"http://{front}/")
    public.ok("eip", "detach", "front")
    assert is_silent(front)
    for host in ("h1", "h2"):
        left = "ls /etc/zctl/eip; ip -br link | grep zp- || true; nft list tables | grep eip || true"
        assert public.lab.ssh(host, left) == ""
        assert (
            public.lab.ssh(host, "for n in $(ip netns list | cut -d' ' -f1); do ip netns exec $n nft list tables; done")
            == ""
        )
    public.ok("eip", "attach", "front", "--vm", "one")


def test_the_way_out_without_an_eip(public: Cloud, mirror: str, front: str) -> None:
    """Cards of all hosts are seen by the shared address and reached by its ports; who has an eip keeps to that."""
    public.ok("nat-gateway", "create", "way", "--l3-network", "inner", "--network", "internet", "--host", "h2")
    shared = str(public.show("nat-gateway", "way")["ip"])
    try:
        for port, vm in (("8002", "two"), ("8003", "three")):
            words = ("--vip", "way", "--ports", port, "--nic", f"{vm}-nic0", "--private-port", "80")
            public.ok("port-forwarding", "create", f"to-{vm}", *words)
            assert f"hostname: {vm}" in fetch(f"http://{shared}:{port}/")
            assert source_of(f"{shared}:{port}", mirror) == shared
        assert source_of(front, mirror) == front
        assert "hostname: three" in ask(f"{shared}:8002", f"fetch?{quote(f'http://{shared}:8003/')}")
        public.ok("plan", "--detailed-exitcode")
        public.ok("port-forwarding", "update", "to-two", "--allowed-cidr", "192.0.2.0/24")
        with pytest.raises(AssertionError):
            fetch(f"http://{shared}:8002/", 2)
        assert "hostname: three" in fetch(f"http://{shared}:8003/")
        public.ok("nat-gateway", "update", "way", "--host", "h1")
        assert "hostname: three" in fetch(f"http://{shared}:8003/", 5)
        assert source_of(f"{shared}:8003", mirror) == shared
        public.ok("plan", "--detailed-exitcode")
    finally:
        public.ok("port-forwarding", "delete", *(row["name"] for row in public.rows("port-forwarding")), "--yes")
        public.ok("nat-gateway", "delete", "way", "--yes")


def test_an_address_that_is_taken_is_refused(public: Cloud) -> None:
    """Somebody outside has the address: nothing is changed, and the error names the machine."""
    first = str(public.lab.plan.gateway).rpartition(".")[0]
    taken = f"{first}.33"
    subprocess.run(["ip", "address", "add", f"{taken}/32", "dev", public.lab.plan.data_bridge], check=True)
    try:
        public.ok("vip", "create", "taken", "--l3-network", "internet", "--ip", taken)
        said = public.fails("eip", "create", "odd", "--vip", "taken", "--vm", "two")
        assert taken in said and "answered for by" in said
        assert [row["name"] for row in public.rows("eip")] == ["front"]
        public.ok("plan", "--detailed-exitcode")
    finally:
        subprocess.run(["ip", "address", "del", f"{taken}/32", "dev", public.lab.plan.data_bridge], check=True)
        public.ok("vip", "delete", "taken", "--yes")


ROUTER = (
    "ip netns add router; ip link add outer type veth peer name inner netns router; ip link set outer master BRIDGE up;"
    " ip -n router address add 10.40.0.1/24 dev inner; ip -n router link set inner mtu 1450 up"
)


def test_a_vm_behind_a_physical_router(public: Cloud, mirror: str) -> None:
    """Its way to the router is caught, its own subnet is not; without the eip it is as before."""
    gateway = str(public.lab.plan.gateway)
    public.ok("l2-network", "create", "inside", "--zone", "z1", "--kind", "vxlan")
    cidr = ("--cidr", "10.40.0.0/24", "--gateway", "10.40.0.1", "--range", "10.40.0.10-10.40.0.90")
    public.ok("l3-network", "create", "routed", "--l2-network", "inside", *cidr)
    for name in ("four", "five"):
        public.ok("vm", "create", name, *WORDS, "--network", "routed", "--host", "h1")
    bridge = "zbr-" + str(public.show("l2-network", "inside")["uuid"]).replace("-", "")[:10]
    public.lab.ssh("h2", ROUTER.replace("BRIDGE", bridge))
    try:
        address = eip(public, "behind", "four")
        assert "hostname: four" in fetch(f"http://{address}/")
        assert source_of(address, mirror) == address
        ask(address, "fetch?http%3A%2F%2F10.40.0.11%2F", expect="hostname: five")
        assert gateway not in ask(address, "ip?route")
        public.ok("plan", "--detailed-exitcode")
    finally:
        public.lab.ssh("h2", "ip netns del router; ip link del outer 2>/dev/null || true")
        public.ok("vm", "delete", "four", "five", "--yes")
        public.ok("eip", "delete", "behind", "--yes")
        public.ok("l3-network", "delete", "routed", "--yes", "--cascade")
        public.ok("l2-network", "delete", "inside", "--yes")


def test_a_host_restarts_without_zctl(public: Cloud, front: str, mirror: str) -> None:
    """The eip is there again, and so is its VM."""
    public.lab.reboot("h1")
    public.lab.wait([public.lab.host("h1")])
    assert "hostname: one" in fetch(f"http://{front}/", 90)
    assert source_of(front, mirror) == front
    public.ok("plan", "--detailed-exitcode")


BEHIND = {
    # what somebody does on h1; groups do not hide each other
    "rules": ("ip netns exec NS nft flush ruleset", "ip netns exec NS sysctl -q net.ipv4.ip_forward=0"),
    "address": ("ip netns exec NS nft delete element ip TABLE private_of '{ VIP }'", "ip -n NS address flush dev PORT"),
    "way": ("ip -n NS rule del pref 100", "ip -n NS neigh flush dev eth0 nud permanent"),
    "table": ("ip -n NS route flush table $(ip -n NS rule | sed -n 's/^100:.*lookup //p')",),
    "port": ("ip link del $(ip -br link | grep -o '^zp-[0-9a-f]*')",),
    "file": ("rm /etc/zctl/eip/*.json",),
}


@pytest.mark.parametrize("group", BEHIND)
def test_what_somebody_does_to_it_is_told_and_mended(public: Cloud, front: str, group: str) -> None:
    """A check names it, a converge mends it."""
    found = "for n in $(ip netns list | cut -d' ' -f1); do ip -n $n link | grep -q ' p-' && echo $n; done; true"
    namespace = public.lab.ssh("h1", found).strip()
    port = public.lab.ssh("h1", f"ip -n {namespace} -br link | grep -o '^p-[0-9a-f]*'").strip()
    table = public.lab.ssh("h1", f"ip netns exec {namespace} nft list tables | cut -d' ' -f3").strip()
    command = "; ".join(BEHIND[group])
    for word, value in (("NS", namespace), ("PORT", port), ("TABLE", table), ("VIP", front)):
        command = command.replace(word, value)
    public.lab.ssh("h1", command)
    told = public.call("plan", "--host", "h1", "--detailed-exitcode")
    assert told.code == 2 and "eip front" in told.out, told.out + told.err
    public.ok("converge", "--host", "h1")
    assert "hostname: one" in fetch(f"http://{front}/", 5)
    public.ok("plan", "--detailed-exitcode")
