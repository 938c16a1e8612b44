"""The boot order of a domain, in zctl's words: read from domain XML and set in it. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET

BOOT_DEVICES = {"disk": "hd", "network": "network"}


def parse_boot(root: ET.Element) -> tuple[str, ...]:
    """What the domain boots from, in order. What zctl does not set, such as a disc to install from, is left out."""
    words = {dev: word for word, dev in BOOT_DEVICES.items()}
    devices = [boot.get("dev", "") for boot in root.findall("os/boot")]
    return tuple(words[device] for device in devices if device in words) or ("disk",)


def merge_boot(root: ET.Element, order: tuple[str, ...]) -> None:
    """Set the boot order; an equal one is left as it was written (none at all means disk, too)."""
    if parse_boot(root) == order:
        return
    system = root.find("os")
    system = ET.SubElement(root, "os") if system is None else system
    for boot in [boot for boot in system.findall("boot") if boot.get("dev") in BOOT_DEVICES.values()]:
        system.remove(boot)
    for device in root.findall("devices/*"):
        for boot in device.findall("boot"):
            device.remove(boot)  # libvirt allows only one way to say it
    for word in order:
        ET.SubElement(system, "boot", {"dev": BOOT_DEVICES[word]})
