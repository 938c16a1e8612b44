"""Makes a storage's folder ready and proves whose it is.

The marker file says which storage of which inventory owns the folder; its random token lets the controller see that
all hosts of a shared storage look at one filesystem.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import stat
import time
from collections.abc import Sequence
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_files as files
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference, value_differences
except ImportError:
    import zctl_storage_files as files  # type: ignore[no-redef]
    import zctl_storage_plan as plan  # type: ignore[no-redef]
    from zctl_results import difference, value_differences  # type: ignore[no-redef]

Json = dict[str, Any]
# 0711: QEMU's user must be able to pass through, nobody needs to list what is there.
MODE = 0o711
FOLDERS = {"folder": "", plan.IMAGES: f"/{plan.IMAGES}", plan.VOLUMES: f"/{plan.VOLUMES}"}
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)


def read_marker(folder: str) -> Json | None:
    """The folder's marker, None when there is none.

    Raises StorageError when it cannot be read or understood: an unknown owner is not no owner.
    """
    path = os.path.join(folder, plan.MARKER)
    for attempt in range(5):
        try:
            with open(path, encoding="utf-8") as source:
                text = source.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise files.StorageError(files.os_error_words(error, path)) from error
        except ValueError:
            text = ""  # no text at all
        try:
            marker = json.loads(text)
        except ValueError:
            marker = None
        if isinstance(marker, dict) and {"storage", "inventory", "token"} <= set(marker):
            return marker
        if attempt < 4:
            time.sleep(0.2)  # another host may be writing it at this moment
    raise files.StorageError(
        f"the marker {path} cannot be understood; look at it, and delete it when no other storage uses {folder}",
        [difference("marker", "cannot be understood", "as zctl writes it")],
    )


def check_owner(storage: Json, inventory: str, marker: Json) -> None:
    """Raise StorageError unless the marker says that this folder is this storage's."""
    if marker["storage"] == storage["uuid"] and marker["inventory"] == inventory:
        return
    whose = "of another zctl inventory " if marker["inventory"] != inventory else ""
    raise files.StorageError(
        f"{storage['path']} already belongs to the storage {marker.get('name', '?')} ({marker['storage']}) {whose}"
        f"says its marker {plan.MARKER}; use another folder, or delete that storage first",
        value_differences(
            "marker",
            {key: marker[key] for key in ("storage", "inventory")},
            {"storage": storage["uuid"], "inventory": inventory},
        ),
    )


def create_marker(storage: Json, inventory: str, folders: Sequence[str] = ()) -> bool:
    """Create the marker unless another process does so first; returns whether this call made it.

    `folders` are those that zctl has made, whose mode is therefore its own business.
    """
    path = os.path.join(storage["path"], plan.MARKER)
    marker = {
        "storage": storage["uuid"],
        "name": storage["name"],
        "inventory": inventory,
        "token": secrets.token_hex(16),
        "made_by": socket.gethostname(),
        "folders": list(folders),
    }
    part = f"{path}.{marker['token']}"
    text = json.dumps(marker, indent=1) + "\n"
    try:
        _write_new(part, text)
        # A link appears whole or not at all, and fails when the name is taken.
        os.link(part, path)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise files.StorageError(files.os_error_words(error, path)) from error
    finally:
        if os.path.lexists(part):
            os.unlink(part)
    try:
        _write_new(path, text)
    except FileExistsError:
        return False
    except OSError as error:
        raise files.StorageError(files.os_error_words(error, path)) from error
    return True


def _write_new(path: str, text: str) -> None:
    with open(path, "x", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def problem_of(storage: Json, mountinfo: str) -> str | None:
    """Why this storage cannot be where it should be, or None."""
    path = storage["path"]
    problem = plan.storage_path_problem(path)
    if problem:
        return problem
    if storage["kind"] == "local":
        return None
    if not os.path.isdir(path):
        return f"{path} does not exist on this host; mount the shared filesystem there first (and in /etc/fstab)"
    return plan.mount_problem(os.path.realpath(path), plan.parse_mounts(mountinfo))


def folder_differences(storage: Json, marker: Json | None) -> list[Json]:
    """Where the storage's folders are not as wanted. Modes and owners count only of those that zctl has made."""
    found = []
    own = (marker or {}).get("folders") or []
    for name, tail in FOLDERS.items():
        try:
            status = os.stat(storage["path"] + tail)
        except (FileNotFoundError, NotADirectoryError):
            found.append(difference(name, None, storage["path"] + tail))
            continue
        if not stat.S_ISDIR(status.st_mode):
            found.append(difference(name, "not a folder", storage["path"] + tail))
        elif name in own and storage["kind"] == "local":
            if stat.S_IMODE(status.st_mode) != MODE:
                found.append(difference(f"{name}.mode", f"{stat.S_IMODE(status.st_mode):04o}", f"{MODE:04o}"))
            if os.geteuid() == 0 and (status.st_uid, status.st_gid) != (0, 0):
                found.append(difference(f"{name}.owner", f"{status.st_uid}:{status.st_gid}", "0:0"))
    return found


def prepare(storage: Json, inventory: str, check: bool) -> tuple[str, list[Json], Json]:
    """Make the storage ready; returns what was done (empty text: nothing), what was not as wanted, what is observed.

    Raises StorageError.
    """
    with open("/proc/self/mountinfo", encoding="utf-8") as source:
        problem = problem_of(storage, source.read())
    if problem:
        raise files.StorageError(problem, [difference("folder", "not usable", storage["path"])])
    marker = read_marker(storage["path"])
    if marker:
        check_owner(storage, inventory, marker)
    differences = folder_differences(storage, marker)
    done = [_mend_words(entry, storage) for entry in differences]
    made = False
    if not check:
        new = [entry["field"] for entry in differences if _mend(entry, storage)]
        if marker is None:
            made = create_marker(storage, inventory, new)
            marker = read_marker(storage["path"]) or {}
            check_owner(storage, inventory, marker)
    if made or marker is None:
        differences.append(difference("marker", None, storage["uuid"]))
        done.append("marked as this storage's")
    observed = {**observe(storage["path"]), "token": (marker or {}).get("token"), "marker_created": made}
    return ", ".join(done), differences, observed


def _mend_words(entry: Json, storage: Json) -> str:
    name, _, what = entry["field"].partition(".")
    path = storage["path"] + FOLDERS[name]
    return f"{what} of {path} {entry['actual']} -> {entry['desired']}" if what else f"folder {path} made"


def _mend(entry: Json, storage: Json) -> bool:
    """Make one thing about a folder as wanted; whether the folder is new."""
    name, _, what = entry["field"].partition(".")
    path = storage["path"] + FOLDERS[name]
    if not what:
        _make_folder(path, MODE)
        return True
    try:
        if what == "mode":
            os.chmod(path, MODE)
        else:
            os.chown(path, 0, 0)
    except OSError as error:
        raise files.StorageError(files.os_error_words(error, path), [entry]) from error
    return False


def _make_folder(path: str, mode: int) -> None:
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.mkdir(path)
        os.chmod(path, mode)  # whatever the umask is
    except FileExistsError:
        if not os.path.isdir(path):
            raise files.StorageError(f"{path} exists and is not a folder; move it away") from None
    except OSError as error:
        raise files.StorageError(files.os_error_words(error, path)) from error


def observe(path: str) -> Json:
    """Size, room and identity of the filesystem under a path (of its nearest existing parent)."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    values = os.statvfs(path)
    return {
        "fsid": f"{values.f_fsid:x}",
        "total_bytes": values.f_blocks * values.f_frsize,
        "free_bytes": values.f_bavail * values.f_frsize,
    }


def find_root(path: str, storage_uuid: str) -> str | None:
    """The folder of a storage that is no longer in the state: the one above `path` whose marker names it."""
    folder = os.path.dirname(path)
    for root in (folder, os.path.dirname(folder)):
        marker = read_marker(root)
        if marker and marker["storage"] == storage_uuid:
            return root
    return None
