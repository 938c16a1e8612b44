"""What public addresses and long lease lists cost, on real hosts with emulated guests."""

from __future__ import annotations

import statistics
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.bench_figure import ROUNDS, Figure
from tests.lab.cloud.zctl import Cloud, fetch

CARDS, VMS = 20, 5
SMALL = ("--image", "tiny", "--instance-offering", "small")
FILE = "dd if=/dev/zero of=/www/zeros bs=1M count=24"


def figures(folder: Path, cloud: Cloud) -> list[Figure]:
    """All of them; networks and VMs are made and deleted here."""
    gateway = cloud.lab.plan.gateway
    cloud.ok(
        *("l3-network", "create", "internet", "--l2-network", "wire", "--cidr", str(cloud.lab.plan.data), "--public"),
        *("--gateway", str(gateway), "--range", f"{gateway + 512}-{gateway + 712}"),
    )
    cloud.ok("l2-network", "create", "isolated", "--zone", "z1", "--kind", "vxlan")
    for name, third in (("inner", 30), ("empty", 31), ("crowd", 32)):
        cloud.ok(
            *("l3-network", "create", name, "--l2-network", "isolated", "--cidr", f"10.{third}.0.0/16"),
            *("--gateway", f"10.{third}.0.1", "--gateway-on", "hosts", "--range", f"10.{third}.1.1-10.{third}.9.9"),
        )
    found = [through_an_eip(cloud), hundred_eips(folder, cloud), five_hundred_leases(folder, cloud)]
    cloud.ok("l3-network", "delete", "internet", "inner", "empty", "crowd", "--yes", "--cascade")
    cloud.ok("l2-network", "delete", "isolated", "--yes")
    return found


def through_an_eip(cloud: Cloud) -> Figure:
    """Seconds for the same file of the same guest on the same host, from outside: by its eip, and on the wire."""
    addresses = {}
    for name, network in (("wired", "flat"), ("public", "inner")):
        cloud.ok("vm", "create", name, *SMALL, "--network", network, "--host", "h1")
        addresses[name] = cloud.ip(name)
    cloud.ok("eip", "create", "front", "--network", "internet", "--vm", "public")
    addresses["public"] = str(cloud.show("eip", "front")["ip"])
    for address in addresses.values():
        fetch(f"http://{address}/", 90)
        urllib.request.urlopen(f"http://{address}/cgi-bin/run", data=FILE.encode(), timeout=60).read()
    took: dict[str, list[float]] = {name: [] for name in addresses}
    for _ in range(ROUNDS):
        for name, address in addresses.items():
            took[name].append(timed(lambda address=address: download(f"http://{address}/zeros")))  # type: ignore[misc]
    cloud.ok("eip", "delete", "front", "--yes")
    cloud.ok("vm", "delete", *addresses, "--yes")
    name = "a guest's file through its eip / without"
    return Figure(name, statistics.median(took["public"]), statistics.median(took["wired"]), 1 / 0.8)


def download(url: str) -> None:
    """Fetch a file and forget it."""
    with urllib.request.urlopen(url, timeout=120) as answer:
        while answer.read(1 << 20):
            pass


def timed(action: Callable[[], object]) -> float:
    """Seconds of an action."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def hundred_eips(folder: Path, cloud: Cloud) -> Figure:
    """One run that attaches 100 eips on one host, against one that attaches one."""
    for number in range(VMS):
        networks = ["--network", "inner"] * CARDS
        cloud.ok("vm", "create", f"many-{number}", *SMALL, *networks, "--host", "h1")
    cards = [f"many-{number % VMS}-nic{number // VMS}" for number in range(CARDS * VMS)]
    took: dict[int, list[float]] = {1: [], 100: []}
    for _ in range(3):
        for count, times in took.items():
            documents = [
                f"kind: Eip\nname: eip-{number}\nspec: {{network: internet, nic: {card}}}\n"
                for number, card in enumerate(cards[:count])
            ]
            (folder / "eips.yaml").write_text("---\n".join(documents))
            times.append(timed(lambda: cloud.ok("apply", "-f", str(folder / "eips.yaml"))))
            cloud.ok("eip", "delete", *(f"eip-{number}" for number in range(count)), "--yes")
    cloud.ok("vm", "delete", *(f"many-{number}" for number in range(VMS)), "--yes")
    return Figure("100 eips attached on one host / one", statistics.median(took[100]), statistics.median(took[1]), 3)


def five_hundred_leases(folder: Path, cloud: Cloud) -> Figure:
    """A VM added to a network with 500 leases on the host, against one added to a network with none."""
    text = "---\n".join(
        f"kind: Vm\nname: crowd-{number}\nspec: {{image: tiny, instance_offering: small, power: Stopped, host: h1,"
        f" networks: [{', '.join(['crowd'] * CARDS)}]}}\n"
        for number in range(500 // CARDS)
    )
    (folder / "crowd.yaml").write_text(text)
    cloud.ok("apply", "-f", str(folder / "crowd.yaml"))
    network = cloud.show("l3-network", "crowd")["uuid"]
    server = f"systemctl show -P MainPID zctl-l3@{network}"
    before = cloud.lab.ssh("h1", server)
    took: dict[str, list[float]] = {"empty": [], "crowd": []}
    for _ in range(ROUNDS):
        for name, times in took.items():
            words = ("vm", "create", "one", *SMALL, "--network", name, "--host", "h1")
            times.append(timed(lambda words=words: cloud.ok(*words)))  # type: ignore[misc]
            if name == "crowd" and cloud.lab.ssh("h1", server) != before:
                raise SystemExit("adding a VM to a network restarted its DHCP server")
            cloud.ok("vm", "delete", "one", "--yes")
            before = cloud.lab.ssh("h1", server)
    cloud.ok("vm", "delete", *(f"crowd-{number}" for number in range(500 // CARDS)), "--yes")
    name = "a VM added to a network of 500 leases / to an empty one"
    return Figure(name, statistics.median(took["crowd"]), statistics.median(took["empty"]), 1.2)
