"""A VM's serial console, through libvirt's own stream."""

from __future__ import annotations

import os
import sys
import termios
import tty
from typing import Any
from urllib.parse import quote

from zctl.actions.context import Context
from zctl.actions.converge import connection_of
from zctl.errors import HostError, Refused, ZctlError
from zctl.resources.host import Host
from zctl.resources.lookup import find
from zctl.resources.vm import Vm
from zctl.run.connection import alias, control_folder, known_hosts
from zctl.run.render import write_private

ESCAPE = b"\x1d"


def load_libvirt() -> Any:
    """The libvirt module. Raises ZctlError that says what to install where it is missing."""
    try:
        import libvirt
    except ImportError:
        raise ZctlError(
            "the console needs libvirt-python, which is not installed",
            remedy="apt install libvirt-dev pkg-config gcc python3-dev && pip install 'zctl[libvirt]'",
        ) from None
    return libvirt


def open_console(context: Context, name: str) -> None:
    """Connect stdin and stdout to the console until Ctrl-] or the end of input."""
    libvirt = load_libvirt()
    with context.inventory.read() as db:
        vm = find(db, Vm, name)
        host = db.get(Host, vm.host_id) if vm.host_id else None
    if host is None:
        raise Refused("it is on no host", resource=vm.label, remedy=f"zctl vm start {vm.name}")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    try:
        connection = libvirt.open(libvirt_uri(context, host))
        stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        connection.lookupByUUIDString(vm.id).openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
    except libvirt.libvirtError as error:
        words = str(error)
        if "not running" in words or "not found" in words:
            raise Refused("it is not running", resource=vm.label, remedy=f"zctl vm start {vm.name}") from None
        raise HostError(
            f"the console does not open: {words}", resource=vm.label, remedy=f"zctl host check {host.name}"
        ) from None
    context.say(f"connected to the console of {vm.name}; Ctrl-] ends it")
    with raw_terminal():
        Pump(libvirt, stream).run()


def libvirt_uri(context: Context, host: Host) -> str:
    """libvirt's address of a host, by SSH with the pinned key (libvirt.org/uri.html, 'libssh2/ssh transport')."""
    connection = connection_of(context, host)
    if connection.is_local:
        return "qemu:///system"
    script = ssh_wrapper(context, host)
    target = f"[{connection.address}]" if ":" in connection.address else connection.address
    return (
        f"qemu+ssh://{quote(connection.user)}@{target}:{connection.port}/system?command={quote(str(script))}&no_tty=1"
    )


def ssh_wrapper(context: Context, host: Host) -> Any:
    """A private script that calls ssh with the pinned key: libvirt's URI cannot carry that option."""
    import shlex

    connection = connection_of(context, host)
    folder = context.config.home / "ssh"
    keys = folder / f"{host.id}.known_hosts"
    write_private(keys, known_hosts([connection]))
    options = [
        "-o",
        f"UserKnownHostsFile={keys}",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        f"HostKeyAlias={alias(connection)}",
        "-o",
        "BatchMode=yes",
        "-o",
        f"ControlPath={control_folder()}/console-%C",
    ]
    if connection.key:
        options += ["-i", connection.key, "-o", "IdentitiesOnly=yes"]
    script = folder / f"{host.id}.sh"
    write_private(script, f'#!/bin/sh\nexec ssh {shlex.join(options)} "$@"\n')
    script.chmod(0o700)
    return script


class raw_terminal:
    """The terminal without echo and line editing, restored at the end."""

    def __enter__(self) -> None:
        self.saved = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
        if self.saved:
            tty.setraw(sys.stdin)

    def __exit__(self, *_error: object) -> None:
        if self.saved:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self.saved)


class Pump:
    """Moves bytes between terminal and stream in libvirt's event loop."""

    def __init__(self, libvirt: Any, stream: Any) -> None:
        self.libvirt, self.stream, self.open = libvirt, stream, True
        self.waiting = b""

    def run(self) -> None:
        """Until either side ends."""
        readable = self.libvirt.VIR_EVENT_HANDLE_READABLE
        self.stream.eventAddCallback(
            self.libvirt.VIR_STREAM_EVENT_READABLE
            | self.libvirt.VIR_STREAM_EVENT_HANGUP
            | self.libvirt.VIR_STREAM_EVENT_ERROR,
            self.on_stream,
            None,
        )
        watch = self.libvirt.virEventAddHandle(0, readable | self.libvirt.VIR_EVENT_HANDLE_HANGUP, self.on_input, None)
        timer = self.libvirt.virEventAddTimeout(100, lambda _timer, _data: self.flush(), None)
        while self.open:
            self.libvirt.virEventRunDefaultImpl()
        self.libvirt.virEventRemoveTimeout(timer)
        self.libvirt.virEventRemoveHandle(watch)

    def on_input(self, _watch: int, _fd: int, _events: int, _data: object) -> None:
        """The user typed."""
        typed = os.read(0, 1024)
        if not typed or ESCAPE in typed:
            self.waiting += typed.partition(ESCAPE)[0]
            self.flush()
            self.open = False
            return
        self.waiting += typed
        self.flush()

    def flush(self) -> None:
        """Send what was typed, as much as the stream takes."""
        while self.waiting:
            sent = self.stream.send(self.waiting)
            if sent < 0:
                return
            self.waiting = self.waiting[sent:]

    def on_stream(self, stream: Any, events: int, _data: object) -> None:
        """The guest wrote, or is gone."""
        if events & self.libvirt.VIR_STREAM_EVENT_READABLE:
            try:
                got = stream.recv(4096)
            except self.libvirt.libvirtError:
                self.open = False
                return
            if isinstance(got, bytes) and got:
                os.write(1, got)
            elif got == b"":
                self.open = False
        else:
            self.open = False
