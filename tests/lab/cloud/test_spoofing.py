"""What a guest sends under another's name gets nowhere, proven from inside; with the switch off it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.cloud.guests import Guest, make
from tests.lab.cloud.zctl import Cloud

Two = tuple[Guest, Guest]
ROGUE = """
ip address flush dev eth1; ip address add {ip}/24 dev eth1
mkdir -p /var/lib/misc; : >/var/lib/misc/udhcpd.leases; : >/tmp/leases
printf 'start 10.20.0.240\\nend 10.20.0.250\\ninterface eth1\\n' >/tmp/rogue
printf 'lease_file /tmp/leases\\npidfile /tmp/rogue.pid\\n' >>/tmp/rogue
udhcpd -S /tmp/rogue >/dev/null 2>&1 </dev/null
"""
ASK = """printf '#!/bin/sh\\n[ "$1" = bound ] && echo "offered $ip"\\nexit 0\\n' >/tmp/told; chmod +x /tmp/told
kill $(cat /run/eth1.pid); udhcpc -f -q -n -i eth1 -s /tmp/told -t 4 -T 2 2>&1"""


@pytest.fixture(scope="module")
def pair(cloud: Cloud) -> Iterator[Two]:
    """Both on one host, because DHCP never leaves a host anyway."""
    yield make(cloud, "bad-1", "h1"), make(cloud, "good-1", "h1")
    cloud.ok("vm", "delete", "bad-1", "good-1", "--yes")


@pytest.fixture
def guests(cloud: Cloud, pair: Two) -> Iterator[Two]:
    """The two, guarded."""
    yield pair
    cloud.ok("nic", "update", pair[0].card, "--anti-spoofing", "--allowed-addresses", "")
    for guest in pair:
        guest.run(f"ip address flush dev eth1 scope global; ip address add {guest.ip}/24 dev eth1")


def guard(cloud: Cloud, guest: Guest, on: bool) -> None:
    """Switch anti-spoofing of a guest's filtered card."""
    cloud.ok("nic", "update", guest.card, "--anti-spoofing" if on else "--no-anti-spoofing")


def test_another_address(cloud: Cloud, guests: Two) -> None:
    """IPv4 and ARP: nobody hears of an address that is not the card's, until it is allowed."""
    bad, good = guests
    bad.run("ip address add 10.20.0.222/24 dev eth1")
    assert not good.pings("10.20.0.222"), "its answer to ARP gets nowhere"
    assert not bad.pings(good.ip, "-I 10.20.0.222")
    assert bad.pings(good.ip), "its own address goes on"
    cloud.ok("nic", "update", bad.card, "--allowed-addresses", "10.20.0.220/30")
    assert good.pings("10.20.0.222") and bad.pings(good.ip, "-I 10.20.0.222")
    cloud.ok("nic", "update", bad.card, "--allowed-addresses", "10.20.0.223")
    assert not bad.pings(good.ip, "-I 10.20.0.222")
    guard(cloud, bad, False)
    assert bad.pings(good.ip, "-I 10.20.0.222"), "the switch"


@pytest.mark.parametrize("stolen", ["10.20.0.1", "169.254.169.254"])
def test_arp_for_another(cloud: Cloud, guests: Two, stolen: str) -> None:
    """Neither the gateway's place in the neighbours' tables nor the metadata service's can be taken."""
    bad, good = guests
    mac = bad.run("cat /sys/class/net/eth1/address").split()[0]
    bad.run(f"ip address add {stolen}/32 dev eth1")
    ask = f"ip route replace {stolen} dev eth1; arping -c 3 -w 3 -I eth1 {stolen}"
    assert f"[{mac}]" not in good.run(ask)
    guard(cloud, bad, False)
    assert f"[{mac}]" in good.run(ask), "the test itself sees such an answer"


def test_another_mac(cloud: Cloud, guests: Two) -> None:
    """Frames with another source MAC are dropped."""
    bad, good = guests
    mac = bad.run("cat /sys/class/net/eth1/address").split()[0]
    change = "ip link set eth1 down; ip link set eth1 address {}; ip link set eth1 up"
    bad.run(change.format("52:54:00:66:66:66") + f"; ip address replace {bad.ip}/24 dev eth1")
    assert not bad.pings(good.ip)
    guard(cloud, bad, False)
    assert bad.pings(good.ip), "the switch"
    guard(cloud, bad, True)
    bad.run(change.format(mac) + f"; ip address replace {bad.ip}/24 dev eth1")
    assert bad.pings(good.ip)


def test_a_rogue_dhcp_server(cloud: Cloud, guests: Two) -> None:
    """A guest that offers addresses is not heard, even while zctl's own service is away."""
    bad, good = guests
    network = cloud.show("l3-network", "private")["uuid"]
    cloud.lab.ssh("h1", f"systemctl stop zctl-l3@{network}")
    try:
        bad.run(ROGUE.format(ip=bad.ip))
        assert "offered" not in good.run(ASK)
        guard(cloud, bad, False)
        assert "offered 10.20.0.2" in good.run(ASK), "the test itself sees such an offer"
    finally:
        bad.run("kill $(cat /tmp/rogue.pid)")
        cloud.lab.ssh("h1", f"systemctl start zctl-l3@{network}")
