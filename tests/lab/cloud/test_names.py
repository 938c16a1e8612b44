"""VMs know each other by name, wherever they run; other names come from a server outside; nothing is restarted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.cloud.zctl import Cloud

WORDS = ("--image", "tiny", "--instance-offering", "small", "--network", "named")
SERVER = "10.60.0.100"  # the last of the range: the network's own DHCP and DNS
# A name server in a network namespace of h3, which the hosts reach and guests do not.
ROUTER = """
ip netns add router && ip link add rt type veth peer name eth0 netns router && ip link set rt up
ip -n router link set lo up && ip -n router address add ADDRESS/32 dev eth0 && ip -n router link set eth0 up
ip route add ADDRESS/32 dev rt && ip -n router route add default dev eth0
for key in ip_forward conf.host0.proxy_arp conf.rt.proxy_arp; do sysctl -qw net.ipv4.$key=1; done
ip netns exec router dnsmasq --no-resolv --no-hosts --interface=eth0 --bind-interfaces --pid-file=/run/router.pid \
    --host-record=www.example.test,192.0.2.7 --host-record=evil.example.test,169.254.169.254 \
    --host-record=ghost.named,192.0.2.66 --address=/none.example.test/
"""
# Asks just once, by UDP or TCP, and tells the code of the answer and whether it has ADDRESS in it.
ASK = """
import socket, struct
name = b"".join(bytes([len(p)]) + p for p in b"NAME".split(b".")) + bytes(1)
query = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_KIND) as wire:
    wire.settimeout(8)
    wire.connect(("SERVER", 53))
    wire.sendall(struct.pack("!H", len(query)) * (wire.type == socket.SOCK_STREAM) + query)
    said = (wire.type == socket.SOCK_DGRAM or wire.recv(2)) and wire.recv(512)
print(said[3] & 15, socket.inet_aton("ADDRESS") in said)
"""


@dataclass(frozen=True)
class Named:
    """A network without a gateway, and a guest on each of two hosts that only the hosts' namespaces reach."""

    cloud: Cloud
    uuid: str
    guests: dict[str, tuple[str, str]]

    def inside(self, host: str, command: str, stdin: str = "") -> str:
        """A command in the network's namespace on a host."""
        namespace = f"zl3-{self.uuid.replace('-', '')[:10]}"
        return self.cloud.lab.ssh(host, f"ip netns exec {namespace} {command}", stdin=stdin)

    def run(self, guest: str, script: str) -> str:
        """What a script prints in a guest."""
        host, ip = self.guests[guest]
        words = "curl -s --retry 40 --retry-delay 1 --retry-all-errors --max-time 60 --data-binary @-"
        return self.inside(host, f"{words} http://{ip}/cgi-bin/run", script)

    def look_up(self, guest: str, name: str) -> str:
        """What a guest's resolver says of a name, with its search domain."""
        return self.run(guest, f"nslookup {name} 2>&1 | tail -n +3")

    def ask(self, kind: str, name: str, address: str = "255.255.255.255") -> str:
        """Code of one answer, and whether that address is in it."""
        words = {"KIND": kind, "NAME": name, "ADDRESS": address, "SERVER": SERVER}
        script = ASK
        for word, value in words.items():
            script = script.replace(word, value)
        return self.inside("h2", "python3 -", script).strip()

    def pids(self) -> dict[str, str]:
        """The network's process on each host."""
        show = f"systemctl show -p MainPID zctl-l3@{self.uuid}"
        return {host.name: self.cloud.lab.ssh(host.name, show) for host in self.cloud.lab.hosts}


@pytest.fixture(scope="module")
def named(cloud: Cloud) -> Iterator[Named]:
    """The network has a route to give; its guests have no way out at all."""
    words = ("--cidr", "10.60.0.0/24", "--range", "10.60.0.10-10.60.0.100", "--route", "10.61.0.0/16 via 10.60.0.9")
    cloud.ok("l2-network", "create", "names", "--zone", "z1", "--kind", "vxlan")
    cloud.ok("l3-network", "create", "named", "--l2-network", "names", *words)
    for name, host in (("left", "h1"), ("right", "h2")):
        cloud.ok("vm", "create", name, *WORDS, "--host", host)
    uuid = str(cloud.show("l3-network", "named")["uuid"])
    yield Named(cloud, uuid, {"left": ("h1", cloud.ip("left")), "right": ("h2", cloud.ip("right"))})
    cloud.ok("vm", "delete", *(row["name"] for row in cloud.rows("vm")), "--yes")
    cloud.ok("l3-network", "delete", "named", "--yes", "--cascade")
    cloud.ok("l2-network", "delete", "names", "--yes")
    for host in ("h1", "h2", "h3"):
        left = "systemctl list-units --all --plain --no-legend 'zctl-dns@*'; ls /etc/zctl/l3 | grep UUID || true"
        assert "UUID" not in cloud.lab.ssh(host, left.replace("UUID", uuid))


def test_guests_know_each_other_by_name(named: Named) -> None:
    """Both ways, short and long, from address to name; the rest of what DHCP tells is right as well."""
    addresses = {name: ip for name, (_, ip) in named.guests.items()}
    for guest, other in (("left", "right"), ("right", "left")):
        for name in (other, f"{other}.named", f"{guest}.named"):
            assert f"Address: {addresses[name.partition('.')[0]]}\n" in named.look_up(guest, name), (guest, name)
        assert f"name = {other}.named" in named.look_up(guest, addresses[other])
    said = named.run("left", "cat /etc/resolv.conf; ip route; ip link show eth0; hostname")
    for words in ("search named", f"nameserver {SERVER}", "10.61.0.0/16 via 10.60.0.9", "mtu 1450", "\nleft\n"):
        assert words in said, said
    assert f"169.254.169.254 via {SERVER}" in said
    for name in ("nobody.named", "nobody", "10.60.0.77"):
        assert "NXDOMAIN" in named.look_up("left", name), name
    before = time.monotonic()
    assert "REFUSED" in named.look_up("left", "www.example.test"), "there is nobody to ask"
    assert time.monotonic() - before < 3


def test_names_come_change_and_go_without_a_restart(named: Named) -> None:
    """On all hosts, also on one that has no VM of the network; the processes stay."""
    cloud, before = named.cloud, named.pids()
    cloud.ok("vm", "create", "third", *WORDS, "--network", "named", "--host", "h3", "--power", "Stopped")
    ips = cloud.show("vm", "third")["ip"].split()
    for guest in named.guests:
        said = named.look_up(guest, "third")
        assert all(f"Address: {ip}\n" in said for ip in ips) and len(ips) == 2, "both of its cards, though it is off"
    cloud.ok("vm", "update", "third", "--hostname", "changed")
    assert "NXDOMAIN" in named.look_up("right", "third") and ips[1] in named.look_up("right", "changed")
    assert "name = changed.named" in named.inside("h3", f"busybox nslookup {ips[0]} {SERVER}")
    cloud.ok("vm", "delete", "third", "--yes")
    for guest in named.guests:
        assert "NXDOMAIN" in named.look_up(guest, "changed") and "NXDOMAIN" in named.look_up(guest, ips[0])
    assert named.pids() == before and "MainPID=0" not in before.values()


def test_other_names_come_from_outside(named: Named) -> None:
    """Asked by the host; never for what is the network's own; over TCP too; told of in time when nobody answers."""
    cloud = named.cloud
    address = str(cloud.lab.plan.management.network_address + 200)
    cloud.lab.ssh("h3", ROUTER.replace("ADDRESS", address))
    try:
        cloud.ok("l3-network", "update", "named", "--dns", address)
        for guest in named.guests:
            assert "Address: 192.0.2.7\n" in named.look_up(guest, "www.example.test"), guest
        assert "NXDOMAIN" in named.look_up("left", "none.example.test")
        assert "192.0.2.66" not in named.look_up("left", "ghost.named"), "own names are asked nowhere else"
        assert "169.254.169.254" not in named.look_up("left", "evil.example.test"), (
            "nobody else is the metadata service"
        )
        for kind in ("STREAM", "DGRAM"):
            for name, ip in (("www.example.test", "192.0.2.7"), ("left.named", named.guests["left"][1])):
                assert named.ask(kind, name, ip) == "0 True", (kind, name)
        cloud.ok("plan", "--detailed-exitcode")
        cloud.lab.ssh("h3", "kill -STOP $(cat /run/router.pid)")
        assert named.ask("DGRAM", "other.example.test") == "2 False", "a failure is told, in time"
        assert "Address: 10.60.0.11\n" in named.look_up("left", "right"), "its own names do not wait for that"
    finally:
        cloud.lab.try_ssh("h3", "kill -9 $(cat /run/router.pid); ip netns del router; ip link del rt")
        cloud.ok("l3-network", "update", "named", "--dns", "")
    assert "REFUSED" in named.look_up("left", "www.example.test")


def test_it_comes_back_by_itself_or_by_converge(named: Named) -> None:
    """A killed service; a host that starts again without zctl; names that somebody has spoiled."""
    cloud, (_, ip) = named.cloud, named.guests["left"]
    cloud.ok("l3-network", "update", "named", "--dns", str(cloud.lab.plan.machine))
    cloud.lab.ssh("h1", f"kill -9 $(systemctl show -p MainPID --value zctl-l3@{named.uuid}); sleep 1.5")
    assert f"Address: {ip}\n" in named.look_up("left", "left")
    nic = cloud.show("nic", "right-nic0")["uuid"]
    cloud.lab.ssh("h1", f"echo 10.60.0.11 another.named >/etc/zctl/l3/{named.uuid}/names/{nic}")
    told = cloud.call("plan", "--host", "h1", "--detailed-exitcode")
    assert told.code == 2 and "another.named" in told.out, told.out + told.err
    cloud.ok("converge", "--host", "h1")
    assert "Address: 10.60.0.11\n" in named.look_up("left", "right")
    assert "NXDOMAIN" in named.look_up("left", "another")
    cloud.lab.reboot("h2")
    deadline = time.monotonic() + 30
    while "name = left.named" not in named.cloud.lab.try_ssh("h2", lookup(named, ip)).stdout:
        assert time.monotonic() < deadline, "h2 does not answer for names after its start"
        time.sleep(0.3)
    cloud.lab.ssh("h2", f"systemctl is-active zctl-dns@{named.uuid}.socket")
    cloud.ok("plan", "--host", "h2", "--detailed-exitcode")


def lookup(named: Named, name: str) -> str:
    """The command that asks in the namespace on a host itself."""
    return f"ip netns exec zl3-{named.uuid.replace('-', '')[:10]} busybox nslookup {name} {SERVER}"
