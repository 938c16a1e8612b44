"""Brings the storages, images and volumes of this host to the desired state and reports each one's outcome.

Order: storages, images, volumes, then what was named to be deleted. What stands on a storage that is not ready fails
with that storage's reason; nothing else does.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_results as results
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_files as files
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_foreign as strangers
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_images as images
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_live as live
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_marker as marker
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_seal as seals
except ImportError:
    import zctl_results as results  # type: ignore[no-redef]
    import zctl_storage_files as files  # type: ignore[no-redef]
    import zctl_storage_foreign as strangers  # type: ignore[no-redef]
    import zctl_storage_images as images  # type: ignore[no-redef]
    import zctl_storage_live as live  # type: ignore[no-redef]
    import zctl_storage_marker as marker  # type: ignore[no-redef]
    import zctl_storage_plan as plan  # type: ignore[no-redef]
    import zctl_storage_seal as seals  # type: ignore[no-redef]

Json = dict[str, Any]


@dataclass
class Run:
    """One run over one host: the request, and what has come out so far."""

    inventory: str
    check: bool
    read_only: bool
    sources: dict[str, Json]
    uploads: dict[str, str]
    ready: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    results: list[Json] = field(default_factory=list)
    wanted: list[Json] = field(default_factory=list)
    foreign: list[Json] = field(default_factory=list)

    def report(
        self, item: Json, kind: str, result: str, reason: str, differences: Iterable[Json] = (), **observed: Any
    ) -> None:
        """Add one resource's outcome."""
        self.results.append(results.result(kind, item, result, reason, differences, **observed))


def converge(
    inventory: str,
    state: Json,
    scope: list[str] | None = None,
    check: bool = False,
    *,
    sources: dict[str, Json] | None = None,
    uploads: dict[str, str] | None = None,
) -> Json:
    """Apply a `StorageState`; returns changed, results, foreign_things, diff and `uploads_wanted`.

    `sources` is what the controller knows about image files of its own ({uuid: {size} or {error}}), `uploads` where on
    this host it has put them. An image in `uploads_wanted` has no result yet: the module is called again after the
    upload.
    """
    run = Run(inventory, check, scope == [], sources or {}, uploads or {})
    part = plan.select(state, scope)
    for storage in part["storages"]:
        _storage(run, storage)
    for image in part["images"]:
        _guarded(run, image, "image", _image)
    maker = files.VolumeMaker()
    for volume in part["volumes"]:
        _guarded(run, volume, "volume", lambda run, item: _volume(run, item, maker))
    for item in plan.purge_order(part["purge"]):
        _guarded(run, item, plan.kind_of(item["path"]), lambda run, item: _purge(run, item, part))
    if scope is None:
        ready = [storage for storage in part["storages"] if storage["uuid"] in run.ready]
        run.foreign += strangers.unknown_files(ready, state)
    return {
        "foreign_things": run.foreign,
        "changed": any(result["result"] in ("changed", "removed") for result in run.results),
        "results": run.results,
        "uploads_wanted": run.wanted,
        "diff": _diff_words(run.results),
    }


def _diff_words(found: list[Json]) -> list[Json]:
    """What changes, a line for each resource, for --diff."""
    lines = [f"{r['kind']} {r['name']}: {r['reason']}\n" for r in found if r["result"] in ("changed", "removed")]
    return (
        [{"before_header": "storage", "after_header": "storage", "before": "", "after": "".join(lines)}]
        if lines
        else []
    )


def _guarded(run: Run, item: Json, kind: str, action: Any) -> None:
    """One resource's failure is its own."""
    try:
        action(run, item)
    except files.StorageError as error:
        run.report(item, kind, "failed", str(error), error.differences)
    except OSError as error:
        run.report(item, kind, "failed", files.os_error_words(error, item["path"]))


def _storage(run: Run, storage: Json) -> None:
    try:
        done, differences, observed = marker.prepare(storage, run.inventory, run.check or run.read_only)
    except (files.StorageError, OSError) as error:
        known = error.differences if isinstance(error, files.StorageError) else []
        reason = str(error) if isinstance(error, files.StorageError) else files.os_error_words(error, storage["path"])
        run.broken[storage["uuid"]] = reason
        run.report(storage, "storage", "failed", reason, known)
        if any(entry["field"].startswith("marker.") for entry in known):
            run.foreign.append(strangers.other_owner(storage, marker.read_marker(storage["path"]) or {}))
        return
    run.ready[storage["uuid"]] = storage["path"]
    left = images.stale_parts(os.path.join(storage["path"], plan.IMAGES))
    if left:
        differences = [*differences, *(results.difference("unfinished image", path, None) for path in left)]
        done = "; ".join(filter(None, [done, f"{len(left)} unfinished image(s) removed"]))
        if not (run.check or run.read_only):
            images.remove_parts(left)
    if not done or run.read_only:
        words = f"needs: {done}" if done else "already as wanted"
        run.report(storage, "storage", "unchanged", words, differences, **observed)
    else:
        run.report(storage, "storage", "changed", done, differences, **observed)


def _require(run: Run, item: Json) -> None:
    """Raise StorageError unless the resource's storage is ready and its path lies in it."""
    uuid = item["storage"]
    if uuid in run.broken:
        raise files.StorageError(f"its storage is not ready: {run.broken[uuid]}")
    if uuid not in run.ready:
        raise files.StorageError(f"its storage {uuid} is not among the storages of this host; add it to the state")
    problem = plan.inside_problem(item["path"], run.ready[uuid])
    if problem:
        raise files.StorageError(problem)


def _image(run: Run, image: Json) -> None:
    _require(run, image)
    seal = seals.read_seal(image["path"])
    differences = _image_differences(image, seal)
    if not differences:
        _cached_image(run, image, seal)
        return
    lost = differences[0]["field"] == "file"
    checksum = image.get("checksum") if lost else seals.checksum_of(image, seal)
    if not lost and not checksum:
        raise files.StorageError(
            f"the cached file {image['path']} has {differences[0]['actual']} bytes, not {differences[0]['desired']}: it"
            " is damaged, and no checksum tells what it was; bring the file back, or set the image's checksum",
            differences,
        )
    images.expected_digest(checksum)
    known = run.sources.get(image["uuid"], {})
    if known.get("error"):
        raise files.StorageError(known["error"], differences)
    again = "" if lost else ", because the cached file is damaged"
    if run.read_only:
        words = "not cached on this host" if lost else "the cached file is damaged"
        run.report(image, "image", "unchanged", words, differences, present=not lost)
        return
    if run.check:
        run.made.add(image["path"])
        words = f"fetched from {image['source']}{again}"
        run.report(image, "image", "changed", words, differences, present=not lost)
        return
    wanted = {**image, "checksum": checksum}
    if not lost and files.in_use(image["path"]):
        again += "; VMs that run on it hold the damaged one until they are restarted"
    if images.is_url(image["source"]):
        images.fetch(wanted)
    elif image["uuid"] in run.uploads:
        images.take_upload(wanted, run.uploads[image["uuid"]])
    else:
        run.wanted.append(_upload(image, known))
        return
    header = files.read_header(image["path"])
    size = os.stat(image["path"]).st_size
    virtual = header.size if header else size
    reason = f"fetched from {image['source']}, {plan.human(size)}{again}"
    run.report(image, "image", "changed", reason, differences, present=True, size=size, virtual_size=virtual)


def _image_differences(image: Json, seal: Json | None) -> list[Json]:
    """Whether a cached image is there, and whole as far as its size tells."""
    try:
        status = os.lstat(image["path"])
    except FileNotFoundError:
        return [results.difference("file", None, image["path"])]
    if seal is not None and stat.S_ISREG(status.st_mode) and status.st_size != seal["size"]:
        return [results.difference("size", status.st_size, seal["size"])]
    return []


def _cached_image(run: Run, image: Json, seal: Json | None) -> None:
    """An image that is there: it stays as it is."""
    header = files.read_header(image["path"])
    found = header.format if header else "gone"
    if found != image["format"]:
        raise files.StorageError(
            f"the cached file {image['path']} is {found}, not {image['format']}; it is left as it is",
            [results.difference("format", found, image["format"])],
        )
    if image["uuid"] in run.uploads:  # another host of a shared storage was quicker
        os.unlink(run.uploads[image["uuid"]])
    size = os.stat(image["path"]).st_size
    virtual = header.size if header else size
    if seal is None and not run.read_only:  # cached by an older zctl, or somebody removed it
        if not run.check:
            seals.write_seal(image["path"], size, images.expected_digest(image.get("checksum")))
        lost = [results.difference("seal", None, seals.seal_path(image["path"]))]
        words = "its size is written down, so that damage is seen"
        run.report(image, "image", "changed", words, lost, present=True, size=size, virtual_size=virtual)
        return
    run.report(image, "image", "unchanged", "already cached", present=True, size=size, virtual_size=virtual)


def _upload(image: Json, known: Json) -> Json:
    """Ask the controller for an image file. Raises StorageError when there is no room for it."""
    folder = os.path.dirname(image["path"])
    values = os.statvfs(folder)
    if known.get("size", 0) > values.f_bavail * values.f_frsize:
        raise files.StorageError(files.no_space_words(folder, known["size"]))
    return {"uuid": image["uuid"], "source": image["source"], "upload_to": images.part_path(image["path"])}


def _volume(run: Run, volume: Json, maker: files.VolumeMaker) -> None:
    _require(run, volume)
    actual = files.read_header(volume["path"])
    stands_on = files.read_backing(volume["path"], actual) if actual and actual.format == "qcow2" else ""
    differences = plan.volume_differences(actual, stands_on, volume)
    backing = volume.get("backing")
    base = None
    if backing and actual is None:
        base = files.read_header(backing)
        if base is None and backing not in run.made and not run.read_only:
            raise files.StorageError(
                f"its image {backing} is not on this host; see that image's own result", differences
            )
    step, reason = plan.volume_step(actual, volume, base)
    problem = plan.backing_problem(actual, stands_on, volume)
    if step == "refuse" or problem:
        raise files.StorageError(reason if step == "refuse" else str(problem), differences)
    if step == "create" and volume.get("made") and not run.read_only:
        raise files.StorageError(
            f"its file {volume['path']} is gone; an empty one would hide the loss: bring the file back,"
            " or delete the volume",
            differences,
        )
    if run.read_only or step == "keep":
        size = actual.size if actual else None
        alone = "stands alone now, without its image, which does no harm" if differences else "already as wanted"
        why = alone if step == "keep" else f"would be {reason}"
        run.report(volume, "volume", "unchanged", why, differences, present=actual is not None, size=size)
        return
    if not run.check:
        if step == "create":
            maker.create(volume)
        else:
            waits = files.grow(volume, live.resize_live)
            if waits:
                size = actual.size if actual else None
                run.report(volume, "volume", "unchanged", waits, differences, present=True, size=size, deferred=True)
                return
    run.report(volume, "volume", "changed", reason, differences, present=True, size=volume["size"])


def _purge(run: Run, item: Json, part: Json) -> None:
    uuid, path = item["storage"], item["path"]
    if uuid in run.broken:
        raise files.StorageError(f"its storage is not ready: {run.broken[uuid]}")
    root = run.ready.get(uuid) or marker.find_root(path, uuid)
    kind = plan.kind_of(path)
    if root is None:
        if os.path.lexists(path):
            raise files.StorageError(f"{path} is in no folder that is marked as the storage {uuid}; it is not deleted")
        run.report(item, kind, "unchanged", "is not on this host")
        return
    if kind == "image":
        _refuse_used_image(path, root, part["purge"] if run.check else [])
    if kind == "storage":
        _refuse_used_storage(root, part["purge"] if run.check else [])
    if run.check:
        problem = plan.inside_problem(path, root)
        if problem:
            raise files.StorageError(f"{problem}; it is not deleted")
        gone = os.path.lexists(path) or (kind == "image" and os.path.lexists(seals.seal_path(path)))
    else:
        gone = files.purge_file(path, root)
        if kind == "image":
            gone = seals.remove_seal(path) or gone
        if gone and kind == "storage":
            _remove_folders(root)
    if gone:
        gone_file = [results.difference("file", path, None)]
        run.report(item, kind, "removed", f"{path} deleted", gone_file, present=run.check)
    else:
        run.report(item, kind, "unchanged", "is not on this host")


def _refuse_used_image(path: str, root: str, going: list[Json]) -> None:
    """Raise StorageError when a volume still stands on the image: it would be worth nothing without it."""
    folder = os.path.join(root, plan.VOLUMES)
    leaving = {item["path"] for item in going}
    users = []
    for entry in os.scandir(folder) if os.path.isdir(folder) else ():
        if entry.path in leaving or not entry.is_file(follow_symlinks=False):
            continue
        header = files.read_header(entry.path)
        if header and header.format == "qcow2" and files.read_backing(entry.path, header) == path:
            users.append(entry.name)
    if users:
        raise files.StorageError(
            f"{path} is still the base of {len(users)} volume(s), {users[0]} for one; delete those first"
        )


def _refuse_used_storage(root: str, going: list[Json]) -> None:
    """Raise StorageError when a storage that is to be given up still holds files."""
    leaving = {item["path"] for item in going}
    for name in (plan.IMAGES, plan.VOLUMES):
        folder = os.path.join(root, name)
        entries = list(os.scandir(folder)) if os.path.isdir(folder) else []
        left = [entry for entry in entries if entry.path not in leaving and not seals.is_seal(entry.name)]
        if left:
            raise files.StorageError(
                f"{folder} still holds {len(left)} file(s), {left[0].name} for one; delete those first"
            )


def _remove_folders(root: str) -> None:
    """The storage's own folders, once they are empty; its root stays when anything else is in it."""
    for folder in (os.path.join(root, plan.IMAGES), os.path.join(root, plan.VOLUMES)):
        if os.path.isdir(folder):
            seals.remove_seals(folder)
            os.rmdir(folder)
