"""Which libvirt daemon a host has, whether it starts at boot and answers, and starting it."""

from __future__ import annotations

import os
import subprocess
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference
except ImportError:
    from zctl_results import difference  # type: ignore[no-redef]

Json = dict[str, Any]
# Program, the units that are to start at boot, and what else shows that it is this one that is used.
DAEMONS = (
    ("libvirtd", ("libvirtd.service",), ("libvirtd.socket",)),
    ("virtqemud", ("virtqemud.socket", "virtlogd.socket"), ("virtqemud.service",)),
)
NOT_AT_BOOT = ("disabled", "masked", "masked-runtime", "enabled-runtime")
SYSTEMD = "/run/systemd/system"


def parse_units(text: str) -> dict[str, Json]:
    """The blocks that `systemctl show` prints, by unit."""
    units = {}
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("Id"):
            units[values["Id"]] = values
    return units


def chosen(installed: list[str], units: dict[str, Json]) -> str | None:
    """The daemon that is in use; of several that are not, the first one installed."""

    def used(unit: str) -> bool:
        state = units.get(unit, {})
        return state.get("ActiveState") == "active" or state.get("UnitFileState") == "enabled"

    for program, own, more in DAEMONS:
        if program in installed and any(used(unit) for unit in (*own, *more)):
            return program
    return installed[0] if installed else None


def look() -> tuple[str | None, dict[str, Json]]:
    """The daemon of this host, and the states of all units that count."""
    installed = [program for program, *_ in DAEMONS if os.access(f"/usr/sbin/{program}", os.X_OK)]
    if not installed or not os.path.isdir(SYSTEMD):
        return None, {}
    names = [unit for _, own, more in DAEMONS for unit in (*own, *more)]
    shown = systemctl("show", "--property=Id,ActiveState,UnitFileState", *names)
    units = parse_units(shown.stdout)
    return chosen(installed, units), units


def units_of(program: str) -> tuple[str, ...]:
    """The units of a daemon that are to start at boot."""
    return next(own for name, own, _ in DAEMONS if name == program)


def differences(trouble: str) -> list[Json]:
    """Where libvirt's daemon is not as wanted; `trouble` says why it does not answer, empty when it does."""
    found = [difference("libvirt", "does not answer", "answers")] if trouble else []
    program, units = look()
    for unit in units_of(program) if program else ():
        state = units.get(unit, {}).get("UnitFileState", "")
        if state in NOT_AT_BOOT:
            found.append(difference(f"{unit}.enabled", state, "enabled"))
    return found


def start(change: bool, is_silent: bool) -> tuple[list[str], str]:
    """Enable the libvirt that is installed, and start it when it is silent; returns what was done and what failed."""
    if not os.path.isdir(SYSTEMD):
        return [], "libvirt does not answer and systemd does not run here; start libvirtd yourself"
    program, _ = look()
    if program is None:
        return [], "neither libvirtd nor virtqemud is installed"
    if not change:
        return [f"{program} {'started' if is_silent else 'enabled'}"], ""
    done = systemctl("enable", *(["--now"] if is_silent else []), *units_of(program))
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        return [], f"{program} does not start: {why[0]}; see 'journalctl -u {program}'"
    return [f"{program} enabled{' and started' if is_silent else ''}"], ""


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemctl, whatever comes of it."""
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
