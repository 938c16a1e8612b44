"""Carries out the steps of many domains at once: what can be done at once is, and every wait is shared.

Order: definitions and live changes, shutdown requests, removals, starts, the wait for the shutdowns, starts after a
shutdown. A step that fails ends its own domain's work and nobody else's.
"""

from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_diff as vm_diff
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_errors as vm_errors
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_facts as vm_facts
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_host as vm_host
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_room as vm_room
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_spec as vm_spec
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_vm_adopted import without_namespace
except ImportError:
    import zctl_vm_diff as vm_diff  # type: ignore[no-redef]
    import zctl_vm_errors as vm_errors  # type: ignore[no-redef]
    import zctl_vm_facts as vm_facts  # type: ignore[no-redef]
    import zctl_vm_host as vm_host  # type: ignore[no-redef]
    import zctl_vm_room as vm_room  # type: ignore[no-redef]
    import zctl_vm_spec as vm_spec  # type: ignore[no-redef]
    from zctl_vm_adopted import without_namespace  # type: ignore[no-redef]

POLL = 0.2
SHUTDOWN_AGAIN = 10.0  # a guest that is still booting ignores the first request
DETACH_TIMEOUT = 10.0
WAITING = ("stop", "start", "mark")
# What a guest may decline: it gets, or loses, it at its next start.
OPTIONAL = ("vcpus", "plug-memory", "unplug-memory")


@dataclass
class Work:
    """One domain on its way: what is left to do, what was done, and what stopped it."""

    name: str
    desired: vm_diff.Desired | None
    found: vm_host.Found | None
    plan: vm_diff.Plan = field(default_factory=vm_diff.Plan)
    handle: Any = None
    left: list[vm_diff.Step] = field(default_factory=list)
    done: list[vm_diff.Step] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    declined: list[vm_diff.Step] = field(default_factory=list)
    error: str | None = None
    clash: bool = False  # its UUID or name is taken by a domain that is not ours
    forced: bool = False
    deadline: float = 0.0


class Host:
    """The libvirt connection with the few operations that the steps need."""

    def __init__(self, connection: Any, libvirt: Any) -> None:
        self.connection = connection
        self.libvirt = libvirt

    def guarded(self, work: Work, action: Callable[[], Any]) -> bool:
        """Run the action; a refusal becomes the work's error, in plain words. Returns whether it went well."""
        try:
            action()
        except self.libvirt.libvirtError as error:
            message = error.get_error_message() or str(error)
            path = vm_errors.path_in(message)
            denied = path is not None and ("denied" in message or "not permitted" in message)
            work.error = vm_errors.explain(message, vm_facts.read_path_facts(path) if path and denied else None)
            work.left = []
            return False
        return True

    def run_step(self, work: Work, step: vm_diff.Step) -> None:
        """One step that needs no waiting for other domains."""
        flags = self.libvirt.VIR_DOMAIN_AFFECT_LIVE
        if step.op in OPTIONAL:
            self._resize(work, step)
        elif step.op == "define":
            xml = vm_spec.merge(work.found.config_xml if work.found else None, step.value)
            work.handle = self.connection.defineXML(xml)
        elif step.op == "autostart":
            work.handle.setAutostart(int(step.value))
        elif step.op == "resume":
            work.handle.resume()
        elif step.op == "wake":
            work.handle.pMWakeup(0)
        elif step.op in ("attach-disk", "attach-nic"):
            work.handle.attachDeviceFlags(_device_xml(work, step), flags)
        elif step.op in ("update-nic", "limit-nic"):
            work.handle.updateDeviceFlags(_device_xml(work, step), flags)
        elif step.op in ("detach-disk", "detach-nic"):
            self._detach(work, step)
        elif step.op == "start":
            work.handle.create()
        elif step.op == "mark":
            work.handle.setMetadata(
                self.libvirt.VIR_DOMAIN_METADATA_ELEMENT,
                without_namespace(vm_spec.render_mark(step.value)),
                "zctl",
                vm_spec.XMLNS,
                self.libvirt.VIR_DOMAIN_AFFECT_CONFIG,
            )

    def _resize(self, work: Work, step: vm_diff.Step) -> None:
        """Plug CPUs or memory in or out; a refusal leaves that to the next start and is no failure."""
        live = self.libvirt.VIR_DOMAIN_AFFECT_LIVE
        try:
            if step.op == "vcpus":
                work.handle.setVcpusFlags(step.value, live)
            elif step.op == "plug-memory":
                work.handle.attachDeviceFlags(vm_room.render_dimm(step.value), live)
            else:
                work.handle.detachDeviceAlias(step.value.alias, live)
                if not self._is_gone(work, step.value.alias):
                    work.declined.append(step)
        except self.libvirt.libvirtError:
            work.declined.append(step)

    def _is_gone(self, work: Work, alias: str) -> bool:
        """Wait for a device to leave the running guest."""
        deadline = time.monotonic() + DETACH_TIMEOUT
        while time.monotonic() < deadline:
            if f"'{alias}'" not in work.handle.XMLDesc(0):
                return True
            time.sleep(POLL)
        return False

    def _detach(self, work: Work, step: vm_diff.Step) -> None:
        """Ask the guest to let go of a device and wait; one that keeps it loses it at its next start."""
        work.handle.detachDeviceFlags(_device_xml(work, step), self.libvirt.VIR_DOMAIN_AFFECT_LIVE)
        if self._is_gone(work, _known_by(step)):
            return
        what = f"disk {step.value.dev}" if step.op == "detach-disk" else f"nic {step.value.mac}"
        work.pending.append(f"removal of {what}")
        # The same device cannot be plugged in a second time while the guest still holds the first.
        work.left = [left for left in work.left if getattr(left.value, "uuid", None) != step.value.uuid]


def _known_by(step: vm_diff.Step) -> str:
    """The attribute by which a device is found in the running domain's XML."""
    if step.value.adopted:
        return str(step.value.dev if step.op.endswith("disk") else step.value.mac)
    prefix = vm_spec.DISK_ALIAS if step.op.endswith("disk") else vm_spec.NIC_ALIAS
    return prefix + step.value.uuid


def _device_xml(work: Work, step: vm_diff.Step) -> str:
    if step.op.endswith("disk"):
        return ET.tostring(vm_spec.render_disk(step.value), encoding="unicode")
    live = work.found.actual.live if work.found else None
    # As the cards that the guest was started with: libvirt refuses to change a card's ROM.
    rom = live is not None and "network" in live.boot
    return ET.tostring(vm_spec.render_nic(step.value, network_boot=rom), encoding="unicode")


def apply_all(host: Host, works: list[Work], purges: list[Work]) -> None:
    """Do all steps of all works and remove the purged domains; the outcome is in each work."""
    for work in works:
        work.left = list(work.plan.steps)
        _run_until(host, work, WAITING)
    stops = [work for work in works if _next(work) == "stop"]
    for work in stops:
        _request_stop(host, work)
    for work in purges:
        remove(host, work)
    _start_all(host, [work for work in works if _next(work) == "start"])
    _wait_stopped(host, stops)
    _start_all(host, [work for work in works if _next(work) == "start"])
    for work in works:
        _run_until(host, work, ())


def _next(work: Work) -> str | None:
    return work.left[0].op if work.left else None


def _run_until(host: Host, work: Work, stop_at: tuple[str, ...]) -> None:
    while work.left and work.left[0].op not in stop_at:
        step = work.left.pop(0)
        if not host.guarded(work, lambda step=step: host.run_step(work, step)):  # type: ignore[misc]
            return
        if step not in work.declined:
            work.done.append(step)


def _start_all(host: Host, works: list[Work]) -> None:
    """Start domains in parallel: libvirt spends most of the time waiting for QEMU."""
    from concurrent.futures import ThreadPoolExecutor  # it is slow to load, and most runs start nothing

    def start(work: Work) -> None:
        if host.guarded(work, work.handle.create):
            work.done.append(work.left.pop(0))

    with ThreadPoolExecutor(max_workers=max(2, min(8, os.cpu_count() or 2))) as pool:
        list(pool.map(start, works))


def _request_stop(host: Host, work: Work) -> None:
    timeout = work.desired.stop_timeout if work.desired else 0
    work.deadline = time.monotonic() + timeout
    if work.found and work.found.actual.state in (vm_diff.PAUSED, vm_diff.SUSPENDED):
        _quietly(host, work.handle.resume)  # a guest that stands still cannot shut itself down
    if timeout > 0:
        _quietly(host, work.handle.shutdown)


def _quietly(host: Host, action: Callable[[], Any]) -> None:
    """Ask; a refusal does not matter because the deadline ends the domain anyway."""
    try:
        action()
    except host.libvirt.libvirtError:
        return


def _is_active(host: Host, work: Work) -> bool:
    try:
        return bool(work.handle.isActive())
    except host.libvirt.libvirtError as error:
        return bool(error.get_error_code() != host.libvirt.VIR_ERR_NO_DOMAIN)


def _wait_stopped(host: Host, works: list[Work]) -> None:
    """Wait for all at once; each that is still up at its own deadline is forced off."""
    again = time.monotonic() + SHUTDOWN_AGAIN
    waiting = list(works)
    while waiting:
        ask = time.monotonic() >= again
        if ask:
            again += SHUTDOWN_AGAIN
        for work in list(waiting):
            if not _is_active(host, work):
                waiting.remove(work)
                work.done.append(work.left.pop(0))
            elif time.monotonic() >= work.deadline:
                waiting.remove(work)
                work.forced = True
                if force_off(host, work):
                    work.done.append(work.left.pop(0))
            elif ask:
                _quietly(host, work.handle.shutdown)
        if waiting:
            time.sleep(POLL)


def force_off(host: Host, work: Work) -> bool:
    """End the domain's process; one that has ended by itself meanwhile is fine too."""
    try:
        work.handle.destroy()
    except host.libvirt.libvirtError as error:
        if error.get_error_code() in (host.libvirt.VIR_ERR_OPERATION_INVALID, host.libvirt.VIR_ERR_NO_DOMAIN):
            return True
        return host.guarded(work, work.handle.destroy)
    return True


def remove(host: Host, work: Work) -> None:
    """Force a domain off and undefine it, with all that libvirt keeps for it. Disk files are the storage's."""
    lv = host.libvirt
    if _is_active(host, work) and not force_off(host, work):
        return
    adopted = bool(work.found and (work.found.mark or {}).get("adopted"))
    keep_tpm = getattr(lv, "VIR_DOMAIN_UNDEFINE_KEEP_TPM", 0)  # since libvirt 8.9
    flags = (
        lv.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | lv.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        # what zctl did not make is data of its owner
        | (lv.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | keep_tpm if adopted else lv.VIR_DOMAIN_UNDEFINE_NVRAM)
        | lv.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    )
    if host.guarded(work, lambda: work.handle.undefineFlags(flags)):
        work.done.append(vm_diff.Step("remove"))
