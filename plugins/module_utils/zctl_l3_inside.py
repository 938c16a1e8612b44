"""What the port within a network namespace is like. One thread looks into all of them, no process is started."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NAMESPACES = Path("/run/netns")
PORT = "eth0"
_CLONE_NEWNET = 0x40000000
# linux/sockios.h
_GET_CONFIG, _GET_FLAGS, _GET_MASK, _GET_MTU, _GET_MAC = 0x8912, 0x8913, 0x891B, 0x8921, 0x8927
_IFF_UP = 1
_ENTRY = 40  # sizeof(struct ifreq) on 64-bit machines
Json = dict[str, Any]


def read_inside(names: Iterable[str], folder: Path = NAMESPACES) -> dict[str, Json]:
    """The port within each namespace that is there: up, mac, mtu and IPv4 addresses; an empty value when it has none.

    A name whose file no longer leads to a namespace is left out.
    """
    found: dict[str, Json] = {}
    wanted = [name for name in names if (folder / name).exists()]
    if wanted:
        # setns(2) moves the calling thread only; this one ends here.
        thread = threading.Thread(target=_look, args=(wanted, folder, found))
        thread.start()
        thread.join()
    return found


def _look(names: list[str], folder: Path, found: dict[str, Json]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for name in names:
        try:
            handle = os.open(folder / name, os.O_RDONLY)
        except OSError:
            continue
        try:
            if libc.setns(handle, _CLONE_NEWNET) == 0:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
                    found[name] = _port(asked)
        except OSError:
            found[name] = {}
        finally:
            os.close(handle)


def _ask(asked: socket.socket, request: int, name: bytes) -> bytes:
    """The answer of a network device, without the name that it begins with."""
    return fcntl.ioctl(asked.fileno(), request, name.ljust(_ENTRY, b"\0"))[16:]


def _port(asked: socket.socket) -> Json:
    """What the kernel says of the port. Raises OSError when there is none."""
    name = PORT.encode()
    flags = struct.unpack("H", _ask(asked, _GET_FLAGS, name)[:2])[0]
    mac = _ask(asked, _GET_MAC, name)[2:8]
    mtu = struct.unpack("i", _ask(asked, _GET_MTU, name)[:4])[0]
    addresses = [f"{ip}/{_length(asked, label)}" for label, ip in _addresses(asked) if label.split(b":")[0] == name]
    return {"up": bool(flags & _IFF_UP), "mac": ":".join(f"{b:02x}" for b in mac), "mtu": mtu, "addresses": addresses}


def _length(asked: socket.socket, label: bytes) -> int:
    mask = struct.unpack("!I", _ask(asked, _GET_MASK, label)[4:8])[0]
    return bin(mask).count("1")


def _addresses(asked: socket.socket) -> list[tuple[bytes, str]]:
    """Label and IPv4 address of all addresses in the namespace (netdevice(7), SIOCGIFCONF)."""
    room = 4096
    while True:
        buffer = ctypes.create_string_buffer(room)
        request = struct.pack("iP", room, ctypes.addressof(buffer))
        used = struct.unpack("iP", fcntl.ioctl(asked.fileno(), _GET_CONFIG, request))[0]
        if used + _ENTRY <= room:
            break
        room *= 4
    raw = buffer.raw[:used]
    return [
        (raw[at : at + 16].partition(b"\0")[0], socket.inet_ntoa(raw[at + 20 : at + 24]))
        for at in range(0, used, _ENTRY)
    ]
