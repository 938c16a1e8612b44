"""DNS in networks: settings, files, the relay to other servers, and which hosts hear of a VM's name."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import zctl_dns_relay
import zctl_l3_names
from zctl_l3_dns import SERVICE_TEXT, SOCKET_TEXT, dns_lines, reverse_zones, told_servers
from zctl_l3_plan import classless_routes, dnsmasq_config, without_leases
from zctl_l3_release import release_packet
from zctl_network_boot import PARTS

from tests.unit.conftest import Zctl
from tests.unit.test_l3_plan import network

Json = dict[str, Any]
WORDS = ("--image", "tiny", "--instance-offering", "small", "--network")
NIC = "dddddddd-0000-4000-8000-000000000001"


def named(**more: Any) -> Json:
    """A network that answers for names."""
    return network(dns_service=True, domain="private", **more)


def test_a_network_without_it_serves_no_names() -> None:
    """Guests are told the servers themselves."""
    assert dns_lines(network(), "/x") == ["port=0"]
    assert told_servers(network(dns=["192.0.2.1"]), 4) == ["192.0.2.1"]
    assert told_servers(named(dns=["192.0.2.1"]), 4) == ["10.20.0.1"]


def test_own_names_are_asked_nowhere_else() -> None:
    """Neither names in the domain nor addresses of a network that no router leads to."""
    alone, routed = dns_lines(named(), "/x"), dns_lines(named(gateway="10.20.0.9"), "/x")
    assert "local=/private/" in alone and "hostsdir=/x/names" in alone and "port=0" not in alone
    assert "local=/5.20.10.in-addr.arpa/" in alone and not any("arpa" in line for line in routed)
    assert not any(line.startswith("server=") for line in alone), "nobody to ask: refused at once"
    assert reverse_zones("10.20.0.0/23") == ["0.20.10.in-addr.arpa", "1.20.10.in-addr.arpa"]
    assert reverse_zones("10.20.0.8/30")[0] == "8.0.20.10.in-addr.arpa" and len(reverse_zones("10.20.0.8/30")) == 4
    assert reverse_zones("10.0.0.0/8") == ["10.in-addr.arpa"]


def test_servers_on_the_internet_know_no_private_addresses() -> None:
    """One on a private network may; nobody makes a name mean the metadata service."""
    public, private = dns_lines(named(dns=["9.9.9.9"]), "/x"), dns_lines(named(dns=["10.1.1.1", "9.9.9.9"]), "/x")
    assert "stop-dns-rebind" in public and "stop-dns-rebind" not in private
    for lines in (public, private):
        assert "server=127.0.0.1#5300" in lines and "bogus-nxdomain=169.254.169.254" in lines


def test_the_relay_is_there_after_a_start() -> None:
    """Sockets come before zctl's networks by default, so that systemd would leave this one out."""
    for words in ("DefaultDependencies=no", "After=zctl-net.service", "NetworkNamespacePath=/etc/zctl/l3/%i/netns"):
        assert f"\n{words}\n" in SOCKET_TEXT
    assert "DynamicUser=yes" in SERVICE_TEXT and "zctl_dns_relay" in PARTS


def test_routes_come_with_the_default_route() -> None:
    """Who understands classless routes does not look at the router option any more."""
    assert classless_routes(network(gateway="10.20.0.9")) == []
    assert classless_routes(network(gateway="10.20.0.9", routes=["10.9.0.0/16 via 10.20.0.5"])) == [
        *("10.9.0.0/16", "10.20.0.5"),
        *("0.0.0.0/0", "10.20.0.9"),
    ]
    text = dnsmasq_config(network(metadata=True, routes=["10.9.0.0/16 via 10.20.0.5"]), "/x", 1500)
    for option in ("option:classless-static-route", "249"):
        assert f"dhcp-option={option},169.254.169.254/32,10.20.0.1,10.9.0.0/16,10.20.0.5\n" in text


class Rereads:
    """Stands in for systemctl; counts how often the service was told to read its files again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        monkeypatch.setattr(zctl_l3_names, "run", self.calls.append)


def test_names_come_and_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new one needs nothing but its file; what is out of scope stays."""
    services = Rereads(monkeypatch)
    folder = tmp_path / network()["uuid"] / "names"
    entry = named(names={NIC: "web-1 10.20.0.5 fd00::5", "other": "web-2 10.20.0.6"})

    def bring(value: Json, scope: list[str] | None, check: bool = False) -> list[tuple[str, str]]:
        found = zctl_l3_names.names(tmp_path, value, scope, check, True)
        found = found if check else zctl_l3_names.reread(value, found, [])
        return [(one["name"], one["result"]) for one in found]

    assert bring(entry, [NIC], check=True) == [("web-1", "changed")] and not folder.exists()
    assert bring(entry, [NIC]) == [("web-1", "changed")] and services.calls == []
    assert (folder / NIC).read_text() == "10.20.0.5 web-1.private\nfd00::5 web-1.private\n"
    assert bring(entry, [NIC]) == [("web-1", "unchanged")]
    assert bring(entry, [entry["uuid"]]) == [("web-2", "changed")] and services.calls == []
    assert bring(entry, None) == [], "of a whole network only differences are told"
    assert bring({**entry, "names": {}}, ["other"]) == [("web-2", "removed")] and len(services.calls) == 1
    assert bring({**entry, "names": {NIC: "db-1 10.20.0.5"}}, [NIC]) == [("db-1", "changed")]
    assert len(services.calls) == 2
    assert bring({**entry, "dns_service": False}, [entry["uuid"]]) == [("db-1", "removed")]
    assert "names" not in without_leases(entry)
    before = len(services.calls)
    gone = [{"uuid": NIC, "name": "web-1", "result": "removed", "reason": "gone"}]
    assert zctl_l3_names.reread(entry, list(gone), gone) == gone and len(services.calls) == before, "once is enough"


def question(name: str, number: int = 7) -> bytes:
    """A query for an address."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def reply(query: bytes) -> bytes:
    """An answer to it, without records."""
    return query[:2] + b"\x81\x80" + query[4:]


def test_the_relay_takes_only_answers_to_its_question() -> None:
    """Same number, same question; whatever is no packet of DNS harms nothing."""
    query = question("a.test")
    assert zctl_dns_relay.answers(reply(question("A.test")), query)
    assert not zctl_dns_relay.answers(reply(question("b.test")), query)
    assert not zctl_dns_relay.answers(reply(question("a.test", 8)), query)
    assert not zctl_dns_relay.answers(query, query)
    for broken in (b"", b"\0" * 12, query[:-3], query[:12] + b"\xff" * 20, query[:12] + b"\xc0\x0c" * 3):
        assert not zctl_dns_relay.answers(broken, query)
        assert zctl_dns_relay.question_of(broken) in (b"", b"\0\0\0\0\0")
    failed = zctl_dns_relay.failure(query)
    assert failed[:2] == query[:2] and failed[3] & 15 == 2 and zctl_dns_relay.answers(failed, query)


def test_the_relay_asks_the_next_server_and_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is silent, the second answers and is preferred from then on; without any a failure is told."""
    monkeypatch.setattr(zctl_dns_relay, "PATIENCE", 0.2)
    asked: list[str] = []

    class Half(zctl_dns_relay.Relay):
        async def ask(self, server: str, query: bytes, patience: float) -> bytes | None:
            asked.append(server)
            await asyncio.sleep(0 if server == "good" else patience)
            return reply(query) if server == "good" else None

    class Wire:
        sent: list[bytes] = []

        def sendto(self, data: bytes, _addr: Any) -> None:
            self.sent.append(data)

    async def play() -> None:
        relay = Half(["silent", "good"])
        relay.transport = Wire()
        for _ in range(2):
            await relay.reply(question("a.test"), ("127.0.0.1", 9))
        relay.servers = ["silent"]
        await relay.reply(question("a.test"), ("127.0.0.1", 9))

    asyncio.run(play())
    assert asked == ["silent", "good", "good", "silent"]
    assert [packet[3] & 15 for packet in Wire.sent] == [0, 0, 2]


def test_the_relay_over_real_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there is told of at once by the kernel, and so is the one who asks."""
    monkeypatch.setattr(zctl_dns_relay, "IDLE", 1)
    inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inner.bind(("127.0.0.1", 0))
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(5)
    asker.sendto(question("a.test"), inner.getsockname())
    asyncio.run(zctl_dns_relay.serve(["127.255.255.254"], [inner]))
    assert asker.recv(512)[3] & 15 == 2
    asker.close()


def test_what_gives_a_lease_back() -> None:
    """A DHCPRELEASE as RFC 2131 has it: who, what, to whom."""
    packet = release_packet("10.20.0.1", "52:54:00:00:00:01", "10.20.0.5")
    assert packet[12:16] == socket.inet_aton("10.20.0.5") and packet[28:34] == bytes.fromhex("525400000001")
    assert packet[236:243] == b"\x63\x82\x53\x63\x35\x01\x07" and packet[245:249] == socket.inet_aton("10.20.0.1")


def names_told(cloud: Zctl) -> dict[str, list[str]]:
    """By host, the names that the runs since the last look brought there."""
    found: dict[str, list[str]] = {}
    for run in cloud.hosts.runs:
        for entry in run.state["l3_services"]["l3_networks"]:
            found.setdefault(run.connection.name, []).extend(sorted(entry["names"].values()))
    cloud.hosts.runs.clear()
    return found


def test_hosts_with_vms_on_a_network_hear_of_a_name(cloud: Zctl) -> None:
    """When it comes, changes and goes; not of what does not change it. Other hosts do nothing else, or nothing."""
    cloud.ok("vm", "create", "web-1", *WORDS, "lan", "--host", "h1")
    assert names_told(cloud) == {"h1": ["web-1 10.0.0.2"]}, "nobody asks on another host"
    cloud.ok("vm", "create", "web-2", *WORDS, "lan", "--host", "h2")
    steps = {run.connection.name: run.steps for run in cloud.hosts.runs}
    assert steps["h1"] == ("l3_services", "rows") and "vm" in steps["h2"]
    assert names_told(cloud) == {"h1": ["web-2 10.0.0.3"], "h2": ["web-1 10.0.0.2", "web-2 10.0.0.3"]}
    cloud.ok("vm", "create", "web-3", *WORDS, "lan", "--host", "h2")
    assert names_told(cloud) == {"h1": ["web-3 10.0.0.4"], "h2": ["web-3 10.0.0.4"]}, "of one name, not of all"
    cloud.ok("nic", "update", "web-1-nic0", "--inbound", "10M")
    assert set(names_told(cloud)) == {"h1"}
    cloud.ok("vm", "stop", "web-1")
    assert set(names_told(cloud)) == {"h1"}
    cloud.ok("vm", "update", "web-2", "--hostname", "front")
    assert names_told(cloud) == {"h1": ["front 10.0.0.3"], "h2": ["front 10.0.0.3"]}
    cards = {row["name"]: row["uuid"] for row in cloud.rows("nic")}
    cloud.ok("vm", "delete", "web-1", "--yes")
    scopes = {run.connection.name: set(run.scope or []) for run in cloud.hosts.runs}
    assert {cards["web-1-nic0"], cards["web-2-nic0"]} <= scopes["h1"], "it forgets all names with its last VM"
    assert cards["web-1-nic0"] in scopes["h2"]
    cloud.hosts.runs.clear()
    cloud.ok("l3-network", "update", "lan", "--domain", "office.example")
    assert names_told(cloud) == {"h1": [], "h2": ["front 10.0.0.3", "web-3 10.0.0.4"]}


def test_a_host_that_is_away_fails_no_job(cloud: Zctl) -> None:
    """It is told when it is back; while it is known to be away nobody waits for it."""
    cloud.ok("vm", "create", "other", *WORDS, "lan", "--host", "h2")
    cloud.hosts.away.add("h2")
    answer = cloud.call("vm", "create", "web-1", *WORDS, "lan", "--host", "h1")
    assert answer.exit_code == 0 and "host h2 has not heard of it yet" in answer.stderr
    cloud.hosts.runs.clear()
    cloud.ok("vm", "create", "web-2", *WORDS, "lan", "--host", "h1")
    assert [run.connection.name for run in cloud.hosts.runs] == ["h1"]
    cloud.hosts.away.clear()
    cloud.ok("converge")
    assert names_told(cloud)["h2"] == ["other 10.0.0.2", "web-1 10.0.0.3", "web-2 10.0.0.4"] * 2, "looked at, brought"


def test_a_host_that_others_work_on_is_not_waited_for(cloud: Zctl) -> None:
    """Who works there tells it when he is done; a host that has to do something is waited for as ever."""
    from zctl.inventory import lease, outstanding
    from zctl.resources.base import now
    from zctl.resources.internal import Lease

    cloud.ok("vm", "create", "other", *WORDS, "lan", "--host", "h2")
    cloud.hosts.runs.clear()
    hosts = {row["name"]: row["uuid"] for row in cloud.rows("host")}
    theirs = {"owner": "root@elsewhere:b:1:1", "purpose": "long work", "expires_at": now() + lease.LIFETIME}
    with cloud.inventory.write() as db:
        db.add(Lease(host_id=hosts["h2"], **theirs))
    cloud.ok("vm", "create", "web-1", *WORDS, "lan", "--host", "h1")
    assert set(names_told(cloud)) == {"h1"}
    with cloud.inventory.write() as db:
        db.delete(db.get(Lease, hosts["h2"]))

    nic = cloud.rows("nic", "name=web-1-nic0")[0]["uuid"]

    def another_notes_it() -> None:
        """While web-2 is brought to h2, another process has news for h2 and does not wait."""
        cloud.hosts.during = None
        with cloud.inventory.write() as db:
            outstanding.store(db, {hosts["h2"]: {nic: f"l3_services,{outstanding.NEWS}"}})

    cloud.hosts.during = another_notes_it
    cloud.ok("vm", "create", "web-2", *WORDS, "lan", "--host", "h2")
    assert names_told(cloud)["h2"] == ["web-1 10.0.0.3", "web-2 10.0.0.4", "web-1 10.0.0.3"], "waiting, and come later"


L3 = ("l3-network", "create", "x", "--l2-network", "tunnel", "--cidr", "10.7.0.0/24")
REFUSED = [
    (("--domain", "a..b"), "not a DNS domain"),
    (("--domain", "-a.test"), "domain"),
    (("--dns", "10.7.0.5"), "the hosts have no way into"),
    (("--dns", "10.7.0.9", "--dhcp-ip", "10.7.0.9"), "is the network's own"),
    (("--dns", "10.7.0.1", "--gateway", "10.7.0.1", "--gateway-on", "hosts"), "is the network's own"),
    (("--route", "10.9.0.0/16"), "is not a route"),
    (("--route", "10.9.0.1/16 via 10.7.0.5"), "is not a route"),
    (("--route", "0.0.0.0/0 via 10.7.0.5"), "is the default route"),
    (("--route", "fd00::/64 via 10.7.0.5"), "is not IPv4"),
    (("--route", "10.9.0.0/16 via 10.8.0.5"), "is not a host address of 10.7.0.0/24"),
    (("--route", "10.9.0.0/16 via 10.7.0.255"), "is not a host address of 10.7.0.0/24"),
    (("--route", "10.7.0.0/25 via 10.7.0.5"), "leads to the network itself"),
    (("--route", "10.9.0.0/16 via 10.7.0.5", "--route", "10.9.0.0/16 via 10.7.0.6"), "two routes to 10.9.0.0/16"),
]


def test_refusals(cloud: Zctl) -> None:
    """In words, and nothing of it stays."""
    cloud.ok("l2-network", "create", "tunnel", "--zone", "z1", "--kind", "vxlan")
    for words, said in REFUSED:
        before = cloud.dump()
        answer = cloud.call(*L3, *words)
        assert answer.exit_code and said in answer.stderr, (words, answer.stderr)
        assert cloud.dump() == before, words
    cloud.ok(*L3, "--dns", "10.7.0.5", "--no-dns-service")
    assert cloud.rows("l3-network", "name=x")[0]["domain"] is None
    assert "the hosts have no way into" in cloud.fails("l3-network", "update", "x", "--dns-service")
    cloud.ok("l3-network", "update", "x", "--dns-service", "--dns", "192.0.2.53", "--route", "10.9.0.0/16 via 10.7.0.5")
    row = cloud.rows("l3-network", "name=x")[0]
    assert (row["domain"], row["routes"]) == ("x", ["10.9.0.0/16 via 10.7.0.5"])
    cloud.ok("l3-network", "update", "x", "--route", "", "--dns", "")
    assert cloud.rows("l3-network", "name=x")[0]["routes"] == []


@pytest.mark.parametrize(
    ("name", "domain"), [("lan", "lan"), ("My_Net.2", "my-net.2"), ("a._.b", "a.b"), ("x-", "x"), ("Z" * 80, "z" * 63)]
)
def test_the_domain_of_a_network(name: str, domain: str) -> None:
    """What DNS does not allow becomes a hyphen, or goes."""
    from zctl.resources.dns_names import domain_of, require_domain

    assert domain_of(name) == domain
    require_domain("l3-network x", domain)
