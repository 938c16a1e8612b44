"""Hosts with libvirt played by a few values: enough of its interface to adopt domains and to converge them."""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Any

import zctl_adopt
import zctl_vm

from zctl.run.values import HostResult, HostRun, Result

XMLNS = "https://zctl.dev/xmlns/1"
LIVE, CONFIG, INACTIVE = 1, 2, 2


class LibvirtError(Exception):
    """What libvirt raises."""

    def get_error_code(self) -> int:
        return 0

    def get_error_message(self) -> str:
        return str(self)


def domain_xml(name: str, devices: str = "", head: str = "", identity: str = "", memory: int = 98304) -> str:
    """Domain XML as libvirt writes it; `head` goes before the devices."""
    identity = identity or str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    return f"""<domain type='qemu'>
  <name>{name}</name>
  <uuid>{identity}</uuid>
  {head}
  <memory unit='KiB'>{memory}</memory>
  <currentMemory unit='KiB'>{memory}</currentMemory>
  <vcpu placement='static' current='1'>2</vcpu>
  <os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type><boot dev='hd'/></os>
  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>
  <devices>{devices}</devices>
</domain>"""


def disk(source: str, target: str = "vda", kind: str = "file", form: str = "qcow2", more: str = "") -> str:
    """A disk element; `source` is the attributes of its source."""
    return (
        f"<disk type='{kind}' device='disk'><driver name='qemu' type='{form}'/><source {source}"
        f"{'>' + more + '</source>' if more else '/>'}<target dev='{target}' bus='virtio'/></disk>"
    )


def nic(mac: str, source: str = "bridge='br0'", kind: str = "bridge") -> str:
    """An interface element."""
    return f"<interface type='{kind}'><mac address='{mac}'/><source {source}/><model type='e1000'/></interface>"


@dataclass
class Domain:
    """One domain: its configuration, what the running guest has, and how it is."""

    config: str
    live: str | None = None
    state: int = 5
    started: bool = False
    transient: bool = False
    snapshots: int = 0
    saved: bool = False
    addresses: dict[str, str] = field(default_factory=dict)
    refuse_mark: str = ""

    def UUIDString(self) -> str:
        return ET.fromstring(self.config).findtext("uuid") or ""

    def name(self) -> str:
        return ET.fromstring(self.config).findtext("name") or ""

    def XMLDesc(self, flags: int) -> str:
        return self.config if flags & INACTIVE or self.live is None else self.live

    def autostart(self) -> int:
        return int(self.started)

    def isActive(self) -> int:
        return int(self.live is not None)

    def isPersistent(self) -> int:
        return int(not self.transient)

    def snapshotNum(self, _flags: int) -> int:
        return self.snapshots

    def hasManagedSaveImage(self, _flags: int) -> int:
        return int(self.saved)

    def blockInfo(self, target: str, _flags: int) -> list[int]:
        if "type='network'" in self.config:
            raise LibvirtError("no such file")
        return [2**26, 0, 0]

    def agentSetResponseTimeout(self, _seconds: int, _flags: int) -> None:
        return None

    def interfaceAddresses(self, _source: int, _flags: int) -> dict[str, Any]:
        return {key: {"hwaddr": key, "addrs": [{"addr": value}]} for key, value in self.addresses.items()}

    def setMetadata(self, _kind: int, text: str, key: str, uri: str, flags: int) -> None:
        if self.refuse_mark:
            raise LibvirtError(self.refuse_mark)
        assert key == "zctl" and uri == XMLNS
        if flags & CONFIG:
            self.config = with_mark(self.config, text)
        if flags & LIVE and self.live is not None:
            self.live = with_mark(self.live, text)


def with_mark(xml: str, text: str) -> str:
    """What virDomainSetMetadata does: all of the text goes into the namespace."""
    root, mark = ET.fromstring(xml), ET.fromstring(text)
    for element in mark.iter():
        element.tag = f"{{{XMLNS}}}{element.tag}"
    metadata = root.find("metadata")
    metadata = ET.SubElement(root, "metadata") if metadata is None else metadata
    for old in metadata.findall(mark.tag):
        metadata.remove(old)
    metadata.append(mark)
    return ET.tostring(root, encoding="unicode")


@dataclass
class Machine:
    """One host's libvirt: module and connection in one."""

    domains: list[Domain] = field(default_factory=list)
    defined: list[str] = field(default_factory=list)
    libvirtError = LibvirtError

    def __getattr__(self, name: str) -> int:
        if name.startswith("VIR_"):
            known = {"VIR_DOMAIN_AFFECT_LIVE": LIVE, "VIR_DOMAIN_AFFECT_CONFIG": CONFIG, "VIR_DOMAIN_XML_INACTIVE": 2}
            return known.get(name, 1 << 10)
        raise AttributeError(name)

    def registerErrorHandler(self, _handler: Any, _context: Any) -> None:
        return None

    def open(self, _uri: str) -> Machine:
        return self

    def close(self) -> None:
        return None

    def getAllDomainStats(self, _stats: int, _flags: int) -> list[tuple[Domain, dict[str, int]]]:
        return [(one, {"state.state": one.state, "state.reason": 0}) for one in self.domains]

    def listAllDomains(self, _flags: int) -> list[Domain]:
        return list(self.domains)

    def listAllNetworks(self, _flags: int) -> list[Any]:
        return []

    def defineXML(self, xml: str) -> Domain:
        self.defined.append(xml)
        found = next(one for one in self.domains if one.UUIDString() == ET.fromstring(xml).findtext("uuid"))
        found.config = xml
        return found

    def run(self, xml: str, **more: Any) -> Domain:
        """A running domain."""
        self.domains.append(Domain(xml, xml, 1, **more))
        return self.domains[-1]

    def keep(self, xml: str, **more: Any) -> Domain:
        """A stopped domain."""
        self.domains.append(Domain(xml, **more))
        return self.domains[-1]


@dataclass
class Fleet:
    """Hosts by name; called in place of ansible-runner."""

    machines: dict[str, Machine] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    away_for_marks: set[str] = field(default_factory=set)
    before_marks: Any = None

    def __call__(self, runs: list[HostRun], _settings: Any, _watch: Any) -> dict[str, HostResult]:
        return {run.connection.uuid: self.answer(run) for run in runs}

    def answer(self, run: HostRun) -> HostResult:
        """What the host's modules say."""
        found, name = HostResult(run.connection.name), run.connection.name
        vms = run.state["vm"]["vms"]
        if name in self.away or (vms and name in self.away_for_marks):
            found.unreachable = "it does not answer"
            return found
        machine = self.machines.setdefault(name, Machine())
        if "adopt" in run.steps:
            if vms and self.before_marks:
                self.before_marks()
            outcome = zctl_adopt.adopt(run.state["inventory"], vms, run.state.get("digests") or {}, False, machine)
        else:
            outcome = zctl_vm.converge(run.state["inventory"], run.state["vm"], run.scope, libvirt=machine)
        found.results = [
            Result(**{key: entry[key] for key in ("uuid", "kind", "name", "result", "reason", "observed")})
            for entry in outcome["results"]
        ]
        found.done = set(run.steps)
        return found
