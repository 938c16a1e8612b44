"""The firewall role on a real host: packets from outside, its try, reboots, and what it leaves alone."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from zctl_firewall_rules import parse_rules, render

from tests.lab.management_play import Done, Json, play
from zctl.lab import Lab

SSH: Json = {"port": 22, "comment": "SSH"}
OPEN, CLOSED = 9101, 9102
SERVER = """
import socket, threading
def serve(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        threading.Thread(target=echo, args=listener.accept()).start()
def echo(connection, _):
    while data := connection.recv(100):
        connection.sendall(data)
for port in (9101, 9102):
    threading.Thread(target=serve, args=(port,)).start()
"""
OTHER = "inet filter2 input"
OTHER_TABLE = "table inet filter2 { chain input { type filter hook input priority 10; policy accept; }; }"
LEFT = "ls /etc/zctl/firewall.nft /etc/systemd/system/zctl-firewall.service /run/zctl/firewall-try 2>/dev/null; true"


class Firewall:
    """The role on h1, seen from the machine that carries the lab."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder, self.address = lab, folder, str(lab.host("h1").address)

    def __call__(self, *rules: Json, check: bool = False, **variables: Any) -> Done:
        values = {"firewall_rules": list(rules), **variables}
        return play(self.lab, self.folder, "firewall", check=check, **values)

    def ssh(self, command: str) -> str:
        return self.lab.ssh("h1", command)

    def connect(self, port: int) -> socket.socket:
        return socket.create_connection((self.address, port), timeout=3)

    def answers(self, port: int) -> bool:
        """Whether a port can be reached; what is refused must be so at once."""
        begin = time.monotonic()
        try:
            with self.connect(port) as connection:
                return says(connection)
        except ConnectionRefusedError:
            assert time.monotonic() - begin < 1
            return False

    def file(self) -> str:
        return self.ssh("cat /etc/zctl/firewall.nft 2>/dev/null || true")

    def wait_for_ssh(self) -> None:
        """Until the host lets us in again, and its timer has done its work."""
        for _ in range(60):
            done = self.lab.try_ssh("h1", "test ! -e /run/zctl/firewall-try/undo.nft && echo in")
            if done.stdout.strip() == "in":
                return
            time.sleep(0.2)
        raise AssertionError("nobody gets in any more")


def says(connection: socket.socket) -> bool:
    """Whether the other side sends back what it is sent."""
    connection.sendall(b"hello")
    return connection.recv(100) == b"hello"


@pytest.fixture(scope="module")
def firewall(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firewall]:
    made = Firewall(lab, tmp_path_factory.mktemp("firewall"))
    before = made.ssh("nft list ruleset")
    serve(made)
    yield made
    made(firewall_state="absent")
    made.ssh(
        "systemctl stop zt2-echo.service; for what in 'nft delete table inet filter2' 'ip link del zt2vx'; do"
        " $what 2>/dev/null; done; rm /root/zt2-echo.py"
    )
    assert made.ssh(LEFT) == "" and made.ssh("nft list ruleset") == before


def ipv6(firewall: Firewall, verb: str) -> None:
    """Give h1 and h2 addresses of IPv6 on their data network, or take them away."""
    for number in (1, 2):
        command = f"ip -6 addr {verb} 2001:db8:9::{number}/64 dev data0 nodad"
        firewall.lab.ssh(
            f"h{number}", f"sysctl -qw net.ipv6.conf.data0.disable_ipv6=0; {command}; ip link set data0 up"
        )


def serve(firewall: Firewall) -> None:
    firewall.lab.ssh("h1", "cat >/root/zt2-echo.py", stdin=SERVER)
    firewall.ssh("systemd-run --quiet --unit=zt2-echo.service python3 /root/zt2-echo.py")
    firewall.ssh(f"until ss -Hltn sport = :{CLOSED} | grep -q .; do sleep 0.1; done")


def test_what_is_let_in_and_what_is_refused(firewall: Firewall) -> None:
    wanted = (
        {**SSH, "from": [f"{firewall.lab.plan.machine}"]},
        {"port": OPEN, "from": ["198.18.0.0/15", "2001:db8::/32"]},
    )
    forecast = firewall(*wanted, check=True)
    assert forecast.changed and "dport { 9101 }" in forecast.first["diff"]["after"]
    assert firewall.ssh(LEFT) == "" and firewall.answers(CLOSED)
    done = firewall(*wanted)
    assert done.code == 0 and done.changed, done.said
    assert firewall.answers(OPEN) and not firewall.answers(CLOSED)
    assert "1 received" in firewall.lab.ssh("h2", f"ping -c1 -W2 {firewall.address}")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        pytest.raises(OSError, match="No route to host"),
    ):
        datagrams.settimeout(3)
        datagrams.connect((firewall.address, 9199))
        datagrams.send(b"?")
        datagrams.recv(10)  # an ICMP message, not a timeout
    assert "tcp reset" in firewall.ssh("nft list table inet zctl_firewall | grep -v 'packets 0'")
    assert not firewall(*wanted).changed
    with firewall.connect(OPEN) as connection:
        assert says(connection)
        assert firewall(SSH).code == 0
        assert says(connection), "what was let in before lives on"
        assert not firewall.answers(OPEN)


def test_rules_that_cut_us_off_are_refused(firewall: Firewall) -> None:
    machine = str(firewall.lab.plan.machine)
    firewall.ssh("ip link add zt2vx type vxlan id 77 dstport 4789 dev data0")
    wrong = ([{"port": 22, "from": ["192.0.2.0/24"]}], [SSH, {"port": "22; drop"}])
    tasks = [{"zctl.cloud.zctl_firewall": {"rules": rules}} for rules in wrong]
    cut, injected = play(firewall.lab, firewall.folder, "", tasks=tasks).answers
    firewall.ssh("ip link del zt2vx")
    assert f"add {{port: 22, from: [{machine}], comment: SSH}}" in cut["msg"]
    assert "add {port: 4789, protocol: udp, comment: VXLAN}" in cut["msg"]
    assert injected["msg"].startswith("firewall_rules[1]: '22; drop' is not a port")


def test_a_confirmation_that_never_comes(firewall: Firewall) -> None:
    """A new connection cannot be made, and one that is there does not count: the host undoes it by itself."""
    assert firewall(SSH).code == 0
    before = firewall.file()
    done = firewall({"port": CLOSED}, firewall_allow_lockout=True, firewall_confirm_timeout=3)
    assert done.code == 4, done.said
    firewall.wait_for_ssh()
    assert firewall.file() == before and not firewall.answers(CLOSED)
    assert not firewall(SSH).changed


def test_reboots_and_what_others_do(firewall: Firewall) -> None:
    """A try is nobody else's to confirm, and a boot ends it; what is confirmed is there after a boot, and a flush."""
    first = {"zctl.cloud.zctl_firewall": {"rules": [SSH]}, "register": "begun"}
    confirm = ["0" * 32, "{{ begun.attempt }}"]
    tasks = [first, *({"zctl.cloud.zctl_firewall": {"confirm": attempt}} for attempt in confirm)]
    firewall.ssh("nft list table inet zctl_firewall >/dev/null 2>&1 && nft add chain inet zctl_firewall zt2 || true")
    done = play(firewall.lab, firewall.folder, "", tasks=tasks)
    assert "another run is trying other rules" in done.answers[1]["msg"]
    assert "which proves nothing" in done.answers[2]["msg"]
    assert not firewall.answers(CLOSED), "it is being tried"
    assert firewall(SSH, {"port": OPEN}).code == 0
    before = firewall.file()
    play(firewall.lab, firewall.folder, "", tasks=[{"zctl.cloud.zctl_firewall": {"rules": [SSH]}}])
    firewall.lab.reboot("h1")
    serve(firewall)
    assert firewall.file() == before and firewall.answers(OPEN) and not firewall.answers(CLOSED)
    firewall.ssh(f"nft '{OTHER_TABLE}' && nft insert rule inet zctl_firewall input tcp dport {CLOSED} accept")
    done = firewall(SSH, {"port": OPEN}, check=True)
    assert done.first["differences"] == ["what is loaded"] and f"{CLOSED}" in done.first["diff"]["before"]
    assert [words for words in done.first["others"] if OTHER in words]
    assert firewall(SSH, {"port": OPEN}).code == 0
    assert firewall.answers(OPEN) and not firewall.answers(CLOSED)
    firewall.ssh("systemctl start nftables && systemctl reload nftables; systemctl stop nftables")
    firewall.ssh(f"systemctl start zctl-firewall; nft '{OTHER_TABLE}'")
    assert firewall.answers(OPEN) and not firewall.answers(CLOSED)
    done = play(firewall.lab, firewall.folder, "", tasks=[{"zctl.cloud.zctl_firewall": {"state": "absent"}}] * 2)
    assert [answer["changed"] for answer in done.answers] == [True, False]
    assert "filter2" in firewall.ssh("nft list tables") and firewall.ssh(LEFT) == "" and firewall.answers(CLOSED)


def test_nft_takes_whatever_the_checks_let_through(firewall: Firewall) -> None:
    """And nothing of a rule gets out of its place: each list makes one table of one chain."""
    chance, texts = random.Random(9), []
    for _ in range(40):
        rules = []
        for _ in range(chance.randrange(6)):
            first = chance.randrange(1, 65000)
            ports = [first, f"{first}-{first + chance.randrange(500)}", chance.randrange(1, 65536)]
            networks = chance.sample(["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "::/0", "2001:db8::1", "192.0.2.7"], 3)
            comment = "".join(chance.choices("a z;{}#$'äß@*%<>|&~`", k=chance.randrange(60)))
            rules.append(
                {"ports": ports, "protocol": chance.choice(["tcp", "udp"]), "from": networks, "comment": comment}
            )
        texts.append(render(parse_rules(rules)))
    firewall.lab.ssh("h1", "nft -c -f -", stdin="".join(texts))
