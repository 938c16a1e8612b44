"""Sizes and rates as people write them: 10G of memory is a power of 1024, as in qemu-img, 10G a second is not."""

from __future__ import annotations

import re

_FACTORS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([BKMGTP]?)(?:I?B)?\s*$", re.IGNORECASE)
_RATE_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_RATE = re.compile(r"^(\d+(?:\.\d+)?)([KMGT]?)$", re.IGNORECASE)
RATE_PATTERN = r"^(\d{1,13}(\.\d{1,9})?[KMGTkmgt]?|none)$"
LEAST_RATE = 8000  # what libvirt counts in
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


def parse_rate(text: str) -> int:
    """Bits a second of `100M` or a plain number: powers of 1000, as links are sold. Raises ValueError."""
    match = _RATE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a bandwidth: write 100M, 2.5G or a number of bits a second")
    rate = int(float(match[1]) * _RATE_FACTORS[match[2].upper()])
    if not LEAST_RATE <= rate <= 10**12:
        raise ValueError("a bandwidth lies between 8K and 1T bits a second")
    return rate


def format_rate(rate: int) -> str:
    """The shortest exact form: 100000000 -> 100M."""
    for unit, factor in reversed(_RATE_FACTORS.items()):
        if rate % factor == 0:
            return f"{rate // factor}{unit}"
    return str(rate)


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
