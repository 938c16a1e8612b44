"""Lab hosts with a kernel of their own: the base tree on a disk, with Debian's cloud kernel, under QEMU's emulation.

For what the machine's own kernel lacks, such as VLANs, bonds, LVM or NFS. Nothing of it needs hardware virtualization.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from zctl.lab.build import PRIVATE_MOUNTS, SLOW
from zctl.lab.paths import cache_dir
from zctl.lab.power import Power
from zctl.lab.recipe import digest
from zctl.lab.shell import Say, environment, run

SOURCE = Path(__file__).parent / "kernel"
PACKAGES = ("lvm2", "nfs-kernel-server", "nfs-common", "open-iscsi", "targetcli-fb")
DISK_SIZE = "16G"
MEMORY = "2048"
PROCESSORS = "2"
# A throwaway layer over the base tree; $0 is its folder, $1 the tree, $2 the work folder, $3 the packages, $4 the size.
WORKSHOP = """
set -e
mkdir "$0/upper" "$0/root"
mount -t tmpfs tmpfs "$0/upper"
mkdir "$0/upper/data" "$0/upper/work"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$0/upper/data,workdir=$0/upper/work" "$0/root"
mkdir "$0/root/build"
mount --bind "$2" "$0/root/build"
mount -t proc proc "$0/root/proc"
chroot "$0/root" sh /build/files/build.sh "$3"
umount "$0/root/proc" "$0/root/build"
rmdir "$0/root/build"
truncate -s "$4" "$2/disk.raw"
mkfs.ext4 -q -F -d "$0/root" "$2/disk.raw"
"""


@dataclass(frozen=True)
class KernelImage:
    """The disk that hosts begin with, the kernel and its initramfs."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.raw"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"


def kernel_image(base: Path, say: Say) -> KernelImage:
    """The image made of a base tree, built first when the cache does not have it."""
    files = sorted(path for path in SOURCE.iterdir() if path.is_file())
    key = digest([base.name, PACKAGES, DISK_SIZE, WORKSHOP, *((path.name, path.read_text()) for path in files)])
    done = KernelImage(cache_dir() / f"kernel-{key}")
    if done.folder.is_dir():
        return done
    say("building the disk of hosts with a kernel of their own (once, about a minute)")
    for left in cache_dir().glob(".tmp-kernel-*"):
        shutil.rmtree(left)
    new = cache_dir() / f".tmp-{done.folder.name}"
    result, shop = new / "result", new / "shop"
    shop.mkdir(parents=True)
    result.mkdir()
    shutil.copytree(SOURCE, result / "files")
    argv = [*PRIVATE_MOUNTS, "sh", "-c", WORKSHOP, str(shop), str(base), str(result), " ".join(PACKAGES), DISK_SIZE]
    run(argv, what="the disk of hosts with a kernel of their own was built", timeout=SLOW)
    shutil.rmtree(result / "files")
    result.rename(done.folder)
    shutil.rmtree(new)
    return done


def link_file(name: str, mac: str) -> str:
    """A systemd.link(5) file that gives a NIC the name that it has on all lab hosts."""
    return f"[Match]\nMACAddress={mac}\n\n[Link]\nName={name}\n"


def make_disk(image: KernelImage, power: KernelPower, own_files: Path) -> None:
    """The host's own layer over the image, and an initramfs that carries the host's own files."""
    if not power.disk.is_file():
        new = power.disk.with_name("disk.new")
        new.unlink(missing_ok=True)
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image.disk, "-F", "raw", new], what="a disk was made")
        new.rename(power.disk)
    stage = power.folder / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(own_files, stage / "host", symlinks=True)
    names = "\n".join(str(path.relative_to(stage)) for path in sorted(stage.rglob("*")))
    # An initramfs may be several archives one after the other (the kernel's buffer-format.rst).
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--owner=0:0", "--quiet"],
        input=names.encode(),
        cwd=stage,
        env=environment(),
        capture_output=True,
        check=True,
    ).stdout
    power.initramfs.write_bytes(image.initramfs.read_bytes() + archive)
    shutil.rmtree(stage)


@dataclass(frozen=True)
class KernelPower(Power):
    """The power of a host that is a QEMU machine."""

    image: KernelImage
    management_mac: str
    data_mac: str

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"

    @property
    def marker(self) -> str:
        return f"file={self.disk},if=virtio,cache=unsafe"

    @property
    def preparation(self) -> str:
        ports = (self.management_port, self.data_port)
        return "".join(f"ip tuntap add dev {port} mode tap; " for port in ports)

    @property
    def command(self) -> str:
        words = ["qemu-system-x86_64", "-name", self.unit, "-accel", "tcg,thread=multi", "-cpu", "max"]
        words += ["-smp", PROCESSORS, "-m", MEMORY, "-nodefaults", "-no-user-config", "-display", "none"]
        words += ["-serial", "stdio", "-drive", self.marker, "-device", "virtio-rng-pci"]
        for name, port, mac in (
            ("management", self.management_port, self.management_mac),
            ("data", self.data_port, self.data_mac),
        ):
            words += ["-netdev", f"tap,id={name},ifname={port},script=no,downscript=no"]
            words += ["-device", f"virtio-net-pci,netdev={name},mac={mac}"]
        words += ["-kernel", str(self.image.kernel), "-initrd", str(self.initramfs)]
        return " ".join([*words, "-append", "'console=ttyS0 root=/dev/vda rw quiet'"])
