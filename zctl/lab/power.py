"""Switching a lab host's machine on and off: systemd-nspawn under a small supervisor, and finding their processes.

A host's processes are found by the folder in their command line, not by a stored process id: that also works after
a crash between start and write, and never hits a process that merely got the same number.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from zctl.lab.shell import LabError, environment, run, succeeds

# systemd-nspawn ends with this code when the host has rebooted by itself and wants to be started again.
REBOOT_CODE = 133
GONE_PATIENCE = 20.0

SCRIPT = """\
#!/bin/sh
# Power supply and two network cables of lab host {title}. Written by 'zctl lab up', started by it.
# With the argument 'once' somebody else (systemd) starts it again when the host reboots.
plug() {{ # port bridge
    n=0
    until ip link set "$1" alias '{mark}' master "$2" up 2>/dev/null; do
        n=$((n + 1)); [ $n -gt 600 ] && return; sleep 0.05
    done
}}
power() {{
    {preparation}plug {management_port} {management_bridge} & plug {data_port} {data_bridge} &
    {command}
}}
if [ "$1" = once ]; then power; exit $?; fi
# A control group of its own: hosts that share one could end each other's services.
for top in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -e "$top/cgroup.procs" ] && mkdir -p "$top/{group}" && echo $$ > "$top/{group}/cgroup.procs"
done
while :; do
    power
    [ $? -eq {reboot_code} ] || exit
done
"""


@dataclass(frozen=True)
class Power:
    """What the supervisor of one host needs to know."""

    title: str
    folder: Path
    mark: str
    unit: str
    management_port: str
    management_bridge: str
    data_port: str
    data_bridge: str
    hostname: str
    shared: Path

    @property
    def script(self) -> Path:
        return self.folder / "run.sh"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def group(self) -> str:
        return f"zctl-lab/{self.unit}"

    @property
    def marker(self) -> str:
        """The word by which the host's own process is found."""
        return f"--directory={self.root}"

    @property
    def preparation(self) -> str:
        """What the supervisor does before it plugs in the cables."""
        return ""

    @property
    def command(self) -> str:
        """What the supervisor runs."""
        arguments = [
            "--quiet",
            "--register=no",
            "--keep-unit",
            self.marker,
            f"--machine={self.unit}",
            f"--hostname={self.hostname}",
            f"--network-veth-extra={self.management_port}:host0",
            f"--network-veth-extra={self.data_port}:data0",
            "--capability=all",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=pipe",
            "--bind=/dev/net/tun",
            f"--bind={self.shared}:/run/zctl-lab/shared",
            "--boot",
        ]
        if Path("/dev/fuse").exists():
            arguments.insert(-1, "--bind=/dev/fuse")
        return " ".join(filter(None, [cgroup_choice(), "systemd-nspawn", *arguments]))

    def script_text(self) -> str:
        """The supervisor."""
        return SCRIPT.format(
            title=self.title,
            mark=self.mark,
            management_port=self.management_port,
            management_bridge=self.management_bridge,
            data_port=self.data_port,
            data_bridge=self.data_bridge,
            preparation=self.preparation,
            command=self.command,
            group=self.group,
            reboot_code=REBOOT_CODE,
        )


def cgroup_choice() -> str:
    """The variable that tells nspawn which cgroups to give to the host.

    With v2 a host notices at once that a service has ended; with v1 it waits for a time-out. So v2 is taken also
    where it is mounted beside v1, and nothing is said where only v2 is there.
    """
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return ""
    return f"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY={int((top / 'unified/cgroup.controllers').exists())}"


def systemd_runs() -> bool:
    """Whether this machine was booted with systemd."""
    return Path("/run/systemd/system").is_dir()


def processes(power: Power) -> list[int]:
    """The supervisor and the nspawn or QEMU of this host, supervisor first."""
    wanted = (str(power.script), power.marker)
    found: dict[str, list[int]] = {word: [] for word in wanted}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended meanwhile
        for word in wanted:
            if word in words:
                found[word].append(int(entry.name))
    return found[wanted[0]] + found[wanted[1]]


def inits(power: Power) -> list[int]:
    """The host's own process 1, found by its machine id: it outlives an nspawn that is killed."""
    known = power.folder / "upper/etc/machine-id"
    wanted = known.read_text() if known.is_file() else ""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            numbers = re.search(r"^NSpid:\t\d+\t1$", (entry / "status").read_text(), re.MULTILINE)
            if numbers and wanted and (entry / "root/etc/machine-id").read_text() == wanted:
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def is_on(power: Power) -> bool:
    return bool(processes(power))


def switch_on(power: Power) -> None:
    """Start the supervisor; returns at once, the host needs some seconds to boot."""
    for port in (power.management_port, power.data_port):
        succeeds(["ip", "link", "delete", port])  # a left-over end of a cut cable would take the name
    if systemd_runs():
        # A name of its own for each start: systemd may still be busy with the end of the one before.
        unit = f"{power.unit}-{time.time_ns() // 1_000_000}"
        properties = ["Delegate=yes", "KillMode=control-group", "TimeoutStopSec=5", f"SuccessExitStatus={REBOOT_CODE}"]
        properties += [f"RestartForceExitStatus={REBOOT_CODE}", f"StandardOutput=append:{power.folder}/console.log"]
        argv = ["systemd-run", "--quiet", "--collect", f"--unit={unit}"]
        argv += [word for one in properties for word in ("-p", one)]
        run([*argv, "/bin/sh", power.script, "once"], what=f"{power.title} was started")
        return
    with (power.folder / "console.log").open("ab") as console:
        subprocess.Popen(
            ["/bin/sh", str(power.script)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            cwd="/",
            start_new_session=True,
            env=environment(),
        )


def switch_off(power: Power) -> None:
    """Cut the power: everything of the host ends at once, as when the plug is pulled.

    Raises LabError when its processes do not go away.
    """
    deadline = time.monotonic() + GONE_PATIENCE
    # The supervisor comes first: it must not start the host again. With its process 1 all others of the host end.
    while ours := processes(power) + inits(power):
        for pid in ours:
            _kill(pid)
        if time.monotonic() > deadline:
            raise LabError("its processes do not end", resource=power.title)
        time.sleep(0.02)
    for port in (power.management_port, power.data_port):
        succeeds(["ip", "link", "delete", port])
    _remove_group(power.group)
    with contextlib.suppress(OSError):
        (Path("/run/systemd/nspawn/propagate") / power.unit).rmdir()  # nspawn leaves it when it is killed


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _remove_group(group: str) -> None:
    """Remove the host's control group and what its systemd made in it, innermost first."""
    for top in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd")):
        base = top / group
        if not base.is_dir():
            continue
        for path, _, _ in os.walk(base, topdown=False):
            try:
                Path(path).rmdir()
            except OSError:
                break  # the kernel still empties it; an empty group costs nothing
        if base.parent.is_dir() and not any(path.is_dir() for path in base.parent.iterdir()):
            base.parent.rmdir()
