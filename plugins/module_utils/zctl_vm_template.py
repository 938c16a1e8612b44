"""The hardware that a new domain gets. Pure; only used once in a domain's life, later changes are merged.

q35 for hardware virtualization, the older `pc` for emulation (it has less to initialise, and boots sooner).
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

# A device plugged into a running q35 machine needs a free root port, and ports cannot be added while it runs.
SPARE_PORTS = 12
# How cloud-init knows a cloud that speaks EC2's metadata but is not Amazon's: the end of the chassis' asset tag
# (docs.cloud-init.io, data source ZStack). Without it ds-identify does not look for a metadata service at all.
CHASSIS_TAG = "zctl.zstack.io"
CONSOLE_LOG_DIR = "/var/log/libvirt/qemu"


def console_log(domain: str) -> str:
    """Where the output of the guest's serial console is kept (written and rotated by virtlogd)."""
    return f"{CONSOLE_LOG_DIR}/{domain}-console.log"


def _sub(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def new_domain(uuid: str, name: str, virt_type: str) -> ET.Element:
    """A domain without disks and NICs; its size and mark are set by the merge."""
    root = ET.Element("domain", {"type": virt_type})
    _sub(root, "name", name)
    _sub(root, "uuid", uuid)
    chassis = _sub(_sub(root, "sysinfo", type="smbios"), "chassis")
    _sub(chassis, "entry", CHASSIS_TAG, name="asset")
    boot = _sub(root, "os")
    _sub(boot, "type", "hvm", arch="x86_64", machine="q35" if virt_type == "kvm" else "pc")
    _sub(boot, "boot", dev="hd")
    _sub(boot, "smbios", mode="sysinfo")
    features = _sub(root, "features")
    _sub(features, "acpi")
    _sub(features, "apic")
    fit_cpu(root, virt_type)
    _add_clock(root, virt_type)
    _sub(root, "on_poweroff", "destroy")
    _sub(root, "on_reboot", "restart")
    _sub(root, "on_crash", "destroy")
    _add_devices(root, name, virt_type)
    return root


def fit_cpu(root: ET.Element, virt_type: str) -> None:
    """Give the domain a CPU model that its virtualization type can run; an explicit model is left alone.

    host-model lets a VM move between similar hosts; emulation offers all that QEMU can emulate, because current
    distributions need more than the oldest x86-64.
    """
    mode = {"kvm": "host-model", "qemu": "maximum"}[virt_type]
    cpu = root.find("cpu")
    if cpu is None:
        _sub(root, "cpu", mode=mode)
    elif cpu.get("mode") in ("host-model", "host-passthrough", "maximum") and (
        (cpu.get("mode") == "maximum") != (mode == "maximum")
    ):
        cpu.clear()
        cpu.set("mode", mode)


def _add_clock(root: ET.Element, virt_type: str) -> None:
    clock = _sub(root, "clock", offset="utc")
    if virt_type == "kvm":
        _sub(clock, "timer", name="rtc", tickpolicy="catchup")
        _sub(clock, "timer", name="pit", tickpolicy="delay")
        _sub(clock, "timer", name="hpet", present="no")


def _add_devices(root: ET.Element, name: str, virt_type: str) -> None:
    devices = _sub(root, "devices")
    if virt_type == "kvm":
        _sub(devices, "controller", type="pci", model="pcie-root")
        for _ in range(SPARE_PORTS):
            _sub(devices, "controller", type="pci", model="pcie-root-port")
    _sub(devices, "controller", type="usb", model="none")
    serial = _sub(devices, "serial", type="pty")
    _sub(serial, "log", file=console_log(name), append="on")
    _sub(serial, "target", port="0")
    _sub(_sub(devices, "console", type="pty"), "target", type="serial", port="0")
    channel = _sub(devices, "channel", type="unix")
    _sub(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    _sub(devices, "memballoon", model="virtio")
    rng = _sub(devices, "rng", model="virtio")
    _sub(rng, "backend", "/dev/urandom", model="random")


def parse_document(xml: str) -> ET.Element:
    """Domain XML as a tree; prefixes of foreign namespaces are remembered, so that they are written back as read."""
    for _event, (prefix, uri) in ET.iterparse(io.BytesIO(xml.encode()), events=("start-ns",)):
        if prefix and not re.match(r"ns\d+$", prefix):
            ET.register_namespace(prefix, uri)
    return ET.fromstring(xml)
