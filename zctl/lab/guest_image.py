"""The lab's guests, built once into the cache.

The tiny one is a kernel, an initramfs, and a bootable image of both. It asks for an address on every NIC, runs
user-data, answers HTTP on port 80 and echoes on port 7, and has a shell on its serial port: enough to prove that a
cloud works, in 96 MB of memory and without the internet. The cloud guest is Debian with cloud-init as it is packaged,
for what only the real thing can prove; it is built when somebody asks for it.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path

from zctl.lab.build import base_tree
from zctl.lab.paths import cache_dir
from zctl.lab.recipe import SUITE, digest
from zctl.lab.shell import Say
from zctl.lab.workshop import build, source_texts

SOURCE = Path(__file__).parent / "guest"
CLOUD_SOURCE = Path(__file__).parent / "cloud_guest"


@dataclass(frozen=True)
class GuestImage:
    """The guest's files in the cache."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"

    @property
    def qcow2(self) -> Path:
        return self.folder / "guest.qcow2"

    def status(self) -> dict[str, str]:
        return {"kernel": str(self.kernel), "initramfs": str(self.initramfs), "qcow2": str(self.qcow2)}


def guest_key(source: Path = SOURCE) -> str:
    """Changes when any file of the guest does."""
    return digest([SUITE, *source_texts(source)])


def cached_guest() -> GuestImage:
    """Where the guest image is, or will be once it is built."""
    return GuestImage(cache_dir() / f"guest-{guest_key()}")


def cached_cloud_guest() -> GuestImage:
    """Where the image with cloud-init is, or will be once it is built."""
    return GuestImage(cache_dir() / f"cloud-guest-{guest_key(CLOUD_SOURCE)}")


def guest_image(say: Say) -> GuestImage:
    """The guest image, built first when the cache does not have it."""
    return built(cached_guest(), SOURCE, "building the guest image (once, about ten seconds)", say)


def cloud_guest_image(say: Say) -> GuestImage:
    """The image with cloud-init, built first when the cache does not have it."""
    words = "building the guest image with cloud-init (once, about two minutes)"
    cache_dir().mkdir(parents=True, exist_ok=True)
    # A lock of its own: labs can come and go meanwhile.
    with (cache_dir() / "cloud-guest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return built(cached_cloud_guest(), CLOUD_SOURCE, words, say)


def built(image: GuestImage, source: Path, words: str, say: Say) -> GuestImage:
    """The image, which is made over the bare tree when the cache does not have it."""
    if not image.folder.is_dir():
        build(image.folder, source, base_tree(bare=True, say=say), words, say)
    return image
