"""The figures that zctl promises, measured as ratios to floors taken in the same run: ./dev bench."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import bench_dump, bench_network, bench_plan, bench_security
from tests.bench_figure import ROUNDS, Figure, median, run
from tests.lab.cloud.conftest import manifest
from tests.lab.cloud.zctl import Cloud
from zctl.lab.guest_image import guest_image
from zctl.lab.lab import Lab
from zctl.run.content import CONTENT

LAB = "bench"
BARE_LOOP = """
import libvirt, os, subprocess, sys, uuid
count, image = int(sys.argv[1]), sys.argv[2]
os.makedirs("/var/tmp/bare", exist_ok=True)
connection = libvirt.open("qemu:///system")
made = []
for number in range(count):
    path = f"/var/tmp/bare/{number}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", path], check=True)
    made.append(connection.defineXML(f'''<domain type="qemu"><name>bare-{number}</name><uuid>{uuid.uuid4()}</uuid>
<memory unit="MiB">96</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>
<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="{path}"/>
<target dev="vda" bus="virtio"/></disk>
<console type="pty"/></devices></domain>'''))
for number, domain in enumerate(made):
    domain.undefine()
    os.unlink(f"/var/tmp/bare/{number}.qcow2")
"""


def python(code: str) -> Callable[[], None]:
    """An interpreter that imports something."""
    return lambda: run([sys.executable, "-c", code])


def start_up(folder: Path) -> list[Figure]:
    """Help, and a list of 1,000 VMs."""
    fill(folder, 1000)
    help_floor, list_floor = median(python("import typer")), median(python("import sqlmodel, typer, rich.table"))
    zctl = [str(Path(sys.executable).parent / "zctl")]
    return [
        Figure("zctl --help / import typer", median(lambda: run([*zctl, "--help"])), help_floor, 2),
        Figure(
            "zctl vm list, 1,000 VMs / import sqlmodel, typer, rich.table",
            median(lambda: run([*zctl, "vm", "list"], ZCTL_HOME=str(folder))),
            list_floor,
            1.5,
        ),
    ]


def fill(folder: Path, count: int) -> None:
    """An inventory with many VMs on hosts that nobody contacts."""
    from zctl.inventory import store
    from zctl.inventory.engine import Inventory
    from zctl.inventory.schema import initialise
    from zctl.resources.internal import StorageHost
    from zctl.resources.registry import resource_class

    url = f"sqlite:///{folder}/zctl.db"
    initialise(url)
    image = folder / "image.raw"
    image.write_bytes(bytes(2**20))
    with Inventory(url).write() as db:

        def make(noun: str, **values: object) -> object:
            return store.create(db, resource_class(noun), values)[0]

        make("zone", name="z1")
        make("cluster", name="c1", zone="z1", cpu_overcommit=100, memory_overcommit=10)
        storage = make("primary-storage", name="s1", zone="z1", path="/srv/zctl", overcommit=100)
        for number in range(3):
            host = make("host", name=f"h{number}", cluster="c1", address=f"198.18.0.{number + 11}")
            host.state, host.cpus, host.memory = "Connected", 64, 2**40  # type: ignore[attr-defined]
            db.add(StorageHost(storage_id=storage.id, host_id=host.id, total=2**44, free=2**44, token="t"))  # type: ignore[attr-defined]
        make("l2-network", name="l2", zone="z1", physical_interface="eth1")
        make("l3-network", name="n1", l2_network="l2", cidr="198.18.8.0/21", ranges=["198.18.9.1-198.18.15.100"])
        make("image", name="i1", source=str(image))
        make("instance-offering", name="small", cpus=1, memory="128M")
        for number in range(count):
            make("vm", name=f"vm-{number}", image="i1", instance_offering="small", networks=["n1"])


def bare_run(folder: Path, lab: Lab, hosts: list[str]) -> Callable[[], None]:
    """One task of plain Ansible against lab hosts, as well set up as can be: the floor of all runs."""
    inventory = {
        "all": {
            "hosts": {
                host.name: {
                    "ansible_host": host.address,
                    "ansible_user": "root",
                    "ansible_ssh_private_key_file": str(lab.ssh_key),
                    "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.folder}/known_hosts",
                    "ansible_python_interpreter": "/usr/bin/python3",
                }
                for host in lab.hosts
                if host.name in hosts
            }
        }
    }
    (folder / "bare.json").write_text(json.dumps(inventory))
    (folder / "bare.cfg").write_text("[defaults]\n")
    (folder / "bare.yml").write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n")
    argv = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        str(folder / "bare.json"),
        str(folder / "bare.yml"),
    ]
    return lambda: run(
        argv,
        ANSIBLE_PIPELINING="true",
        ANSIBLE_COLLECTIONS_PATH=str(CONTENT),
        ANSIBLE_CONFIG=str(folder / "bare.cfg"),
        ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o ControlPersist=60s",
    )


def vms(folder: Path) -> list[Figure]:
    """One VM on a lab host, and 100 VMs over three."""
    image = guest_image(lambda _line: None)
    begun = time.perf_counter()
    lab = Lab.up(LAB, hosts=3)
    found = [Figure("zctl lab up --hosts 3, cached, until SSH answers", time.perf_counter() - begun, 1, 20, "s")]
    try:
        cloud = Cloud(folder / "lab", lab, started=False)
        cloud.ok("init")
        cloud.ok("apply", "-f", "-", stdin=manifest(lab, image.qcow2))
        cloud.ok(
            "vm",
            "create",
            "warm",
            "--image",
            "tiny",
            "--instance-offering",
            "small",
            "--network",
            "flat",
            "--host",
            "h1",
        )
        found.append(one_vm(folder, cloud))
        found.append(hundred_vms(folder, cloud))
        found.append(bench_security.throughput(lab))
        found += bench_network.figures(folder, cloud)
        found.append(bench_plan.drift_check(cloud, bare_run(folder, lab, ["h1", "h2", "h3"])))
        cloud.ok("l3-network", "delete", "flat", "--yes")
        cloud.ok("l2-network", "delete", "wire", "--yes")
        found.append(bench_plan.fifty_hosts(folder, lab))
    finally:
        Lab.down(LAB)
    return found


def one_vm(folder: Path, cloud: Cloud) -> Figure:
    """From the command to the running domain. Each VM goes before the next comes: emulated guests use up the CPUs."""
    bare = bare_run(folder, cloud.lab, ["h1"])
    bare()
    took, floors = [], []
    words = (
        "vm",
        "create",
        "one",
        "--image",
        "tiny",
        "--instance-offering",
        "small",
        "--network",
        "flat",
        "--host",
        "h1",
    )
    cloud.ok("vm", "delete", "warm", "--yes")
    for _ in range(ROUNDS):
        floors.append(median(bare, 1))
        took.append(median(lambda: void(cloud.ok(*words)), 1))
        cloud.ok("vm", "delete", "one", "--yes")
    return Figure(
        "zctl vm create / one-task ansible-playbook run", statistics.median(took), statistics.median(floors), 3
    )


def hundred_vms(folder: Path, cloud: Cloud) -> Figure:
    """A hundred domains with their disks, against the bare loop on the same hosts plus one bare run."""
    bare = bare_run(folder, cloud.lab, ["h1", "h2", "h3"])
    bare()
    shares = {"h1": 34, "h2": 33, "h3": 33}
    images = {
        host: cloud.lab.ssh(host, "ls /var/lib/zctl/storage/images/*.qcow2 2>/dev/null | head -1 || true").strip()
        for host in shares
    }
    for number, host in enumerate(shares):
        if not images[host]:
            name = f"seed-{number}"
            cloud.ok(
                "vm",
                "create",
                name,
                "--image",
                "tiny",
                "--instance-offering",
                "small",
                "--host",
                host,
                "--power",
                "Stopped",
            )
            cloud.ok("vm", "delete", name, "--yes")
            images[host] = cloud.lab.ssh(host, "ls /var/lib/zctl/storage/images/*.qcow2 | head -1").strip()
        cloud.lab.ssh(host, "cat > /var/tmp/bare.py", stdin=BARE_LOOP)

    def loop() -> None:
        running = [
            subprocess.Popen(
                cloud.lab.ssh_argv(host, f"python3 /var/tmp/bare.py {count} {images[host]}"), stdin=subprocess.DEVNULL
            )
            for host, count in shares.items()
        ]
        assert all(process.wait() == 0 for process in running)

    text = "---\n".join(
        f"kind: Vm\nname: many-{number}\n"
        f"spec: {{image: tiny, instance_offering: small, power: Stopped, host: h{number % 3 + 1}}}\n"
        for number in range(100)
    )
    (folder / "many.yaml").write_text(text)
    names = [f"many-{number}" for number in range(100)]
    floors, took = [], []
    for _ in range(ROUNDS):
        floors.append(median(loop, 1) + median(bare, 1))
        took.append(median(lambda: void(cloud.ok("apply", "-f", str(folder / "many.yaml"))), 1))
        cloud.ok("vm", "delete", *names, "--yes")
    return Figure("100 VMs over 3 hosts / bare loop + bare run", statistics.median(took), statistics.median(floors), 2)


def void(_value: object) -> None:
    """Throw a value away."""


def main() -> None:
    """Measure, print, and fail when a promise is broken."""
    folder = Path(tempfile.mkdtemp(prefix="zctl-bench-"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        (folder / "list").mkdir()
        figures = start_up(folder / "list") + bench_plan.texts(folder, fill)
        figures.append(bench_dump.dumps(folder))
        if "--quick" not in sys.argv:
            figures += vms(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{'figure':62} {'took':>8} {'floor':>8} {'ratio':>6} {'limit':>6}")
    for figure in figures:
        floor = f"{figure.floor:.3f}s" if figure.unit == "x" else "-"
        mark = "" if figure.ratio <= figure.limit else "  OVER"
        print(f"{figure.name:62} {figure.value:7.3f}s {floor:>8} {figure.ratio:6.2f} {figure.limit:6.1f}{mark}")
    if any(figure.ratio > figure.limit for figure in figures):
        sys.exit("a figure is over its limit")


if __name__ == "__main__":
    main()
