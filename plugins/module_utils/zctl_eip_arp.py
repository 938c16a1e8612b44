# SPDX-License-Identifier: Apache-2.0
"""Asking who has an address before it is taken, and saying that it is here now (RFC 5227), for many at once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_eip_nd as nd
except ImportError:
    import zctl_eip_nd as nd  # type: ignore[no-redef]

NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_ARP = 0x0806
_REQUEST = 1
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_EVERYBODY, _NOBODY = b"\xff" * 6, b"\0" * 6
PROBES, PAUSE, PATIENCE = 3, 0.2, 0.5
Json = dict[str, Any]


def within(namespace: str, action: Callable[[], Any]) -> Any:
    """The value of an action that runs in a network namespace. setns(2) moves one thread only: it ends with this."""
    found: list[Any] = []
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            handle = os.open(NAMESPACES / namespace, os.O_RDONLY)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle, _CLONE_NEWNET):
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code), namespace)
            finally:
                os.close(handle)
            found.append(action())
        except OSError as error:
            wrong.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if wrong:
        raise wrong[0]
    return found[0]


def frame(source: str, sender: str, target: str) -> bytes:
    """An ARP request; a probe has the sender 0.0.0.0, an announcement the target itself."""
    mac = bytes.fromhex(source.replace(":", ""))
    return _FRAME.pack(
        _EVERYBODY,
        mac,
        _ARP,
        1,
        0x0800,
        6,
        4,
        _REQUEST,
        mac,
        socket.inet_aton(sender),
        _NOBODY,
        socket.inet_aton(target),
    )


def parse(packet: bytes) -> tuple[str, str] | None:
    """Address and MAC of whoever sent an ARP packet; None for anything else, and for a probe."""
    if len(packet) < _FRAME.size:
        return None
    fields = _FRAME.unpack(packet[: _FRAME.size])
    if fields[2] != _ARP or fields[4] != 0x0800:
        return None
    ip = socket.inet_ntoa(fields[9])
    return None if ip == "0.0.0.0" else (ip, ":".join(f"{byte:02x}" for byte in fields[8]))


def probe(port: str, mac: str, addresses: list[str]) -> dict[str, str]:
    """Who answers for the addresses on a port: address to MAC. Takes a second, however many there are."""
    answers: dict[str, str] = {}
    wanted = set(addresses)
    with contextlib.ExitStack() as stack:
        lines = {version: stack.enter_context(line_of(port, version)) for version in {version_of(a) for a in addresses}}
        parse_of = {line: parse if version == 4 else nd.parse for version, line in lines.items()}
        for number in range(PROBES):
            for address in addresses:
                version = version_of(address)
                lines[version].send(frame(mac, "0.0.0.0", address) if version == 4 else nd.solicitation(mac, address))
            until = time.monotonic() + (PAUSE if number < PROBES - 1 else PATIENCE)
            while (left := until - time.monotonic()) > 0:
                ready = select.select(list(lines.values()), [], [], left)[0]
                said = [parse_of[line](line.recv(2048)) for line in ready]
                answers |= {ip: other for ip, other in filter(None, said) if ip in wanted and other != mac}
            if len(answers) == len(addresses):
                break
    return answers


def announce(port: str, mac: str, addresses: list[str]) -> None:
    """Tell everybody on a port that the addresses are here now."""
    for version in sorted({version_of(address) for address in addresses}):
        with line_of(port, version) as line:
            for address in (each for each in addresses if version_of(each) == version):
                line.send(frame(mac, address, address) if version == 4 else nd.advertisement(mac, address))


def line_of(port: str, version: int) -> socket.socket:
    """A socket for what neighbours ask and tell each other on a port."""
    kind = _ARP if version == 4 else nd.ETHERTYPE
    # With a protocol from the beginning it would hear every port of the host until it is bound to this one.
    line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    line.bind((port, kind))
    return line


def version_of(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4
