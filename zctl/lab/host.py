"""One host of a lab: its files, its root file system, its power."""

from __future__ import annotations

import shutil
import socket
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zctl.lab.addresses import FULL_KERNEL, Plan, host_name
from zctl.lab.build import resolv_conf
from zctl.lab.full_kernel import KernelImage, KernelPower, link_file, make_disk
from zctl.lab.machine import mark
from zctl.lab.paths import read_json, write_json
from zctl.lab.power import Power, is_on, switch_off, switch_on
from zctl.lab.shell import LabError, environment, run

NETWORK_UNIT = """\
[Match]
Name=host0

[Network]
Address={address}/{prefix}
Gateway={gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


NO_SHARED = "[Unit]\nConditionPathExists=/run/zctl-lab/shared\n"


@dataclass(frozen=True)
class LabHost:
    """A host, known by its lab's folder, name and plan and its own number; all else is derived or read."""

    lab: str
    folder: Path
    plan: Plan
    number: int

    @property
    def name(self) -> str:
        return host_name(self.number)

    @property
    def address(self) -> str:
        return str(self.plan.address(self.number))

    @property
    def host_key(self) -> str:
        """The public SSH host key: type and base64."""
        known = read_json(self.folder / "host.json")
        return str(known["host_key"]) if known else ""

    @property
    def root(self) -> Path:
        """The host's root file system as seen from the machine."""
        return self.folder / "root"

    @property
    def has_own_kernel(self) -> bool:
        """Whether it is a QEMU machine, not a container."""
        return self.number > FULL_KERNEL

    @property
    def image(self) -> KernelImage:
        """What the disk of a host with a kernel of its own began with."""
        known = read_json(self.folder / "host.json") or {}
        return KernelImage(Path(known.get("image", "")))

    @property
    def power(self) -> Power:
        values: dict[str, Any] = {
            "title": f"{self.lab}/{self.name}",
            "folder": self.folder,
            "mark": mark(self.lab),
            "unit": f"zctl-lab-{self.lab}-{self.name}",
            "management_port": self.plan.management_port(self.number),
            "management_bridge": self.plan.management_bridge,
            "data_port": self.plan.data_port(self.number),
            "data_bridge": self.plan.data_bridge,
            "hostname": self.name,
            "shared": self.folder.parent.parent / "shared",
        }
        if not self.has_own_kernel:
            return Power(**values)
        macs: dict[str, Any] = {
            "management_mac": self.plan.mac(self.number, 0),
            "data_mac": self.plan.mac(self.number, 1),
        }
        return KernelPower(**values, **macs, image=self.image)

    @property
    def is_on(self) -> bool:
        return is_on(self.power)

    @property
    def state(self) -> str:
        """running (SSH answers), starting or down."""
        if not self.is_on:
            return "down"
        return "running" if self.ssh_answers() else "starting"

    def ssh_answers(self, timeout: float = 0.5) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=timeout) as connection:
                connection.settimeout(timeout)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def prepare(self, ssh_key: Path, image: KernelImage | None = None) -> None:
        """Write what makes this host different from the base tree. A half-written host is begun again."""
        if (self.folder / "host.json").is_file():
            return
        if self.folder.exists():
            self.remove()
        upper = self.folder / "upper"
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        self._write("etc/hostname", f"{self.name}\n")
        self._write("etc/hosts", f"127.0.0.1 localhost\n{self.address} {self.name}\n::1 localhost ip6-localhost\n")
        # An empty machine id would make systemd enable all units at the first start, and libvirtd then fails.
        self._write("etc/machine-id", f"{uuid.uuid4().hex}\n")
        self._write("etc/resolv.conf", resolv_conf())
        network = NETWORK_UNIT.format(
            address=self.address, prefix=self.plan.management.prefixlen, gateway=self.plan.machine
        )
        self._write("etc/systemd/network/10-host0.network", network)
        self._write("root/.ssh/authorized_keys", Path(f"{ssh_key}.pub").read_text(), mode=0o600)
        for name in ("root", "root/.ssh"):
            (upper / name).chmod(0o700)
        host_key = upper / "etc/ssh/ssh_host_ed25519_key"
        host_key.parent.mkdir()
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{self.name}", "-f", host_key])
        public = " ".join(Path(f"{host_key}.pub").read_text().split()[:2])
        known = {"name": self.name, "number": self.number, "host_key": public}
        if image is not None:
            known["image"] = str(image.folder)
            for name, cable in (("host0", 0), ("data0", 1)):
                self._write(f"etc/systemd/network/10-{name}.link", link_file(name, self.plan.mac(self.number, cable)))
            # The lab's shared folder reaches containers only.
            self._write("etc/systemd/system/srv-shared.mount.d/lab.conf", NO_SHARED)
        write_json(self.folder / "host.json", known)

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / "upper" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def start(self, base: Path) -> None:
        """Mount the root file system if it is not, and switch the host on if it is off; does not wait."""
        if self.is_on:
            return
        power = self.power
        if isinstance(power, KernelPower):
            make_disk(power.image, power, self.folder / "upper")
        elif not self.root.is_mount():
            layers = f"lowerdir={base},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
            try:
                run(["mount", "-t", "overlay", "zctl-lab", "-o", layers, self.root])
            except LabError as error:
                raise LabError(
                    f"its root file system could not be mounted: {error.what}",
                    resource=self.power.title,
                    remedy="set ZCTL_LAB_STATE to a folder on ext4, xfs, btrfs or tmpfs",
                ) from error
        power.script.write_text(power.script_text())
        switch_on(power)

    def stop(self) -> None:
        """Pull the plug. What was written to the host's disk stays."""
        switch_off(self.power)

    def remove(self) -> None:
        """Switch off, unmount and delete the host, from whatever state it is in."""
        self.stop()
        while self.root.is_mount():
            subprocess.run(["umount", "-R", str(self.root)], env=environment(), capture_output=True, check=False)
            if self.root.is_mount():
                run(["umount", "-R", "--lazy", self.root], what=f"{self.power.title} was unmounted")
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def last_words(self) -> str:
        """The end of the console output, for an error message."""
        console = self.folder / "console.log"
        lines = console.read_text(errors="replace").splitlines() if console.is_file() else []
        return "; ".join(line.strip() for line in lines[-5:])

    def status(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "address": self.address,
            "port": 22,
            "user": "root",
            "host_key": self.host_key,
            "state": self.state,
            "management_nic": "host0",
            "data_nic": "data0",
            "kernel": "own" if self.has_own_kernel else "machine",
            "root": None if self.has_own_kernel else str(self.root),
        }
