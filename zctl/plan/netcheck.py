"""What hosts have heard of each other's probes, and what that says about the wires between them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Arrives = Literal["ok", "small only", "nothing"]
OVERHEAD = 50
"""What VXLAN takes of the packets of the network below"""
MARKS: dict[Arrives, str] = {"ok": "ok", "small only": "small", "nothing": "-"}


@dataclass(frozen=True)
class Wire:
    """One l2-network as it is checked: its kind, its hosts by uuid, and who may have which address."""

    uuid: str
    name: str
    kind: str
    nic: str
    vlan: int | None
    group: str | None
    hosts: dict[str, str]
    macs: dict[str, str] = field(default_factory=dict)
    """VM's address -> its MAC"""
    owners: dict[str, str] = field(default_factory=dict)
    """address -> whose it is, in words"""
    services: frozenset[str] = frozenset()
    """addresses that each host has for itself, so that nobody on the wire may answer for them"""


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a network, and what to do about it. `pairs` are (from, to) by host name."""

    kind: Literal["pair", "size", "address", "stranger", "mtu", "host"]
    text: str
    remedy: str
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass
class Verdict:
    """What came of one network."""

    wire: Wire
    arrives: dict[tuple[str, str], Arrives] = field(default_factory=dict)
    """(from, to) by host name"""
    mtu: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "l2_network": self.wire.name,
            "kind": self.wire.kind,
            "hosts": sorted(self.wire.hosts.values()),
            "mtu": self.mtu,
            "pairs": [{"from": a, "to": b, "arrives": word} for (a, b), word in sorted(self.arrives.items())],
            "faults": [
                {"kind": f.kind, "text": f.text, "remedy": f.remedy, "pairs": [list(pair) for pair in f.pairs]}
                for f in self.faults
            ],
        }


def judge(
    wire: Wire, heard: dict[str, dict[str, Any]], problems: dict[str, str], names: dict[str, dict[str, str]]
) -> Verdict:
    """The verdict on one network.

    `heard` is what each host observed, by uuid; `problems` why a host could not take part; `names` has the names of
    `networks` and `hosts` by uuid, for probes that came from elsewhere.
    """
    verdict = Verdict(wire)
    for host, why in sorted(problems.items(), key=lambda entry: wire.hosts[entry[0]]):
        verdict.faults.append(Fault("host", f"{wire.hosts[host]} took no part: {why}", "mend that, then check again"))
    there = {host: name for host, name in wire.hosts.items() if host in heard}
    for host, name in there.items():
        verdict.mtu[name] = heard[host]["mtu"]
        for other, other_name in there.items():
            if other != host:
                sizes = heard[host]["heard"].get(other, [])
                word: Arrives = "nothing" if not sizes else "ok" if "large" in sizes else "small only"
                verdict.arrives[other_name, name] = word
    verdict.faults += cut_off(verdict, sorted(there.values()))
    verdict.faults += too_large(verdict)
    verdict.faults += different_mtus(verdict)
    for host in sorted(there, key=lambda key: there[key]):
        verdict.faults += strangers(wire, there[host], heard[host]["strangers"], names)
    verdict.faults += taken_addresses(wire, {there[host]: heard[host]["answers"] for host in there})
    return verdict


def cut_off(verdict: Verdict, hosts: list[str]) -> list[Fault]:
    """Hosts that nobody hears or that hear nobody, then the single pairs that are left."""
    silent = {pair for pair, word in verdict.arrives.items() if word == "nothing"}
    faults = []
    if len(hosts) > 2 and len(silent) == len(verdict.arrives):
        text = f"no host hears any other ({', '.join(hosts)})"
        return [Fault("pair", text, remedy_of(verdict.wire, tuple(hosts)), tuple(sorted(silent)))]
    for host in hosts if len(hosts) > 2 else ():
        out = {(host, other) for other in hosts if other != host}
        into = {(other, host) for other in hosts if other != host}
        if out | into <= silent:
            text, pairs = f"{host} is cut off: nobody hears it, and it hears nobody", out | into
        elif out <= silent:
            text, pairs = f"nobody hears {host}, though it hears others", out
        elif into <= silent:
            text, pairs = f"{host} hears nobody, though others hear it", into
        else:
            continue
        faults.append(Fault("pair", text, remedy_of(verdict.wire, (host,)), tuple(sorted(pairs))))
    told = {pair for fault in faults for pair in fault.pairs}
    for a, b in sorted(silent - told):
        if (b, a) in silent and (b, a) not in told and a > b:
            continue  # told with the other direction
        both = (b, a) in silent
        way = "in either direction" if both else f"from {a} to {b}, though it passes from {b} to {a}"
        text = f"{a} and {b}: nothing passes {way}" if both else f"nothing passes {way}"
        ways = ((a, b), (b, a)) if both else ((a, b),)
        faults.append(Fault("pair", text, remedy_of(verdict.wire, (a, b)), ways))
    return faults


def remedy_of(wire: Wire, hosts: tuple[str, ...]) -> str:
    """What to do when packets of a network do not arrive."""
    where = " and ".join(hosts)
    if wire.kind == "vlan":
        return f"let VLAN {wire.vlan} pass, tagged, on the switch ports of {wire.nic} of {where}"
    if wire.kind == "vxlan" and wire.group:
        return (
            f"let UDP port 4789 and the multicast group {wire.group} pass between the hosts (a switch with IGMP"
            f" snooping needs a querier), or: zctl l2-network update {wire.name} --peers static"
        )
    if wire.kind == "vxlan":
        return f"let UDP port 4789 pass between {where} and the other hosts, in firewalls too"
    return f"check cable, switch port and untagged VLAN of {wire.nic} of {where}"


def too_large(verdict: Verdict) -> list[Fault]:
    """Pairs between which only small packets pass."""
    wire = verdict.wire
    pairs = tuple(sorted(pair for pair, word in verdict.arrives.items() if word == "small only"))
    if not pairs:
        return []
    largest = max(verdict.mtu[a] for a, _ in pairs)
    needs = largest + OVERHEAD if wire.kind == "vxlan" else largest
    shown = ", ".join(f"{a} -> {b}" for a, b in pairs[:6]) + (f" and {len(pairs) - 6} more" if len(pairs) > 6 else "")
    reason = f", for which the network below has to carry {needs}" if wire.kind == "vxlan" else ""
    return [
        Fault(
            "size",
            f"packets of {largest} bytes do not arrive{reason}, small ones do: {shown}",
            f"raise the MTU of the switches and NICs between them to {needs}, or give the network a smaller one:"
            f" zctl l2-network update {wire.name} --mtu SIZE",
            pairs,
        )
    ]


def different_mtus(verdict: Verdict) -> list[Fault]:
    """Hosts on which the network has another MTU than on the rest."""
    if len(set(verdict.mtu.values())) < 2:
        return []
    shown = ", ".join(f"{name} {mtu}" for name, mtu in sorted(verdict.mtu.items()))
    remedy = f"zctl l2-network update {verdict.wire.name} --mtu {min(verdict.mtu.values())}, or raise the NICs' MTU"
    return [Fault("mtu", f"the MTU is not the same on all hosts: {shown}", remedy)]


def strangers(wire: Wire, host: str, found: list[list[str]], names: dict[str, dict[str, str]]) -> list[Fault]:
    """Probes of other networks that were heard on this one: both are on one wire."""
    faults = []
    for inventory, network, sender in found:
        other = names["networks"].get(network)
        whose = f"l2-network {other}" if other else f"a network of another inventory ({inventory})"
        source = names["hosts"].get(sender, sender)
        text = f"{host} hears probes of {whose} from {source} on {wire.name}: both are on one wire"
        remedy = f"check the cables and switch ports of {wire.nic or 'the NICs'} of {host} and {source}"
        faults.append(Fault("stranger", text, remedy, ((source, host),)))
    return faults


def taken_addresses(wire: Wire, answers: dict[str, dict[str, list[str]]]) -> list[Fault]:
    """Addresses of ours for which somebody else answers."""
    seen: dict[str, dict[str, list[str]]] = {}
    for host, found in answers.items():
        for address, told in found.items():
            for mac in told:
                seen.setdefault(address, {}).setdefault(mac, []).append(host)
    faults = []
    for address, macs in sorted(seen.items()):
        if address in wire.services:
            wrong = sorted(macs)
        elif address in wire.macs:
            wrong = sorted(mac for mac in macs if mac != wire.macs[address])
        else:
            wrong = sorted(macs) if len(macs) > 1 else []
        if wrong:
            hosts = sorted({host for mac in wrong for host in macs[mac]})
            text = f"{address}, {wire.owners.get(address, 'an address of ours')}, is answered by {' and '.join(wrong)}"
            remedy = "find the machine with that MAC (the switch's address table) and give it another address"
            faults.append(Fault("address", f"{text}, as {', '.join(hosts)} heard", remedy))
    return faults


def matrix(verdict: Verdict, width: int = 80) -> list[str]:
    """Who hears whom, as lines of at most `width` characters: a row for each sender, many hosts in several blocks."""
    hosts = sorted({name for pair in verdict.arrives for name in pair})
    if not hosts:
        return []
    shown = {name: name if len(name) <= 12 else f"{name[:11]}~" for name in hosts}
    first = max(4, *(len(text) for text in shown.values()))
    lines = []
    block: list[str] = []
    blocks = [block]
    room = width - first
    for name in hosts:
        cell = max(len(shown[name]), 5) + 2
        if cell > room and block:
            block, room = [], width - first
            blocks.append(block)
        block.append(name)
        room -= cell
    for block in blocks:
        cells = [max(len(shown[name]), 5) for name in block]
        heads = (f"{shown[name]:<{size}}" for name, size in zip(block, cells, strict=True))
        lines.append("  ".join([f"{'FROM':<{first}}", *heads]).rstrip())
        for sender in hosts:
            marks = ("." if to == sender else MARKS[verdict.arrives.get((sender, to), "nothing")] for to in block)
            row = (f"{mark:<{size}}" for mark, size in zip(marks, cells, strict=True))
            lines.append("  ".join([f"{shown[sender]:<{first}}", *row]).rstrip())
    return lines
