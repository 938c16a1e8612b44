"""SSH by the real ssh: variables for Ansible, pinned host keys, and finding out a host's key."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import subprocess
import tempfile
from dataclasses import astuple
from pathlib import Path
from typing import Any

from zctl.errors import HostError
from zctl.run.values import Connection

SCAN_TIMEOUT = 5
PREFERRED = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "ssh-rsa",
)


def scan_host_key(name: str, address: str, port: int) -> str:
    """The best public key that a host offers, as 'TYPE BASE64'. Raises HostError when it does not answer."""
    argv = ["ssh-keyscan", "-T", str(SCAN_TIMEOUT), "-p", str(port), "--", address]
    try:
        found = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=4 * SCAN_TIMEOUT, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise HostError("ssh-keyscan is not installed here", remedy="apt install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise unanswered(name, address, port) from None
    keys = parse_scan(found.stdout)
    if not keys:
        raise unanswered(name, address, port)
    return min(keys, key=lambda key: PREFERRED.index(key.split()[0]) if key.split()[0] in PREFERRED else len(PREFERRED))


def unanswered(name: str, address: str, port: int) -> HostError:
    """The error for a host that does not answer."""
    return HostError(
        f"no SSH server answers at {address} port {port}",
        resource=f"host {name}",
        remedy="check the address, that the machine is up, and the firewall between",
    )


def parse_scan(output: str) -> list[str]:
    """The keys in ssh-keyscan's output: lines 'host type base64'."""
    lines = [line.split() for line in output.splitlines() if line and not line.startswith("#")]
    return [f"{words[1]} {words[2]}" for words in lines if len(words) >= 3]


def fingerprint(host_key: str) -> str:
    """SHA256 fingerprint of a public key, as ssh-keygen -l prints it."""
    try:
        blob = base64.b64decode(host_key.split()[1], validate=True)
    except (IndexError, ValueError):
        raise HostError(
            "the host key is not 'TYPE BASE64'", remedy="copy it from /etc/ssh/ssh_host_ed25519_key.pub of the host"
        ) from None
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def alias(connection: Connection) -> str:
    """The name under which a host's key is pinned: it follows the host, not its address."""
    return f"zctl-{connection.uuid}"


def known_hosts(connections: list[Connection]) -> str:
    """A known_hosts file with the pinned keys only."""
    return "".join(f"{alias(c)} {' '.join(c.host_key.split()[:2])}\n" for c in connections if c.host_key)


def ssh_options(connection: Connection, known_hosts_file: Path) -> list[str]:
    """Options for ssh: the pinned key or nothing, no questions, and an end to dead connections."""
    return [
        "-o",
        f"UserKnownHostsFile={known_hosts_file}",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        f"HostKeyAlias={alias(connection)}",
        "-o",
        "BatchMode=yes",
        "-o",
        "ServerAliveInterval=5",
        "-o",
        "ServerAliveCountMax=2",
    ]


def host_variables(connection: Connection, known_hosts_file: Path, *, own_socket: bool = True) -> dict[str, Any]:
    """Ansible's variables for reaching a host. Without `own_socket` Ansible chooses where connections are shared."""
    if connection.is_local:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_become": os.geteuid() != 0,
        }
    options = ssh_options(connection, known_hosts_file)
    if own_socket:
        options += ["-o", f"ControlPath={control_path(connection)}"]
    variables: dict[str, Any] = {
        "ansible_host": connection.address,
        "ansible_port": connection.port,
        "ansible_user": connection.user,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_become": connection.user != "root",
        "ansible_ssh_common_args": shlex.join(options),
    }
    if connection.sudo_password:
        variables["ansible_become_password"] = connection.sudo_password
    if connection.key:
        variables["ansible_ssh_private_key_file"] = connection.key
        variables["ansible_ssh_extra_args"] = "-o IdentitiesOnly=yes"
    return variables


def control_folder() -> Path:
    """A short private folder for ssh's control sockets: their paths may not exceed 108 bytes."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    # `runuser` and `su` leave root's folder in the environment of the user that they change to.
    if len(str(base)) > 40 or not os.access(base, os.W_OK):
        base = Path("/tmp")  # noqa: S108 - a fixed, owner-checked folder in it
    folder = base / f"zctl-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.geteuid() or folder.is_symlink():
        raise HostError(f"{folder} belongs to somebody else", remedy="remove it, or set XDG_RUNTIME_DIR")
    return folder


def control_path(connection: Connection) -> Path:
    """The socket over which runs that follow each other share one SSH connection.

    Its name follows everything that a login depends on: another user, key or pinned host key is another connection.
    """
    said = "\0".join(str(value) for value in astuple(connection))
    return control_folder() / hashlib.sha256(said.encode()).hexdigest()[:20]


def forget_connection(connection: Connection) -> None:
    """End a shared connection that may be dead, such as one to a host that has restarted since."""
    if connection.is_local:
        return
    path = control_path(connection)
    argv = ["ssh", "-o", f"ControlPath={path}", "-O", "exit", "zctl"]
    subprocess.run(argv, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=10)
    path.unlink(missing_ok=True)
