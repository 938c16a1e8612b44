"""What the port within a network namespace is like. One thread looks into all of them, no process is started."""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import socket
import struct
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NAMESPACES = Path("/run/netns")
PORT = "eth0"
SETTINGS = Path("/proc/sys/net/ipv6/conf")  # of the namespace that the asking thread is in
ADDRESSES6 = Path("/proc/thread-self/net/if_inet6")
_CLONE_NEWNET = 0x40000000
# linux/sockios.h
_GET_CONFIG, _GET_FLAGS, _GET_MASK, _GET_MTU, _GET_MAC = 0x8912, 0x8913, 0x891B, 0x8921, 0x8927
_IFF_UP = 1
_ENTRY = 40  # sizeof(struct ifreq) on 64-bit machines
Json = dict[str, Any]


def read_inside(names: Iterable[str], folder: Path = NAMESPACES) -> dict[str, Json]:
    """The port within each namespace that is there: up, mac, mtu, addresses, settings of IPv6; empty without one.

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
    addresses = [f"{ip}/{_length(asked, label, ip)}" for label, ip in _addresses(asked) if label.split(b":")[0] == name]
    return {
        "up": bool(flags & _IFF_UP),
        "mac": ":".join(f"{b:02x}" for b in mac),
        "mtu": mtu,
        "addresses": addresses + _addresses6(),
        "ipv6": {name: _setting(name) for name in ("disable_ipv6", "accept_ra", "forwarding")},
    }


def _addresses6() -> list[str]:
    """The port's IPv6 addresses; none on a host without IPv6."""
    try:
        lines = ADDRESSES6.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    entries = [line.split() for line in lines]
    of_port = [entry for entry in entries if entry[5] == PORT]
    return [f"{ipaddress.IPv6Address(bytes.fromhex(entry[0]))}/{int(entry[2], 16)}" for entry in of_port]


def _setting(name: str) -> str | None:
    try:
        return (SETTINGS / PORT / name).read_text(encoding="ascii").strip()
    except OSError:
        return None


def set_ipv6(name: str, settings: dict[str, str], folder: Path = NAMESPACES) -> None:
    """Make the kernel's settings for IPv6 in a namespace, for its port and those to come. Raises OSError."""
    wrong: list[OSError] = []

    def work() -> None:
        try:
            handle = os.open(folder / name, os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
            finally:
                os.close(handle)
            for key, value in settings.items():
                # `all` tells all ports of forwarding; of the others each has its own.
                for place in ("all",) if key == "forwarding" else ("default", PORT):
                    (SETTINGS / place / key).write_text(value, encoding="ascii")
        except OSError as error:
            wrong.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if wrong:
        raise wrong[0]


def _length(asked: socket.socket, label: bytes, ip: str) -> int:
    # With the address beside the label the kernel tells that one's mask, and not the first one's of the label.
    which = label.ljust(16, b"\0") + struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(ip))
    mask = struct.unpack("!I", _ask(asked, _GET_MASK, which)[4:8])[0]
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
