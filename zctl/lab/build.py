"""Building the lab's base trees, once, into the cache.

A tree is built beside its place and renamed when it is complete: a crash leaves a folder that nobody uses and that
the next build removes.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from zctl.lab.paths import cache_dir
from zctl.lab.recipe import KEYRING, Recipe, debian_mirrors, recipe, sources_list
from zctl.lab.shell import LabError, Say, run

# Mounts live in a mount namespace of their own, so that they are gone when the build ends in whatever way.
PRIVATE_MOUNTS = ("unshare", "--mount", "--propagation", "private")
CHROOT = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
SLOW = 1800.0


def base_tree(*, bare: bool, say: Say) -> Path:
    """The base tree's folder, built first when the cache does not have it."""
    wanted = recipe(bare=bare)
    done = cache_dir() / f"base-{'bare-' if bare else ''}{wanted.key}"
    if done.is_dir():
        return done
    cache_dir().mkdir(parents=True, exist_ok=True)
    for left in cache_dir().glob(".tmp-base-*"):
        shutil.rmtree(left)
    new = cache_dir() / f".tmp-{done.name}"
    if bare:
        say(f"building the base tree of a bare Debian {wanted.suite} host (once, about a minute)")
        _bootstrap(wanted, new)
    else:
        origin = base_tree(bare=True, say=say)
        say("adding libvirt, qemu and the rest to the base tree (once, about half a minute)")
        run(["cp", "-a", "--reflink=auto", origin, new], what="the bare tree was copied")
    _install(wanted, new)
    new.rename(done)
    return done


def machine_mirrors() -> tuple[str, str]:
    """The Debian mirrors that this machine uses itself; empty where it uses none, such as on Ubuntu."""
    texts = [path.read_text() for path in (Path("/etc/apt/sources.list"),) if path.is_file()]
    folder = Path("/etc/apt/sources.list.d")
    if folder.is_dir():
        texts += [path.read_text() for path in sorted(folder.iterdir()) if path.suffix in (".list", ".sources")]
    return debian_mirrors(texts)


def resolv_conf() -> str:
    """Name servers that answer from inside a host: systemd-resolved's stub on 127.0.0.53 would not."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        text = path.read_text() if path.is_file() else ""
        if text and "nameserver 127." not in text:
            return text
    return ""


def _bootstrap(wanted: Recipe, tree: Path) -> None:
    if not Path(KEYRING).is_file():
        raise LabError(f"{KEYRING} is missing", remedy="apt-get install debian-archive-keyring")
    main, security = machine_mirrors()
    argv = [*PRIVATE_MOUNTS, "debootstrap", "--variant=minbase", f"--keyring={KEYRING}"]
    argv += [f"--include={','.join(wanted.bootstrap)}", wanted.suite, str(tree)]
    argv += [main] if main else []  # debootstrap knows Debian's own
    run(argv, what="Debian was installed into the base tree", timeout=SLOW)
    sources = tree / "etc/apt/sources.list"
    main = main or debian_mirrors([sources.read_text()])[0]
    sources.write_text(sources_list(main, security or f"{main}-security", wanted.suite))


def _install(wanted: Recipe, tree: Path) -> None:
    """Packages, files and units of the recipe; everything that must differ between hosts is taken out again."""
    for name, text in wanted.files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    _copy_proxy(tree)
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    (tree / "etc/resolv.conf").write_text(resolv_conf())
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    packages = [*wanted.packages, *wanted.extra]
    _chroot(tree, "apt-get", "update", "-qq")
    _chroot(tree, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    _chroot(tree, "apt-get", "clean")
    _chroot(tree, "systemctl", "enable", *wanted.enabled)
    _chroot(tree, "systemctl", "mask", *wanted.masked)
    policy.unlink()
    (tree / "srv/shared").mkdir(exist_ok=True)
    for name in ("etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname"):
        (tree / name).unlink(missing_ok=True)
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    lists = tree / "var/lib/apt/lists"
    shutil.rmtree(lists)
    (lists / "partial").mkdir(parents=True)
    os.sync()


def _copy_proxy(tree: Path) -> None:
    """Hosts reach the mirror the way that this machine does."""
    proxy = run(["apt-config", "dump", "Acquire::http::Proxy"])
    if proxy.strip():
        (tree / "etc/apt/apt.conf.d/91proxy").write_text(proxy)


def _chroot(tree: Path, *argv: str) -> None:
    what = f"'{' '.join(argv[:2])}' was run in the base tree"
    run([*PRIVATE_MOUNTS, "sh", "-c", CHROOT, tree, *argv], what=what, timeout=SLOW)
