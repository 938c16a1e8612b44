"""The l3_services role alone on real hosts: who gets an address from whom, with real DHCP packets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.role_runner import INVENTORY, by_name, run_role
from tests.lab.wire import Client, flat, l3, lease, mac_of, tunnel, unplug_all
from zctl.lab import Lab

Json = dict[str, Any]
FLAT, TUNNEL = l3(flat(), 1), l3(tunnel(), 2, gateway="198.19.2.1", dns=["198.19.2.2"], domain="lab.test")
HOSTS = ("h1", "h2")
TABLE = f"zctl_l3_{INVENTORY[:8]}"
FOREIGN = "zt2foreign"  # a machine on the wire that zctl knows nothing of


class Services:
    """The l3_services role on h1 and h2, whose networks are there."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder

    def answers(self, *networks: Json, hosts: tuple[str, ...] = HOSTS, **options: Any) -> dict[str, Json]:
        return run_role(self.lab, self.folder, "l3_services", {"l3_networks": list(networks)}, hosts, **options)

    def __call__(self, *networks: Json, **options: Any) -> Json:
        return by_name(self.answers(*networks, hosts=("h1",), **options)["h1"])

    def client(self, host: str, network: Json, number: int) -> Client:
        return Client(self.lab, host, network["bridge"], mac_of(number, int(network["name"][-1]))).plug()

    def ssh(self, command: str, host: str = "h1") -> str:
        return self.lab.ssh(host, command)

    def processes(self) -> str:
        return self.ssh("pgrep -x dnsmasq | sort")


def with_leases(network: Json, *numbers: int) -> Json:
    return {**network, "leases": [lease(number, int(network["name"][-1])) for number in numbers]}


@pytest.fixture(scope="module")
def bridges(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("bridges")
    wanted = [{k: v for k, v in network.items() if k != "uplink"} for network in (flat(), tunnel())]
    for host in HOSTS:
        state = {"management_address": str(lab.host(host).address), "l2_networks": wanted}
        run_role(lab, folder, "network", state, (host,), fail=True)
    yield lab
    for host in HOSTS:
        run_role(lab, folder, "network", {"l2_networks": []}, (host,))


@pytest.fixture
def services(bridges: Lab, tmp_path: Path) -> Iterator[Services]:
    made = Services(bridges, tmp_path)
    yield made
    for host in HOSTS:
        unplug_all(bridges, host)
    made.answers()
    for host in HOSTS:
        left = made.ssh("ip netns list; ls /etc/zctl/l3; nft list tables bridge; pgrep -x dnsmasq || true", host)
        assert "zl3-" not in left and TABLE not in left and "cccccccc" not in left


@pytest.mark.parametrize("network", [FLAT, TUNNEL], ids=["flat", "tunnel"])
def test_each_host_serves_its_own_guests_and_no_others(services: Services, network: Json) -> None:
    """h1 knows client 11 and h2 client 12; both networks join the hosts, yet neither answers the other's client."""
    services.answers(with_leases(network, 11), hosts=("h1",))
    services.answers(with_leases(network, 12), hosts=("h2",))
    got = services.client("h1", network, 11).dhcp()
    assert got.startswith(f"got {lease(11, int(network['name'][-1]))['ip']} from {network['dhcp_ip']}")
    assert services.client("h2", network, 12).dhcp().startswith("got ")
    unplug_all(services.lab, "h1")
    unplug_all(services.lab, "h2")
    assert services.client("h2", network, 11).dhcp() == "", "the DHCP of h1 answered a client on h2"
    assert services.client("h1", network, 12).dhcp() == "", "the DHCP of h2 answered a client on h1"
    assert services.client("h1", network, 99).dhcp() == "", "an unknown MAC was answered"


@pytest.mark.parametrize("network", [FLAT, TUNNEL], ids=["flat", "tunnel"])
def test_the_address_that_every_host_has_is_answered_for_by_one(services: Services, network: Json) -> None:
    services.answers(network)
    client = services.client("h1", network, 11)
    client.address(f"{lease(11, int(network['name'][-1]))['ip']}/24")
    said = client.ssh(f"arping -c 2 -w 3 -I eth0 {network['dhcp_ip']} || true")
    own = services.ssh(f"ip -n {network['namespace']} -br link show eth0").split()[2]
    assert own.upper() in said and said.count("Unicast reply") == 2


def test_guests_talk_over_the_tunnel_with_packets_that_fit(services: Services) -> None:
    services.answers(with_leases(TUNNEL, 11, 12))
    first, second = services.client("h1", TUNNEL, 11), services.client("h2", TUNNEL, 12)
    got = first.dhcp()
    assert "mtu=1450" in got and "router=198.19.2.1" in got and "dns=198.19.2.2" in got
    first.address("198.19.2.11/24")
    second.address("198.19.2.12/24")
    assert " 0% packet loss" in first.ssh("ping -c 2 -W 2 -M do -s 1422 198.19.2.12")


def test_a_foreign_dhcp_server_and_our_guests_do_not_meet(services: Services) -> None:
    services.answers(with_leases(FLAT, 11, 13), hosts=("h1",))
    serve = "dnsmasq --port=0 --no-ping --leasefile-ro --dhcp-authoritative --dhcp-range=198.19.1.100,198.19.1.150,1h"
    inside = f"ip netns exec {FOREIGN}"
    for command in (
        f"ip netns add {FOREIGN} && ip link set data0 netns {FOREIGN}",
        f"{inside} ip addr add 198.19.1.99/24 dev data0 && {inside} ip link set data0 up",
        f"{inside} {serve} --interface=data0 --pid-file=/run/{FOREIGN}",
    ):
        services.ssh(command, "h3")
    try:
        assert "from 198.19.1.250" in services.client("h1", FLAT, 11).dhcp()
        assert services.client("h1", FLAT, 77).dhcp() == "", "the foreign server answered our guest"
        services.lab.ssh("h3", f"kill $(cat /run/{FOREIGN}); ip -n {FOREIGN} link set data0 address {mac_of(13)}")
        asked = f"ip netns exec {FOREIGN} busybox udhcpc -i data0 -n -q -f -t 3 -T 1 -s /bin/true"
        assert services.lab.try_ssh("h3", asked).returncode != 0, "our server answered a foreign machine"
    finally:
        services.lab.try_ssh("h3", f"ip netns exec {FOREIGN} ip link set data0 netns 1; ip netns del {FOREIGN}")


def test_leases_come_and_go_without_a_restart_and_their_addresses_can_pass_on(services: Services) -> None:
    services(with_leases(TUNNEL, 11))
    before = services.processes()
    assert services.client("h1", TUNNEL, 11).dhcp().startswith("got 198.19.2.11")
    added = services(with_leases(TUNNEL, 12), scope=[lease(12, 2)["uuid"]])
    assert [entry["result"] for entry in added.values()] == ["changed"]
    assert services.client("h1", TUNNEL, 12).dhcp().startswith("got 198.19.2.12")
    assert services.processes() == before
    heir = {**lease(13, 2), "ip": "198.19.2.12"}
    changed = services({**TUNNEL, "leases": [heir]}, scope=[heir["uuid"], lease(12, 2)["uuid"]])
    assert {name: entry["result"] for name, entry in changed.items()} == {"vm-2-13": "changed", "vm-2-12": "removed"}
    assert services.client("h1", TUNNEL, 13).dhcp(5).startswith("got 198.19.2.12")
    unplug_all(services.lab, "h1")
    assert services.client("h1", TUNNEL, 12).dhcp() == ""
    assert services.client("h1", TUNNEL, 11).dhcp().startswith("got 198.19.2.11")
    assert services.processes() == before, "what is gone was forgotten without a restart"


def test_a_second_run_changes_nothing_and_check_mode_neither(services: Services) -> None:
    looks = "ip netns list; ip -br link; find /etc/zctl /etc/systemd/system | sort; nft list tables"
    before = services.ssh(looks)
    forecast = services(with_leases(FLAT, 11), TUNNEL, check=True)
    assert {entry["result"] for entry in forecast.values()} == {"changed"}
    assert services.ssh(looks) == before
    services(with_leases(FLAT, 11), TUNNEL)
    processes = services.processes()
    again = services.answers(with_leases(FLAT, 11), TUNNEL, hosts=("h1",))["h1"]
    assert again["changed"] is False and {entry["result"] for entry in again["results"]} == {"unchanged"}
    assert services.processes() == processes
    assert services.answers(TUNNEL, scope=[])["h1"]["results"] == []


def test_what_somebody_broke_is_mended(services: Services) -> None:
    services(with_leases(FLAT, 11))
    namespace = FLAT["namespace"]
    for damage, word in (
        (f"nft delete table bridge {TABLE}", "filter between hosts"),
        (f"nft flush chain bridge {TABLE} to_outside", "filter between hosts"),
        (f"ip link del {FLAT['veth']}", "namespace made"),
        (f"ip -n {namespace} addr flush dev eth0", "namespace made"),
        (f"ip netns del {namespace}", "namespace made"),
        (f"systemctl stop zctl-l3@{FLAT['uuid']}", "DHCP service started"),
        (f"echo nonsense > /etc/zctl/l3/{FLAT['uuid']}/dnsmasq.conf", "settings written"),
    ):
        services.ssh(damage)
        assert word in services(with_leases(FLAT, 11))["l3-1"]["reason"], damage
        assert services.answers(with_leases(FLAT, 11), hosts=("h1",))["h1"]["changed"] is False, damage
    assert services.client("h1", FLAT, 11).dhcp().startswith("got 198.19.1.11")


def test_a_killed_service_comes_back_by_itself(services: Services) -> None:
    services(with_leases(FLAT, 11))
    services.ssh("pkill -9 -x dnsmasq; sleep 2.5")
    assert services.client("h1", FLAT, 11).dhcp().startswith("got ")


def test_a_firewall_that_flushes_everything_does_not_open_the_way_between_hosts(services: Services) -> None:
    services(FLAT)
    services.ssh("systemctl start nftables && systemctl reload nftables")
    try:
        assert TABLE in services.ssh("nft list tables bridge")
        services.ssh("systemctl restart nftables")
        assert TABLE in services.ssh("nft list tables bridge")
    finally:
        services.ssh("systemctl stop nftables; systemctl start zctl-net")


def test_a_network_without_its_bridge_fails_and_says_so(services: Services) -> None:
    lost = {**l3(tunnel(7), 7), "leases": [lease(11, 7)]}
    results = services(lost, with_leases(FLAT, 11))
    assert "its bridge zbr-bbbbbbbb07 is not there" in results["l3-7"]["reason"]
    assert "l3-7 is not served on this host" in results["vm-7-11"]["reason"]
    assert results["vm-1-11"]["result"] == "changed"


def test_services_of_another_inventory_and_foreign_things_are_left_alone(services: Services) -> None:
    services(with_leases(FLAT, 11))
    services.ssh(f"ip netns add {TUNNEL['namespace']}")
    try:
        assert "that is not zctl's" in services(with_leases(FLAT, 11), TUNNEL)["l3-2"]["reason"]
    finally:
        services.ssh(f"ip netns del {TUNNEL['namespace']}")
    stored = f"/etc/zctl/l3/{FLAT['uuid']}/network.json"
    services.ssh(f"sed -i s/{INVENTORY}/99999999-2222-4333-8444-555555555555/ {stored}")
    try:
        assert services() == {}
        assert "another inventory" in services(with_leases(FLAT, 11))["l3-1"]["reason"]
        assert FLAT["namespace"] in services.ssh("ip netns list")
    finally:
        services.ssh(f"sed -i s/99999999-2222-4333-8444-555555555555/{INVENTORY}/ {stored}")


def test_after_a_reboot_everything_is_there_without_zctl(services: Services) -> None:
    services.answers(with_leases(FLAT, 11), with_leases(TUNNEL, 11))
    services.lab.reboot("h1")
    services.ssh("systemctl is-active zctl-net --wait >/dev/null; sleep 1")
    for network in (FLAT, TUNNEL):
        assert services.client("h1", network, 11).dhcp(5).startswith("got ")
    unplug_all(services.lab, "h1")
    assert services.client("h2", FLAT, 11).dhcp().startswith("got ")
    assert TABLE in services.ssh("nft list tables bridge")
    again = services.answers(with_leases(FLAT, 11), with_leases(TUNNEL, 11), hosts=("h1",))["h1"]
    assert again["changed"] is False
