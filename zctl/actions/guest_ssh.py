"""Logging in to VMs through their hosts, and giving them other keys."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from zctl.actions.console import ssh_wrapper
from zctl.actions.context import Context
from zctl.actions.converge import connection_of
from zctl.actions.vms import change
from zctl.errors import Invalid, Refused
from zctl.plan.names import namespace_name
from zctl.resources.host import Host
from zctl.resources.image import Image
from zctl.resources.keypair import Keypair, known_names
from zctl.resources.lookup import find
from zctl.resources.nic import Nic
from zctl.resources.vm import Vm

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

AGENT_PATIENCE = 20
# What virsh says where there is no agent, or an old one, or virsh itself is too old to ask it.
NO_AGENT = (
    "guest agent is not", "agent not available", "agent disappeared", "agent command timed out",
    "has not been found", "unknown command", "not supported", "failed to get domain", "domain is not running",
)  # fmt: skip
# Runs on the host, in the namespace of the VM's network: joins its own input and output to the VM's port.
RELAY = """\
import os, select, socket, sys
try:
    guest = socket.create_connection((sys.argv[1], int(sys.argv[2])), 15)
except OSError as error:
    sys.exit(f"{sys.argv[1]} port {sys.argv[2]} does not answer: {error}")
guest.settimeout(None)
sources = [0, guest]
while guest in sources:
    for one in select.select(sources, [], [])[0]:
        data = os.read(0, 65536) if one == 0 else guest.recv(65536)
        if not data:
            sources.remove(one)
            if one == 0:
                guest.shutdown(socket.SHUT_WR)
        elif one == 0:
            guest.sendall(data)
        else:
            while data:
                data = data[os.write(1, data):]
"""


@dataclass(frozen=True)
class Login:
    """Who is asked for at the VM's door, and with which key."""

    user: str = ""
    port: int = 22
    identity: str = ""


def ssh_argv(context: Context, name: str, login: Login, command: list[str]) -> list[str]:
    """The ssh call that logs in to a VM through its host, without any address of the VM's reachable from here.

    The VM's host key is pinned at the first login. Raises Refused when the VM cannot be reached that way.
    """
    with context.inventory.read() as db:
        vm = find(db, Vm, name)
        host = db.get(Host, vm.host_id) if vm.host_id else None
        query = select(Nic).where(
            col(Nic.vm_id) == vm.id, col(Nic.l3_network_id).is_not(None), col(Nic.ip).is_not(None)
        )
        nic = db.scalars(query.where(col(Nic.bridge).is_(None)).order_by(col(Nic.device))).first()
        user = login.user or login_of(db, vm)
    if host is None or vm.power != "Running":
        raise Refused("it is not running", resource=vm.label, remedy=f"zctl vm start {vm.name}")
    if nic is None or nic.l3_network_id is None or nic.ip is None:
        raise Refused(
            "it has no network card on an l3-network of zctl's",
            resource=vm.label,
            remedy=f"zctl nic create --vm {vm.name} --l3-network NAME",
        )
    relay = ["ip", "netns", "exec", namespace_name(nic.l3_network_id), "python3", "-c", RELAY, nic.ip, str(login.port)]
    options = {
        "ProxyCommand": shlex.join(on_host(context, host, relay)).replace("%", "%%"),
        "HostKeyAlias": f"zctl-vm-{vm.id}",
        "UserKnownHostsFile": f'"{pinned_keys(context, vm)}"',
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "accept-new",
        "CheckHostIP": "no",
        "ControlPath": "none",  # a user's own would lead to whatever else is called so
        "ServerAliveInterval": "15",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    if login.identity:
        words += ["-i", str(Path(login.identity).expanduser()), "-o", "IdentitiesOnly=yes"]
    return ["ssh", *words, "-l", user, "--", vm.name, *command]


def login_of(db: Session, vm: Vm) -> str:
    """The user that the VM's image is made for."""
    image = db.get(Image, vm.image_id) if vm.image_id else None
    return (image.login if image else None) or "root"


def pinned_keys(context: Context, vm: Vm) -> Path:
    """Where the VM's host keys are pinned."""
    folder = context.config.home / "ssh"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / f"vm-{vm.id}.known_hosts"


def on_host(context: Context, host: Host, argv: list[str]) -> list[str]:
    """The call that runs a program as root on a host, over the pinned connection."""
    connection = connection_of(context, host)
    if connection.is_local:
        import os

        return [*([] if os.geteuid() == 0 else ["sudo", "-n"]), *argv]
    as_root = argv if connection.user == "root" else ["sudo", "-n", *argv]
    target = ["-p", str(connection.port), "-l", connection.user, "--", connection.address]
    return [str(ssh_wrapper(context, host)), *target, shlex.join(as_root)]


def reset_key(context: Context, name: str, keys: list[str], user: str = "") -> tuple[Vm, bool]:
    """Give a VM these keys and no others. Returns it, and whether they are in force already.

    The guest agent puts them in place at once when it runs. Without it the VM becomes a new instance to cloud-init,
    which then takes the keys at the next boot: it looks for keys at an instance's first boot only.
    """
    with context.inventory.read() as db:
        vm = find(db, Vm, name)
        host = db.get(Host, vm.host_id) if vm.host_id else None
        wanted = known_names(db, vm.label, list(keys))
        if not wanted:
            raise Invalid("no keypair is given", resource=vm.label, remedy="give --ssh-key NAME")
        texts = [find(db, Keypair, key).public_key for key in wanted]
        user = user or login_of(db, vm)
    is_done = host is not None and not context.dry_run and give_by_agent(context, host, vm, user, texts)

    def edit(_db: Session, row: Vm) -> None:
        row.keypairs = wanted
        if not is_done:
            row.instance_generation += 1

    (vm,) = change(context, "reset-ssh-key", [name], edit)
    if not is_done and not context.dry_run:
        pinned_keys(context, vm).unlink(missing_ok=True)  # a new instance makes itself new host keys
    return vm, is_done


def give_by_agent(context: Context, host: Host, vm: Vm, user: str, keys: list[str]) -> bool:
    """Whether the guest agent has put these keys in place; it does not run in every guest."""
    if vm.power != "Running":
        return False
    argv = ["virsh", "-q", "-c", "qemu:///system", "set-user-sshkeys", vm.id, user, "--reset", "--file", "/dev/stdin"]
    try:
        done = subprocess.run(
            on_host(context, host, argv),
            input="\n".join(keys) + "\n",
            text=True,
            capture_output=True,
            timeout=AGENT_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    words = done.stderr.strip().splitlines()
    if done.returncode == 0 or any(sign in done.stderr for sign in NO_AGENT):
        return done.returncode == 0
    raise Refused(
        f"its keys cannot be put in place: {words[-1] if words else f'exit code {done.returncode}'}",
        resource=vm.label,
        remedy=f"zctl host check {host.name}; --login names the user inside the VM",
    )
