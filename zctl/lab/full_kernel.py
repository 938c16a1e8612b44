"""Lab hosts with a kernel of their own: the base tree on a disk, with Debian's cloud kernel, under QEMU's emulation.

For what the machine's own kernel lacks, such as VLANs, bonds, LVM or NFS. Nothing of it needs hardware virtualization.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from zctl.lab.paths import cache_dir
from zctl.lab.power import Power
from zctl.lab.recipe import digest
from zctl.lab.shell import Say, environment, run
from zctl.lab.workshop import build, source_texts

SOURCE = Path(__file__).parent / "kernel"
MEMORY = "2048"
PROCESSORS = "2"


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
    image = KernelImage(cache_dir() / f"kernel-{digest([base.name, *source_texts(SOURCE)])}")
    build(
        image.folder, SOURCE, base, "building the disk of hosts with a kernel of their own (once, about a minute)", say
    )
    return image


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
