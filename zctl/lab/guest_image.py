"""The lab's guests, built once into the cache.

The tiny one is a kernel, an initramfs, and a bootable image of both. It asks for an address on every NIC, runs
user-data, answers HTTP on port 80 and echoes on port 7, and has a shell on its serial port: enough to prove that a
cloud works, in 96 MB of memory and without the internet. The cloud guest is Debian with cloud-init as it is packaged,
for what only the real thing can prove; it is built when somebody asks for it.
"""

from __future__ import annotations

import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path

from zctl.lab.build import PRIVATE_MOUNTS, SLOW, base_tree
from zctl.lab.paths import cache_dir
from zctl.lab.recipe import SUITE, digest
from zctl.lab.shell import Say, run

SOURCE = Path(__file__).parent / "guest"
CLOUD_SOURCE = Path(__file__).parent / "cloud_guest"
# The workshop is a throwaway layer over the bare tree; $0 is its folder, $1 the tree, $2 the work folder.
WORKSHOP = """
set -e
mkdir "$0/upper" "$0/root"
mount -t tmpfs tmpfs "$0/upper"
mkdir "$0/upper/data" "$0/upper/work"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$0/upper/data,workdir=$0/upper/work" "$0/root"
mkdir "$0/root/build"
mount --bind "$2" "$0/root/build"
mount -t proc proc "$0/root/proc"
exec chroot "$0/root" sh /build/files/build.sh
"""


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
    files = sorted(path for path in source.rglob("*") if path.is_file())
    return digest([SUITE, *((str(path.relative_to(source)), path.read_text()) for path in files)])


def cached_guest() -> GuestImage:
    """Where the guest image is, or will be once it is built."""
    return GuestImage(cache_dir() / f"guest-{guest_key()}")


def cached_cloud_guest() -> GuestImage:
    """Where the image with cloud-init is, or will be once it is built."""
    return GuestImage(cache_dir() / f"cloud-guest-{guest_key(CLOUD_SOURCE)}")


def guest_image(say: Say) -> GuestImage:
    """The guest image, built first when the cache does not have it."""
    return build(cached_guest(), SOURCE, "building the guest image (once, about ten seconds)", say)


def cloud_guest_image(say: Say) -> GuestImage:
    """The image with cloud-init, built first when the cache does not have it."""
    words = "building the guest image with cloud-init (once, about two minutes)"
    cache_dir().mkdir(parents=True, exist_ok=True)
    # A lock of its own: labs can come and go meanwhile.
    with (cache_dir() / "cloud-guest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build(cached_cloud_guest(), CLOUD_SOURCE, words, say)


def build(done: GuestImage, source: Path, words: str, say: Say) -> GuestImage:
    """Run a guest's build.sh in the workshop, unless its result is in the cache already."""
    if done.folder.is_dir():
        return done
    tree = base_tree(bare=True, say=say)
    say(words)
    for left in cache_dir().glob(f".tmp-{done.folder.name.rpartition('-')[0]}-*"):
        shutil.rmtree(left)
    new = cache_dir() / f".tmp-{done.folder.name}"
    result, shop = new / "result", new / "shop"
    shop.mkdir(parents=True)
    result.mkdir()
    shutil.copytree(source, result / "files")
    argv = [*PRIVATE_MOUNTS, "sh", "-c", WORKSHOP, str(shop), str(tree), str(result)]
    run(argv, what="the guest image was built", timeout=SLOW)
    shutil.rmtree(result / "files")
    result.rename(done.folder)
    shutil.rmtree(new)
    return done
