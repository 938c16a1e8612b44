"""Reads the domains of this host that zctl did not make, as plain values for the inventory to judge."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import xml.etree.ElementTree as ET
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_adopted as adopted
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_host as vm_host
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_spec as vm_spec
except ImportError:
    import zctl_vm_adopted as adopted  # type: ignore[no-redef]
    import zctl_vm_host as vm_host  # type: ignore[no-redef]
    import zctl_vm_spec as vm_spec  # type: ignore[no-redef]

Json = dict[str, Any]
AGENT = "org.qemu.guest_agent.0"
AGENT_SECONDS = 3
ADDRESS_SOURCES = ("VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE", "VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP")


def digest(config_xml: str) -> str:
    """What tells whether a domain's configuration has changed since it was read."""
    return hashlib.sha256(config_xml.encode()).hexdigest()


def domain_facts(config_xml: str, live_xml: str | None = None) -> Json:
    """What a domain is, from its XML (pure). Devices that the running guest and the configuration do not share are
    in `partial`: they come or go at the next start, so they cannot be taken over now.
    """
    root = ET.fromstring(config_xml)
    live = ET.fromstring(live_xml) if live_xml else None
    disks = [disk for disk in root.findall("devices/disk") if adopted.is_disk(disk)]
    nics = root.findall("devices/interface")
    facts: Json = {
        "uuid": (root.findtext("uuid") or "").lower(),
        "domain": root.findtext("name") or "",
        "title": root.findtext("title") or "",
        "description": (root.findtext("description") or "").strip(),
        "virt_type": root.get("type", ""),
        "digest": digest(config_xml),
        "boot": _boot(root),
        "disks": [_disk(disk) for disk in disks],
        "nics": [_nic(nic) for nic in nics],
        "consoles": len(root.findall("devices/console")) + len(root.findall("devices/graphics")),
        "hostdevs": [_hostdev(dev) for dev in root.findall("devices/hostdev")],
        "tpm": root.find("devices/tpm") is not None,
        "nvram": root.findtext("os/nvram") or "",
        "drives": len(root.findall("devices/disk")) - len(disks),
        "partial": [],
    }
    spec = vm_spec.parse_root(root)
    facts["vcpus"], facts["memory"] = spec.vcpus, spec.memory * vm_spec.KIB
    if live is not None:
        _compare_live(facts, live, spec)
    return facts


def _compare_live(facts: Json, live: ET.Element, spec: vm_spec.DomainSpec) -> None:
    running = vm_spec.parse_root(live)
    facts["live_size"] = [running.vcpus, running.memory * vm_spec.KIB]
    for key, words, has in (
        ("disks", "target", {adopted.target(disk) for disk in live.findall("devices/disk") if adopted.is_disk(disk)}),
        ("nics", "mac", {adopted.mac(nic) for nic in live.findall("devices/interface")}),
    ):
        wanted = {entry[words] for entry in facts[key]}
        facts["partial"] += sorted(wanted ^ has)
        facts[key] = [entry for entry in facts[key] if entry[words] in has]
    bridges = {adopted.mac(nic): _bridge(nic) for nic in live.findall("devices/interface")}
    for entry in facts["nics"]:
        entry["bridge"] = bridges.get(entry["mac"]) or entry["bridge"]


def _disk(disk: ET.Element) -> Json:
    source = disk.find("source")
    boot = disk.find("boot")
    return {
        "target": adopted.target(disk),
        "source": adopted.disk_source(disk),
        "type": disk.get("type", "file"),
        "format": adopted.disk_format(disk),
        "boot": int(boot.get("order", "0")) if boot is not None else 0,
        "shareable": disk.find("shareable") is not None or disk.find("readonly") is not None,
        "backing": disk.find("backingStore/source") is not None,
        "shared": source is not None and disk.get("type") in ("network", "volume"),
        "size": None,
    }


def _bridge(nic: ET.Element) -> str:
    source = nic.find("source")
    return "" if source is None else source.get("bridge", "")


def _nic(nic: ET.Element) -> Json:
    model = nic.find("model")
    return {
        "mac": adopted.mac(nic),
        "source": adopted.nic_source(nic),
        "type": nic.get("type", ""),
        "model": model.get("type", "") if model is not None else "",
        "bridge": _bridge(nic),
        "ports": [],
        "ips": [],
    }


def _hostdev(dev: ET.Element) -> str:
    """The kind and the numbers of a passed-through device."""
    source = dev.find("source")
    parts = [] if source is None else [source.find(tag) for tag in ("address", "vendor", "product")]
    words = [
        ",".join(f"{key}={value}" for key, value in sorted(part.attrib.items())) for part in parts if part is not None
    ]
    return " ".join([dev.get("type") or dev.get("mode", "?"), *words])


def _boot(root: ET.Element) -> list[str]:
    """The boot order by devices' own numbers or by classes, as disk and network."""
    numbered = []
    for tag, word in (("disk", "disk"), ("interface", "network")):
        for device in root.findall(f"devices/{tag}"):
            order = device.find("boot")
            if order is not None and device.get("device", "disk") in ("disk", "lun"):
                numbered.append((int(order.get("order", "0")), word))
    words = [word for _order, word in sorted(numbered)]
    names = {"hd": "disk", "network": "network"}
    words = words or [names[boot.get("dev", "")] for boot in root.findall("os/boot") if boot.get("dev") in names]
    return list(dict.fromkeys(words)) or ["disk"]


def read_all(connection: Any, libvirt: Any) -> list[Json]:
    """Every domain: in full when it has no mark of zctl, else by uuid, name, mark and disks."""
    found = []
    networks, heard = _network_bridges(connection, libvirt), neighbours()
    for domain in vm_host.read_domains(connection, libvirt).values():
        root = ET.fromstring(domain.config_xml)
        if domain.mark is not None:
            disks = [_disk(disk) for disk in root.findall("devices/disk") if adopted.is_disk(disk)]
            mark = domain.mark.get("inventory", "?")
            found.append({"uuid": domain.uuid, "domain": domain.domain, "mark": mark, "disks": disks})
            continue
        try:
            found.append(_read(domain, libvirt, networks, heard))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return found


def _read(domain: vm_host.Found, libvirt: Any, networks: dict[str, str], heard: list[tuple[str, str]]) -> Json:
    handle, active = domain.handle, bool(domain.handle.isActive())
    live_xml = handle.XMLDesc(0) if active else None
    facts = domain_facts(domain.config_xml, live_xml)
    facts.update(
        mark=None,
        state=domain.actual.state,
        why=domain.why,
        persistent=bool(handle.isPersistent()),
        autostart=bool(handle.autostart()) if handle.isPersistent() else False,
        snapshots=handle.snapshotNum(0),
        managed_save=bool(handle.hasManagedSaveImage(0)),
    )
    for disk in facts["disks"]:
        disk["size"] = _size(handle, libvirt, disk["target"])
    for nic in facts["nics"]:
        if nic["type"] == "network":
            name = nic["source"].partition(":")[2].partition("/")[0]
            nic["bridge"] = nic["bridge"] or networks.get(name, "")
        nic["ports"] = _ports(nic["bridge"])
    addresses = _addresses(handle, libvirt, live_xml) if live_xml else {}
    for mac, address in heard:
        _note(addresses, mac, address)
    for nic in facts["nics"]:
        nic["ips"] = addresses.get(nic["mac"], []) if live_xml else []
    return facts


def _size(handle: Any, libvirt: Any, name: str) -> int | None:
    try:
        return int(handle.blockInfo(name, 0)[0]) or None
    except libvirt.libvirtError:
        return None  # such as a network disk of a guest that does not run


def _network_bridges(connection: Any, libvirt: Any) -> dict[str, str]:
    found = {}
    try:
        for network in connection.listAllNetworks(0):
            bridge = ET.fromstring(network.XMLDesc(0)).find("bridge")
            found[network.name()] = bridge.get("name", "") if bridge is not None else ""
    except libvirt.libvirtError:
        return found
    return found


def _ports(bridge: str) -> list[str]:
    folder = f"/sys/class/net/{bridge}/brif"
    try:
        return sorted(os.listdir(folder)) if bridge and "/" not in bridge else []
    except OSError:
        return []


def _addresses(handle: Any, libvirt: Any, live_xml: str) -> dict[str, list[str]]:
    """IPv4 addresses by MAC: from libvirt's own leases, and from the guest's agent when it is there."""
    found: dict[str, list[str]] = {}
    sources = [getattr(libvirt, name) for name in ADDRESS_SOURCES]
    if _has_agent(live_xml):
        sources.insert(1, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
        _quietly(libvirt, lambda: handle.agentSetResponseTimeout(AGENT_SECONDS, 0))
    for source in sources:
        answer = _quietly(libvirt, lambda source=source: handle.interfaceAddresses(source, 0)) or {}
        for entry in answer.values():
            for address in entry.get("addrs") or []:
                _note(found, entry.get("hwaddr") or "", address.get("addr") or "")
    return found


def _note(found: dict[str, list[str]], mac: str, address: str) -> None:
    known = found.setdefault(mac.lower(), [])
    if address and ":" not in address and not address.startswith(("127.", "169.254.")) and address not in known:
        known.append(address)


def _quietly(libvirt: Any, action: Any) -> Any:
    try:
        return action()
    except libvirt.libvirtError:
        return None  # an address that cannot be learnt this way is just not known


def _has_agent(live_xml: str) -> bool:
    root = ET.fromstring(live_xml)
    return any(
        target.get("name") == AGENT and target.get("state") == "connected"
        for target in root.findall("devices/channel/target")
    )


def neighbours() -> list[tuple[str, str]]:
    """The MACs and addresses that this host has heard of."""
    try:
        done = subprocess.run(["ip", "-j", "-4", "neigh"], capture_output=True, text=True, timeout=10, check=False)
        return [(entry["lladdr"], entry["dst"]) for entry in json.loads(done.stdout or "[]") if entry.get("lladdr")]
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return []
