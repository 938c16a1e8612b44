"""Enlarges a disk under a running guest. libvirt is only asked when a disk turns out to be in use."""

from __future__ import annotations

import xml.etree.ElementTree as ET

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_storage_files as files
except ImportError:
    import zctl_storage_files as files  # type: ignore[no-redef]


def resize_live(path: str, size: int) -> bool:
    """Tell the running guest that has the disk about its new size in bytes; False when no guest here has it.

    Raises StorageError when libvirt refuses.
    """
    try:
        import libvirt
    except ImportError:
        return False
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.open("qemu:///system")
        try:
            for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                sources = ET.fromstring(domain.XMLDesc(0)).iterfind("devices/disk/source")
                if path in [source.get("file") for source in sources]:
                    domain.blockResize(path, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
                    return True
        finally:
            connection.close()
    except libvirt.libvirtError as error:
        raise files.StorageError(f"the running guest's disk {path} cannot be grown: {error}") from error
    return False
