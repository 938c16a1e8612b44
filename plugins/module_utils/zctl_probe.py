"""What asking a guest for a sign of life consists of. Pure."""

from __future__ import annotations

import json


def link_command(namespace: str) -> list[str]:
    """The command that lists a namespace's devices."""
    return ["ip", "-n", namespace, "-j", "link", "show"]


def device_of(links: str) -> str | None:
    """The device that leads to the network: the first but the loopback; None when there is no such namespace."""
    try:
        names = [link["ifname"] for link in json.loads(links)]
    except (ValueError, KeyError, TypeError):
        return None
    return next((name for name in names if name != "lo"), None)


def arping_command(namespace: str, device: str, address: str) -> list[str]:
    """The command that asks once by ARP and waits a second (arping(8) of iputils)."""
    return ["ip", "netns", "exec", namespace, "arping", "-c", "1", "-w", "1", "-I", device, address]


def answer_of(target: dict, answers: bool) -> dict:
    """The result for one target."""
    return {
        "uuid": target["uuid"],
        "kind": "probe",
        "name": target["ip"],
        "result": "unchanged",
        "reason": "it answers" if answers else "it does not answer ARP",
        "observed": {"answers": answers},
    }
