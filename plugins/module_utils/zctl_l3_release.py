# SPDX-License-Identifier: Apache-2.0
"""Gives leases back in the name of guests that are gone, as dhcp_release(1) does, so that nothing has to be restarted.

dnsmasq keeps in its memory which MAC holds an address and refuses it to another one until the lease ends, unless the
holder gives it back (DHCPRELEASE, RFC 2131). It believes what comes in by the port of the network.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import struct
import threading
from collections.abc import Iterable
from pathlib import Path

NAMESPACES = Path("/run/netns")
PORT = "eth0"
_CLONE_NEWNET = 0x40000000
_COOKIE, _RELEASE = bytes((99, 130, 83, 99)), 7
_SMALLEST = 300  # of a BOOTP message (RFC 1542)


def release_packet(server: str, mac: str, ip: str) -> bytes:
    """The message by which the card with this MAC gives back its address."""
    fixed = struct.pack("!BBBB4sHH", 1, 1, 6, 0, secrets.token_bytes(4), 0, 0)
    addresses = socket.inet_aton(ip) + bytes(12)
    hardware = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0") + bytes(64 + 128)
    options = bytes((53, 1, _RELEASE, 54, 4)) + socket.inet_aton(server) + b"\xff"
    return (fixed + addresses + hardware + _COOKIE + options).ljust(_SMALLEST, b"\0")


def release(namespace: str, server: str, holders: Iterable[tuple[str, str]]) -> None:
    """Give back addresses, as (MAC, address), to the DHCP service in a namespace. Raises OSError."""
    packets = [release_packet(server, mac, ip) for mac, ip in holders]
    troubles: list[OSError] = []
    if packets:
        # setns(2) moves the calling thread only; this one ends here.
        thread = threading.Thread(target=_send, args=(namespace, server, packets, troubles))
        thread.start()
        thread.join()
    if troubles:
        raise troubles[0]


def _send(namespace: str, server: str, packets: list[bytes], troubles: list[OSError]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        handle = os.open(NAMESPACES / namespace, os.O_RDONLY)
        try:
            if libc.setns(handle, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"namespace {namespace} cannot be entered")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                # It has to come in by the network's port, although it is for this namespace itself.
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, PORT.encode())
                for packet in packets:
                    sender.sendto(packet, (server, 67))
        finally:
            os.close(handle)
    except OSError as error:
        troubles.append(error)
