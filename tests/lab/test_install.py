"""zctl install on a real machine: services that run, rated by systemd; again; undone; by cron."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from zctl.inventory.head import HEAD
from zctl.lab import Lab
from zctl.node.wanted import CRON_FILE, TASKS, UNITS

ROOT = Path(__file__).parents[2]
# What developers need and users do not; it is left out to save time.
DEVELOPERS = ("mypy", "mypyc", "*__mypyc*", "ansible_test", "ansiblelint", "hypothesis", "grimp", "pip", "zctl*")
# A job of another process on this machine.
JOB = """
import os
import sys

from zctl.config import load
from zctl.inventory import lease
from zctl.inventory.engine import Inventory
from zctl.resources.job import Job

pid = int(sys.argv[1])
owner = f"root@{os.uname().nodename}:{lease.kernel()}:{pid}:{lease._start(pid)}"
with Inventory(load().url).write() as db:
    db.add(Job.build(name="theirs", verb="test", state="Running", owner=owner))
"""
PROGRAM = "/opt/zctl/bin/zctl"
CLOUD = """
kind: Zone
name: z1
---
kind: Cluster
name: c1
spec: {{zone: z1}}
---
kind: Host
name: me
spec: {{cluster: c1, address: {address}, host_key: '{host_key}'}}
---
kind: L2Network
name: wire
spec: {{zone: z1, physical_interface: data0}}
"""


@dataclass
class Machine:
    """A lab host with zctl in an environment of its own."""

    lab: Lab
    name: str

    def run(self, command: str) -> str:
        """What a shell command says; it must succeed."""
        return self.lab.ssh(self.name, f"exec 2>&1; {command}")

    def zctl(self, *words: str) -> str:
        """zctl, called by root."""
        return self.run(f"{PROGRAM} {' '.join(words)}")


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The lab's last host with the wheel installed, as `pip install` would do, but from this environment's files."""
    made = Machine(lab, lab.hosts[-1].name)
    version = made.run("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").strip()
    if version != "{}.{}".format(*sys.version_info):
        pytest.skip(f"the lab's hosts have Python {version}; libraries of another version cannot be copied there")
    folder = tmp_path_factory.mktemp("wheel")
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*wheel, str(ROOT)], check=True, cwd=folder)
    made.run("python3 -m venv --without-pip /opt/zctl")
    top = lab.hosts[-1].root / "opt/zctl"
    site = top / f"lib/python{version}/site-packages"
    shutil.copytree(
        sysconfig.get_path("purelib"),
        site,
        ignore=shutil.ignore_patterns(*DEVELOPERS),
        dirs_exist_ok=True,
        symlinks=True,
    )
    shutil.unpack_archive(next(folder.glob("*.whl")), site, "zip")
    for name, entry in (("zctl", "zctl.cli.main:main"), ("ansible-playbook", "ansible.cli.playbook:main")):
        module, _, function = entry.partition(":")
        script = top / "bin" / name
        script.write_text(f"#!/opt/zctl/bin/python3\nfrom {module} import {function}\n{function}()\n")
        script.chmod(0o755)
    return made


def test_install_run_again_undo(machine: Machine) -> None:
    """From an empty machine to running services, which systemd finds well kept; a second time changes nothing."""
    said = machine.zctl("install", "--check")
    assert "+++ /etc/zctl/config.toml" in said and "+ user zctl" in said and "changes to make" in said
    machine.run("! id zctl && test ! -e /etc/zctl/config.toml")
    machine.zctl("install")
    assert machine.zctl("install").strip() == "management node: unchanged"
    assert machine.run("stat -c '%U:%G %a' /var/lib/zctl/zctl.db /etc/zctl/config.toml").split("\n")[:2] == [
        "zctl:zctl 600",
        "root:zctl 640",
    ]
    assert machine.run(f"cd {UNITS}; systemd-analyze verify zctl-*").strip() == ""
    for task in TASKS:
        rated = machine.run(f"systemd-analyze security --no-pager {task.service} | tail -n 1")
        assert float(rated.split(":")[1].split()[0]) < 2, rated
        assert machine.run(f"systemctl is-enabled {task.timer}; systemctl is-active {task.timer}").split() == [
            "enabled",
            "active",
        ]
    machine.run("systemctl start zctl-gc zctl-watch zctl-drift")
    listed = machine.run(f"runuser -u zctl -- {PROGRAM} management-node list")
    assert machine.name in listed and "Alive" in listed
    machine.run("runuser -u zctl -- sh -c 'echo old > /var/log/zctl/zctl.log'; logrotate --force /etc/logrotate.d/zctl")
    assert machine.run("cat /var/log/zctl/zctl.log.1; stat -c '%U %a %s' /var/log/zctl/zctl.log").split("\n")[:2] == [
        "old",
        "zctl 640 0",
    ]
    assert machine.zctl("upgrade", "--check").count(HEAD) == 2
    machine.run("bash -n /usr/share/bash-completion/completions/zctl")


def test_the_watch_sees_everybodys_processes(machine: Machine) -> None:
    """A job of root's is left alone while its process lives, though the service is another user's; then it is done."""
    script = machine.lab.hosts[-1].root / "root/job.py"
    script.write_text(JOB)
    # nspawn lays a boot id of its own over the kernel's, but not for services; on a machine there is only one.
    job = (
        "while umount /proc/sys/kernel/random/boot_id; do :; done; /opt/zctl/bin/python3 /root/job.py $(cat /root/pid)"
    )
    machine.run(f"sleep 600 >/dev/null 2>&1 & echo $! > /root/pid; unshare --mount sh -c '{job}' 2>&1")
    state = f"{PROGRAM} job list --no-header --columns state --filter name=theirs"
    assert machine.run(f"systemctl start zctl-watch; {state}").strip() == "Running"
    assert machine.run(f"kill -9 $(cat /root/pid); systemctl start zctl-watch; {state}").strip() == "Done"
    assert "took over 1 jobs" in machine.run("cat /var/log/zctl/zctl.log")


def test_the_drift_check_tells_the_truth(machine: Machine) -> None:
    """The services' user logs in to a host by its key; a host that differs makes a failed unit until that ends."""
    host = machine.lab.hosts[-1]
    key = host.root / "var/lib/zctl/.ssh/id_ed25519"
    key.parent.mkdir(mode=0o700)
    shutil.copy(machine.lab.ssh_key, key)
    machine.run("chown -R zctl: /var/lib/zctl/.ssh")
    machine.run("sed -i 's/^# ssh_key/ssh_key/' /etc/zctl/config.toml")
    manifest = CLOUD.format(address=host.address, host_key=host.host_key)
    machine.lab.ssh(machine.name, f"{PROGRAM} apply -f -", stdin=manifest)
    machine.run("systemctl start zctl-drift")
    machine.run("ip link delete $(ip -br link | grep -o '^zbr-[^ ]*')")
    machine.run("! systemctl start zctl-drift")
    assert "zctl-drift.service" in machine.run("systemctl list-units --failed --no-legend")
    assert "l2-network wire" in machine.run("journalctl -u zctl-drift --no-pager")
    machine.run(f"runuser -u zctl -- {PROGRAM} host delete me --yes --cascade; systemctl start zctl-drift")
    assert machine.run("systemctl list-units --failed --no-legend 'zctl*'").strip() == ""


def test_what_is_not_zctls_stays(machine: Machine) -> None:
    """A changed file is put right, a mask is respected, another's file is refused, settings are never touched."""
    machine.run(f"echo '# mine' >> {UNITS}/zctl-gc.timer; chmod 600 {UNITS}/zctl-gc.timer")
    machine.run("systemctl mask --now zctl-dump.timer; echo '# mine' >> /etc/zctl/config.toml")
    said = machine.zctl("install", "--check")
    assert "-# mine" in said and "root:root 0600 -> root:root 0644" in said and "zctl-dump" not in said
    assert "~ running: zctl-gc.timer" in machine.zctl("install")
    assert machine.zctl("install").strip() == "management node: unchanged"
    machine.run("systemctl unmask zctl-dump.timer; touch /etc/zctl/secret.key; chmod 600 /etc/zctl/secret.key")
    assert "+LoadCredential=zctl.secret.key:/etc/zctl/secret.key" in machine.zctl("install", "--check")
    machine.zctl("install")
    machine.run("systemctl start zctl-watch; rm /etc/zctl/secret.key")
    machine.run("mv /etc/logrotate.d/zctl /root/kept; echo '# mine' > /etc/logrotate.d/zctl")
    assert "did not make" in machine.run(f"! {PROGRAM} install")
    assert "did not make" in machine.run(f"! {PROGRAM} install --cron")
    machine.run("mv /root/kept /etc/logrotate.d/zctl")


def test_cron_and_away(machine: Machine) -> None:
    """Cron instead of timers; then all is gone but the data, the settings that were changed, and their user."""
    said = machine.zctl("install", "--cron")
    assert "+ /etc/cron.d/zctl" in said and f"- {UNITS}/zctl-dump.timer" in said
    lines = machine.run(f"cat {CRON_FILE}")
    assert f"\n30 0,12 * * * zctl {PROGRAM} dump_mysql --keep-amount 14\n" in lines
    units = " ".join(unit for task in TASKS for unit in (task.service, task.timer))
    assert machine.run(f"systemctl list-unit-files --no-legend {units} || true").strip() == ""
    watch = next(line for line in lines.splitlines() if "management-node watch" in line).split(maxsplit=6)
    machine.run(f"runuser -u {watch[5]} -- {watch[6]}")
    assert "unchanged" in machine.zctl("install", "--cron")
    said = machine.zctl("install", "--uninstall", "--yes")
    assert "these stay, and the user zctl with them: /etc/zctl/config.toml, /var/lib/zctl, /var/log/zctl" in said
    machine.run(f"test ! -e {CRON_FILE} && test ! -e /etc/logrotate.d/zctl && test -s /var/lib/zctl/zctl.db")
    machine.run(f"! ls {UNITS}/zctl-[dgw]* /usr/share/bash-completion/completions/zctl")
    assert "management node: unchanged" in machine.zctl("install", "--uninstall", "--yes")


def test_refusals(machine: Machine) -> None:
    """Not root; a zctl that the services could not see."""
    assert "as root" in machine.run(f"! runuser -u nobody -- env ZCTL_HOME=/tmp/x {PROGRAM} install")
    machine.run(
        "python3 -m venv --without-pip --system-site-packages /root/own; ln -s /opt/zctl/lib/python3*/"
        "site-packages/* /root/own/lib/python3*/site-packages/; cp /opt/zctl/bin/zctl /root/own/bin/"
    )
    said = machine.run("! /root/own/bin/python3 /root/own/bin/zctl install")
    assert "which services cannot see" in said and "python3 -m venv /opt/zctl" in said
