"""What tests of packet filters do inside guests: three VMs with an unfiltered card to reach them by."""

from __future__ import annotations

import time
import urllib.request
from dataclasses import dataclass

from tests.lab.cloud.zctl import Cloud, fetch

TRIES = "for n in 1 2 3; do {} && break; done"


@dataclass(frozen=True)
class Guest:
    """A VM with a card on network flat, by which tests reach it, and one on network private, which is filtered."""

    name: str
    control: str
    ip: str

    @property
    def card(self) -> str:
        """The filtered card."""
        return f"{self.name}-nic1"

    def run(self, script: str, timeout: float = 60) -> str:
        """What a shell script printed in the guest."""
        request = urllib.request.Request(f"http://{self.control}/cgi-bin/run", data=script.encode())
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return str(answer.read().decode(errors="replace"))

    def pings(self, ip: str, more: str = "") -> bool:
        """Whether an address answers a ping. One of three is enough: the machine may be busy."""
        return "exit code 0" in self.run(f"{TRIES.format(f'ping -c 1 -W 2 {more} {ip}')} | grep -q ' 0% packet loss'")

    def gets(self, ip: str, port: int = 80, more: str = "") -> bool:
        """Whether TCP reaches a port: 80 answers HTTP, 7 echoes."""
        word = "GET / HTTP/1.0" if port == 80 else "echoed"
        script = f"(echo '{word}'; echo; sleep 1) | timeout 6 nc -w 3 {more} {ip} {port} | grep -qE 'hostname|echoed'"
        return "exit code 0" in self.run(script)

    def reaches_udp(self, ip: str) -> bool:
        """Whether UDP to ports from 33434 on is answered: nobody listens there, which the peer's ICMP error tells."""
        return "exit code 0" in self.run(f"traceroute -n -m 1 -q 2 -w 3 {ip} | grep -q ' ms'")


def make(cloud: Cloud, name: str, host: str, *more: str, network: str = "private") -> Guest:
    """A VM with both cards that answers on both."""
    words = ("--image", "tiny", "--instance-offering", "small", "--network", "flat", "--network", network)
    cloud.ok("vm", "create", name, *words, "--host", host, *more)
    guest = Guest(name, cloud.ip(name, 0), cloud.ip(name, 1))
    fetch(f"http://{guest.control}/")
    deadline = time.monotonic() + 30
    while guest.ip not in guest.run("ip address show eth1"):
        assert time.monotonic() < deadline, f"{name} got no address on its second card"
        time.sleep(0.3)
    return guest
