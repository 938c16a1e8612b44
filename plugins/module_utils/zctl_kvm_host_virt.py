"""Finds out by truly starting a machine whether this host can run VMs on hardware virtualization (kvm) or not (qemu).

/dev/kvm alone proves nothing: on some clouds it is there and a kernel started on it never gets anywhere.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_kvm_host_bootsector as bootsector
except ImportError:
    import zctl_kvm_host_bootsector as bootsector  # type: ignore[no-redef]

CACHE = "/var/lib/zctl/virt-type.json"
QEMU_PATHS = ("/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm")
# Working virtualization needs 0.2 s for the boot sector and one second to a kernel's first line.
SECTOR_TIMEOUT, KERNEL_TIMEOUT = 5.0, 20.0


@dataclass(frozen=True)
class Verdict:
    """What VMs on this host should use ("kvm" or "qemu", None when there is no QEMU that works), and why.

    `kept` is false for one that was found out anew and could not be written down.
    """

    virt_type: str | None
    reason: str
    kept: bool = True


def qemu_binary() -> str | None:
    """The QEMU that libvirt will use, or None."""
    return next((path for path in QEMU_PATHS if os.access(path, os.X_OK)), None)


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as source:
            return next((line.split(":", 1)[1].strip() for line in source if line.startswith("model name")), "")
    except OSError:
        return ""


def cache_key(qemu: str) -> str:
    """Changes whenever the verdict may: kernel, QEMU, CPU, and whether there is a /dev/kvm."""
    status = os.stat(qemu)
    parts = (os.uname().release, qemu, status.st_size, int(status.st_mtime), _cpu_model(), os.path.exists("/dev/kvm"))
    return "|".join(str(part) for part in parts)


def read_verdict(store: bool, cache: str = CACHE) -> Verdict:
    """The verdict for this host: the remembered one, or found out now (up to half a minute) and, with `store`, kept."""
    qemu = qemu_binary()
    if qemu is None:
        return Verdict(None, "QEMU is not installed")
    key = cache_key(qemu)
    try:
        with open(cache, encoding="utf-8") as source:
            known = json.load(source)
        if known.get("key") == key:
            return Verdict(known["virt_type"], known["reason"])
    except (OSError, ValueError, KeyError):
        pass  # never asked, or spoilt: ask now
    verdict = probe(qemu)
    if not verdict.virt_type:
        return verdict
    if store:
        _write_cache(cache, {"key": key, "virt_type": verdict.virt_type, "reason": verdict.reason})
    return replace(verdict, kept=store)


def _write_cache(path: str, content: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = f"{path}.{os.getpid()}"
    with open(part, "w", encoding="utf-8") as out:
        json.dump(content, out, indent=1)
    os.rename(part, path)


def probe(qemu: str) -> Verdict:
    """Start machines until one proves what this host can do."""
    refused = "there is no /dev/kvm: the CPU or firmware (VT-x/AMD-V), or the outer hypervisor, does not offer it"
    if os.path.exists("/dev/kvm"):
        refused = try_sector(qemu, "kvm") or try_kernel(qemu, "kvm")
        if not refused:
            return Verdict("kvm", "a machine was started on /dev/kvm and ran")
    emulation = try_sector(qemu, "tcg")
    if emulation:
        return Verdict(None, f"neither hardware virtualization ({refused}) nor emulation works ({emulation})")
    return Verdict("qemu", f"VMs are emulated, which is slow: {refused}")


def _command(qemu: str, accel: str, memory: int) -> list[str]:
    cpu = "host" if accel == "kvm" else "max"
    machine = ["-machine", f"q35,accel={accel}", "-cpu", cpu, "-m", str(memory)]
    return [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", *machine]


def try_sector(qemu: str, accel: str, timeout: float = SECTOR_TIMEOUT) -> str:
    """Run the boot sector; returns why it did not come to its end, an empty text when it did."""
    with tempfile.NamedTemporaryFile(suffix=".img") as disk:
        disk.write(bootsector.image().ljust(1 << 20, b"\0"))
        disk.flush()
        arguments = ["-device", f"isa-debug-exit,iobase={bootsector.EXIT_PORT:#x},iosize=1", "-boot", "c"]
        arguments += ["-drive", f"file={disk.name},format=raw,if=ide"]
        try:
            done = subprocess.run(
                [*_command(qemu, accel, 16), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"/dev/kvm exists, but a machine started on it hangs in 64-bit mode (waited {timeout:.0f} s)"
        except OSError as error:
            return f"{qemu} cannot be run: {error.strerror}"
    if done.returncode == bootsector.EXIT_CODE:
        return ""
    message = done.stderr.strip().splitlines()
    return message[-1] if message else f"QEMU ended with code {done.returncode}"


def try_kernel(qemu: str, accel: str, kernel: str = "", timeout: float = KERNEL_TIMEOUT) -> str:
    """Start the host's own kernel, where its file can be read; returns why it printed nothing, empty when it did.

    A kernel that QEMU cannot load proves nothing and counts as a success.
    """
    kernel = kernel or f"/boot/vmlinuz-{os.uname().release}"
    if not os.access(kernel, os.R_OK):
        return ""
    command = [*_command(qemu, accel, 512), "-kernel", kernel, "-serial", "stdio"]
    command += ["-append", "console=ttyS0 earlyprintk=serial,ttyS0,115200 panic=-1"]
    deadline, seen = time.monotonic() + timeout, b""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as machine:
        assert machine.stdout is not None
        try:
            while b"Linux version" not in seen:
                left = deadline - time.monotonic()
                if left <= 0:
                    return f"/dev/kvm exists, but the kernel {kernel} started on it hangs (waited {timeout:.0f} s)"
                if not select.select([machine.stdout], [], [], left)[0]:
                    continue
                chunk = os.read(machine.stdout.fileno(), 4096)
                if not chunk:
                    return ""
                seen = (seen + chunk)[-65536:]
        finally:
            machine.kill()
    return ""
