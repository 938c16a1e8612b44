"""A rendered folder and site.yml tell and mend the same differences as zctl's own runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab.cloud.zctl import Cloud
from zctl.actions.ansible_inventory import members
from zctl.actions.context import Context
from zctl.config import Config
from zctl.inventory.engine import Inventory
from zctl.run.runner import execute

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
Told = dict[str, dict[tuple[str, str], tuple[str, str]]]
"""host -> (kind, uuid) -> (result, reason), of all that is not as wanted"""


@pytest.fixture
def folder(tmp_path: Path, no_vms: Cloud) -> Iterator[Path]:
    """A rendered folder of a cloud with one VM on its first host, in a path that needs quotes."""
    like = ("--image", "tiny", "--instance-offering", "small", "--network", "flat", "--host", "h1")
    no_vms.ok("vm", "create", "web-1", *like, "--description", "{{ lookup('pipe', 'touch /tmp/rendered') }}")
    made = tmp_path / "my cloud"
    no_vms.ok("render", str(made))
    yield made
    assert not Path("/tmp/rendered").exists()


def run(argv: list[str], where: Path, environment: dict[str, str], code: int = 0) -> str:
    """An Ansible program's output, after it has ended with that code."""
    plain = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": os.environ["HOME"], "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [str(BIN / argv[0]), *argv[1:]],
        cwd=where,
        env=plain | environment,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def in_folder(folder: Path, *argv: str, code: int = 0) -> str:
    """A program in the folder, where importing zctl fails."""
    bar = folder.parent / "no zctl"
    bar.mkdir(exist_ok=True)
    (bar / "zctl.py").write_text("raise ImportError('zctl is not installed')\n")
    return run(list(argv), folder, {"PYTHONPATH": str(bar)}, code)


def in_checkout(cloud: Cloud, program: str, *words: str) -> str:
    """A program in the checkout, with the dynamic inventory."""
    return run([program, "-i", "inventory/", *words], ROOT, cloud.environment)


def told_by_ansible(output: str) -> Told:
    """What the modules answered, from the output of ansible-playbook -v."""
    found: Told = {}
    for host, text in re.findall(r"^(?:ok|changed): \[(\w+)\] => (\{.*\})$", output, re.MULTILINE):
        note(found, host, json.loads(text).get("results", []))
    return found


def told_by_zctl(cloud: Cloud, tmp_path: Path) -> Told:
    """The same from a check run of zctl itself."""
    config = Config(home=tmp_path / "runs", db=f"sqlite:///{cloud.home / 'zctl.db'}", ssh_key=str(cloud.lab.ssh_key))
    context = Context(config, Inventory(config.url))
    runs = [member.run for member in members(context)]
    results = execute(runs, context.run_settings(check=True), context.watch)
    found: Told = {}
    for host in results.values():
        assert not (host.unreachable or host.failure), host
        note(found, host.host, [vars(entry) for entry in host.results])
    return found


def note(found: Told, host: str, entries: list[dict[str, Any]]) -> None:
    """Keep what is not as wanted."""
    for entry in entries:
        if entry["result"] != "unchanged":
            found.setdefault(host, {})[entry["kind"], entry["uuid"]] = (entry["result"], entry["reason"])


def changed(output: str) -> dict[str, int]:
    """How many tasks changed each host, from the recap."""
    return {host: int(number) for host, number in re.findall(r"^(\w+) +: .*changed=(\d+) ", output, re.MULTILINE)}


def damage(cloud: Cloud) -> None:
    """On h1 a bridge, the kernel setting, a lease and the running domain go; h2 loses a bridge; h3 stays well."""
    bridges = {row["name"]: f"zbr-{row['uuid'].replace('-', '')[:10]}" for row in cloud.rows("l2-network")}
    cloud.lab.ssh("h1", f"ip link delete {bridges['tunnel']}; rm /etc/sysctl.d/90-zctl.conf; rm /etc/zctl/l3/*/hosts/*")
    cloud.lab.ssh("h1", "virsh destroy z-web-1")
    cloud.lab.ssh("h2", f"ip link delete {bridges['tunnel']}")


def test_the_folder_tells_and_mends_what_zctl_would(folder: Path, no_vms: Cloud, tmp_path: Path) -> None:
    """Nothing to do at first; then the same differences from the folder, from site.yml and from zctl; then none."""
    cloud = no_vms
    hosts = {host.name for host in cloud.lab.hosts}
    playbook = ("ansible-playbook", "site.yml")
    assert changed(in_folder(folder, *playbook, "--check", "--diff")) == dict.fromkeys(hosts, 0)
    assert told_by_zctl(cloud, tmp_path) == {}
    damage(cloud)
    said = in_folder(folder, *playbook, "--check", "--diff", "-v")
    wanted = told_by_zctl(cloud, tmp_path)
    assert set(wanted) == {"h1", "h2"}
    assert {kind for kind, _uuid in wanted["h1"]} == {"host", "l2-network", "l3-network", "lease", "vm"}
    assert told_by_ansible(said) == wanted
    shown = in_folder(folder, *playbook, "--check", "--diff")
    unseen = [reason for told in wanted.values() for _result, reason in told.values() if reason not in shown]
    assert unseen == [], shown
    assert '+ "state": "Running"' in shown
    dynamic = in_checkout(cloud, "ansible-playbook", "playbooks/site.yml", "--check", "--diff", "-v")
    assert told_by_ansible(dynamic) == wanted
    assert diffs(dynamic) == diffs(said)
    in_folder(folder, *playbook, "--forks", "1", "--limit", "zone_z1:!h2")
    assert set(told_by_zctl(cloud, tmp_path)) == {"h2"}
    in_folder(folder, *playbook, "--forks", "5")
    assert changed(in_folder(folder, *playbook, "--check", "--diff")) == dict.fromkeys(hosts, 0)
    assert told_by_zctl(cloud, tmp_path) == {}
    assert cloud.domains("h1")["z-web-1"] == "running"


def test_one_failure_does_not_hide_other_differences(folder: Path, no_vms: Cloud, tmp_path: Path) -> None:
    """As in zctl's own run the other concerns go on, and the run fails in the end, naming what failed."""
    cloud, playbook = no_vms, ("ansible-playbook", "site.yml")
    cloud.lab.ssh("h1", "virsh destroy z-web-1; ip link set data0 nomaster down; ip link set data0 name away0")
    try:
        said = in_folder(folder, *playbook, "--check", "--diff", "-v", code=2)
        wanted = told_by_zctl(cloud, tmp_path)
        assert told_by_ansible(said) == wanted and set(wanted) == {"h1"}
        assert {("l2-network", "failed"), ("vm", "changed")} <= {
            (kind, result) for (kind, _uuid), (result, _reason) in wanted["h1"].items()
        }
        failed = [reason for result, reason in wanted["h1"].values() if result == "failed"]
        assert all(f': {reason}"' in said for reason in failed), said
    finally:
        cloud.lab.ssh("h1", "ip link set away0 name data0; ip link set data0 up")
    in_folder(folder, *playbook)
    assert told_by_zctl(cloud, tmp_path) == {}


def diffs(output: str) -> list[str]:
    """The lines that --diff shows."""
    return sorted(line for line in output.splitlines() if line[:1] in "+-@" and not line.startswith(("+++", "---")))


def test_patterns_choose_by_zone_cluster_and_virtualization(cloud: Cloud, tmp_path: Path) -> None:
    """Zones, clusters, kvm and qemu are groups that Ansible's patterns combine, in the folder and in the checkout."""
    folder = tmp_path / "out"
    cloud.ok("render", str(folder))
    hosts = sorted(host.name for host in cloud.lab.hosts)
    kinds = {row["virtualization"] for row in cloud.rows("host")}
    for ansible in (partial(in_folder, folder), partial(in_checkout, cloud)):
        graph = ansible("ansible-inventory", "--graph")
        assert all(f"@{group}:" in graph for group in ("zone_z1", "cluster_c1", "kvm", "qemu"))
        for kind in ("kvm", "qemu"):
            listed = listed_hosts(ansible("ansible", f"zone_z1:&{kind}", "--list-hosts"))
            assert listed == (hosts if kind in kinds else [])
        assert listed_hosts(ansible("ansible", "cluster_c1:!h1", "--list-hosts")) == hosts[1:]


def listed_hosts(output: str) -> list[str]:
    """The hosts that --list-hosts names."""
    return sorted(re.findall(r"^    (\w+)$", output, re.MULTILINE))


def test_a_deleted_vm_that_waits_for_its_host_is_in_the_difference(folder: Path, no_vms: Cloud, tmp_path: Path) -> None:
    """What a run would remove shows in the check of a folder rendered then, domain and disk; a run removes them."""
    cloud, playbook = no_vms, ("ansible-playbook", "site.yml")
    vm = cloud.show("vm", "web-1")["uuid"]
    key = tmp_path / "unknown key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    refused = Cloud(cloud.home, cloud.lab, {"ZCTL_SSH_KEY": str(key)})
    assert "login is refused" in refused.call("vm", "delete", "web-1", "--yes").err
    cloud.ok("render", str(folder), "--force")
    said = in_folder(folder, *playbook, "--check", "--diff", "-v")
    wanted = told_by_zctl(cloud, tmp_path)
    assert told_by_ansible(said) == wanted
    assert wanted["h1"]["vm", vm] == ("removed", "domain removed")
    assert {"vm", "volume", "lease"} <= {kind for kind, _uuid in wanted["h1"]}
    shown = in_folder(folder, *playbook, "--check", "--diff")
    assert all(reason in shown for _result, reason in wanted["h1"].values()), shown
    in_folder(folder, *playbook)
    assert told_by_zctl(cloud, tmp_path) == {} and "z-web-1" not in cloud.domains("h1")
    cloud.ok("converge")
