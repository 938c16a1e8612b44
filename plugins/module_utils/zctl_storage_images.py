"""The image cache: fetch from a URL or take over an upload, prove that it is what was promised, put it in place.

A file gets its final name only when it is complete and verified; until then it is a `.part` file of this host.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import time
from typing import Any, BinaryIO

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_files as files
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_seal as seals
except ImportError:
    import zctl_storage_files as files  # type: ignore[no-redef]
    import zctl_storage_seal as seals  # type: ignore[no-redef]

Json = dict[str, Any]
CHUNK = 1 << 20
TIMEOUT = 60.0
# A part file that nobody has written to for this long belongs to a run that is dead (seconds).
STALE_OWN, STALE_OTHERS = 600, 86400


def host_token() -> str:
    """Tells this host's part files from those of others that share the storage."""
    try:
        with open("/etc/machine-id", encoding="ascii") as source:
            return hashlib.sha256(source.read().strip().encode()).hexdigest()[:10]
    except OSError:
        return hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:10]


def part_path(path: str) -> str:
    """Where this host collects an image until it is complete."""
    return f"{path}.part-{host_token()}"


def is_url(source: str) -> bool:
    """Whether the host fetches the image itself; otherwise the controller uploads it."""
    return source.startswith(("http://", "https://"))


def stale_parts(folder: str) -> list[str]:
    """What dead runs have left in the folder."""
    own, found = f".part-{host_token()}", []
    for path in sorted(glob.glob(f"{glob.escape(folder)}/*.part-*")):
        try:
            age = time.time() - os.lstat(path).st_mtime
        except OSError:
            continue  # another host was quicker
        if age > (STALE_OWN if path.endswith(own) else STALE_OTHERS):
            found.append(path)
    return found


def remove_parts(paths: list[str]) -> None:
    """Remove what dead runs have left."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue  # another host was quicker


def expected_digest(checksum: str | None) -> str | None:
    """The hex digest of `sha256:HEX`; raises StorageError for what is not that."""
    if not checksum:
        return None
    kind, _, digest = checksum.partition(":")
    digest = digest.strip().lower()
    if kind != "sha256" or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise files.StorageError(f"the checksum {checksum!r} is not sha256: followed by 64 hex digits")
    return digest


def fetch(image: Json) -> None:
    """Download the image into the cache. Raises StorageError; nothing but a complete image is left."""
    part = part_path(image["path"])
    try:
        digest = _download(image["source"], part)
        accept(image, part, digest)
    except OSError as error:
        raise files.StorageError(files.os_error_words(error, image["path"])) from error
    finally:
        if os.path.lexists(part):
            os.unlink(part)


def _download(url: str, part: str) -> str:
    """Stream the URL into the file; returns the sha256 of what came. Raises StorageError when it came short."""
    import urllib.error  # loads ssl and http, which takes long: only who downloads waits for it
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "zctl", "Accept-Encoding": "identity"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            length = int(answer.headers.get("Content-Length") or 0)
            if length:
                _check_room(part, length)
            with open(part, "wb") as out:
                digest, got = _copy(answer, out)
    except urllib.error.HTTPError as error:
        raise files.StorageError(f"{url}: the server answers {error.code} {error.reason}; check the URL") from error
    except urllib.error.URLError as error:
        raise files.StorageError(f"{url} cannot be reached from this host: {error.reason}") from error
    except (TimeoutError, ConnectionError) as error:
        raise files.StorageError(f"{url}: the download broke off ({error}); try again") from error
    if length and got != length:
        raise files.StorageError(
            f"{url}: the download is truncated, {got} of {length} bytes came; try again or check the server"
        )
    return digest


def _check_room(path: str, needed: int) -> None:
    values = os.statvfs(os.path.dirname(path))
    if values.f_bavail * values.f_frsize < needed:
        raise files.StorageError(files.no_space_words(path, needed))


def _copy(source: BinaryIO, out: BinaryIO) -> tuple[str, int]:
    hasher, got = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        hasher.update(chunk)
        out.write(chunk)
        got += len(chunk)
    return hasher.hexdigest(), got


def take_upload(image: Json, uploaded: str) -> None:
    """Move a file that the controller has put on this host into the cache. Raises StorageError."""
    part = part_path(image["path"])
    try:
        if uploaded != part:
            _check_room(part, os.stat(uploaded).st_size)
            shutil.move(uploaded, part)
        with open(part, "rb") as source:
            hasher = hashlib.sha256()
            while chunk := source.read(CHUNK):
                hasher.update(chunk)
        accept(image, part, hasher.hexdigest())
    except OSError as error:
        raise files.StorageError(files.os_error_words(error, image["path"])) from error
    finally:
        for left in (part, uploaded):
            if os.path.lexists(left):
                os.unlink(left)


def accept(image: Json, part: str, digest: str) -> None:
    """Verify the part file and give it its name. Raises StorageError when it is not what was promised."""
    wanted = expected_digest(image.get("checksum"))
    if wanted and digest != wanted:
        raise files.StorageError(
            f"the checksum of {image['source']} is sha256:{digest}, not sha256:{wanted}; the file is damaged or has"
            " changed since: check the source, then correct the image's checksum"
        )
    verify_format(image, part)
    os.chmod(part, 0o644)
    if os.geteuid() == 0:
        os.chown(part, 0, 0)
    handle = os.open(part, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    seals.remove_seal(image["path"])  # a wrong one would be worse than none
    os.rename(part, image["path"])
    seals.write_seal(image["path"], os.stat(image["path"]).st_size, digest)
    folder = os.open(os.path.dirname(image["path"]), os.O_RDONLY)
    try:
        os.fsync(folder)  # the name itself must survive a power cut
    finally:
        os.close(folder)


def verify_format(image: Json, path: str) -> None:
    """Raise StorageError unless the file is of the declared format and stands alone.

    A qcow2 with a backing or data file would show a guest any file of the host that it names.
    """
    header = files.read_header(path)
    if header is None or (header.format == "raw" and header.size == 0):
        raise files.StorageError(f"{image['source']} is empty")
    guess = files.image_info(path)
    if image["format"] != header.format or (image["format"] == "raw" and guess["format"] not in ("raw", "luks")):
        raise files.StorageError(
            f"{image['source']} is in the format {guess['format']}, not {image['format']} as declared; convert it with"
            f" 'qemu-img convert -O qcow2' or declare its format"
        )
    info = guess if guess["format"] == image["format"] else files.image_info(path, image["format"])
    data_file = (info.get("format-specific") or {}).get("data", {}).get("data-file")
    if header.backing_offset or info.get("backing-filename"):
        raise files.StorageError(
            f"{image['source']} needs a backing file ({info.get('backing-filename', 'unnamed')}), which zctl refuses:"
            " it could be any file of the host; flatten it with 'qemu-img convert -O qcow2'"
        )
    if header.data_file or data_file:
        raise files.StorageError(
            f"{image['source']} keeps its data in another file ({data_file or 'unnamed'}), which zctl refuses: it could"
            " be any file of the host; flatten it with 'qemu-img convert -O qcow2'"
        )
