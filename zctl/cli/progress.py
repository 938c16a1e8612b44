"""Progress on stderr: a live line on a terminal once something takes over a second, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

PATIENCE_SECONDS = 1.0
LINE_SECONDS = 2.0  # a log of a run over 300 hosts is to be read, too
STEPS = {
    "kvm_host": "preparing the host",
    "storage": "storage and volumes",
    "network": "networks",
    "l3_services": "DHCP",
    "metadata": "metadata",
    "security": "packet filters",
    "look": "comparing",
    "net_check": "sending and hearing probes",
    "net_facts": "looking at its networks",
    "mysql_server": "database server",
    "mysql_replication": "database server",
    "guests": "disks, leases and virtual machines",
    "unreachable": "does not answer",
}


class Progress:
    """Watches a run. Actions call `say` and `watch`; nothing is printed by them."""

    def __init__(self, *, quiet: bool, color: bool) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty() and not quiet
        self.color = color
        self.hosts: dict[str, str] = {}
        self.begun = time.monotonic()
        self.status: Any = None
        self.lock = threading.Lock()
        self.told, self.next_line = "", 0.0

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            self.stop()
            print(text, file=sys.stderr)

    def watch(self, host: str, step: str) -> None:
        """A host has come to a step; `done` when there is nothing more to do there."""
        is_new = step not in self.hosts.values()
        self.hosts[host] = step
        if step == "done":
            del self.hosts[host]
            return
        if self.quiet or time.monotonic() - self.begun < PATIENCE_SECONDS:
            return
        text = self.summary()
        with self.lock:
            if self.live:
                self.show(text)
            elif text != self.told and (is_new or time.monotonic() >= self.next_line):
                print(f"... {text}", file=sys.stderr)
                self.told, self.next_line = text, time.monotonic() + LINE_SECONDS

    def summary(self) -> str:
        """The steps and how many hosts are at each."""
        counts: dict[str, list[str]] = {}
        for host, step in self.hosts.items():
            counts.setdefault(step, []).append(host)
        return ", ".join(
            f"{hosts[0] if len(hosts) == 1 else f'{len(hosts)} hosts'}: {STEPS.get(step, step)}"
            for step, hosts in counts.items()
        )

    def show(self, text: str) -> None:
        """Put the text beside the spinner."""
        from rich.console import Console
        from rich.markup import escape
        from rich.status import Status

        if self.status is None:
            self.status = Status(escape(text), console=Console(stderr=True, no_color=not self.color))
            self.status.start()
        else:
            self.status.update(escape(text))

    def stop(self) -> None:
        """Take the live line away."""
        if self.status is not None:
            self.status.stop()
            self.status = None
