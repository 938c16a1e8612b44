"""Sizes as people write them: 512M, 10G, 1.5T are powers of 1024, as in qemu-img and libvirt."""

from __future__ import annotations

import re

_FACTORS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([BKMGTP]?)(?:I?B)?\s*$", re.IGNORECASE)
SIZE_PATTERN = r"^\d+(\.\d+)?\s*[BKMGTPbkmgtp]?(i?[Bb])?$"


def parse_size(value: object) -> int:
    """Bytes of `10G`, `512MiB` or a plain number of bytes. Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("give a size such as 512M, 10G or a number of bytes")
    if isinstance(value, int):
        size = value
    else:
        match = _SIZE.match(value)
        if match is None:
            raise ValueError(f"{value!r} is not a size: write 512M, 10G or a number of bytes")
        size = int(float(match[1]) * _FACTORS[match[2].upper()])
    if not 0 <= size < 2**63:
        raise ValueError("a size lies between 0 and 8 EiB")
    return size


def format_size(size: int | None) -> str:
    """The shortest exact or one-decimal form: 536870912 -> 512M."""
    if size is None:
        return ""
    for unit in ("P", "T", "G", "M", "K"):
        factor = _FACTORS[unit]
        if size >= factor:
            amount = size / factor
            return f"{size // factor}{unit}" if size % factor == 0 else f"{amount:.1f}{unit}"
    return str(size)
