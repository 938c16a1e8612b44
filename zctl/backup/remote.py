"""Copies of dumps on another machine, over SSH: nothing is needed there but a shell, tar and coreutils."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from zctl.backup.folder import Condition, Dump
from zctl.backup.manifest import SUFFIX, parse
from zctl.backup.stream import child_environment
from zctl.errors import HostError, Invalid, Misuse

PLACE = re.compile(
    r"^(?:(?P<user>[A-Za-z_][A-Za-z0-9_.-]*)@)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>\d+))?$"
)
TIMEOUT_SECONDS = 3600
ONE_FILE = """set -e
umask 077
mkdir -p -- {folder}
cd -- {folder}
trap 'rm -f -- {part}' EXIT
cat > {part}
sync {part}
sum=$(sha256sum < {part})
if [ "${{sum%% *}}" != {sum} ]; then
    echo "the copy came out different" >&2
    exit 3
fi
mv -- {part} {name}
sync .
"""


@dataclass(frozen=True)
class Remote:
    """A folder on another machine. The machine's key is pinned at the first contact, in `known_hosts`."""

    address: str
    user: str
    port: int
    folder: PurePosixPath
    known_hosts: Path
    key: str = ""

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"host {self.user}@{self.address}:{self.port}"

    def argv(self, command: str) -> list[str]:
        """ssh with a command for the shell there."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": f'"{self.known_hosts}" ~/.ssh/known_hosts',
            "LogLevel": "ERROR",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        if self.key:
            words += ["-o", "IdentitiesOnly=yes", "-i", self.key]
        return [
            "ssh",
            *words,
            "-p",
            str(self.port),
            "-l",
            self.user,
            "--",
            self.address,
            f"sh -c {shlex.quote(command)}",
        ]

    def run(self, command: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> bytes:
        """Run a command there; returns what it printed. Raises HostError."""
        try:
            done = subprocess.run(
                self.argv(command),
                stdin=stdin,
                capture_output=True,
                check=False,
                timeout=TIMEOUT_SECONDS,
                env=child_environment(),
            )
        except subprocess.TimeoutExpired:
            raise HostError("it took over an hour", resource=self.label, remedy="look at the network between") from None
        except FileNotFoundError:
            raise HostError("ssh is not installed here", remedy="apt install openssh-client") from None
        if done.returncode != 0:
            raise self.failed(done.stderr.decode(errors="replace"))
        return done.stdout

    def failed(self, words: str) -> HostError:
        """The error for a command that failed there, or never got there."""
        said = [line for line in words.splitlines() if line.strip()]
        last = said[-1][:300] if said else "it ended without a word"
        lower = words.lower()
        remedy = "look at that machine"
        if "identification has changed" in lower or "verification failed" in lower:
            last = "its SSH key is not the pinned one"
            remedy = f"when the machine was set up anew: ssh-keygen -f {self.known_hosts} -R {self.address}"
        elif "permission denied (" in lower:
            remedy = "give its user this machine's public key; ssh_key in the configuration names the private one"
        elif "no space left" in lower:
            remedy = "free space there; its older dumps are untouched"
        elif "refused" in lower or "timed out" in lower or "no route" in lower or "resolve" in lower:
            remedy = "check the address, that the machine is up, and the firewall between"
        return HostError(f"the copy failed: {last}", resource=self.label, remedy=remedy)


def parse_place(text: str, folder: str, known_hosts: Path, key: str = "") -> Remote:
    """USER@ADDRESS:PORT; without a user root, without a port 22. Raises Misuse."""
    found = PLACE.match(text)
    port = int(found["port"] or 22) if found else 0
    if found is None or not 1 <= port <= 65535:
        raise Misuse(
            f"--host {text} is not USER@ADDRESS:PORT", remedy="for instance root@192.0.2.7:22 or root@[2001:db8::7]"
        )
    if not PurePosixPath(folder).is_absolute():
        raise Misuse(f"--remote-path {folder} is not an absolute path", remedy="give the full path on that machine")
    return Remote(found["v6"] or found["host"], found["user"] or "root", port, PurePosixPath(folder), known_hosts, key)


def send(remote: Remote, dump: Dump) -> None:
    """Copy a dump and then its manifest; each gets its name there when it is whole. Raises HostError."""
    from zctl.backup.stream import file_sum

    for path, total in ((dump.path, dump.manifest.sha256), (dump.manifest_path, file_sum(dump.manifest_path))):
        script = ONE_FILE.format(
            folder=shlex.quote(str(remote.folder)),
            part=shlex.quote(f"./.{path.name}.zctl-part"),
            name=shlex.quote(f"./{path.name}"),
            sum=total,
        )
        with path.open("rb") as file:
            remote.run(script, file)


def listed(remote: Remote) -> list[Dump]:
    """The dumps there. Others' files are passed over."""
    command = (
        f"cd -- {shlex.quote(str(remote.folder))} 2>/dev/null || exit 0; "
        f'set -- ./*{SUFFIX}; [ -f "$1" ] || exit 0; tar -cf - -- "$@"'
    )
    packed = remote.run(command)
    found = []
    with tarfile.open(fileobj=io.BytesIO(packed)) if packed else io.BytesIO() as archive:
        for member in archive.getmembers() if isinstance(archive, tarfile.TarFile) else ():
            content = archive.extractfile(member) if member.isfile() and member.size < 1 << 20 else None  # type: ignore[union-attr]
            name = member.name.removeprefix("./").removesuffix(SUFFIX)
            if content is None:
                continue
            try:
                manifest = parse(content.read(), member.name)
            except Invalid:
                continue
            if manifest.file == name:
                found.append(Dump(Path(remote.folder / name), manifest))
    return found


def conditions(remote: Remote, dumps: Iterable[Dump]) -> dict[str, Condition]:
    """Whether these are as they were written, by file name; read there."""
    names = [dump.manifest.file for dump in dumps]
    words = " ".join(shlex.quote(f"./{name}") for name in names)
    command = f"cd -- {shlex.quote(str(remote.folder))}; sha256sum -- {words} 2>/dev/null; exit 0"
    sums = {}
    for line in remote.run(command).decode(errors="replace").splitlines():
        total, _, name = line.partition("  ")
        sums[name.removeprefix("./")] = total
    return {
        dump.manifest.file: "good"
        if sums.get(dump.manifest.file) == dump.manifest.sha256
        else ("damaged" if dump.manifest.file in sums else "missing")
        for dump in dumps
    }


def remove(remote: Remote, dumps: list[Dump]) -> None:
    """Delete dumps there: first what makes them count."""
    words = [shlex.quote(f"./{dump.manifest.file}{suffix}") for dump in dumps for suffix in (SUFFIX, "")]
    remote.run(f"cd -- {shlex.quote(str(remote.folder))} && rm -f -- {' '.join(words)}")
