"""What libvirt and QEMU mean when they refuse a VM: the root cause and the remedy, in plain words.

`explain` is pure: the caller collects the facts about a path (`PathFacts`), because only the host can know them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class PathFacts:
    """What the host knows about a path that QEMU was refused.

    `blocked_at` is the first folder on the way that QEMU's user may not enter (None: the way is free), `owner` is
    `user:group mode` of the file or of that folder, `qemu_user` the user that QEMU runs as, `guard` the security
    module that is enforcing ("AppArmor", "SELinux" or ""), `denial` the kernel's own line about it, when there is one.
    """

    path: str
    exists: bool
    qemu_user: str
    owner: str = ""
    blocked_at: str | None = None
    readable: bool = True
    filesystem: str = ""
    guard: str = ""
    denial: str = ""


_PATH_PATTERNS = (
    r"Could not open '(?P<path>/[^']+)'",
    r"Cannot access (?:storage|backing) file '(?P<path>/[^']+)'",
    r"Failed to open file '(?P<path>/[^']+)'",
    r"unable to (?:set user and group|chown|access|stat|open) .*?'?(?P<path>/[^':]+)'?",
    r"Could not open backing file: Could not open '(?P<path>/[^']+)'",
    r"[Cc]annot open file '(?P<path>/[^']+)'",
)


def path_in(message: str) -> str | None:
    """The file that the message is about, if it names one (the last one: the backing file rather than its overlay)."""
    found = [match.group("path") for pattern in _PATH_PATTERNS for match in re.finditer(pattern, message)]
    return found[-1] if found else None


def tidy(message: str) -> str:
    """The message without libvirt's wrapping, QEMU's time stamp and the echoed command line option."""
    text = re.sub(r"\s+", " ", message).strip()
    text = re.sub(
        r"^(internal error: )?(process exited while connecting to monitor|qemu unexpectedly closed the monitor)"
        r"(: |$)",
        "",
        text,
    )
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z ", "", text)
    text = re.sub(r"qemu-system-\w+: ", "", text)
    text = re.sub(r"-(blockdev|device|netdev|chardev|drive|object) \{.*?\}: ", "", text)
    text = re.sub(r"-(blockdev|device|netdev|chardev|drive|object|accel|machine) [^ ]+: ", "", text)
    return re.sub(r"^internal error: ", "", text) or message.strip()


def _permission(message: str, facts: PathFacts | None) -> str:
    if facts is None:
        return f"permission denied: {tidy(message)}"
    user = facts.qemu_user
    if facts.blocked_at:
        return (
            f"permission denied: QEMU runs as {user} and may not enter {facts.blocked_at} ({facts.owner}) on the way to"
            f" {facts.path}; run 'chmod o+x {facts.blocked_at}' or move the storage"
        )
    if not facts.readable:
        hint = f"run 'chown {user} {facts.path}' or 'chmod o+r {facts.path}'"
        if facts.filesystem.startswith("fuse"):
            hint = f"mount the {facts.filesystem} filesystem with the option allow_other, or {hint}"
        return f"permission denied: QEMU runs as {user} and may not read {facts.path} ({facts.owner}); {hint}"
    if facts.guard:
        return _guarded(facts)
    if facts.filesystem.startswith("fuse"):
        return (
            f"permission denied: {facts.path} is on a {facts.filesystem} filesystem that does not let {user} in;"
            " mount it with the option allow_other"
        )
    return f"permission denied: QEMU runs as {user} and may not use {facts.path} ({facts.owner}): {tidy(message)}"


def _guarded(facts: PathFacts) -> str:
    """The file's own permissions are fine: a security module is what refuses."""
    seen = f" (the kernel says: {facts.denial})" if facts.denial else ""
    if facts.guard == "SELinux":
        remedy = (
            f"run 'semanage fcontext -a -t virt_image_t \"{facts.path.rsplit('/', 1)[0]}(/.*)?\"' and"
            f" 'restorecon -R {facts.path.rsplit('/', 1)[0]}'; for NFS 'setsebool -P virt_use_nfs on'"
        )
    else:
        remedy = (
            f"allow the folder with a line '{facts.path.rsplit('/', 1)[0]}/** rwk,' in"
            " /etc/apparmor.d/local/abstractions/libvirt-qemu, then 'systemctl reload apparmor'"
        )
    return (
        f"permission denied: {facts.guard} denies QEMU the file {facts.path} although owner and mode ({facts.owner})"
        f" allow it{seen}; {remedy}"
    )


def _no_bridge(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    name = match.group("name")
    return f"the bridge {name} does not exist on this host; converge the host's networks ('zctl host check' says more)"


def _in_use(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    path = path_in(message) or _lock_path(message)
    what = f"the disk {path}" if path else "a disk of this VM"
    return (
        f"{what} is in use by another process (it holds QEMU's lock); is the VM running on another host, or a"
        " qemu-img at work?"
    )


def _lock_path(message: str) -> str | None:
    match = re.search(r"Is another process using the image \[(?P<path>/[^\]]+)\]", message)
    return match.group("path") if match else None


def _missing(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    path = path_in(message) or "a file"
    return f"the disk file {path} does not exist; restore it, or is its storage not mounted on this host?"


def _no_kvm(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    return (
        "hardware virtualization (KVM) does not work on this host; enable VT-x/AMD-V in the firmware, or nested"
        " virtualization in the outer hypervisor, or set the host's virtualization type to qemu"
    )


def _no_memory(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    return (
        f"the host cannot give the VM its memory ({tidy(message)}); stop other VMs on it, give this one less, or lower"
        " the memory overcommit"
    )


def _disk_full(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    where = path_in(message)
    return f"No space left on device{': ' + where if where else ''}; free some space on the host"


def _tap_taken(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    return f"the network device {match.group('name')} is already in use; does another VM hold it ('ip link show')?"


def _name_taken(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    return f"{match.group(0)}; rename the other domain or give this VM another name"


def _not_permitted(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    return _permission(message, facts)


def _libvirt_down(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    return (
        "libvirt does not answer on this host; see 'systemctl status libvirtd virtqemud' and start it with"
        " 'systemctl start libvirtd'"
    )


def _no_shaping(match: re.Match[str], message: str, facts: PathFacts | None) -> str:
    return (
        "the kernel cannot limit network cards: it lacks sch_htb, sch_sfq, sch_ingress, cls_u32 or act_police;"
        " install a kernel that has them, or take the card's inbound and outbound limits away (none)"
    )


_CAUSES = (
    (r"qdisc kind is unknown|TC classifier not found|Failed to load TC action", _no_shaping),
    (r"Cannot get interface MTU on '(?P<name>[^']+)'", _no_bridge),
    (r"[Uu]nable to add (?:bridge|port) (?P<name>[\w-]+).*No such device", _no_bridge),
    (r"[Ff]ailed to get (?:shared )?\"\w+\" lock", _in_use),
    (r"[Ff]ailed to connect socket to .*libvirt", _libvirt_down),
    (r"No space left on device", _disk_full),
    (r"[Cc]annot allocate memory|[Cc]annot set up guest memory|[Uu]nable to allocate memory", _no_memory),
    (
        r"invalid argument: could not (?:find capabilities for|get preferred machine for).*kvm"
        r"|does not support virt type 'kvm'|[Cc]ould not access KVM|failed to initialize kvm"
        r"|KVM is not supported|Unable to open /dev/kvm",
        _no_kvm,
    ),
    (
        r"[Dd]evice (?:or resource )?busy.*?(?P<name>z[tv]-\w+)|(?P<other>z[tv]-\w+).*[Dd]evice or resource busy",
        _tap_taken,
    ),
    (r"Permission denied|Operation not permitted", _not_permitted),
    (r"No such file or directory", _missing),
    (r"domain '[^']+' already exists with uuid [0-9a-f-]+", _name_taken),
)


def explain(message: str, facts: PathFacts | None = None) -> str:
    """The root cause and remedy of a libvirt error; an error that is not known is returned tidied up."""
    for pattern, words in _CAUSES:
        match = re.search(pattern, message)
        if match:
            if words is _tap_taken and not match.groupdict().get("name"):
                return f"the network device {match.group('other')} is already in use; does another VM hold it?"
            return words(match, message, facts)
    return tidy(message)
