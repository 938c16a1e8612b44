"""Networks for the role tests, and clients on them that send real packets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.role_runner import CONTENT, INVENTORY
from zctl.lab import Lab

Json = dict[str, Any]
PREFIX = "zt2"  # namespaces and devices of the tests themselves
SCRIPT = "/run/zt2-lease"
LEASE_SCRIPT = (
    '#!/bin/sh\n[ "$1" = bound ] && echo "got $ip from $siaddr$serverid mtu=$mtu router=$router dns=$dns"\nexit 0\n'
)


def flat(number: int = 1, interface: str = "data0", **more: Any) -> Json:
    """A no-vlan l2-network."""
    bridge = f"zbr-aaaaaaaa{number:02d}"
    entry = {"uuid": f"aaaaaaaa-{number:02d}00-4000-8000-000000000000", "name": f"flat-{number}", "kind": "no-vlan"}
    return {**entry, "bridge": bridge, "interface": interface, "uplink": interface, **more}


def tunnel(number: int = 1, **more: Any) -> Json:
    """A VXLAN l2-network."""
    entry = {"uuid": f"bbbbbbbb-{number:02d}00-4000-8000-000000000000", "name": f"tunnel-{number}", "kind": "vxlan"}
    names = {"bridge": f"zbr-bbbbbbbb{number:02d}", "device": f"zvx-bbbbbbbb{number:02d}"}
    return {**entry, **names, "vni": 7000 + number, "group": f"239.192.27.{number}", "uplink": names["device"], **more}


def l3(l2: Json, number: int = 1, *leases: Json, **more: Any) -> Json:
    """An l3-network on an l2-network; its DHCP address is the same on every host."""
    digits = f"cccccccc{number:02d}"
    entry = {"uuid": f"cccccccc-{number:02d}00-4000-8000-000000000000", "name": f"l3-{number}", "l2": l2["uuid"]}
    names = {"bridge": l2["bridge"], "uplink": l2["uplink"], "namespace": f"zl3-{digits}", "veth": f"zv-{digits}"}
    addresses = {"cidr": f"198.19.{number}.0/24", "dhcp_ip": f"198.19.{number}.250"}
    return {**entry, **names, **addresses, "leases": list(leases), **more}


def lease(number: int, subnet: int = 1, mac: int | None = None) -> Json:
    """An address for a client."""
    entry = {"uuid": f"dddddddd-{subnet:02d}00-4000-8000-{number:012d}", "name": f"vm-{subnet}-{number}"}
    return {**entry, "mac": mac_of(mac or number, subnet), "ip": f"198.19.{subnet}.{number}"}


def mac_of(number: int, subnet: int = 1) -> str:
    """A client's MAC."""
    return f"52:54:00:27:{subnet:02x}:{number:02x}"


@dataclass(frozen=True)
class Client:
    """A network namespace on a lab host, plugged into a bridge (or, as a stranger, into anything)."""

    lab: Lab
    host: str
    bridge: str
    mac: str

    @property
    def name(self) -> str:
        return PREFIX + self.mac.replace(":", "")[-6:]

    def plug(self) -> Client:
        """Make it; nothing of the host's own is used but the bridge."""
        name = self.name
        self.lab.ssh(
            self.host,
            f"printf '{LEASE_SCRIPT}' > {SCRIPT}; chmod 755 {SCRIPT}; mtu=$(cat /sys/class/net/{self.bridge}/mtu)\n"
            f"ip netns add {name} && ip link add {name} mtu $mtu type veth peer name eth0 netns {name} mtu $mtu &&"
            f" ip -n {name} link set eth0 address {self.mac} up && ip link set {name} master {self.bridge} up",
        )
        return self

    def ssh(self, command: str) -> str:
        return self.lab.ssh(self.host, f"ip netns exec {self.name} {command}")

    def dhcp(self, tries: int = 3) -> str:
        """What a DHCP server gave, or an empty text; one second for each try."""
        done = self.lab.try_ssh(
            self.host, f"ip netns exec {self.name} busybox udhcpc -i eth0 -n -q -f -t {tries} -T 1 -s {SCRIPT}"
        )
        return next((line for line in done.stdout.splitlines() if line.startswith("got ")), "")

    def address(self, text: str) -> None:
        """Take an address without asking anybody."""
        self.ssh(f"ip addr replace {text} dev eth0")


def unplug_all(lab: Lab, host: str) -> None:
    """Remove the clients of a host."""
    lab.try_ssh(host, f"for n in $(ip netns list | grep -o '^{PREFIX}[0-9a-f]*'); do ip netns del $n; done")


def play(
    lab: Lab, folder: Path, host: str, state: Json, *, patience: int = 30, module: Json | None = None, **variables: Any
) -> tuple[int, str]:
    """The network role, or its module alone, with the real command: for what leaves a host unreachable.

    Returns exit code and output.
    """
    inventory = {"all": {"hosts": {host: {"ansible_host": str(lab.host(host).address)}}}}
    values = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(lab.ssh_key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.folder}/known_hosts",
        "ansible_python_interpreter": "/usr/bin/python3",
        "zctl_state": {"inventory": INVENTORY, "network": state},
        "network_confirm_timeout": patience,
        **variables,
    }
    arguments = {"inventory": INVENTORY, "state": state, "patience": patience, **(module or {})}
    what = {"roles": ["zctl.cloud.network"]} if module is None else {"tasks": [{"zctl.cloud.zctl_network": arguments}]}
    plays = [{"hosts": "all", "gather_facts": False, **what}]
    for name, content in (("hosts.json", inventory), ("play.json", plays), ("values.json", values)):
        (folder / name).write_text(json.dumps(content))
    done = subprocess.run(
        ["ansible-playbook", "-i", "hosts.json", "-e", "@values.json", "play.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(CONTENT),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_RETRIES": "0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )
    return done.returncode, done.stdout + done.stderr
