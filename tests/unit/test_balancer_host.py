"""What hosts make of load balancers: haproxy's settings, who is let in, what its answers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zctl_balancer
import zctl_net_facts
from zctl_balancer_plan import UNIT_TEXT, allowing_rules, haproxy_config, parse_health
from zctl_eip_family import view
from zctl_eip_plan import inside_lines, router_table, seen_inside, wanted_inside

BALANCER: dict[str, Any] = {
    **{"uuid": "b1", "name": "web", "ip": "198.51.100.7", "public": "p1", "port": 80, "source": "10.7.0.9"},
    **{"algorithm": "least_connections", "interval": 10, "timeout": 5, "rise": 3, "fall": 2, "idle_timeout": 350},
    **{
        "proxy_protocol": False,
        "allowed": [],
        "targets": [{"uuid": "t1", "name": "x", "ip": "10.7.0.3", "port": 8080}],
    },
}
ROUTER: dict[str, Any] = {
    **{
        "uuid": "n1",
        "inventory": "0f1e2d3c-0000",
        "namespace": "zl3-n1",
        "cidr": "10.7.0.0/24",
        "mac": "02:00:00:00:00:01",
    },
    **{"publics": [{"uuid": "p1", "port": "p-1", "mark": 7, "cidr": "198.51.100.0/24", "gateway": None}]},
    **{"eips": [], "snats": [], "exits": [], "forwards": [], "balancers": [BALANCER]},
}


def test_settings_hold_what_is_asked_for_and_no_names() -> None:
    """Nothing of people's is in the file, so nothing of theirs can change its meaning."""
    text = haproxy_config({**ROUTER, "balancers": [{**BALANCER, "name": "a\nglobal", "proxy_protocol": True}]})
    section = text[text.index("listen b1") :]
    for line in (
        "bind 198.51.100.7:80",
        "balance leastconn",
        "timeout client 350s",
        "timeout check 5s",
        "source 10.7.0.9",
        "default-server check inter 10s rise 3 fall 2",
        "server 10.7.0.3:8080 10.7.0.3:8080 send-proxy-v2",
    ):
        assert f"    {line}\n" in section, text
    assert text.count("\nglobal") == 1 and "\nglobal" not in section
    assert "send-proxy" not in haproxy_config(ROUTER)
    assert "User=zctl-balancer" in UNIT_TEXT and "NoNewPrivileges=yes" in UNIT_TEXT


def test_who_is_let_in() -> None:
    """Everybody, or only some: the rules come before the ones that let the private network in."""
    assert allowing_rules(BALANCER) == ["ip daddr 198.51.100.7 tcp dport 80 accept"]
    some = {**BALANCER, "allowed": ["9.9.9.9/32", "192.0.2.0/24"]}
    assert allowing_rules(some) == [
        "ip daddr 198.51.100.7 tcp dport 80 ip saddr { 192.0.2.0/24, 9.9.9.9/32 } accept",
        "ip daddr 198.51.100.7 tcp dport 80 drop",
    ]
    table = router_table(view({**ROUTER, "balancers": [some]}, 4))
    assert table.index("tcp dport 80 drop") < table.index('iifname { "lo", "eth0" } accept')


def test_the_source_address_is_told_from_the_namespaces_own() -> None:
    """It comes with its label and goes by it; the namespace's other addresses are never touched."""

    def seen(*more: dict[str, Any]) -> dict[str, Any]:
        own = {"family": "inet", "local": "10.7.0.2", "prefixlen": 24, "label": "eth0"}
        port = {"ifname": "p-1", "addr_info": [{"family": "inet", "local": "198.51.100.7", "prefixlen": 32}]}
        return seen_inside([{"ifname": "eth0", "addr_info": [own, *more]}, port], [], [], [])

    there = {"family": "inet", "local": "10.7.0.9", "prefixlen": 32, "label": "eth0:lb"}
    addresses = [line for line in inside_lines(seen(), wanted_inside(view(ROUTER, 4)))[0] if line.startswith("addr")]
    assert addresses == ["addr add 10.7.0.9/32 dev eth0 label eth0:lb"]
    assert not [
        line for line in inside_lines(seen(there), wanted_inside(view(ROUTER, 4)))[0] if line.startswith("addr")
    ]
    gone = inside_lines(seen(there), wanted_inside(view({**ROUTER, "balancers": []}, 4)))[0]
    assert [line for line in gone if "eth0" in line and line.startswith("addr")] == ["addr del 10.7.0.9/32 dev eth0"]


STAT = """# pxname,svname,scur,status,lastchg,check_status
b1,FRONTEND,0,OPEN,,
b1,10.7.0.3:8080,2,UP,77,L4OK
b1,10.7.0.4:8080,0,DOWN,5,* L4TOUT
b1,10.7.0.5:8080,0,UP 1/3,5,L4CON
b1,BACKEND,2,UP,77,
"""


def test_what_haproxy_tells() -> None:
    """Its states by load balancer and target; nothing of nothing."""
    found = parse_health(STAT)["b1"]
    assert {key: value["state"] for key, value in found.items()} == {
        **{"10.7.0.3:8080": "UP", "10.7.0.4:8080": "DOWN", "10.7.0.5:8080": "UP"}
    }
    assert found["10.7.0.4:8080"]["check"] == "L4TOUT" and found["10.7.0.3:8080"]["connections"] == 2
    assert parse_health("") == {}


def test_facts_say_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A port, a namespace, a filter, haproxy: each problem in words; what is right has none."""
    device = tmp_path / "zt-1"
    (device / "brport").mkdir(parents=True)
    (tmp_path / "zbr-1").mkdir()
    (device / "brport" / "bridge").symlink_to(tmp_path / "zbr-1")
    (device / "flags").write_text("0x1003\n")
    monkeypatch.setattr(zctl_net_facts, "DEVICES", tmp_path)
    inside = {"zl3-1": {"up": True, "addresses": ["10.7.0.2/24"]}}
    monkeypatch.setattr(zctl_net_facts, "read_inside", lambda _names: inside)
    monkeypatch.setattr(zctl_net_facts, "run", lambda _argv: "table ip t {\n 198.51.100.7 : 10.7.0.3\n}")
    monkeypatch.setattr(zctl_balancer, "asked", lambda _uuid, _command: STAT)
    table = {"what": "table", "family": "ip", "table": "t"}
    asks = [
        ({"what": "device", "device": "zt-1", "bridge": "zbr-1"}, ""),
        ({"what": "device", "device": "zt-1", "bridge": "zbr-2"}, "zt-1 is a port of zbr-1, not of zbr-2"),
        ({"what": "device", "device": "zt-2"}, "there is no device zt-2"),
        ({"what": "namespace", "namespace": "zl3-1", "address": "10.7.0.2"}, ""),
        ({"what": "namespace", "namespace": "zl3-1", "address": "10.7.0.1"}, "does not have the address 10.7.0.1"),
        ({"what": "namespace", "namespace": "zl3-2"}, "there is no network namespace zl3-2"),
        ({**table, "words": ["198.51.100.7 : 10.7.0.3"]}, ""),
        ({**table, "words": ["198.51.100.8 : 10.7.0.3"]}, "does not hold: 198.51.100.8"),
        ({"what": "health", "network": "n1"}, ""),
    ]
    found = zctl_net_facts.facts([{"uuid": str(n), **ask} for n, (ask, _) in enumerate(asks)])
    for (ask, words), entry in zip(asks, found, strict=True):
        problem = entry["observed"]["problem"]
        assert (words in problem) if words else problem == "", (ask, problem)
    assert found[-1]["observed"]["balancers"]["b1"]["10.7.0.3:8080"]["state"] == "UP"
    monkeypatch.setattr(zctl_balancer, "asked", lambda _uuid, _command: "")
    (answer,) = zctl_net_facts.facts([{"uuid": "1", "what": "health", "network": "n1"}])
    assert "haproxy does not answer" in answer["observed"]["problem"]
