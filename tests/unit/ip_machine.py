"""A small stand-in for ip(8): carries out lines of `ip -batch` on facts, as the kernel would."""

from __future__ import annotations

import copy
from typing import Any

from zctl_network_plan import Facts

Json = dict[str, Any]


class IpMachine:
    """Devices, routes and tunnels' tables in the shape of `ip -j`, changed line by line.

    An impossible line raises AssertionError.
    """

    def __init__(self, facts: Facts) -> None:
        self.links: dict[str, Json] = copy.deepcopy(facts.links)
        self.routes: list[Json] = copy.deepcopy(facts.routes)
        self.floods: dict[str, list[str]] = copy.deepcopy(facts.floods)

    @property
    def facts(self) -> Facts:
        return Facts(copy.deepcopy(self.links), copy.deepcopy(self.routes), {}, copy.deepcopy(self.floods))

    def run(self, lines: list[str]) -> None:
        """Carry out all lines in order."""
        for line in lines:
            words = line.split()
            words = words[1:] if words[0] == "-6" else words
            getattr(self, f"{words[0]}_{words[1]}")(words[2:])
            self.settle()

    def bridge(self, lines: list[str]) -> None:
        """Carry out lines of `bridge -batch`."""
        for line in lines:
            word, verb, mac, _, device, _, address = line.split()
            assert (word, mac) == ("fdb", "00:00:00:00:00:00") and device in self.links
            there = self.floods.setdefault(device, [])
            assert (address in there) == (verb == "del"), line
            (there.remove if verb == "del" else there.append)(address)

    def settle(self) -> None:
        """A bridge has the smallest MTU of its ports, until somebody sets it by hand."""
        for name, bridge in self.links.items():
            ports = [link["mtu"] for link in self.links.values() if link.get("master") == name]
            if ports and not bridge.get("mtu_by_hand"):
                bridge["mtu"] = min(ports)

    def link_add(self, words: list[str]) -> None:
        under = words[1] if words[0] == "link" else None
        words = words[2:] if under else words
        name, kind = words[1], words[3]
        assert name not in self.links, f"{name} exists"
        link: Json = {"ifname": name, "flags": [], "mtu": 1500, "addr_info": [], "address": "02:00:00:00:00:00"}
        link["linkinfo"] = {"info_kind": kind}
        if kind == "vxlan":
            given = dict(zip(words[4::2], words[5::2], strict=True))
            assert given["dev"] in self.links, f"no {given['dev']}"
            data = {"id": int(given["id"]), "group": given.get("group"), "link": given["dev"], "local": given["local"]}
            link["linkinfo"]["info_data"] = data
            link["mtu"] = self.links[given["dev"]]["mtu"] - 50
        if kind == "vlan":
            assert under in self.links, f"no {under}"
            taken = [o for o in self.links.values() if o.get("link") == under and o["linkinfo"]["info_kind"] == "vlan"]
            assert all(other["linkinfo"]["info_data"]["id"] != int(words[5]) for other in taken), "VLAN is taken"
            link.update(link=under, mtu=self.links[under]["mtu"], address=self.links[under]["address"])
            link["linkinfo"]["info_data"] = {"id": int(words[5])}
        self.links[name] = link

    def link_set(self, words: list[str]) -> None:
        link, rest = self.links[words[1]], words[2:]
        while rest:
            word = rest.pop(0)
            if word == "up":
                link["flags"] = [*{*link["flags"], "UP"}]
            elif word == "nomaster":
                link.pop("master", None)
            elif word == "master":
                assert self.links[rest[0]]["linkinfo"]["info_kind"] == "bridge"
                assert link.get("master") in (None, rest[0])
                link["master"] = rest.pop(0)
            elif word == "type":
                key, value = rest.pop(1), rest.pop(1)
                rest.pop(0)
                link["linkinfo"].setdefault("info_data", {})[key] = int(value)
            else:
                value = rest.pop(0)
                if word == "mtu" and link.get("linkinfo", {}).get("info_kind") == "bridge":
                    link["mtu_by_hand"] = True
                if word == "addrgenmode":
                    link["inet6_addr_gen_mode"] = value
                link[{"alias": "ifalias"}.get(word, word)] = int(value) if word == "mtu" else value

    def link_del(self, words: list[str]) -> None:
        name = words[1]
        self.links.pop(name)
        self.floods.pop(name, None)
        self.routes = [route for route in self.routes if route.get("dev") != name]
        for link in self.links.values():
            if link.get("master") == name:
                del link["master"]
        riders = [
            n
            for n, entry in self.links.items()
            if name in (entry.get("link"), entry.get("linkinfo", {}).get("info_data", {}).get("link"))
        ]
        for rider in riders:
            self.link_del(["dev", rider])

    def addr_add(self, words: list[str]) -> None:
        local, _, length = words[0].partition("/")
        held = self.links[words[-1]]["addr_info"]
        assert all(entry["local"] != local for entry in held), f"{local} is there"
        entry: Json = {"family": "inet6" if ":" in local else "inet", "local": local, "prefixlen": int(length)}
        if "brd" in words:
            entry["broadcast"] = words[words.index("brd") + 1]
        held.append({**entry, "scope": "global"})

    def addr_del(self, words: list[str]) -> None:
        held = self.links[words[-1]]["addr_info"]
        gone = [entry for entry in held if f"{entry['local']}/{entry['prefixlen']}" == words[0]]
        assert gone, f"{words[0]} is not on {words[-1]}"
        held.remove(gone[0])
        if not [entry for entry in held if entry["scope"] != "link"]:
            self.routes = [route for route in self.routes if route.get("dev") != words[-1]]

    def route_replace(self, words: list[str]) -> None:
        given = dict(zip(words[1::2], words[2::2], strict=True))
        device = self.links[given["dev"]]
        assert "UP" in device["flags"] and device["addr_info"], f"{given['dev']} reaches nothing"
        route: Json = {"dst": words[0], "dev": given["dev"]}
        for word, key in (("via", "gateway"), ("src", "prefsrc"), ("metric", "metric"), ("table", "table")):
            if word in given:
                route[key] = int(given[word]) if word == "metric" else given[word]
        keys = ("dst", "metric", "table")
        self.routes = [r for r in self.routes if any(r.get(k) != route.get(k) for k in keys)]
        self.routes.append(route)
