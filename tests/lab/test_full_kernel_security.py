"""Security groups on a kernel that tracks connections in bridges, which the machine's own may not do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from zctl_security_text import PROBE, render

from tests.bench_security import BRIDGE, GROUP, INVENTORY, SET_UP, TAKE_DOWN, model, rule
from zctl.lab import Lab

SERVE = "nohup ip netns exec bench1 python3 -m http.server {} --bind 10.99.0.1 >/dev/null 2>&1 &"
ASK = "ip netns exec bench2 python3 -c 'import socket; socket.create_connection((\"10.99.0.1\", {}), 3)'"


@pytest.fixture
def host(kernels: Lab) -> Iterator[Lab]:
    """k1 with a bridge, two cards on it, and a server on two ports of the first."""
    kernels.ssh("k1", SET_UP)
    for port in (8080, 8081):
        kernels.ssh("k1", SERVE.format(port))
    yield kernels
    kernels.ssh("k1", "pkill -f '[h]ttp.server' || true")
    kernels.ssh("k1", "nft -f -", stdin=render(INVENTORY, {"nics": {}, "groups": {}}, True))
    kernels.ssh("k1", TAKE_DOWN)


def test_connections_are_tracked_by_the_bridge_itself(host: Lab) -> None:
    """What a rule allows passes with its answers, without the settings that other kernels need; all else is stopped."""
    host.ssh("k1", "nft -c -f -", stdin=PROBE)
    wanted = model(2, 2)
    wanted["groups"][GROUP]["rules"] = [rule("ingress", 8080, True), rule("egress", None, True)]
    host.ssh("k1", f"ip link set {BRIDGE} type bridge nf_call_iptables 0")
    host.ssh("k1", "nft -f -", stdin=render(INVENTORY, wanted, True))
    assert host.try_ssh("k1", ASK.format(8080)).returncode == 0
    assert host.try_ssh("k1", ASK.format(8081)).returncode != 0
    wanted["groups"][GROUP]["rules"][0] = rule("ingress", 8081, True)
    host.ssh("k1", "nft -f -", stdin=render(INVENTORY, wanted, True))
    assert host.try_ssh("k1", ASK.format(8080)).returncode != 0
    assert host.try_ssh("k1", ASK.format(8081)).returncode == 0
