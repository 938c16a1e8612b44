"""What security groups cost: TCP through a bridge with few rules and cards, and with many."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

from tests.bench_figure import ROUNDS, Figure
from zctl.lab.lab import Lab

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "module_utils"))
INVENTORY = "bbbbbbbb-0000-4000-8000-000000000000"
GROUP = "cccccccc-0000-4000-8000-000000000000"
BRIDGE = "zbr-bench"
MEGABYTES = 2000
SET_UP = f"""
ip link add {BRIDGE} type bridge && ip link set {BRIDGE} up
modprobe br_netfilter 2>/dev/null
for n in 1 2; do
    ip netns add bench$n && ip link add zt-bench$n type veth peer name eth0 netns bench$n
    ip link set zt-bench$n master {BRIDGE} up
    ip -n bench$n link set eth0 address 52:54:00:be:00:0$n up && ip -n bench$n address add 10.99.0.$n/16 dev eth0
done
"""
TAKE_DOWN = f"ip netns del bench1; ip netns del bench2; ip link del {BRIDGE}"
SEND = f"""
import socket, subprocess, sys, time
if sys.argv[1:] == ["receive"]:
    with socket.create_server(("10.99.0.1", 5001)) as server:
        peer = server.accept()[0]
        while peer.recv(1 << 20):
            pass
    sys.exit()
receiver = subprocess.Popen(["ip", "netns", "exec", "bench1", sys.executable, "/var/tmp/send.py", "receive"])
time.sleep(0.5)
code = '''
import socket, time
block = bytes(1 << 20)
with socket.create_connection(("10.99.0.1", 5001)) as link:
    begun = time.perf_counter()
    for _ in range({MEGABYTES}):
        link.sendall(block)
    link.shutdown(socket.SHUT_WR)
    link.recv(1)
print(time.perf_counter() - begun)
'''
subprocess.run(["ip", "netns", "exec", "bench2", sys.executable, "-c", code], check=True)
receiver.wait()
"""


def model(cards: int, rules: int) -> dict[str, Any]:
    """The two measured cards among many, in a group with many rules of which the last lets the traffic in."""
    nics = {}
    for number in range(1, cards + 1):
        tap = f"zt-bench{number}"
        nics[tap] = {
            "uuid": f"{number:08x}-0000-4000-8000-000000000000",
            "name": tap,
            "tap": tap,
            "bridge": BRIDGE,
            "private": True,
            "mac": f"52:54:00:be:{number >> 8:02x}:{number & 255:02x}",
            "addresses": [f"10.99.{number >> 8}.{number & 255}"],
            "allowed": [],
            "anti_spoofing": True,
            "groups": [GROUP],
            "ingress_policy": "deny",
            "egress_policy": "deny",
        }
    listed = [rule(way, 20000 + n, n % 2 == 0) for n in range(rules // 2 - 1) for way in ("ingress", "egress")]
    listed += [rule(way, None, True) for way in ("ingress", "egress")]
    group = {"uuid": GROUP, "name": "bench", "member_access": False, "rules": listed, "members": []}
    return {"nics": {nic["uuid"]: nic for nic in nics.values()}, "groups": {GROUP: group}}


def rule(direction: str, port: int | None, allow: bool) -> dict[str, Any]:
    """One rule; allowing and denying ones take turns, which is the worst for sets."""
    values = {"direction": direction, "protocol": "tcp", "first": port, "last": port, "allow": allow}
    return {**values, "cidr": "10.99.0.0/16", "group": None}


def throughput(lab: Lab, host: str = "h1") -> Figure:
    """Seconds for the same bytes with 1,000 rules and 100 cards, against 10 rules and 2 cards."""
    from zctl_security_text import PROBE, render

    tracks = lab.try_ssh(host, f"printf '%s' '{PROBE}' | nft -c -f -").returncode == 0
    lab.ssh(host, "cat > /var/tmp/send.py", stdin=SEND)
    lab.ssh(host, SET_UP)
    if not tracks:
        lab.ssh(host, f"ip link set {BRIDGE} type bridge nf_call_iptables 1 nf_call_ip6tables 1")
    took: dict[int, list[float]] = {10: [], 1000: []}
    try:
        for _ in range(ROUNDS):
            for rules, cards in ((10, 2), (1000, 100)):
                lab.ssh(host, "nft -f -", stdin=render(INVENTORY, model(cards, rules), tracks))
                took[rules].append(float(lab.ssh(host, "python3 /var/tmp/send.py")))
    finally:
        lab.ssh(host, "nft -f -", stdin=render(INVENTORY, {"nics": {}, "groups": {}}, tracks))
        lab.ssh(host, TAKE_DOWN)
    name = "TCP with 1,000 rules and 100 cards / with 10 rules and 2 cards"
    return Figure(name, statistics.median(took[1000]), statistics.median(took[10]), 1 / 0.9)
