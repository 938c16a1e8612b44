"""Who seems to own a domain that does not carry this inventory's mark. Pure: domain XML in, words out.

Management tools leave their name in a domain's metadata, or name domains by a pattern. These are hints for people:
nothing is decided by them.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_spec as vm_spec
except ImportError:
    import zctl_vm_spec as vm_spec  # type: ignore[no-redef]

# Beginnings of the namespaces that tools use in <metadata>, the telling ones before those of mere helpers.
_NAMESPACES = (
    ("http://ovirt.org/", "oVirt or vdsm"),
    ("http://openstack.org/xmlns/libvirt/nova/", "OpenStack nova"),
    ("http://opennebula.org/", "OpenNebula"),
    ("http://zstack.org", "ZStack"),
    ("http://kubevirt.io", "KubeVirt"),
    ("https://wiki.gnome.org/Apps/Boxes", "GNOME Boxes"),
    ("https://github.com/cockpit-project/", "Cockpit"),
    ("http://libosinfo.org/", "virt-manager or virt-install"),
)
_NAMES = (
    (r"instance-[0-9a-f]{8}", "OpenStack nova, by its name"),
    (r"one-\d+", "OpenNebula, by its name"),
    (r"[irsv]-(\d+-)?\d+-[A-Z]+", "Apache CloudStack, by its name"),
    (r"(vm-)?[1-9]\d{2,8}", "Proxmox or something that numbers VMs like it, by its name"),
    (r"guestfs-[0-9a-z]+", "libguestfs, a tool that works on a disk image, by its name"),
    (r"[0-9a-f]{32}", "ZStack, by its name"),
)


def owner_words(root: ET.Element) -> str:
    """The seeming owner of a domain, in words."""
    mark = vm_spec.parse_mark(root)
    if mark is not None:
        return f"another zctl inventory ({mark.get('inventory') or 'without a UUID'})"
    spaces = [child.tag[1:].partition("}")[0] for child in root.findall("metadata/*") if child.tag.startswith("{")]
    for beginning, words in _NAMESPACES:
        if any(space.startswith(beginning) for space in spaces):
            return words
    if "Vagrantfile" in (root.findtext("description") or ""):
        return "Vagrant"
    name = root.findtext("name") or ""
    for pattern, words in _NAMES:
        if re.fullmatch(pattern, name):
            return words
    return f"a tool with the metadata {spaces[0]}" if spaces else "made by hand (virsh or a script)"
