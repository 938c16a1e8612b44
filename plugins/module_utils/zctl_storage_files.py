"""Disk files: reading their headers, making and growing volumes, deleting what was named. Errors are plain words."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import stat
import struct
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_plan as plan
except ImportError:
    import zctl_storage_plan as plan  # type: ignore[no-redef]

Json = dict[str, Any]
_F_OFD_GETLK = 36  # linux/fcntl.h; Python's fcntl module has no name for it before 3.9's later builds
_BLOCK = 4096
_TEMPLATE_LIMIT = 8 << 20


class StorageError(Exception):
    """A refusal or failure about one resource, in plain words with the remedy, and what is not as wanted if known."""

    def __init__(self, words: str, differences: Iterable[Json] = ()) -> None:
        super().__init__(words)
        self.differences = list(differences)


def os_error_words(error: OSError, path: str) -> str:
    """The root cause of a failed file operation: which file, which user, how much room."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_space_words(path)
    name = error.filename if isinstance(error.filename, str) else path
    if error.errno in (errno.EACCES, errno.EPERM):
        user = pwd.getpwuid(os.geteuid()).pw_name
        return f"permission denied: the user {user} may not use {name} ({_owner(name)}){_guard_hint(name)}"
    if error.errno == errno.EROFS:
        return f"{name} is on a filesystem that is mounted read-only; remount it for writing ('mount -o remount,rw')"
    return f"{name}: {error.strerror or error}"


def _owner(path: str) -> str:
    while path not in ("", "/"):
        try:
            status = os.stat(path)
        except OSError:
            path = os.path.dirname(path)
            continue
        return f"{path} belongs to uid {status.st_uid}, gid {status.st_gid}, mode {stat.S_IMODE(status.st_mode):04o}"
    return "its folder cannot be looked at"


def _guard_hint(path: str) -> str:
    """root being refused means that something other than the mode refuses."""
    if os.geteuid() != 0:
        return "; connect as root or allow sudo"
    if os.path.exists("/sys/fs/selinux/enforce"):
        return f"; SELinux may refuse it: see 'ausearch -m avc -f {path}'"
    return "; is the filesystem exported with root_squash, or the file immutable ('lsattr')?"


def no_space_words(path: str, needed: int | None = None) -> str:
    """'No space left on device' with the figures of the filesystem that holds the path."""
    folder = path
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    values = os.statvfs(folder)
    free, total = values.f_bavail * values.f_frsize, values.f_blocks * values.f_frsize
    need = f", {plan.human(needed)} are needed" if needed else ""
    inodes = "; it has no free inodes" if values.f_files and not values.f_favail else ""
    return (
        f"No space left on device: {folder} has {plan.human(free)} free of {plan.human(total)}{need}{inodes};"
        " delete what is not needed there or enlarge it"
    )


def read_header(path: str) -> plan.Header | None:
    """The disk's header, None when there is no such file. Raises StorageError for what is not a disk file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError(f"{path} is a symbolic link; zctl makes none there and does not follow it") from error
        raise StorageError(os_error_words(error, path)) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{path} is not a regular file; it is left as it is")
        return plan.parse_header(os.pread(handle, plan.HEADER_SIZE, 0), status.st_size)
    except ValueError as error:
        raise StorageError(f"{path} is damaged: {error}") from error
    finally:
        os.close(handle)


def read_backing(path: str, header: plan.Header) -> str:
    """The name of the backing file that a qcow2 header points to, an empty text without one."""
    if not header.backing_offset or not 0 < header.backing_length < 1024:
        return ""
    with open(path, "rb") as disk:
        disk.seek(header.backing_offset)
        return disk.read(header.backing_length).decode("utf-8", "surrogateescape")


def qemu_img(*arguments: str) -> str:
    """Run qemu-img; raises StorageError with its message."""
    try:
        done = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StorageError(
            "qemu-img is not installed on this host; run the role kvm_host (or install qemu-utils)"
        ) from error
    if done.returncode:
        message = (done.stderr or done.stdout).strip().replace("qemu-img: ", "")
        raise StorageError(message)
    return done.stdout


def image_info(path: str, format_name: str | None = None) -> Json:
    """qemu-img's view of a file; without a format it guesses, which is only safe for looking, not for using."""
    # -U: not hindered by a guest that is running on it.
    extra = ["-f", format_name] if format_name else []
    info: Json = json.loads(qemu_img("info", "-U", "--output=json", *extra, path))
    return info


class VolumeMaker:
    """Makes volume files. Those with the same backing, format and size begin byte for byte alike: qemu-img makes the
    first, its bytes serve for the others, which saves starting a process for each.
    """

    def __init__(self) -> None:
        self._templates: dict[tuple[Any, ...], tuple[int, list[tuple[int, bytes]]]] = {}

    def create(self, volume: Json) -> None:
        """Make the file; on any failure nothing is left of it. Raises StorageError."""
        path = volume["path"]
        part = f"{path}.part"
        try:
            if os.path.lexists(part):
                os.unlink(part)
            self._make(volume, part)
            os.chmod(part, 0o600)
            _sync(part)
            os.rename(part, path)
        except OSError as error:
            _remove_quietly(part)
            raise StorageError(os_error_words(error, path)) from error
        except StorageError as error:
            _remove_quietly(part)
            raise StorageError(no_space_words(path) if "No space left" in str(error) else str(error)) from error

    def _make(self, volume: Json, part: str) -> None:
        key = (volume["format"], volume["size"], volume.get("backing"), volume.get("backing_format"))
        template = self._templates.get(key)
        if template is None:
            backing = (
                ["-b", volume["backing"], "-F", volume["backing_format"] or "qcow2"] if volume.get("backing") else []
            )
            qemu_img("create", "-q", "-f", volume["format"], *backing, part, str(volume["size"]))
            if os.stat(part).st_size <= _TEMPLATE_LIMIT:
                self._templates[key] = _read_template(part)
            return
        size, blocks = template
        with open(part, "xb", buffering=0) as out:
            for offset, block in blocks:
                os.pwrite(out.fileno(), block, offset)
            out.truncate(size)


def _read_template(path: str) -> tuple[int, list[tuple[int, bytes]]]:
    """A small file's size and the blocks of it that are not all zero."""
    with open(path, "rb") as source:
        data = source.read()
    blocks = [(at, data[at : at + _BLOCK]) for at in range(0, len(data), _BLOCK)]
    return len(data), [(at, block) for at, block in blocks if block.strip(b"\0")]


def _sync(path: str) -> None:
    """Flush one file's data, so that a power cut leaves either the whole file under its name or none."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _remove_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def in_use(path: str) -> bool:
    """Whether QEMU (or qemu-img) has the disk open: it holds open-file-description locks on bytes from 100 on."""
    with open(path, "rb") as disk:
        # struct flock: type, whence, start, length, pid; a write lock conflicts with any that others hold
        request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 100, 200, 0)
        answer = fcntl.fcntl(disk.fileno(), _F_OFD_GETLK, request)
    return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)


def grow(volume: Json, resize_live: Callable[[str, int], bool]) -> str | None:
    """Enlarge a volume, in the running guest when one has it open; returns why that must wait, or None when done."""
    path, size = volume["path"], volume["size"]
    try:
        used = in_use(path)
    except OSError as error:
        raise StorageError(os_error_words(error, path)) from error
    if used:
        if resize_live(path, size):
            return None
        return f"deferred: {path} is in use by a guest that this host does not run; it grows when that has stopped"
    try:
        qemu_img("resize", "-q", "-f", volume["format"], path, str(size))
    except StorageError as error:
        raise StorageError(no_space_words(path) if "No space left" in str(error) else str(error)) from error
    return None


def purge_file(path: str, storage_path: str) -> bool:
    """Delete one file of a storage; False when it is not there. Raises StorageError when it must not be deleted."""
    problem = plan.inside_problem(path, storage_path)
    if problem:
        raise StorageError(f"{problem}; it is not deleted")
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(os_error_words(error, path)) from error
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{path} is not a regular file (a link or a folder); it is not deleted")
    folder = os.path.dirname(path)
    expected = os.path.join(os.path.realpath(storage_path), os.path.relpath(folder, storage_path))
    if os.path.realpath(folder) != os.path.normpath(expected):
        raise StorageError(f"{folder} is a symbolic link that leads out of the storage; nothing is deleted there")
    try:
        if in_use(path):
            raise StorageError(f"{path} is in use by a running guest; stop the VM that has it first")
        os.unlink(path)
    except OSError as error:
        raise StorageError(os_error_words(error, path)) from error
    return True
