"""A guest does not get into a VLAN by tagging its frames itself: what arrives on the bridge of a no-vlan network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.cloud.zctl import Cloud

# The sender has the MAC and the port of a VM that is off; what it sends is right but for the tag.
SEND = """
import socket, struct, sys
mac, ip = bytes.fromhex(sys.argv[1].replace(":", "")), socket.inet_aton(sys.argv[2])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
def packed(name):
    text = b"probe-" + name.ljust(40, b".")
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(text), 1, 0, 9, 17, 0, ip, b"\\xff" * 4)
    total = sum(struct.unpack("!10H", head))
    total = ~((total & 0xffff) + (total >> 16)) & 0xffff
    return head[:10] + struct.pack("!H", total) + head[12:] + struct.pack("!4H", 999, 999, 8 + len(text), 0) + text
for name, tag in (("untagged", ()), ("vlan77", (0x8100, 77)), ("vlan0", (0x8100, 0)), ("qinq", (0x88a8, 7, 0x8100, 8)),
                  ("twice", (0x8100, 7, 0x8100, 8)), ("old", (0x9100, 7, 0x8100, 8))):
    wire.send(b"\\xff" * 6 + mac + struct.pack("!%dH" % len(tag), *tag) + b"\\x08\\x00" + packed(name.encode()))
"""
HEAR = """
import re, socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("eth0", 3))
wire.settimeout(0.2)
print("listening", flush=True)
end, seen = time.monotonic() + 2.5, set()
while time.monotonic() < end:
    try:
        seen |= {name.decode() for name in re.findall(rb"probe-([a-z0-9]+)", wire.recv(2000))}
    except socket.timeout:
        pass
print(*sorted(seen))
"""
PLUG = (
    "ip netns add NS && ip link add PORT type veth peer name eth0 netns NS && ip -n NS link set eth0 address MAC up &&"
    " ip link set PORT master BRIDGE up"
)
TRY = (
    'ip netns exec tags-b python3 -c "$HEAR" >/tmp/tags & sleep 0.1; while ! grep -q listening /tmp/tags; do sleep 0.1;'
    ' done; ip netns exec tags-a python3 -c "$SEND" MAC IP; wait; tail -1 /tmp/tags'
)


@dataclass(frozen=True)
class Port:
    """The port of a VM that is off, with a network namespace plugged into it that plays the VM."""

    cloud: Cloud
    mac: str
    ip: str

    def heard(self) -> set[str]:
        """What another port of the bridge hears."""
        command = f"HEAR='{HEAR}'\nSEND='{SEND}'\n{TRY.replace('MAC', self.mac).replace('IP', self.ip)}"
        return set(self.cloud.lab.ssh("h1", "bash", stdin=command).split())


@pytest.fixture
def port(no_vms: Cloud) -> Iterator[Port]:
    """A VM on network flat, and a stranger on the same bridge."""
    cloud = no_vms
    words = ("--image", "tiny", "--instance-offering", "small", "--network", "flat", "--power", "Stopped")
    cloud.ok("vm", "create", "tagger", *words, "--host", "h1")
    nic = cloud.show("nic", "tagger-nic0")
    bridge = "zbr-" + str(cloud.show("l2-network", "wire")["uuid"]).replace("-", "")[:10]
    tap = "zt-" + str(nic["uuid"]).replace("-", "")[:10]
    for name, device, mac in (("tags-a", tap, nic["mac"]), ("tags-b", "tags-b", "02:00:00:00:00:0b")):
        values = {"NS": name, "PORT": device, "MAC": mac, "BRIDGE": bridge}
        command = PLUG
        for word, value in values.items():
            command = command.replace(word, value)
        cloud.lab.ssh("h1", command)
    yield Port(cloud, nic["mac"], nic["ip"])
    cloud.lab.ssh("h1", "ip netns del tags-a; ip netns del tags-b; rm -f /tmp/tags")


def test_tagged_frames_are_dropped_unless_anti_spoofing_is_off(port: Port) -> None:
    """Also priority tags, QinQ and its old number; with the switch off all of them pass."""
    assert port.heard() == {"untagged"}
    port.cloud.ok("nic", "update", "tagger-nic0", "--no-anti-spoofing")
    assert port.heard() == {"untagged", "vlan77", "vlan0", "qinq", "twice", "old"}
