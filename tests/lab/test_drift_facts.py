"""What somebody changes behind zctl's back on a real host: a check names it field by field, a run mends exactly it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.drift_kinds import (
    BRIDGE,
    FLAT,
    FOLDER,
    MACHINE,
    MACHINES,
    NETWORK,
    NETWORKS,
    SERVED,
    SERVED_ONES,
    SERVICES,
    TUNNEL,
)
from tests.lab.role_runner import run_role
from zctl.lab import Lab

Json = dict[str, Any]
LISTING = (
    "ip -d -br link; ip -br addr; ip netns list; nft list ruleset; find /etc /usr/local/lib /var/lib/zctl /srv/drift"
    " -printf '%p %M %U %s %T@\\n' 2>/dev/null | grep -v /etc/resolv.conf; sysctl net.ipv4.ip_forward;"
    " systemctl list-units --all --no-legend 'zctl*' 'virt*' | sed 's/ .*//'"
)


class Host:
    """h1 and the states that it is to be in."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder

    def run(self, concern: str, state: Json, **options: Any) -> Json:
        answer: Json = run_role(self.lab, self.folder, concern, state, **options)["h1"]
        for entry in answer["results"]:
            told = entry["result"] not in ("changed", "removed") or entry["differences"]
            assert told, f"changed without a difference: {entry}"
        return answer

    def ssh(self, command: str) -> str:
        return self.lab.ssh("h1", command)

    def network(self, *networks: Json, **options: Any) -> Json:
        shown = [{k: v for k, v in network.items() if k != "uplink"} for network in networks]
        state = {"management_address": str(self.lab.host("h1").address), "l2_networks": shown}
        return self.run("network", state, **options)

    def services(self, *networks: Json, **options: Any) -> Json:
        return self.run("l3_services", {"l3_networks": list(networks)}, **options)


def differing(answer: Json) -> dict[str, tuple[Any, Any]]:
    """All differences of an answer: 'resource field' to actual and desired."""
    return {
        f"{entry['name']} {difference['field']}": (difference["actual"], difference["desired"])
        for entry in answer["results"]
        for difference in entry["differences"]
    }


def mended(act: Any, expected: dict[str, tuple[Any, Any]], exact: bool = True) -> Json:
    """A check finds what is expected, a run mends it and tells the same, a second check finds nothing."""
    found = act(check=True)
    seen = differing(found)
    assert (seen if exact else {key: seen.get(key) for key in expected}) == expected, found
    assert {entry["result"] for entry in found["results"] if entry["differences"]} <= {"changed", "removed"}
    told = differing(act())
    assert set(told) == set(seen), told
    again = act(check=True)
    assert differing(again) == {} and again["changed"] is False, again
    return found


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(lab, tmp_path_factory.mktemp("drift"))
    made.network(FLAT, TUNNEL, fail=True)
    yield made
    made.services()
    made.network()


def both(kinds: dict[str, tuple[str, Json]], names: str) -> tuple[str, Json]:
    """Several changes that do not hide each other, as one: what is done, and what is to be told of it."""
    chosen = [kinds[name] for name in names.split(", ")]
    return "; ".join(command for command, _ in chosen), {key: pair for _, told in chosen for key, pair in told.items()}


def test_every_change_is_tried() -> None:
    """The groups below hold each of them once."""
    for kinds, groups in ((NETWORK, NETWORKS), (SERVICES, SERVED_ONES), (MACHINE, MACHINES)):
        assert sorted(name for names in groups for name in names.split(", ")) == sorted(kinds)


@pytest.mark.parametrize("names", NETWORKS)
def test_networks(host: Host, names: str) -> None:
    command, expected = both(NETWORK, names)
    host.ssh(command)
    mended(lambda **options: host.network(FLAT, TUNNEL, **options), expected)


def test_a_damaged_record_hides_no_other_network_and_is_written_anew(host: Host) -> None:
    path = f"/etc/zctl/l2/{TUNNEL['uuid']}.json"
    host.ssh(f"echo '{{' > {path}; echo 1 > /etc/zctl/l2/by-hand.json; ip link set data0 nomaster")
    try:
        found = host.network(FLAT, TUNNEL, check=True)
        assert differing(found)["flat-1 port"] == (None, "data0")
        assert "damaged" in differing(found)["tunnel-1 record"][0]
        assert [e["name"] for e in found["foreign_things"]] == ["/etc/zctl/l2/by-hand.json"]
        mended(lambda **options: host.network(FLAT, TUNNEL, **options), differing(found))
        assert host.ssh("cat /etc/zctl/l2/by-hand.json").strip() == "1"
    finally:
        host.ssh("rm -f /etc/zctl/l2/by-hand.json")


def test_foreign_devices_are_told_of_and_left_alone(host: Host) -> None:
    theirs = "zctl:99999999-2222-4333-8444-555555555555:aaaaaaaa-0700-4000-8000-000000000000"
    host.ssh(
        f"ip link add zbr-99 type bridge; ip link set zbr-99 alias {theirs};"
        " ip link add zt2vx type vxlan id 77 dev data0 group 239.9.9.9 dstport 4790; ip link add virbr7 type bridge;"
        f" ip link add zt2port type veth peer name zt2peer; ip link set zt2port master {BRIDGE}"
    )
    try:
        found = host.network(FLAT, TUNNEL, check=True)
        things = {entry["name"]: (entry["kind"], entry["owner"]) for entry in found["foreign_things"]}
        assert things == {
            "zbr-99": ("bridge", "zctl, inventory 99999999-2222-4333-8444-555555555555"),
            "zt2vx": ("vxlan", "hand-made, upon data0"),
            "zt2port": ("veth", f"hand-made, in {BRIDGE}"),
        }
        assert differing(found) == {}
    finally:
        host.ssh("for d in zbr-99 zt2vx virbr7 zt2port; do ip link del $d; done")


def test_a_check_changes_nothing_and_finds_everything_on_a_bare_host(host: Host) -> None:
    host.network()
    host.ssh("rm -rf /usr/local/lib/zctl /etc/zctl; rm -f /etc/systemd/system/zctl-net.service")
    before = host.ssh(LISTING)
    found = host.network(FLAT, TUNNEL, check=True)
    assert {entry["result"] for entry in found["results"]} == {"changed"}
    assert {"flat-1 bridge", "flat-1 port", "tunnel-1 tunnel", "tunnel-1 record"} <= set(differing(found))
    assert host.ssh(LISTING) == before
    host.network(FLAT, TUNNEL)
    assert differing(host.network(FLAT, TUNNEL, check=True)) == {}


@pytest.fixture(scope="module")
def served(host: Host) -> Iterator[Host]:
    host.network(FLAT, TUNNEL, fail=True)
    host.services(SERVED, fail=True)
    yield host
    host.services()


@pytest.mark.parametrize("names", SERVED_ONES)
def test_services(served: Host, names: str) -> None:
    command, expected = both(SERVICES, names)
    served.ssh(command)
    mended(lambda **options: served.services(SERVED, **options), expected)


def test_the_folder_of_a_service_removed_while_it_runs(served: Host) -> None:
    served.ssh(f"rm -r {FOLDER}")
    expected = {
        "l3-1 record": (None, f"{FOLDER}/network.json"),
        "l3-1 hosts": (None, f"{FOLDER}/hosts"),
        "l3-1 dnsmasq.conf": (None, "as zctl writes it"),
    }
    mended(lambda **options: served.services(SERVED, **options), expected, exact=False)


def test_a_foreign_dhcp_server_in_our_subnet_is_told_of(served: Host) -> None:
    served.ssh(
        "ip link add virbr7 type bridge; ip addr add 198.19.1.3/24 dev virbr7; ip link set virbr7 up;"
        " dnsmasq --port=0 --interface=virbr7 --dhcp-range=198.19.1.100,198.19.1.150 --pid-file=/run/zt2.pid"
    )
    try:
        found = served.services(SERVED, check=True)
        things = {entry["kind"]: entry["owner"] for entry in found["foreign_things"]}
        assert things["bridge"] == "libvirt, 198.19.1.3/24 in the subnet of l3-1"
        assert things["dnsmasq"].startswith("hand-made, process ") and things["dnsmasq"].endswith("serves l3-1")
        assert differing(found) == {}
    finally:
        served.ssh("kill $(cat /run/zt2.pid); ip link del virbr7")


def test_a_check_of_services_changes_nothing_on_a_bare_host(served: Host) -> None:
    served.services()
    served.network()
    served.ssh("rm -rf /etc/zctl/l3 /usr/local/lib/zctl; rm -f /etc/systemd/system/zctl-*")
    before = served.ssh(LISTING)
    found = served.services(SERVED, check=True)
    assert {entry["result"] for entry in found["results"]} == {"changed"}
    assert {"l3-1 namespace", "l3-1 filter", "l3-1 service", "vm-1-11 lease"} <= set(differing(found))
    assert served.ssh(LISTING) == before


@pytest.mark.parametrize("names", MACHINES)
def test_the_machine(host: Host, names: str) -> None:
    command, expected = both(MACHINE, names)

    def act(**options: Any) -> Json:
        return host.run("kvm_host", {"virt_type": "auto"}, **options)

    act(fail=True)
    host.ssh(command)
    name = act(scope=[])["results"][0]["name"]
    found = act(check=True)
    assert differing(found) == {f"{name} {field}": values for field, values in expected.items()}, found
    assert found["results"][0]["result"] == "changed", found
    assert act()["results"][0]["result"] == ("unchanged" if "package" in names else "changed")
    assert differing(act(check=True)) == {}


def test_one_look_tells_what_the_modules_tell(host: Host) -> None:
    """The role look finds the same as each concern's own role in a check, and changes nothing, check mode or not."""
    host.run("kvm_host", {"virt_type": "auto"}, fail=True)
    host.network(FLAT, TUNNEL, fail=True)
    host.services(SERVED, fail=True)
    host.ssh(f"ip link set {BRIDGE} down; ip link set data0 mtu 1400; rm {FOLDER}/dnsmasq.conf")
    networks = [{k: v for k, v in network.items() if k != "uplink"} for network in (FLAT, TUNNEL)]
    more = {
        "network": {"management_address": str(host.lab.host("h1").address), "l2_networks": networks},
        "l3_services": {"l3_networks": [SERVED]},
        "kvm_host": {"virt_type": "auto"},
    }
    checks = [host.network(FLAT, TUNNEL, check=True), host.services(SERVED, check=True)]
    before = host.ssh(LISTING)
    steps = ["kvm_host", "network", "l3_services", "storage", "vm"]
    seen = host.run("look", {}, more=more, steps=steps)
    assert host.ssh(LISTING) == before
    assert seen["steps"] == steps
    told = differing(seen)
    assert told == {name: pair for check in checks for name, pair in differing(check).items()} and len(told) == 3
    host.network(FLAT, TUNNEL, fail=True)
    host.services(SERVED, fail=True)
    assert differing(host.run("look", {}, more=more, steps=steps)) == {}
