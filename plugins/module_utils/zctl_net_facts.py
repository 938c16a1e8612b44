# SPDX-License-Identifier: Apache-2.0
"""Reads on a host what somebody asks about its networks: ports, namespaces, filters, load balancers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_balancer
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_inside import read_inside
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import result
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble, run
except ImportError:
    import zctl_balancer  # type: ignore[no-redef]
    from zctl_l3_inside import read_inside  # type: ignore[no-redef]
    from zctl_results import result  # type: ignore[no-redef]
    from zctl_system import Trouble, run  # type: ignore[no-redef]

Json = dict[str, Any]
DEVICES = Path("/sys/class/net")
KIND = "net-facts"
IFF_UP = 1


def facts(asks: list[Json]) -> list[Json]:
    """An entry for each question, in its order; `observed.problem` is what is not as it should be, in words."""
    reader = Reader(asks)
    found = []
    for ask in asks:
        entry = {"uuid": ask["uuid"], "name": ask["what"]}
        try:
            observed = getattr(reader, f"read_{ask['what']}")(ask)
            found.append(result(KIND, entry, "unchanged", observed.get("problem", ""), **observed))
        except (Trouble, OSError) as error:
            found.append(result(KIND, entry, "failed", str(error)))
    return found


class Reader:
    """Answers questions; what several of them need is read once."""

    def __init__(self, asks: list[Json]) -> None:
        names = {ask["namespace"] for ask in asks if ask["what"] == "namespace"}
        self.inside = read_inside(sorted(names)) if names else {}
        self.tables: dict[tuple[str, str, str], str] = {}

    def read_device(self, ask: Json) -> Json:
        """Whether a device is there, up, and a port of its bridge; a bridge has none."""
        device = DEVICES / str(ask["device"])
        if not device.exists():
            return {"problem": f"there is no device {ask['device']}"}
        if not int((device / "flags").read_text(encoding="ascii"), 16) & IFF_UP:
            return {"problem": f"{ask['device']} is down"}
        bridge = device / "brport" / "bridge"
        at = bridge.resolve().name if bridge.exists() else None
        if ask.get("bridge") and at != ask["bridge"]:
            return {"problem": f"{ask['device']} is {f'a port of {at}' if at else 'no port'}, not of {ask['bridge']}"}
        return {"problem": ""}

    def read_namespace(self, ask: Json) -> Json:
        """Whether a namespace is there with an address."""
        name, port = ask["namespace"], self.inside.get(ask["namespace"])
        if port is None:
            return {"problem": f"there is no network namespace {name}"}
        held = [address.partition("/")[0] for address in port.get("addresses", [])]
        if not port.get("up"):
            return {"problem": f"the port of namespace {name} is down"}
        if ask.get("address") and ask["address"] not in held:
            return {"problem": f"namespace {name} does not have the address {ask['address']}"}
        return {"problem": ""}

    def read_table(self, ask: Json) -> Json:
        """Whether an nftables table is loaded, and holds some words."""
        where = (ask.get("namespace") or "", ask["family"], ask["table"])
        if where not in self.tables:
            enter = ["ip", "netns", "exec", where[0]] if where[0] else []
            try:
                self.tables[where] = run([*enter, "nft", "list", "table", *where[1:]])
            except Trouble:
                self.tables[where] = ""
        text = self.tables[where]
        place = f" of namespace {where[0]}" if where[0] else ""
        if not text:
            return {"problem": f"the filter {where[1]} {where[2]}{place} is not loaded"}
        lost = [words for words in ask.get("words") or [] if words not in text]
        return {"problem": f"the filter {where[1]} {where[2]}{place} does not hold: {lost[0]}" if lost else ""}

    def read_health(self, ask: Json) -> Json:
        """The states of the targets of a network's load balancers."""
        found = zctl_balancer.health(ask["network"])
        if found is None:
            return {"problem": "haproxy does not answer: zctl converge", "balancers": {}}
        return {"problem": "", "balancers": found}
