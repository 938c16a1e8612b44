"""Security groups with real packets: each rule for what it lets through and for what it stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.lab.cloud.guests import Guest, make
from tests.lab.cloud.zctl import Cloud, fetch

Three = tuple[Guest, Guest, Guest]


@pytest.fixture(scope="module")
def three(cloud: Cloud) -> Iterator[Three]:
    """web-1 and web-3 on one host, web-2 on another."""
    yield make(cloud, "web-1", "h1"), make(cloud, "web-2", "h2"), make(cloud, "web-3", "h1")
    cloud.ok("vm", "delete", "web-1", "web-2", "web-3", "--yes")
    groups = [row["name"] for row in cloud.rows("security-group")]
    cloud.ok("security-group", "delete", *groups, "--yes", "--cascade")


@pytest.fixture
def guests(cloud: Cloud, three: Three) -> Iterator[Three]:
    """The three, in no groups before and after."""
    yield three
    for guest in three:
        cloud.call("nic", "update", guest.card, "--security-group", "", "--anti-spoofing", "--ingress-policy", "allow")


def put(cloud: Cloud, guest: Guest, *groups: str, ingress: str = "deny", egress: str = "allow") -> None:
    """Put a guest's filtered card into groups."""
    words = [word for group in groups or ("",) for word in ("--security-group", group)]
    cloud.ok("nic", "update", guest.card, *words, "--ingress-policy", ingress, "--egress-policy", egress)


def test_rules_let_through_and_stop(cloud: Cloud, guests: Three) -> None:
    """Protocol, port, CIDR, order, deny, disabled: seen from a guest on another host and one on the same."""
    one, two, three = guests
    assert two.gets(one.ip, 80) and two.gets(one.ip, 7) and two.pings(one.ip) and two.reaches_udp(one.ip), (
        "a card without groups is open"
    )
    cloud.ok("security-group", "create", "web", "--no-member-access", "--rule", f"ingress tcp 80 from {two.ip}/32")
    put(cloud, one, "web")
    assert two.gets(one.ip, 80), "the rule's own packets"
    assert not two.gets(one.ip, 7), "another port"
    assert not two.reaches_udp(one.ip) and not two.pings(one.ip), "other protocols"
    assert not three.gets(one.ip, 80), "another address, on the same host"
    assert one.gets(two.ip, 80) and one.pings(three.ip), "what it begins itself is answered"
    rule = ("security-group-rule", "create", "--security-group", "web", "--direction", "ingress")
    cloud.ok(*rule, "web-trace", "--protocol", "udp", "--ports", "33000-34000", "--cidr", "10.20.0.0/24")
    cloud.ok(*rule, "web-ping", "--protocol", "icmp")
    cloud.ok(*rule, "web-echo", "--protocol", "udp", "--ports", "7")
    assert two.reaches_udp(one.ip) and three.reaches_udp(one.ip) and three.pings(one.ip)
    assert not two.gets(one.ip, 7), "udp is not tcp"
    cloud.ok(*rule, "web-not", "--protocol", "icmp", "--cidr", three.ip, "--action", "deny", "--priority", "1")
    assert two.pings(one.ip) and not three.pings(one.ip), "the first rule that matches decides"
    cloud.ok("security-group-rule", "update", "web-not", "--no-enabled")
    assert three.pings(one.ip), "a disabled rule is none"
    places = {row["name"]: row["priority"] for row in cloud.rows("security-group-rule", "security_group=web")}
    assert places == {"web-not": 1, "web-1": 2, "web-trace": 3, "web-ping": 4, "web-echo": 5}
    cloud.ok("security-group-rule", "delete", "web-1", "--yes")
    assert not two.gets(one.ip, 80), "a rule removed"
    cloud.ok("security-group-rule", "update", "web-trace", "--ports", "33000-33100")
    assert not two.reaches_udp(one.ip), "ports outside the range"
    places = {row["name"]: row["priority"] for row in cloud.rows("security-group-rule", "security_group=web")}
    assert places == {"web-not": 1, "web-trace": 2, "web-ping": 3, "web-echo": 4}


def test_what_a_card_may_begin(cloud: Cloud, guests: Three) -> None:
    """Egress denied but for what rules allow; what others begin is answered nevertheless."""
    one, two, three = guests
    cloud.ok("security-group", "create", "out", "--no-member-access", "--rule", f"egress tcp 80 to {two.ip}")
    cloud.ok("security-group-rule", "create", "--security-group", "out", "--direction", "ingress", "--protocol", "all")
    put(cloud, one, "out", egress="deny")
    assert one.gets(two.ip, 80) and not one.gets(two.ip, 7) and not one.pings(two.ip)
    assert not one.gets(three.ip, 80)
    assert two.pings(one.ip) and three.gets(one.ip, 80), "answers to others go out"
    assert one.ip in one.run("udhcpc -n -q -f -i eth1 -s /etc/dhcp; ip address show eth1"), "DHCP always works"


def test_members_follow(cloud: Cloud, guests: Three) -> None:
    """Rules about a group follow its members, also those on another host; members reach each other unless told not."""
    one, two, three = guests
    cloud.ok("security-group", "create", "app")
    cloud.ok("security-group", "create", "db", "--rule", "ingress tcp 7 from group:app")
    put(cloud, one, "db")
    assert not two.gets(one.ip, 7)
    put(cloud, two, "app")
    assert two.gets(one.ip, 7) and not two.gets(one.ip, 80), "its member on another host"
    assert not three.gets(one.ip, 7)
    put(cloud, three, "app")
    assert three.gets(one.ip, 7) and three.gets(two.ip, 80) and two.pings(three.ip), "members among themselves"
    assert not one.gets(two.ip, 80), "no member"
    cloud.ok("security-group", "update", "app", "--no-member-access")
    assert not three.gets(two.ip, 80) and not two.pings(three.ip)
    put(cloud, two, ingress="allow")
    assert not two.gets(one.ip, 7), "who left is a member no more"
    assert three.gets(one.ip, 7)
    said = cloud.fails("security-group", "delete", "app", "--yes")
    assert "nic web-3-nic1" in said or "security-group-rule db-1" in said


def test_a_rule_removed_cuts_its_connections_and_no_others(cloud: Cloud, guests: Three) -> None:
    """A long connection goes on while rules change, until the rule that let it in is gone."""
    one, two, three = guests
    rules = ("--rule", f"ingress tcp 7 from {two.ip}", "--rule", f"ingress tcp 7 from {three.ip}")
    cloud.ok("security-group", "create", "long", "--no-member-access", *rules)
    put(cloud, one, "long")
    said: dict[str, str] = {}

    def talk(guest: Guest) -> None:
        script = f"(for n in $(seq 1 40); do echo line$n; sleep 1; done) | timeout 45 nc {one.ip} 7"
        said[guest.name] = guest.run(script, timeout=90)

    talks = [threading.Thread(target=talk, args=(guest,)) for guest in (two, three)]
    for thread in talks:
        thread.start()
    cloud.ok(
        "security-group-rule", "create", "--security-group", "long", "--direction", "ingress", "--protocol", "icmp"
    )
    name = next(row["name"] for row in cloud.rows("security-group-rule") if row["cidr"] == f"{two.ip}/32")
    cloud.ok("security-group-rule", "delete", name, "--yes")
    for thread in talks:
        thread.join()
    assert "line1\n" in said["web-2"] and "line40" not in said["web-2"], "its rule is gone"
    assert "line40" in said["web-3"], "its rule stays"


def link_local(guest: Guest) -> str:
    """The IPv6 address that a card has by its MAC."""
    mac = guest.run("cat /sys/class/net/eth1/address").split()[0].split(":")
    return f"fe80::{int(mac[0], 16) ^ 2:x}{mac[1]}:{mac[2]}ff:fe{mac[3]}:{mac[4]}{mac[5]}"


def test_ipv6(cloud: Cloud, guests: Three) -> None:
    """Link-local addresses: neighbours are always found, the rest is up to the rules."""
    one, two, three = guests
    for guest in guests:  # its DHCP client has taken away what the kernel had made
        guest.run(f"ip address add {link_local(guest)}/64 dev eth1; sleep 3")
    six = link_local(one)
    assert two.pings(f"{six}%eth1", "-6")
    cloud.ok("security-group", "create", "six", "--rule", "ingress tcp 80")
    put(cloud, one, "six")
    assert not two.pings(f"{six}%eth1", "-6")
    cloud.ok("security-group", "update", "six", "--rule", "ingress icmpv6 from fe80::/10")
    assert two.pings(f"{six}%eth1", "-6") and three.pings(f"{six}%eth1", "-6")
    assert not two.gets(one.ip, 80), "its rule was replaced"


def test_another_firewall_that_drops_what_is_forwarded(cloud: Cloud, guests: Three) -> None:
    """Where the kernel does not track connections in bridges, Docker's policy would cut guests: refused in words."""
    one, two, _three = guests
    if (
        cloud.lab.try_ssh(
            "h1", "printf 'table bridge t { chain c { ct state new accept; }; }' | nft -c -f -"
        ).returncode
        == 0
    ):
        pytest.skip("this kernel tracks connections in bridges")
    cloud.ok("security-group", "create", "beside", "--rule", "ingress tcp 80")
    docker = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
    cloud.lab.ssh("h1", "nft -f -", stdin=docker)
    try:
        said = cloud.fails("nic", "update", one.card, "--security-group", "beside", "--ingress-policy", "deny")
        assert "ip filter FORWARD" in said and "nf_conntrack_bridge" in said
        assert two.gets(one.ip, 7), "nothing was cut"
        cloud.lab.ssh("h1", "nft add rule ip filter FORWARD iifname 'zbr-*' accept")
        cloud.ok("converge", "--host", "h1")
        put(cloud, one, "beside")
        assert two.gets(one.ip, 80) and not two.gets(one.ip, 7)
    finally:
        cloud.lab.ssh("h1", "nft delete table ip filter")


def test_a_flush_is_told_and_mended(cloud: Cloud, guests: Three) -> None:
    """nft flush ruleset, an element by hand, nftables started anew, a reboot."""
    one, two, _three = guests
    cloud.ok("security-group", "create", "kept", "--rule", "ingress tcp 80")
    put(cloud, one, "kept")
    cloud.ok("converge", "--host", "h1")
    assert cloud.call("plan", "--host", "h1", "--detailed-exitcode").code == 0
    table = cloud.lab.ssh("h1", "nft list tables bridge | grep -o 'zctl_security_.*'").strip()
    cloud.lab.ssh("h1", f"nft insert rule bridge {table} spoofing accept")
    said = cloud.ok("plan", "--host", "h1")
    assert "chain spoofing" in said and "accept" in said
    cloud.lab.ssh("h1", "nft flush ruleset")
    assert two.gets(one.ip, 7), "nothing is filtered"
    said = cloud.ok("plan", "--host", "h1")
    assert "nic web-1-nic1" in said and "security-group kept" in said and "filter" in said
    cloud.ok("converge", "--host", "h1")
    assert cloud.call("plan", "--host", "h1", "--detailed-exitcode").code == 0
    assert two.gets(one.ip, 80) and not two.gets(one.ip, 7)
    cloud.lab.ssh("h1", "systemctl restart nftables")
    assert two.gets(one.ip, 80) and not two.gets(one.ip, 7), "nftables was started anew"
    cloud.lab.reboot("h1")
    fetch(f"http://{one.control}/", patience=60)
    assert two.gets(one.ip, 80) and not two.gets(one.ip, 7), "after a reboot, without zctl"
    assert cloud.call("plan", "--host", "h1", "--detailed-exitcode").code == 0
