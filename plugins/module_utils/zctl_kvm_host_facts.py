"""Reads what kind of machine this is: processors, memory, system, disks, NICs. Standard library only."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from typing import Any

Json = dict[str, Any]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read().strip()
    except OSError:
        return ""


def parse_os_release(text: str) -> Json:
    """id, version, name and package family (debian, redhat or empty) from /etc/os-release (os-release(5))."""
    values = {}
    for line in text.splitlines():
        key, found, value = line.strip().partition("=")
        if found and not key.startswith("#"):
            values[key] = value.strip().strip("\"'")
    kinds = {values.get("ID", ""), *values.get("ID_LIKE", "").split()}
    family = "debian" if kinds & {"debian", "ubuntu"} else "redhat" if kinds & {"rhel", "fedora", "centos"} else ""
    return {
        "id": values.get("ID", ""),
        "version": values.get("VERSION_ID", ""),
        "name": values.get("PRETTY_NAME", ""),
        "family": family,
    }


def parse_memory(meminfo: str) -> int:
    """MemTotal of /proc/meminfo in bytes, 0 when it is not there."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def parse_nics(links: list[Json]) -> list[Json]:
    """The NICs in the output of `ip -j -d address`: without the loopback and without what zctl itself has made.

    The addresses of a NIC that zctl has put into a bridge are on the bridge.
    """
    nics = []
    bridges = {link.get("ifname"): link for link in links if link.get("ifname", "").startswith("zbr-")}
    for link in links:
        name = link.get("ifname", "")
        held = link.get("addr_info", []) + bridges.get(link.get("master"), {}).get("addr_info", [])
        if link.get("link_type") != "ether" or name.startswith(("zbr-", "zvx-", "zvl-", "zv-", "zt-", "zp-", "vnet")):
            continue
        flags = link.get("flags", [])
        nics.append(
            {
                "name": name,
                "mac": link.get("address", ""),
                "mtu": link.get("mtu"),
                "up": "UP" in flags,
                "carrier": "LOWER_UP" in flags,
                "addresses": [f"{a['local']}/{a['prefixlen']}" for a in held if "local" in a],
                "kind": link.get("linkinfo", {}).get("info_kind") or "physical",
                "bridge": link.get("master"),
            }
        )
    return nics


def default_devices(routes: str) -> set[str]:
    """The devices of the IPv4 default routes in the text of /proc/net/route."""
    lines = [line.split() for line in routes.splitlines()[1:]]
    return {words[0] for words in lines if len(words) > 7 and words[1] == words[7] == "00000000"}


def read_nics() -> list[Json] | None:
    """The host's NICs, None when they cannot be read."""
    try:
        done = subprocess.run(["ip", "-j", "-d", "address"], capture_output=True, text=True, check=True)
        nics = parse_nics([link for link in json.loads(done.stdout) if link])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    ways_out = default_devices(_read("/proc/net/route"))
    for nic in nics:
        nic["default_route"] = nic["name"] in ways_out or nic["bridge"] in ways_out
        driver = f"/sys/class/net/{nic['name']}/device/driver"
        nic["driver"] = os.path.basename(os.path.realpath(driver)) if os.path.exists(driver) else nic["kind"]
    return nics


def read_disks() -> list[Json]:
    """The host's whole disks (no partitions, no RAM or loop devices), sizes in bytes."""
    disks = []
    for name in sorted(os.listdir("/sys/block")) if os.path.isdir("/sys/block") else []:
        base = f"/sys/block/{name}"
        size = int(_read(f"{base}/size") or 0) * 512
        if name.startswith(("loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd")) or not size:
            continue
        disks.append(
            {
                "name": name,
                "size": size,
                "rotational": _read(f"{base}/queue/rotational") == "1",
                "model": _read(f"{base}/device/model"),
            }
        )
    return disks


def read_machine() -> Json:
    """All that needs no package to be installed."""
    uname = os.uname()
    return {
        "hostname": uname.nodename,
        "arch": uname.machine,
        "kernel": uname.release,
        "os": parse_os_release(_read("/etc/os-release")),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": next(
            (line.split(":", 1)[1].strip() for line in _read("/proc/cpuinfo").splitlines() if "model name" in line), ""
        ),
        "memory_bytes": parse_memory(_read("/proc/meminfo")),
        "disks": read_disks(),
        "nics": read_nics(),
        "user": os.environ.get("SUDO_USER") or pwd.getpwuid(os.geteuid()).pw_name,
        "root": os.geteuid() == 0,
        "sudo": "SUDO_USER" in os.environ,
    }
