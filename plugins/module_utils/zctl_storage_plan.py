"""Rules of the storage concern that need no disk: paths, mounts, disk headers, scope. Pure."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference
except ImportError:
    from zctl_results import difference  # type: ignore[no-redef]

MARKER = ".zctl-storage"
IMAGES, VOLUMES = "images", "volumes"
Json = dict[str, Any]

# One host's own filesystems: never shared, whatever the path says.
_LOCAL_FS = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "vfat", "exfat", "ntfs"}
    | {"ntfs3", "fuseblk", "iso9660", "squashfs", "tmpfs", "ramfs", "rootfs", "devtmpfs", "proc", "sysfs"}
)
# Folders that belong to the operating system: a storage there would spoil the host.
_SYSTEM_FOLDERS = frozenset(
    {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin"}
    | {"/sys", "/usr", "/var"}
)

_QCOW2_MAGIC = b"QFI\xfb"
_INCOMPATIBLE_DATA_FILE = 1 << 2  # docs/interop/qcow2.rst in QEMU's source
HEADER_SIZE = 104


@dataclass(frozen=True)
class Header:
    """The head of a disk file: sizes in bytes; `backing` only says where the name of a qcow2's backing file is."""

    format: str
    size: int
    backing_offset: int = 0
    backing_length: int = 0
    data_file: bool = False


def parse_header(head: bytes, file_size: int) -> Header:
    """What kind of disk begins with these bytes; whatever is not qcow2 counts as raw.

    Raises ValueError when it says that it is qcow2 and is not a version that exists.
    """
    if head[:4] != _QCOW2_MAGIC:
        return Header("raw", file_size)
    if len(head) < 72:
        raise ValueError("the file ends within its qcow2 header")
    version, offset, length, _bits, size = struct.unpack(">IQIIQ", head[4:32])
    if version not in (2, 3):
        raise ValueError(f"qcow2 version {version} is not known")
    incompatible = struct.unpack(">Q", head[72:80])[0] if version == 3 and len(head) >= 80 else 0
    return Header("qcow2", size, offset, length, bool(incompatible & _INCOMPATIBLE_DATA_FILE))


def storage_path_problem(path: str) -> str | None:
    """Why this path cannot be a storage, or None."""
    if not path.startswith("/"):
        return f"the path {path!r} is not absolute; give the full path"
    if os.path.normpath(path) != path.rstrip("/") or "\0" in path:
        return f"the path {path!r} is not in its plain form (no '..', no double slashes)"
    if path in _SYSTEM_FOLDERS:
        return f"{path} belongs to the operating system; use a folder of its own, like /var/lib/zctl/storage"
    return None


def inside_problem(path: str, storage_path: str) -> str | None:
    """Why this file path is not one that zctl could have made in the storage, or None.

    Only STORAGE/images/FILE, STORAGE/volumes/FILE and the marker are; so no '..', no other folder, no hidden file.
    """
    root = storage_path.rstrip("/")
    if path == f"{root}/{MARKER}":
        return None
    relative = path[len(root) + 1 :] if path.startswith(root + "/") else ""
    parts = relative.split("/")
    if "\0" in path or len(parts) != 2 or parts[0] not in (IMAGES, VOLUMES) or parts[1] in ("", ".", ".."):
        return f"the path {path!r} is not a file in {root}/{IMAGES} or {root}/{VOLUMES}"
    if parts[1].startswith("."):
        return f"the path {path!r} is a hidden file, which zctl never makes there"
    return None


def kind_of(path: str) -> str:
    """What a path in a storage is: image, volume or storage (its marker)."""
    if os.path.basename(path) == MARKER:
        return "storage"
    return "image" if os.path.basename(os.path.dirname(path)) == IMAGES else "volume"


def parse_mounts(mountinfo: str) -> list[tuple[str, str]]:
    """(mount point, filesystem type) of each line of /proc/self/mountinfo, in the order of mounting."""
    mounts = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        if right:
            point = left.split(" ")[4]
            for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
                point = point.replace(code, char)
            mounts.append((point, right.split(" ")[0]))
    return mounts


def mount_of(path: str, mounts: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The mount that holds the (real) path; of several on one point the last one, which hides the others."""
    best = ("/", "unknown")
    for point, kind in mounts:
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[0]):
            best = (point, kind)
    return best


def mount_problem(path: str, mounts: Iterable[tuple[str, str]]) -> str | None:
    """Why the path is not on a filesystem that several hosts can share, or None."""
    point, kind = mount_of(path, mounts)
    if point == "/":
        return (
            f"{path} is not a mount point nor below one, it is on this host's root filesystem; mount the shared"
            " filesystem there first (and in /etc/fstab)"
        )
    if kind in _LOCAL_FS:
        return (
            f"{path} is on {kind}, mounted at {point}: that filesystem cannot be shared by several hosts; mount a"
            " shared one (NFS, GlusterFS, CephFS, GFS2, OCFS2 ...) or use a storage of kind local"
        )
    return None


def in_scope(scope: list[str] | None, *uuids: str) -> bool:
    """Whether one of these resources is to be looked at; without a scope all are, with an empty one all are read."""
    return not scope or any(uuid in scope for uuid in uuids)


def select(state: Json, scope: list[str] | None) -> Json:
    """The part of a `StorageState` that the scope asks for, with what that depends on.

    A volume needs its backing image, both need their storage. Purged files are only touched when they are named.
    """
    volumes = [v for v in state.get("volumes") or [] if in_scope(scope, v["uuid"], v["storage"])]
    backing = {v.get("backing") for v in volumes}
    images = [i for i in state.get("images") or [] if in_scope(scope, i["uuid"], i["storage"]) or i["path"] in backing]
    purge = [p for p in state.get("purge") or [] if scope is None or p["uuid"] in scope]
    needed = {item["storage"] for item in [*volumes, *images, *purge]}
    storages = [s for s in state.get("storages") or [] if in_scope(scope, s["uuid"]) or s["uuid"] in needed]
    return {"storages": storages, "images": images, "volumes": volumes, "purge": purge}


def purge_order(purge: list[Json]) -> list[Json]:
    """Volumes before the images that they stand on, the marker of a storage last."""
    rank = {"volume": 0, "image": 1, "storage": 2}
    return sorted(purge, key=lambda item: rank[kind_of(item["path"])])


def human(size: int) -> str:
    """Bytes for a person, like 1.5 GiB."""
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "bytes" or number == int(number) else f"{number:.1f} {unit}"


def volume_step(actual: Header | None, volume: Json, backing: Header | None) -> tuple[str, str]:
    """What to do with a volume: ("create"|"grow"|"keep"|"refuse", why)."""
    size = volume["size"]
    if backing is not None and backing.size > size:
        return "refuse", (
            f"the volume's {human(size)} are less than the {human(backing.size)} of its image; make it as large"
        )
    if actual is None:
        on = f" on {os.path.basename(volume['backing'])}" if volume.get("backing") else ""
        return "create", f"created, {human(size)}{on}"
    if actual.format != volume["format"]:
        return "refuse", f"the file {volume['path']} is {actual.format}, not {volume['format']}; it is left as it is"
    if actual.size == size:
        return "keep", "already as wanted"
    if actual.size > size:
        return "refuse", (
            f"the volume is {human(actual.size)} and cannot be shrunk to {human(size)}: that would cut off data; make a"
            " smaller volume and copy the data inside the guest"
        )
    return "grow", f"grown from {human(actual.size)} to {human(size)}"


def volume_differences(actual: Header | None, backing: str, volume: Json) -> list[Json]:
    """Where a volume's file is not as wanted; `backing` is the file that it stands on, empty for none."""
    if actual is None:
        return [difference("file", None, volume["path"])]
    fields = [
        ("format", actual.format, volume["format"]),
        ("size", actual.size, volume["size"]),
        ("backing", backing or None, volume.get("backing") or None),
    ]
    return [difference(name, have, want) for name, have, want in fields if have != want]


def backing_problem(actual: Header | None, backing: str, volume: Json) -> str | None:
    """Why a volume must not be used with the file that it stands on, or None. One that stands alone is whole."""
    wanted = volume.get("backing") or ""
    if actual is None or backing in ("", wanted):
        return None
    if not wanted:
        return f"the file {volume['path']} stands on {backing}, which zctl has not given it; it is left as it is"
    return (
        f"the file {volume['path']} stands on {backing}, not on its image {wanted}; it is left as it is: if only the"
        f" name was changed, 'qemu-img rebase -u -F {volume.get('backing_format') or 'qcow2'} -b {wanted}"
        f" {volume['path']}' puts it right, else bring the file back"
    )
