"""Security groups through the command line: what is refused, how rules are ordered, which hosts hear of a change."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.unit.conftest import Zctl

VM = ("--image", "tiny", "--instance-offering", "small", "--network", "lan")
RULE = ("security-group-rule", "create", "--security-group", "web", "--direction", "ingress")


@pytest.fixture
def web(cloud: Zctl) -> Zctl:
    """A cloud with the groups web and app, on a network whose hosts need not hear of names."""
    cloud.ok("l3-network", "update", "lan", "--no-dns-service")
    cloud.hosts.runs.clear()
    cloud.ok("security-group", "create", "app")
    cloud.ok("security-group", "create", "web", "--rule", "ingress tcp 80", "--rule", "deny ingress udp from group:app")
    return cloud


def rules(cloud: Zctl, group: str = "web") -> list[tuple[int, str, str | None]]:
    """Place, protocol and ports of a group's rules, in order."""
    rows = cloud.rows("security-group-rule", f"security_group={group}")
    return sorted((row["priority"], row["protocol"], row["ports"]) for row in rows)


def security(cloud: Zctl, host: int = -1) -> Any:
    """What the last run (or the one before) brought to a host."""
    return cloud.hosts.runs[host].state["security"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--protocol", "icmp", "--ports", "80"), "protocol icmp has no ports"),
        (("--protocol", "all", "--ports", "80"), "protocol all has no ports"),
        (("--protocol", "tcp", "--ports", "90-80"), "ports 90-80 end before they begin"),
        (("--protocol", "tcp", "--ports", "0-80"), "not between 1 and 65535"),
        (("--protocol", "tcp", "--ports", "80-70000"), "not between 1 and 65535"),
        (("--protocol", "tcp", "--ports", "http"), "not START-END"),
        (("--protocol", "tcp", "--cidr", "10.0.0.0/33"), "is not a CIDR"),
        (("--protocol", "tcp", "--cidr", "10.0.0.1/24"), "is not a CIDR"),
        (("--protocol", "icmp", "--cidr", "fd00::/64"), "take icmpv6"),
        (("--protocol", "tcp", "--cidr", "10.0.0.0/8", "--remote-group", "app"), "both a CIDR and a remote group"),
        (("--protocol", "tcp", "--remote-group", "ap"), "app"),
        (("--protocol", "sctp"), "protocol"),
        (("--protocol", "tcp", "--ports", "80-80"), "speaks of the same packets"),
        (("--protocol", "udp", "--remote-group", "app"), "speaks of the same packets"),
    ],
)
def test_rules_that_make_no_sense(web: Zctl, words: tuple[str, ...], said: str) -> None:
    """Each is refused in words, and nothing is changed."""
    answer = web.call(*RULE, *words)
    assert answer.exit_code in (1, 2)
    assert said in web.fails(*RULE, *words, code=answer.exit_code)


@pytest.mark.parametrize(
    "line",
    ["tcp 80", "ingress", "ingress tcp 80 10.0.0.0/8", "ingress tcp from", "allow ingress icmp 8", "ingress tcp 9-1"],
)
def test_lines_that_are_no_rules(cloud: Zctl, line: str) -> None:
    """Refused, and the group is not made."""
    assert "security-group new" in cloud.fails("security-group", "create", "new", "--rule", line, code=2)


def test_a_rule_twice_in_one_call(cloud: Zctl) -> None:
    """The second would never be asked."""
    words = ("--rule", "ingress tcp 80", "--rule", "deny ingress tcp 80-80")
    assert "is there twice" in cloud.fails("security-group", "create", "new", *words, code=2)


def test_places_are_consecutive(web: Zctl) -> None:
    """A rule put in moves the others up, one taken out moves them down, one moved changes places."""
    web.ok(*RULE, "first", "--protocol", "icmp", "--priority", "1")
    assert rules(web) == [(1, "icmp", None), (2, "tcp", "80"), (3, "udp", None)]
    web.ok(*RULE, "far", "--protocol", "tcp", "--ports", "1-5", "--priority", "99")
    assert rules(web)[-1] == (4, "tcp", "1-5")
    web.ok("security-group-rule", "update", "far", "--priority", "2")
    assert [entry[1:] for entry in rules(web)] == [("icmp", None), ("tcp", "1-5"), ("tcp", "80"), ("udp", None)]
    web.ok("security-group-rule", "update", "far", "--priority", "99")
    assert rules(web)[-1] == (4, "tcp", "1-5")
    web.ok("security-group-rule", "delete", "first", "--yes")
    assert rules(web) == [(1, "tcp", "80"), (2, "udp", None), (3, "tcp", "1-5")]
    lines = ("--rule", "ingress tcp 1-5", "--rule", "egress all", "--rule", "ingress tcp 80")
    web.ok("security-group", "update", "web", *lines)
    assert rules(web) == [(1, "tcp", "1-5"), (2, "all", None), (3, "tcp", "80")]


def test_groups_of_a_vm_reach_its_host_in_order(web: Zctl) -> None:
    """The card with its groups; the groups with enabled rules in order, and the members' addresses."""
    web.ok("vm", "create", "web-1", *VM, "--security-group", "web", "--security-group", "app")
    state = security(web)
    names = {group["uuid"]: group["name"] for group in state["groups"]}
    card = state["nics"][0]
    assert [names[key] for key in card["groups"]] == ["web", "app"]
    assert (card["ingress_policy"], card["egress_policy"], card["anti_spoofing"]) == ("deny", "allow", True)
    group = next(entry for entry in state["groups"] if entry["name"] == "web")
    assert [(rule["protocol"], rule["allow"]) for rule in group["rules"]] == [("tcp", True), ("udp", False)]
    assert group["members"] == card["addresses"]
    web.ok("nic", "update", "web-1-nic0", "--security-group", "app", "--security-group", "web")
    assert [names[key] for key in security(web)["nics"][0]["groups"]] == ["app", "web"]
    assert web.rows("nic")[0]["groups"] == "app web"
    web.ok("nic", "update", "web-1-nic0", "--security-group", "")
    assert security(web)["nics"][0]["groups"] == [] and security(web)["nics"][0]["ingress_policy"] == "allow"
    runs = len(web.hosts.runs)
    web.ok("nic", "update", "web-1-nic0", "--security-group", "")
    assert len(web.hosts.runs) == runs, "nothing changed"


def test_hosts_with_rules_about_a_group_hear_of_its_members(web: Zctl) -> None:
    """Also when the member comes, goes, or leaves the group on another host; others hear nothing."""
    web.ok("vm", "create", "web-1", *VM, "--security-group", "web", "--host", "h1")
    web.ok("vm", "create", "other", *VM, "--host", "h2")
    assert len(web.hosts.runs) == 2
    web.ok("vm", "create", "app-1", *VM, "--security-group", "app", "--host", "h2")
    told = {run.connection.name: run for run in web.hosts.runs[2:]}
    assert set(told) == {"h1", "h2"} and "vm" not in told["h1"].steps
    members = {group["name"]: group["members"] for group in told["h1"].state["security"]["groups"]}
    assert members["app"] == [web.rows("vm", "name=app-1")[0]["ip"]]
    web.ok("nic", "update", "app-1-nic0", "--security-group", "")
    last = {run.connection.name: run for run in web.hosts.runs[-2:]}
    assert {group["name"]: group["members"] for group in last["h1"].state["security"]["groups"]}["app"] == []
    web.ok("nic", "update", "app-1-nic0", "--security-group", "app")
    web.ok("vm", "delete", "app-1", "--yes")
    last = {run.connection.name: run for run in web.hosts.runs[-2:]}
    assert {group["name"]: group["members"] for group in last["h1"].state["security"]["groups"]}["app"] == []


def test_a_group_in_use_stays(web: Zctl) -> None:
    """Named by its cards, and by rules about it; --cascade takes these along and the cards stay."""
    web.ok("vm", "create", "web-1", *VM, "--security-group", "web")
    assert "nic web-1-nic0" in web.fails("security-group", "delete", "web", "--yes")
    assert "security-group-rule web-2" in web.fails("security-group", "delete", "app", "--yes")
    web.ok("security-group", "delete", "web", "app", "--yes", "--cascade")
    assert web.rows("security-group-rule") == [] and web.rows("security-group-member") == []
    assert security(web)["nics"][0]["groups"] == [], "its card is open again"


def test_a_failed_update_deletes_nothing_that_was_there(web: Zctl) -> None:
    """What an update changed beside its own row is no part of what is undone."""
    web.ok("vm", "create", "web-1", *VM, "--security-group", "web", "--host", "h1")
    web.hosts.away.add("h1")
    web.call("nic", "update", "web-1-nic0", "--security-group", "app")
    assert {row["name"] for row in web.rows("security-group")} == {"app", "web"}


def test_addresses_that_a_card_may_send_from(web: Zctl) -> None:
    """Stored in their usual form; what is none is refused."""
    web.ok("vm", "create", "web-1", *VM)
    words = ("nic", "update", "web-1-nic0")
    web.ok(*words, "--allowed-addresses", "10.9.0.0/16", "--allowed-addresses", "fd00::5")
    assert security(web)["nics"][0]["allowed"] == ["10.9.0.0/16", "fd00::5/128"]
    assert "is not a CIDR" in web.fails(*words, "--allowed-addresses", "10.9.0.1/16", code=2)
    web.ok(*words, "--no-anti-spoofing")
    assert security(web)["nics"] == []


def test_export_and_import(web: Zctl) -> None:
    """The same groups come back with the same rules in the same order; a second import changes nothing."""
    web.ok(*RULE, "moved", "--protocol", "icmp", "--priority", "1", "--action", "deny", "--no-enabled")
    text = web.ok("security-group", "export")
    before = web.rows("security-group-rule")
    assert "unchanged" in web.ok("security-group", "import", "-", stdin=text)
    web.ok("security-group", "delete", "web", "app", "--yes", "--cascade")
    web.ok("security-group", "import", "-", stdin=text)
    keep = ("name", "priority", "direction", "protocol", "ports", "cidr", "remote_group", "action", "enabled")
    assert [{key: row[key] for key in keep} for row in web.rows("security-group-rule")] == [
        {key: row[key] for key in keep} for row in before
    ]
    one = list(yaml.safe_load_all(web.ok("security-group", "export", "web")))
    assert [document["kind"] for document in one] == ["SecurityGroup", *["SecurityGroupRule"] * 3]
    assert "is not a kind" in web.fails("security-group", "import", "-", stdin="kind: Zone\nname: z9\n", code=2)
    bad = (
        "kind: SecurityGroupRule\nname: r\nspec: {security_group: web, direction: ingress, protocol: icmp, ports: '1'}"
    )
    assert "has no ports" in web.fails("security-group", "import", "-", stdin=bad, code=2)


def test_groups_in_manifests(cloud: Zctl) -> None:
    """A group with its rules, a VM in it; applied again nothing changes, changed lines are followed."""
    text = """
kind: SecurityGroup
name: web
spec: {rules: ["ingress tcp 80", "ingress icmp from group:web"], member_access: false}
---
kind: Vm
name: web-1
spec: {image: tiny, instance_offering: small, networks: [lan], security_groups: [web]}
"""
    cloud.ok("apply", "-f", "-", stdin=text)
    assert rules(cloud) == [(1, "tcp", "80"), (2, "icmp", None)]
    runs = len(cloud.hosts.runs)
    assert "unchanged 2" in cloud.ok("apply", "-f", "-", stdin=text)
    assert len(cloud.hosts.runs) == runs
    cloud.ok("apply", "-f", "-", stdin=text.replace('"ingress tcp 80", ', "").replace("[web]}", "[]}"))
    assert rules(cloud) == [(1, "icmp", None)]
    assert security(cloud)["nics"][0]["groups"] == []
    exported = cloud.ok("export")
    assert "unchanged" in cloud.ok("apply", "-f", "-", stdin=exported)
