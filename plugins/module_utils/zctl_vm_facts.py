"""Looks at a path that QEMU was refused, as the kernel would for QEMU's user: the facts behind 'permission denied'."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import subprocess

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_errors as vm_errors
except ImportError:
    import zctl_vm_errors as vm_errors  # type: ignore[no-redef]

_QEMU_USERS = ("libvirt-qemu", "qemu")  # Debian's and Red Hat's packages


def qemu_user(config: str = "/etc/libvirt/qemu.conf") -> str:
    """The user that libvirt starts QEMU as: from its configuration, else the one that the package has made."""
    try:
        with open(config, encoding="utf-8") as lines:
            match = re.search(r'^\s*user\s*=\s*"\+?([^"]+)"', lines.read(), re.MULTILINE)
    except OSError:
        match = None
    if match:
        return match.group(1)
    for name in _QEMU_USERS:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return "root"


def _groups(user: str) -> tuple[int, set[int]]:
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        return -1, set()
    return entry.pw_uid, {entry.pw_gid, *(group.gr_gid for group in grp.getgrall() if user in group.gr_mem)}


def allowed(status: os.stat_result, uid: int, groups: set[int], bit: int) -> bool:
    """Whether mode bits grant `bit` (4 read, 2 write, 1 enter) to the user; access lists are not looked at."""
    if uid == 0:
        return True
    shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
    return bool(status.st_mode >> shift & bit)


def owner_words(status: os.stat_result) -> str:
    """Owner, group and mode as `user:group 0644`."""
    try:
        user = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        user = str(status.st_uid)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return f"{user}:{group} {stat.S_IMODE(status.st_mode):04o}"


def _filesystem(path: str) -> str:
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            for line in mounts:
                _device, point, fstype = line.split(" ", 3)[:3]
                point = point.replace("\\040", " ")
                if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
                    best, kind = point, fstype
    except OSError:
        return ""
    return kind


def _guard() -> str:
    """The security module that is enforcing on this host, or an empty text."""
    for path, value, name in (
        ("/sys/fs/selinux/enforce", "1", "SELinux"),
        ("/sys/module/apparmor/parameters/enabled", "Y", "AppArmor"),
    ):
        try:
            with open(path, encoding="utf-8") as enabled:
                if enabled.read().strip() == value:
                    return name
        except OSError:
            continue
    return ""


def _denial(path: str) -> str:
    """The kernel's newest denial that names the file, when its log can be read."""
    try:
        log = subprocess.run(["dmesg"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    name = os.path.basename(path)
    lines = [line for line in log.splitlines() if name in line and re.search(r"apparmor=|avc: +denied", line)]
    return re.sub(r"^\[[^\]]*\] *", "", lines[-1]) if lines else ""


def read_path_facts(path: str) -> vm_errors.PathFacts:
    """Facts about `path` for QEMU's user: which folder blocks the way, or whether the file itself does."""
    user = qemu_user()
    uid, groups = _groups(user)
    base = {"path": path, "qemu_user": user, "filesystem": _filesystem(os.path.realpath(path))}
    parents = []
    parent = os.path.dirname(os.path.realpath(path))
    while parent != "/":
        parents.append(parent)
        parent = os.path.dirname(parent)
    for folder in reversed(parents):
        try:
            status = os.stat(folder)
        except OSError:
            return vm_errors.PathFacts(exists=False, **base)
        if not allowed(status, uid, groups, 1):
            return vm_errors.PathFacts(exists=True, owner=owner_words(status), blocked_at=folder, **base)
    try:
        status = os.stat(path)
    except OSError:
        return vm_errors.PathFacts(exists=False, **base)
    guard = _guard()
    return vm_errors.PathFacts(
        exists=True,
        owner=owner_words(status),
        # libvirt gives a disk to QEMU's user when it starts the VM, so root's own files are no obstacle as such
        readable=allowed(status, uid, groups, 4) or status.st_uid == 0,
        guard=guard,
        denial=_denial(path) if guard else "",
        **base,
    )
