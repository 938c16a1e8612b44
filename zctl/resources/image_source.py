"""What can be known of an image's source before any host has it. Not a noun."""

from __future__ import annotations

import hashlib
import struct
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zctl.errors import Invalid, Refused

QCOW2_MAGIC = b"QFI\xfb"
HEADER_SIZE = 104
TIMEOUT = 15.0


@dataclass(frozen=True)
class Source:
    """An image file's facts; checksum and virtual size of a URL may be unknown."""

    source: str
    checksum: str | None
    format: Literal["qcow2", "raw"] | None
    virtual_size: int | None
    file_size: int | None


def inspect(label: str, source: str, checksum: str | None) -> Source:
    """Read a file or ask a URL. Raises Invalid or Refused with the reason; never changes anything."""
    if source.startswith(("http://", "https://")):
        return inspect_url(label, source, checksum)
    if "://" in source and not source.startswith("file://"):
        raise Invalid(f"source {source!r} is neither a file nor an http(s) URL", resource=label)
    return inspect_file(label, Path(source.removeprefix("file://")).expanduser().absolute(), checksum)


def inspect_file(label: str, path: Path, checksum: str | None) -> Source:
    """Read a file, verify its checksum, and find out its format and size."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_SIZE)
            file.seek(0)
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise Refused(
            f"cannot read {path}: {error.strerror}", resource=label, remedy="check path and permissions"
        ) from None
    if checksum is not None and checksum != digest:
        raise Refused(
            f"checksum of {path} is {digest}, not {checksum}",
            resource=label,
            remedy="download the file again, or correct --checksum",
        )
    format_, virtual = parse_header(label, header, size)
    return Source(str(path), digest, format_, virtual, size)


def inspect_url(label: str, url: str, checksum: str | None) -> Source:
    """Ask for the first bytes of a URL: it must exist and look like an image."""
    request = urllib.request.Request(url, headers={"Range": f"bytes=0-{HEADER_SIZE - 1}"})  # noqa: S310 - http(s) only
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            header = answer.read(HEADER_SIZE)
            total = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get(
                "Content-Length", ""
            )
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(error, urllib.error.HTTPError):
            reason = f"the server answers {error.code} {error.reason}"
        raise Refused(f"cannot fetch {url}: {reason}", resource=label, remedy="check the URL and the network") from None
    if checksum is None:
        raise Refused(
            "an image by URL needs its checksum: every host that downloads it must get the same",
            resource=label,
            remedy="add --checksum sha256:HEX, as its publisher gives it (often in a file SHA256SUMS)",
        )
    size = int(total) if total.isdigit() else None
    format_, virtual = parse_header(label, header, size or 0)
    return Source(url, checksum, format_, virtual if format_ == "qcow2" else size, size)


def parse_header(label: str, header: bytes, size: int) -> tuple[Literal["qcow2", "raw"], int]:
    """Format and virtual size by the first bytes (docs/interop/qcow2.txt of QEMU). Refused for unusable files."""
    if not header.startswith(QCOW2_MAGIC):
        if size == 0 and not header:
            raise Refused("the file is empty", resource=label, remedy="download it again")
        if header.lstrip()[:1] == b"<":
            raise Refused("the source is a web page, not an image", resource=label, remedy="give the image's own URL")
        return "raw", size
    if len(header) < 32:
        raise Refused("the file is cut off within its header", resource=label, remedy="download it again")
    (backing,) = struct.unpack_from(">Q", header, 8)
    if backing:
        raise Refused(
            "the image is an overlay on another file",
            resource=label,
            remedy="flatten it first: qemu-img convert -O qcow2 OLD NEW",
        )
    (virtual,) = struct.unpack_from(">Q", header, 24)
    return "qcow2", virtual
