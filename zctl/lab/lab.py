"""A lab: several hosts on two networks, brought up, looked at, disturbed and taken down."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zctl.errors import Misuse, NotFound, Refused, did_you_mean
from zctl.lab import machine
from zctl.lab.addresses import FULL_KERNEL, MAX_HOSTS, NAME, Plan, free_index, host_name, host_number
from zctl.lab.build import base_tree
from zctl.lab.full_kernel import kernel_image
from zctl.lab.guest_image import cached_guest, guest_image
from zctl.lab.host import LabHost
from zctl.lab.paths import lab_dir, labs_dir, machine_lock, read_json, write_file, write_json
from zctl.lab.shell import LabError, Say, environment, run

BOOT_PATIENCE = 180.0
SLOWNESS = 3  # how much longer a host with a kernel of its own may take, on a busy machine
SSH_OPTIONS = """\
Host *
    User root
    IdentityFile {folder}/ssh_key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    StrictHostKeyChecking yes
    BatchMode yes
    ConnectTimeout 10
    LogLevel ERROR
"""


def silent(_line: str) -> None:
    """Progress that nobody wants to see."""


@dataclass(frozen=True)
class Lab:
    """A lab that exists on this machine."""

    name: str
    index: int
    bare: bool
    base: Path

    @property
    def folder(self) -> Path:
        return lab_dir(self.name)

    @property
    def plan(self) -> Plan:
        return Plan(self.index)

    @property
    def ssh_key(self) -> Path:
        return self.folder / "ssh_key"

    @property
    def shared(self) -> Path:
        """Folder of the machine that all hosts see as /srv/shared."""
        return self.folder / "shared"

    # --- finding -----------------------------------------------------------------------------------------------
    @classmethod
    def names(cls) -> list[str]:
        folder = labs_dir()
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    @classmethod
    def open(cls, name: str) -> Lab:
        """The lab of this name. Raises NotFound when there is none."""
        known = read_json(lab_dir(name) / "lab.json") if NAME.fullmatch(name) else None
        if known is None:
            hint = did_you_mean(name, cls.names()) or f"make it with 'zctl lab up --name {name}'"
            raise NotFound("there is no such lab", resource=f"lab {name}", remedy=hint)
        return cls(name=name, index=int(known["index"]), bare=bool(known["bare"]), base=Path(known["base"]))

    @property
    def hosts(self) -> list[LabHost]:
        """The hosts that exist, in the order of their numbers."""
        folder = self.folder / "hosts"
        numbers = [host_number(path.name) for path in folder.iterdir()] if folder.is_dir() else []
        return [self._host(number) for number in sorted(n for n in numbers if n)]

    def host(self, name: str) -> LabHost:
        """The host of this name. Raises NotFound when the lab has none."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise NotFound(f"lab {self.name} has no such host", resource=f"host {name}", remedy=f"it has: {known}")

    def _host(self, number: int) -> LabHost:
        folder = self.folder / "hosts" / host_name(number)
        return LabHost(lab=self.name, folder=folder, plan=self.plan, number=number)

    # --- up ----------------------------------------------------------------------------------------------------
    @classmethod
    def up(
        cls, name: str = "lab", hosts: int = 3, *, bare: bool = False, full_kernel: int = 0, say: Say = silent
    ) -> Lab:
        """Bring the lab to at least this number of hosts, all running; what is there already stays.

        `full_kernel` is the number of hosts that are machines with a kernel of their own, k1 and on.

        Raises LabError when the machine cannot carry it, Refused when the lab is of the other kind (bare or not).
        """
        if not NAME.fullmatch(name):
            raise Misuse(f"'{name}' cannot name a lab", remedy="use up to 31 of a-z, 0-9 and -, a letter first")
        if hosts + full_kernel < 1 or not (0 <= hosts <= MAX_HOSTS and 0 <= full_kernel <= MAX_HOSTS):
            wrong = f"{hosts} and {full_kernel}" if full_kernel else str(hosts)
            raise Misuse(f"a lab has 1 to {MAX_HOSTS} hosts of each kind, not {wrong}")
        machine.check_machine()
        with machine_lock(say):
            machine.install_missing(say, full_kernel=bool(full_kernel))
            lab = cls._open_or_make(name, bare=bare, say=say)
            guest_image(say)
            lab._keys()
            machine.guard_on()
            machine.network_up(name, lab.plan, say)
            for number in range(1, hosts + 1):
                lab._host(number).prepare(lab.ssh_key)
            image = kernel_image(lab.base, say) if full_kernel else None
            for number in range(FULL_KERNEL + 1, FULL_KERNEL + full_kernel + 1):
                lab._host(number).prepare(lab.ssh_key, image)
            lab._write_known_hosts()
            dark = [host for host in lab.hosts if not host.is_on]
            if dark:
                say(f"starting {', '.join(host.name for host in dark)} of lab {name}")
            for host in dark:
                host.start(lab.base)
            lab.wait(lab.hosts)
        return lab

    @classmethod
    def _open_or_make(cls, name: str, *, bare: bool, say: Say) -> Lab:
        if name in cls.names() and (lab_dir(name) / "lab.json").is_file():
            lab = cls.open(name)
            if not lab.base.is_dir():
                raise LabError(f"its base tree {lab.base} is gone", resource=f"lab {name}", remedy="take it down first")
            if lab.bare != bare:
                kind = "bare" if lab.bare else "not bare"
                raise Refused(
                    f"it exists and is {kind}", resource=f"lab {name}", remedy="take it down first, or use another name"
                )
            return lab
        taken = {int(known["index"]) for other in cls.names() if (known := read_json(lab_dir(other) / "lab.json"))}
        index = free_index(taken)
        if index is None:
            raise Refused("this machine has as many labs as there are address blocks", remedy="take one down")
        # The tree is recorded, because a host's disk only makes sense on the tree that it began with.
        base = base_tree(bare=bare, say=say)
        write_json(lab_dir(name) / "lab.json", {"name": name, "index": index, "bare": bare, "base": str(base)})
        return cls.open(name)

    def _keys(self) -> None:
        self.shared.mkdir(exist_ok=True)
        if not Path(f"{self.ssh_key}.pub").is_file():
            self.ssh_key.unlink(missing_ok=True)
            argv = [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"zctl-lab-{self.name}",
                "-f",
                str(self.ssh_key),
            ]
            run(argv, what="the lab's SSH key was made")
        text = SSH_OPTIONS.format(folder=self.folder)
        write_file(self.folder / "ssh_config", text)

    def _write_known_hosts(self) -> None:
        lines = [f"{host.address},{host.name} {host.host_key}\n" for host in self.hosts]
        write_file(self.folder / "known_hosts", "".join(lines))

    def wait(self, hosts: Sequence[LabHost], patience: float = BOOT_PATIENCE) -> None:
        """Return when SSH answers on all these hosts. Raises LabError, with what its console said, when one ends."""
        waiting = list(hosts)
        slow = any(host.has_own_kernel for host in hosts)
        deadline = time.monotonic() + patience * (SLOWNESS if slow else 1)
        while waiting := [host for host in waiting if not host.ssh_answers()]:
            dead = next((host for host in waiting if not host.is_on), None)
            if dead or time.monotonic() > deadline:
                bad = dead or waiting[0]
                what = "it ended while booting" if dead else "SSH did not answer in time"
                raise LabError(f"{what}: {bad.last_words()}", resource=f"lab host {bad.power.title}")
            time.sleep(0.1)

    # --- looking -----------------------------------------------------------------------------------------------
    def status(self) -> dict[str, Any]:
        """Everything somebody who wants to use the lab has to know, as plain values."""
        return {
            "name": self.name,
            "index": self.index,
            "bare": self.bare,
            "ssh_key": str(self.ssh_key),
            "ssh_config": str(self.folder / "ssh_config"),
            "known_hosts": str(self.folder / "known_hosts"),
            "management": {"cidr": str(self.plan.management), "gateway": str(self.plan.machine), "nic": "host0"},
            "data": {
                "cidr": str(self.plan.data),
                "gateway": str(self.plan.gateway),
                "nic": "data0",
                "bridge": self.plan.data_bridge,
            },
            "images": cached_guest().status(),
            "shared": {"machine": str(self.shared), "hosts": "/srv/shared"},
            "hosts": [host.status() for host in self.hosts],
        }

    def ssh_argv(self, host: str, *command: str) -> list[str]:
        """The command line that runs `command` on the host, or a login shell without one."""
        return ["ssh", "-F", str(self.folder / "ssh_config"), self.host(host).address, *command]

    def ssh(self, host: str, command: str, *, timeout: float = 60, stdin: str = "") -> str:
        """Run a shell command on a host and return what it printed. Raises LabError when it fails."""
        return run(self.ssh_argv(host, command), what=f"{host}: '{command[:60]}'", timeout=timeout, stdin=stdin)

    def try_ssh(self, host: str, command: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a host and return its exit code and output, whatever they are."""
        argv = self.ssh_argv(host, command)
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, env=environment())

    # --- disturbing --------------------------------------------------------------------------------------------
    def reboot(self, name: str, *, say: Say = silent) -> None:
        """Power-cycle a host: no orderly shutdown; its disk stays. Returns when SSH answers again."""
        with machine_lock(say):
            host = self.host(name)
            say(f"power-cycling {name} of lab {self.name}")
            host.stop()
            host.start(self.base)
            self.wait([host])

    def kill(self, name: str, *, say: Say = silent) -> None:
        """Cut a host's power; it stays off until the next `up`."""
        with machine_lock(say):
            host = self.host(name)
            say(f"cutting the power of {name} of lab {self.name}")
            host.stop()

    # --- down --------------------------------------------------------------------------------------------------
    @classmethod
    def down(cls, name: str, *, say: Say = silent) -> bool:
        """Remove the lab with all that it made on the machine; the cache stays. False when there was nothing.

        Works from any state that a crash can leave.
        """
        with machine_lock(say):
            if not NAME.fullmatch(name) or not lab_dir(name).is_dir():
                return False
            say(f"taking lab {name} down")
            known = read_json(lab_dir(name) / "lab.json")
            if known is not None:
                lab = cls.open(name)
                for host in lab.hosts:
                    host.remove()
                machine.network_down(name, lab.plan)
            shutil.rmtree(lab_dir(name))
            if not cls.names():
                machine.guard_off()
            return True
