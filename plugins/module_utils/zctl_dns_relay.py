# SPDX-License-Identifier: Apache-2.0
"""Asks DNS servers from the host what a network's namespace wants to know, because the namespace has no way there.

systemd opens the two sockets within the namespace and starts this when somebody asks; it ends when nobody does any
more. Each question goes out from a port of its own, so that a false answer has to guess that too.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

FIRST_SOCKET = 3  # sd_listen_fds(3)
HEADER, SERVER_FAILED = 12, 2
PATIENCE = 2.2  # seconds for all servers together: dnsmasq asks twice, and guests ask again after five
IDLE = 120
AT_ONCE = 500
LARGEST = 65535
TCP_IDLE = 20


def question_of(packet: bytes) -> bytes:
    """The first question's name, type and class in small letters; nothing when the packet is none that can be read."""
    at = HEADER
    while at < len(packet) and packet[at]:
        if packet[at] > 63:
            return b""
        at += packet[at] + 1
    end = at + 5
    return packet[HEADER:end].lower() if end <= len(packet) else b""


def answers(packet: bytes, query: bytes) -> bool:
    """Whether a packet is an answer to this question."""
    is_answer = len(packet) >= HEADER and packet[:2] == query[:2] and bool(packet[2] & 0x80)
    return is_answer and (question_of(packet) == question_of(query) or packet[4:6] == b"\0\0")


def failure(query: bytes) -> bytes:
    """The answer that says: no server could be asked."""
    flags = bytes([0x80 | (query[2] & 0x79), 0x80 | SERVER_FAILED])
    question = query[HEADER : HEADER + len(question_of(query))]
    return query[:2] + flags + (b"\0\1" if question else b"\0\0") + b"\0" * 6 + question


class Asked(asyncio.DatagramProtocol):
    """One question on its way to one server."""

    def __init__(self, query: bytes) -> None:
        self.query = query
        self.answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.sendto(self.query)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if not self.answer.done() and answers(data, self.query):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_result(None)


class Relay(asyncio.DatagramProtocol):
    """Takes questions from the namespace and hands back the answers."""

    def __init__(self, servers: list[str]) -> None:
        self.servers = servers
        self.tasks: set[asyncio.Task[None]] = set()
        self.used = time.monotonic()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.used = time.monotonic()
        if len(data) < HEADER or data[2] & 0x80 or len(self.tasks) >= AT_ONCE:
            return
        self.keep(asyncio.ensure_future(self.reply(data, addr)))

    def keep(self, task: Any) -> None:
        """Hold a task until it is done."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def reply(self, query: bytes, addr: tuple[Any, ...]) -> None:
        """The answer of the first server that has one; the next is asked while the one before may still answer."""
        waiting: dict[asyncio.Task[bytes | None], str] = {}
        for server in list(self.servers):
            waiting[asyncio.ensure_future(self.ask(server, query, PATIENCE))] = server
            done, _ = await asyncio.wait(
                waiting, timeout=PATIENCE / len(self.servers), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if (found := task.result()) is not None:
                    self.prefer(waiting[task])
                    self.transport.sendto(found, addr)
                    return
                del waiting[task]
        self.transport.sendto(failure(query), addr)

    def prefer(self, server: str) -> None:
        """Ask the server that answers before those that do not."""
        if self.servers[0] != server:
            self.servers.remove(server)
            self.servers.insert(0, server)

    async def ask(self, server: str, query: bytes, patience: float) -> bytes | None:
        """What one server answers, None when it does not."""
        try:
            transport, asked = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: Asked(query), remote_addr=(server, 53)
            )
        except OSError:
            return None
        await asyncio.wait({asked.answer}, timeout=patience)
        transport.close()
        return asked.answer.result() if asked.answer.done() else None

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Questions by TCP go through as they are."""
        self.keep(asyncio.current_task())
        try:
            for server in list(self.servers):
                pair = await within(asyncio.open_connection(server, 53), PATIENCE)
                if pair is not None:
                    await asyncio.gather(self.pump(reader, pair[1]), self.pump(pair[0], writer))
                    break
        finally:
            writer.close()

    async def pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Everything from one side to the other, until it ends or is silent."""
        while data := await within(source.read(LARGEST), TCP_IDLE):
            self.used = time.monotonic()
            target.write(data)
            if await within(target.drain(), TCP_IDLE) is None and target.is_closing():
                break
        target.close()

    async def until_idle(self) -> None:
        """Wait until nobody has asked anything for a while."""
        while self.tasks or time.monotonic() - self.used < IDLE:
            await asyncio.sleep(IDLE / 8)


async def within(work: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """What comes of some work, None when it fails or takes longer. Before Python 3.11 time-outs are no OSError."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        return None
    return None if isinstance(task.exception(), OSError) else task.result()


async def serve(servers: list[str], given: list[socket.socket]) -> None:
    """Answer on the sockets that systemd has opened."""
    relay = Relay(servers)
    for one in given:
        one.setblocking(False)
        if one.type == socket.SOCK_STREAM:
            await asyncio.start_server(relay.connected, sock=one)
        else:
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: relay, sock=one)
    await relay.until_idle()


def main() -> None:
    """The program: its argument is the network's record, in which its servers are."""
    servers = [str(server) for server in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")).get("dns") or []]
    asyncio.run(serve(servers, [socket.socket(fileno=FIRST_SOCKET + number) for number in range(2)]))


if __name__ == "__main__":
    main()
