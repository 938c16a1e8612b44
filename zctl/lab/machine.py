"""The machine that carries the labs: its packages, the guard route, forwarding, bridges and packet filter.

Everything made here carries a mark (a name that begins with zlab and an alias, or a protocol number of its own) and
only what carries the mark is ever removed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from zctl.lab.addresses import ALL_LABS, Plan, ruleset
from zctl.lab.paths import machine_file, read_json, write_json
from zctl.lab.shell import PATH, LabError, Say, run, succeeds

# Program that the lab needs -> Debian package that has it.
NEEDED = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
NEEDED_FULL_KERNEL = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mkfs.ext4": "e2fsprogs",
    "cpio": "cpio",
}
FILES_NEEDED = {
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
ROUTE_PROTOCOL = "190"  # marks the guard route as ours
GUARD = ("unreachable", str(ALL_LABS), "metric", "4294967295", "proto", ROUTE_PROTOCOL)
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def check_machine() -> None:
    """Raise LabError, naming the fix, when this machine cannot carry a lab at all."""
    if os.geteuid() != 0:
        raise LabError("a lab needs root: it makes network devices and mounts", remedy="run the command with sudo")
    if not Path("/dev/net/tun").exists():
        raise LabError("/dev/net/tun is missing", remedy="modprobe tun, or pass the device into this container")
    overlay = Path("/proc/filesystems").read_text()
    if "overlay" not in overlay and not succeeds(["modprobe", "overlay"]):
        raise LabError("this kernel has no overlay file system", remedy="modprobe overlay")


def install_missing(say: Say, *, full_kernel: bool = False) -> None:
    """Install the packages whose programs are missing, and no others."""
    needed = NEEDED | (NEEDED_FULL_KERNEL if full_kernel else {})
    missing = {package for program, package in needed.items() if not shutil.which(program, path=PATH)}
    missing |= {package for file, package in FILES_NEEDED.items() if not Path(file).exists()}
    if not missing:
        return
    if not shutil.which("apt-get", path=PATH):
        raise LabError(
            f"missing on this machine: {', '.join(sorted(missing))}",
            remedy="install them, or use Debian or Ubuntu, where 'zctl lab up' installs them itself",
        )
    say(f"installing on this machine: {' '.join(sorted(missing))}")
    run(["apt-get", "update", "-qq"], what="package lists were updated")
    argv = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *sorted(missing)]
    run(argv, what="packages were installed")


def guard_on() -> None:
    """See to it that no packet for a lab address can leave by the default route, and that hosts are routed."""
    if str(ALL_LABS) not in run(["ip", "route", "show", "type", "unreachable"]):
        run(["ip", "route", "add", *GUARD], what="the guard route was added")
    before = FORWARD.read_text().strip()
    if read_json(machine_file()) is None:
        write_json(machine_file(), {"ip_forward": before})
    if before == "0":
        FORWARD.write_text("1")


def guard_off() -> None:
    """Put the machine back as it was before the first lab; only for when no lab is left."""
    before = read_json(machine_file())
    if before is not None and before.get("ip_forward") == "0":
        FORWARD.write_text("0")
    if str(ALL_LABS) in run(["ip", "route", "show", "type", "unreachable", "proto", ROUTE_PROTOCOL]):
        run(["ip", "route", "del", *GUARD], what="the guard route was removed")
    machine_file().unlink(missing_ok=True)


def links() -> dict[str, dict[str, Any]]:
    """The machine's network devices by name, as `ip -j -d link` shows them."""
    shown: list[dict[str, Any]] = json.loads(run(["ip", "-j", "-d", "link", "show"]))
    return {link["ifname"]: link for link in shown}


def mark(lab: str) -> str:
    """The alias that all network devices of a lab carry."""
    return f"zctl-lab:{lab}"


def network_up(lab: str, plan: Plan, say: Say) -> None:
    """Both bridges with the machine's addresses on them, and the packet filter. Changes only what is missing."""
    present = links()
    for bridge, address, prefix in (
        (plan.management_bridge, plan.machine, plan.management.prefixlen),
        (plan.data_bridge, plan.gateway, plan.data.prefixlen),
    ):
        found = present.get(bridge)
        if found is not None and found.get("ifalias", mark(lab)) != mark(lab):
            raise LabError(f"the device {bridge} exists and is not this lab's", remedy=f"ip link delete {bridge}")
        if found is None:
            # No snooping: there is no multicast querier, and VXLAN between hosts needs multicast to pass.
            options = ["type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"]
            run(["ip", "link", "add", bridge, *options], what=f"bridge {bridge} was made")
        run(["ip", "link", "set", bridge, "alias", mark(lab), "up"])
        run(["ip", "address", "replace", f"{address}/{prefix}", "dev", bridge])
    run(["nft", "-f", "-"], stdin=ruleset(plan), what="the lab's packet filter was loaded")
    warn_of_drop(say)


def warn_of_drop(say: Say) -> None:
    """Docker and some firewalls drop whatever is forwarded: say so, for package installs in hosts then fail."""
    try:
        shown = run(["nft", "-j", "list", "chain", "ip", "filter", "FORWARD"])
    except LabError:
        return
    if '"policy": "drop"' in shown:
        say(
            "this machine's firewall drops forwarded packets (Docker does that): if hosts cannot reach each other or"
            " the package mirror, run: iptables -I FORWARD -i zlab+ -j ACCEPT; iptables -I FORWARD -o zlab+ -j ACCEPT"
        )


def network_down(lab: str, plan: Plan) -> None:
    """Remove the lab's packet filter and every network device that carries its mark."""
    if succeeds(["nft", "list", "table", "ip", plan.table]):
        run(["nft", "delete", "table", "ip", plan.table], what="the lab's packet filter was removed")
    for name, link in links().items():
        if not name.startswith("zlab") or link.get("ifalias") != mark(lab):
            continue
        # A veth may vanish by itself meanwhile, with the namespace that holds its other end.
        if not succeeds(["ip", "link", "delete", name]) and name in links():
            raise LabError(f"network device {name} could not be removed", remedy=f"ip link delete {name}")
