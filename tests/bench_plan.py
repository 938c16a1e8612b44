"""The figures of plan, apply, drift and converge. Called by tests.bench."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path

from tests.bench_figure import ROUNDS, Figure, median, run
from tests.lab.cloud.zctl import Cloud
from zctl.lab.lab import Lab

BULK_READ = """
import libvirt
connection = libvirt.openReadOnly("qemu:///system")
for domain in connection.listAllDomains():
    domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), domain.info(), domain.autostart()
"""
NAMES = 50


def vm_documents(count: int, changed: int = 0, extra: str = "") -> str:
    """Documents of many VMs, some of which want another number of CPUs."""
    return "---\n".join(
        f"kind: Vm\nname: vm-{number}\n"
        f"spec: {{image: i1, cpus: {2 if number < changed else 1}, memory: 128M, networks: [n1]{extra}}}\n"
        for number in range(count)
    )


def texts(folder: Path, fill: Callable[[Path, int], None]) -> list[Figure]:
    """An unchanged apply of 100 VMs, and a plan of 1,000 VMs of which 10 change; no host is contacted."""
    zctl = str(Path(sys.executable).parent / "zctl")
    found = []
    start = median(lambda: run([sys.executable, "-c", "pass"]))
    for count, changed, words in ((100, 0, ["apply"]), (1000, 10, ["plan"])):
        home = folder / f"text-{count}"
        home.mkdir()
        fill(home, count)
        (home / "m.yaml").write_text(vm_documents(count, changed))
        argv = [zctl, *words, "-f", str(home / "m.yaml")]
        found.append(median(lambda argv=argv, home=home: run(argv, ZCTL_HOME=str(home))))  # type: ignore[misc]
    return [
        Figure("zctl apply, 100 VMs, unchanged", found[0], 1, 1.5, "s"),
        Figure("zctl plan, 1,000 VMs, 10 changed, beyond Python's start", found[1] - start, 1, 3, "s"),
    ]


def drift_check(cloud: Cloud, bare: Callable[[], None]) -> Figure:
    """zctl plan of three hosts with a hundred VMs each, against a bare run plus bulk reads by libvirt."""
    hosts = [host.name for host in cloud.lab.hosts[:3]]
    text = "---\n".join(
        f"kind: Vm\nname: full-{number}\n"
        f"spec: {{image: tiny, instance_offering: small, power: Stopped, host: {hosts[number % 3]}, "
        f"networks: [{'flat' if number % 2 else 'private'}]}}\n"
        for number in range(300)
    )
    cloud.ok("apply", "-f", "-", stdin=text)
    for host in hosts:
        cloud.lab.ssh(host, "cat > /var/tmp/bulk.py", stdin=BULK_READ)

    def reads() -> None:
        running = [
            subprocess.Popen(cloud.lab.ssh_argv(host, "python3 /var/tmp/bulk.py"), stdin=subprocess.DEVNULL)
            for host in hosts
        ]
        assert all(process.wait() == 0 for process in running)

    floors, took = [], []
    for _ in range(ROUNDS):
        floors.append(median(bare, 1) + median(reads, 1))
        begun = time.perf_counter()
        cloud.ok("plan", "--detailed-exitcode")
        took.append(time.perf_counter() - begun)
    cloud.ok("vm", "delete", *(f"full-{number}" for number in range(300)), "--yes")
    return Figure(
        "zctl plan, 3 hosts with 100 VMs each / bare run + bulk reads",
        statistics.median(took),
        statistics.median(floors),
        2,
    )


MANY = """
kind: Zone
name: z
---
kind: Cluster
name: c
spec: {{zone: z}}
---
kind: PrimaryStorage
name: disks
spec: {{zone: z, path: /var/lib/zctl/many}}
---
kind: L2Network
name: wire
spec: {{zone: z, physical_interface: data0}}
"""  # no l3-network: each host has a MAC of its own in it, and the names of one machine would change it for each other


def fifty_hosts(folder: Path, lab: Lab) -> Figure:
    """A converge that changes nothing on 50 host names, against plain ssh that starts Python once for each name."""
    from zctl.config import Config

    names = {}
    for number in range(NAMES):
        host = lab.hosts[number % len(lab.hosts)]
        address = str(IPv4Address(str(host.address)) + 100 + number)
        lab.ssh(host.name, f"ip address replace {address}/32 dev lo")
        names[address] = host
        run(["ip", "route", "replace", f"{address}/32", "via", str(host.address)])
    many = Cloud(folder / "many", lab, started=False)
    many.ok("init")
    text = MANY.format()
    documents = [
        f"---\nkind: Host\nname: n-{number}\nspec: {{cluster: c, address: {address}, host_key: '{host.host_key}'}}\n"
        for number, (address, host) in enumerate(names.items())
    ]
    # One name of each machine first: the others find all made.
    for some in (documents[: len(lab.hosts)], documents):
        many.ok("apply", "-f", "-", stdin=text + "".join(some))
    known = folder / "known_hosts"
    known.write_text("".join(f"{address} {host.host_key}\n" for address, host in names.items()))
    argv = ["ssh", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes", "-i", str(lab.ssh_key)]
    forks = Config.forks

    def one(address: str) -> None:
        run([*argv, f"root@{address}", "python3 -c pass"])

    def fan_out() -> None:
        with ThreadPoolExecutor(forks) as pool:
            list(pool.map(one, names))

    floors, took = [], []
    for _ in range(3):
        floors.append(median(fan_out, 1))
        took.append(median(lambda: void(many.ok("converge")), 1))
    return Figure(
        "zctl converge, 50 hosts, nothing to change / ssh fan-out of a Python start",
        statistics.median(took),
        statistics.median(floors),
        3,
    )


def void(_value: object) -> None:
    """Throw a value away."""
