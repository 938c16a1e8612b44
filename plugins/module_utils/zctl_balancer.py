# SPDX-License-Identifier: Apache-2.0
"""Load balancers: one haproxy for each l3-network that has some, in the network's namespace on its way out.

Part of the eip concern, which has put the addresses there. A change is a reload: connections stay with the worker
that they are of.
"""

from __future__ import annotations

import grp
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_balancer_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_boot import UNITS, WANTS, install_unit
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference, text_differences
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        answers,
        read_text,
        run,
        succeeds,
        write_text,
    )
except ImportError:
    import zctl_balancer_plan as plan  # type: ignore[no-redef]
    from zctl_network_boot import UNITS, WANTS, install_unit  # type: ignore[no-redef]
    from zctl_results import difference, text_differences  # type: ignore[no-redef]
    from zctl_system import Trouble, answers, read_text, run, succeeds, write_text  # type: ignore[no-redef]

Json = dict[str, Any]
FOLDER = Path(plan.CONFIG)
NAMESPACES = Path("/run/netns")
HAPROXY = Path("/usr/sbin/haproxy")
RESTARTS = ("haproxy", "haproxy.namespace", "haproxy.netns")  # another unit is of use when it starts the next time
PATIENCE = 5.0  # seconds that haproxy has to take new settings


def bring(router: Json, check: bool) -> list[Json]:
    """The service of a network as it is to be; returns what was not. Without load balancers it goes."""
    folder = FOLDER / router["uuid"]
    if not router.get("balancers"):
        return remove(router["uuid"], check)
    text = plan.haproxy_config(router)
    settings = text_differences("haproxy.cfg", read_text(folder / "haproxy.cfg"), text)
    service = service_differences(router, folder)
    if (settings or service) and not check:
        if not HAPROXY.exists():
            raise Trouble("haproxy is not installed: zctl converge installs what is missing")
        mend(router, folder, text, bool(settings), service)
    return settings + service


def service_differences(router: Json, folder: Path) -> list[Json]:
    """Whether haproxy runs, in the namespace that there is now, and after a reboot; its user, unit and link."""
    uuid, namespace = router["uuid"], NAMESPACES / router["namespace"]
    said = answers(["systemctl", "show", "-p", "ActiveState", "-p", "MainPID", plan.unit(uuid)])
    seen = dict(line.partition("=")[::2] for line in said)
    state, pid = seen.get("ActiveState", "unknown"), seen.get("MainPID", "0")
    found = [difference("haproxy", state, "active")] if state != "active" else []
    if not (WANTS / plan.unit(uuid)).is_symlink():
        found.append(difference("haproxy.enabled", "disabled", "enabled"))
    if state == "active" and not same_namespace(pid, namespace):
        found.append(difference("haproxy.namespace", "another", router["namespace"]))
    link = folder / "netns"
    target = os.readlink(link) if link.is_symlink() else None
    if target != str(namespace):
        found.append(difference("haproxy.netns", target, str(namespace)))
    if group_of_service() is None:
        found.append(difference("user", None, plan.USER))
    return found + text_differences(plan.UNIT, read_text(UNITS / plan.UNIT), plan.UNIT_TEXT)


def same_namespace(pid: str, namespace: Path) -> bool:
    """Whether a process is in a network namespace; yes when the process has just ended."""
    try:
        inside = os.stat(f"/proc/{pid}/ns/net")
    except OSError:
        return True
    try:
        there = namespace.stat()
    except OSError:
        return False
    return (inside.st_dev, inside.st_ino) == (there.st_dev, there.st_ino)


def group_of_service() -> int | None:
    """The group of the service; None when it is not there."""
    try:
        return grp.getgrnam(plan.USER).gr_gid
    except KeyError:
        return None


def mend(router: Json, folder: Path, text: str, is_new: bool, service: list[Json]) -> None:
    """Write what is to be written and let haproxy take it."""
    uuid = router["uuid"]
    if group_of_service() is None:
        run(["systemd-sysusers", "--inline", f'u {plan.USER} - "zctl load balancers" /nonexistent'])
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "netns"
    link.unlink(missing_ok=True)
    link.symlink_to(NAMESPACES / router["namespace"])
    if is_new:
        write_text(folder / "new.cfg", text)
        run([str(HAPROXY), "-c", "-q", "-f", str(folder / "new.cfg")])
        (folder / "new.cfg").replace(folder / "haproxy.cfg")
    install_unit(plan.UNIT, plan.UNIT_TEXT, plan.unit(uuid))
    if any(entry["field"] in RESTARTS for entry in service):
        run(["systemctl", "restart", plan.unit(uuid)])
    elif is_new:
        reload(uuid)


def reload(uuid: str) -> None:
    """Let haproxy take its new settings, with what it knows of the targets' health, and wait until it has."""
    before = asked(uuid, "show info")
    write_text(Path(plan.run_folder(uuid)) / "state", asked(uuid, "show servers state"))
    run(["systemctl", "reload", plan.unit(uuid)])
    deadline = time.monotonic() + PATIENCE
    while worker_of(asked(uuid, "show info")) in ("", worker_of(before)):
        if time.monotonic() > deadline:
            raise Trouble(f"haproxy did not take its new settings: journalctl -u {plan.unit(uuid)}")
        time.sleep(0.02)


def worker_of(info: str) -> str:
    """The process that answered."""
    return next((line.partition(": ")[2] for line in info.splitlines() if line.startswith("Pid: ")), "")


def asked(uuid: str, command: str) -> str:
    """haproxy's answer on its socket; empty when it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(PATIENCE)
            line.connect(f"{plan.run_folder(uuid)}/stats.sock")
            line.sendall(f"{command}\n".encode())
            parts = []
            while part := line.recv(65536):
                parts.append(part)
        return b"".join(parts).decode("utf-8", "replace")
    except OSError:
        return ""


def remove(uuid: str, check: bool) -> list[Json]:
    """Take a network's service away; returns what was there."""
    folder = FOLDER / uuid
    if not folder.exists():
        return []
    if not check:
        succeeds(["systemctl", "disable", "--now", "--quiet", plan.unit(uuid)])
        shutil.rmtree(folder)
    return [difference("haproxy", str(folder), None)]


def health(uuid: str) -> dict[str, dict[str, Json]] | None:
    """The states of the targets of a network's load balancers, by load balancer and server; None without haproxy."""
    said = asked(uuid, "show stat")
    return plan.parse_health(said) if said else None
