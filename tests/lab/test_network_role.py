"""The network role alone on real hosts: bridges, tunnels, a NIC taken from under the connection, and its undoing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.role_runner import INVENTORY, by_name, run_role
from tests.lab.wire import flat, play, tunnel
from zctl.lab import Lab

Json = dict[str, Any]
MANAGEMENT = flat(9, "host0", name="management")
SETUP = (
    "ip -br link | grep -E '^z(br|vx|t2)' ; ip -4 -br addr | sed 's/@if[0-9]*//' ; ip route ; ls /etc/systemd/network"
)


FIREWALL = """table inet zt2 {
  chain in {
    type filter hook input priority 0
    iifname "zbr-*" ct state new tcp dport 22 drop
  }
}
"""


class Role:
    """The network role on h1."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder

    def state(self, *networks: Json) -> Json:
        shown = [{k: v for k, v in network.items() if k != "uplink"} for network in networks]
        return {"management_address": str(self.lab.host("h1").address), "l2_networks": shown}

    def answer(self, *networks: Json, **options: Any) -> Json:
        return run_role(self.lab, self.folder, "network", self.state(*networks), **options)["h1"]

    def __call__(self, *networks: Json, **options: Any) -> Json:
        return by_name(self.answer(*networks, **options))

    def ssh(self, command: str) -> str:
        return self.lab.ssh("h1", command)


@pytest.fixture
def role(lab: Lab, tmp_path: Path) -> Iterator[Role]:
    made = Role(lab, tmp_path)
    before = made.ssh(SETUP)
    yield made
    made()
    made.ssh(
        "ip link del zt2br 2>/dev/null; ip link del zt2nic 2>/dev/null; nft delete table inet zt2 2>/dev/null; true"
    )
    assert made.ssh(SETUP) == before, "the role did not leave the host as it was"


def test_bridge_and_tunnel_come_stay_and_go(role: Role) -> None:
    forecast = role(flat(), tunnel(), check=True)
    assert {entry["result"] for entry in forecast.values()} == {"changed"}
    assert "zbr-" not in role.ssh("ip -br link; ls /etc/zctl/l2 2>/dev/null || true")
    role(flat(), tunnel())
    again = role.answer(flat(), tunnel())
    assert again["changed"] is False and {e["result"] for e in again["results"]} == {"unchanged"}
    shown = role.ssh(
        "ip -d link show zvx-bbbbbbbb01; ip -d link show zbr-aaaaaaaa01; ip -br link show master zbr-aaaaaaaa01"
    )
    for words in (
        "vxlan id 7001 group 239.192.27.1",
        "dstport 4789",
        "mtu 1450",
        "stp_state 0",
        "forward_delay 0",
        "data0",
    ):
        assert words in shown
    assert set(role.ssh("cat /proc/sys/net/bridge/bridge-nf-call-iptables").split()) == {"0"}
    gone = role(flat())
    assert gone["tunnel-1"]["result"] == "removed"
    assert "zvx-" not in role.ssh("ip -br link")


def test_what_somebody_undid_is_mended(role: Role) -> None:
    role(flat(), tunnel())
    role.ssh("ip link set data0 nomaster; ip link del zvx-bbbbbbbb01")
    mended = role(flat(), tunnel())
    assert "plugged into" in mended["flat-1"]["reason"] and "made over" in mended["tunnel-1"]["reason"]
    assert role.answer(flat(), tunnel())["changed"] is False


def test_scope_is_kept_to(role: Role) -> None:
    assert role.answer(flat(), tunnel(), scope=[])["results"] == []
    made = role(flat(), tunnel(), scope=[tunnel()["uuid"]])
    assert list(made) == ["tunnel-1"]
    assert role.answer(scope=[flat()["uuid"]])["results"] == []
    assert "zvx-bbbbbbbb01" in role.ssh("ip -br link")


def test_one_network_that_cannot_be_does_not_stop_the_others(role: Role) -> None:
    role.ssh(
        "ip link add zt2br type bridge; ip link add zt2nic type veth peer name zt2peer; ip link set zt2nic master zt2br"
    )
    results = role(flat(2, "eth77"), flat(3, "zt2nic"), tunnel())
    assert "no NIC eth77 on this host (there are: data0, host0" in results["flat-2"]["reason"]
    assert "zt2nic is a port of zt2br, which is not zctl's" in results["flat-3"]["reason"]
    assert results["tunnel-1"]["result"] == "changed"
    assert "zt2nic" in role.ssh("ip -br link show master zt2br")
    answer = role.answer(flat(2, "eth77"), fail=True)
    assert "eth77" in answer["msg"]


def test_networks_of_another_inventory_are_left_alone(role: Role) -> None:
    role(tunnel())
    other = {"inventory": "99999999-2222-4333-8444-555555555555", "network": role.state(tunnel())}
    code, said = play(role.lab, role.folder, "h1", {}, zctl_state={**other, "network": role.state()})
    assert code == 0, said
    assert "zvx-bbbbbbbb01" in role.ssh("ip -br link")
    code, said = play(role.lab, role.folder, "h1", {}, zctl_state=other)
    assert code != 0 and f"another inventory ({INVENTORY})" in said


def test_a_network_with_vms_on_it_stays(role: Role) -> None:
    role(flat())
    role.ssh("ip tuntap add zt-test27 mode tap && ip link set zt-test27 master zbr-aaaaaaaa01")
    try:
        assert "VMs are still plugged into" in role()["flat-1"]["reason"]
        assert "zbr-aaaaaaaa01" in role.ssh("ip -br link")
    finally:
        role.ssh("ip link del zt-test27")


def test_a_nic_with_an_address_from_dhcp_is_not_taken(role: Role) -> None:
    role.ssh("ip addr add 198.19.77.7/24 dev data0 valid_lft 3600 preferred_lft 3600")
    try:
        assert "198.19.77.7 from DHCP" in role(flat())["flat-1"]["reason"]
    finally:
        role.ssh("ip addr del 198.19.77.7/24 dev data0")


# --- the NIC under the connection -------------------------------------------------------------------------------------
def holder(role: Role) -> str:
    """The device that has the host's management address."""
    return role.ssh(f"ip -br addr | grep -F '{role.lab.host('h1').address}/' | cut -d' ' -f1 | cut -d@ -f1").strip()


def test_the_nic_under_the_connection_is_taken_and_given_back(role: Role) -> None:
    role(tunnel())
    kept = role(tunnel(), MANAGEMENT)
    assert "kept" in kept["management"]["reason"]
    assert holder(role) == MANAGEMENT["bridge"]
    assert f"dev {MANAGEMENT['bridge']}" in role.ssh("ip -d link show zvx-bbbbbbbb01; ip route show default")
    assert role.answer(tunnel(), MANAGEMENT)["changed"] is False
    role.lab.reboot("h1")
    assert holder(role) == MANAGEMENT["bridge"]
    assert "default via" in role.ssh("ip route show default")
    assert role.answer(tunnel(), MANAGEMENT)["changed"] is False
    role(tunnel())
    assert holder(role) == "host0"


def test_a_host_that_cannot_be_reached_again_undoes_it(role: Role) -> None:
    """Its firewall lets SSH in on the NIC by name, as many do: the bridge has another name."""
    role.lab.ssh("h1", "nft -f -", stdin=FIREWALL)
    code, said = play(role.lab, role.folder, "h1", role.state(MANAGEMENT), patience=6)
    # Unreachable, or reached only after the host had undone it, which the confirmation then says.
    assert code == 4 or "host0 has its addresses back" in said, said
    wait_until_back(role)
    assert holder(role) == "host0"
    assert MANAGEMENT["uuid"] not in role.ssh("ls /etc/zctl/l2 /var/lib/zctl/net-try /etc/systemd/network")
    role.ssh("nft delete table inet zt2")
    assert "kept" in role(MANAGEMENT)["management"]["reason"]


def test_a_boot_in_the_middle_of_a_try_brings_the_old_network(role: Role) -> None:
    code, said = play(role.lab, role.folder, "h1", role.state(MANAGEMENT), patience=300, module={})
    assert code == 0, said
    assert holder(role) == MANAGEMENT["bridge"]
    role.lab.reboot("h1")
    assert holder(role) == "host0"
    assert MANAGEMENT["uuid"] not in role.ssh("ls /etc/zctl/l2 /var/lib/zctl/net-try /etc/systemd/network")


def test_a_confirmation_that_comes_too_late_is_a_failure(role: Role) -> None:
    play(role.lab, role.folder, "h1", role.state(MANAGEMENT), patience=1, module={})
    wait_until_back(role)
    code, said = play(role.lab, role.folder, "h1", role.state(MANAGEMENT), module={"confirm": True})
    assert code != 0 and "host0 has its addresses back" in said


def wait_until_back(role: Role) -> None:
    """Until the try is undone and the host lets us in again."""
    for _ in range(40):
        done = role.lab.try_ssh("h1", "ip -br addr show host0; ls /var/lib/zctl/net-try")
        if (
            str(role.lab.host("h1").address) in done.stdout
            and "json" not in done.stdout
            and "revert" not in done.stdout
        ):
            return
        time.sleep(0.5)
    raise AssertionError("the host did not come back by itself")
