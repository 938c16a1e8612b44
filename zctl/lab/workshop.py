"""Images made by a build.sh in a throwaway layer over a base tree, once, into the cache.

The source folder lies at /build/files while build.sh runs inside the layer, and what it leaves in /build is the image.
A pack.sh beside it, when there is one, makes more of the layer afterwards, from outside: "$1" is the layer's root, "$2"
the folder of the image.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from zctl.lab.build import PRIVATE_MOUNTS, SLOW
from zctl.lab.paths import cache_dir
from zctl.lab.shell import Say, run

# $0 is the folder of the layer, $1 the tree, $2 the folder of the image.
WORKSHOP = """
set -e
mkdir "$0/upper" "$0/root"
mount -t tmpfs tmpfs "$0/upper"
mkdir "$0/upper/data" "$0/upper/work"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$0/upper/data,workdir=$0/upper/work" "$0/root"
mkdir "$0/root/build"
mount --bind "$2" "$0/root/build"
mount -t proc proc "$0/root/proc"
chroot "$0/root" sh /build/files/build.sh
umount "$0/root/proc" "$0/root/build"
rmdir "$0/root/build"
[ ! -e "$2/files/pack.sh" ] || sh "$2/files/pack.sh" "$0/root" "$2"
"""


def source_texts(source: Path) -> list[tuple[str, str]]:
    """What an image is made from, for its key: each file's name and text."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    return [(str(path.relative_to(source)), path.read_text()) for path in files]


def build(folder: Path, source: Path, tree: Path, words: str, say: Say) -> None:
    """Make the image in its folder of the cache, unless it is there; a build that was killed is thrown away."""
    if folder.is_dir():
        return
    say(words)
    for left in cache_dir().glob(f".tmp-{folder.name.rpartition('-')[0]}-*"):
        shutil.rmtree(left)
    new = cache_dir() / f".tmp-{folder.name}"
    result, shop = new / "result", new / "shop"
    shop.mkdir(parents=True)
    result.mkdir()
    shutil.copytree(source, result / "files")
    argv = [*PRIVATE_MOUNTS, "sh", "-c", WORKSHOP, str(shop), str(tree), str(result)]
    run(argv, what=f"{folder.name.rpartition('-')[0]}: the image was built", timeout=SLOW)
    shutil.rmtree(result / "files")
    result.rename(folder)
    shutil.rmtree(new)
