"""Reads every libvirt domain of this host in one pass.

Two bulk calls (`listAllDomains`, `getAllDomainStats`) and the XML of each domain, which costs less than 0.1 ms.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_diff as vm_diff
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_room as vm_room
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_spec as vm_spec
except ImportError:
    import zctl_vm_diff as vm_diff  # type: ignore[no-redef]
    import zctl_vm_room as vm_room  # type: ignore[no-redef]
    import zctl_vm_spec as vm_spec  # type: ignore[no-redef]

# enum virDomainState and the reasons of virDomainShutoffReason, virDomainPausedReason (libvirt-domain.h)
_STATES = {
    1: vm_diff.RUNNING,
    2: vm_diff.RUNNING,  # blocked on a resource: it runs
    3: vm_diff.PAUSED,
    4: vm_diff.STOPPING,
    5: vm_diff.STOPPED,
    6: vm_diff.STOPPED,
    7: vm_diff.SUSPENDED,
}
_SHUTOFF = {
    1: "shut down by the guest",
    2: "forced off",
    3: "crashed",
    4: "migrated to another host",
    5: "saved to a file",
    6: "failed to start",
    7: "restored from a snapshot",
    8: "its process was lost by libvirt",
}
_PAUSED = {
    1: "paused by a user",
    2: "paused by a migration",
    3: "paused while it is saved",
    4: "paused while it is dumped",
    5: "paused by an I/O error; is the disk's filesystem full?",
    6: "paused by its watchdog",
    10: "paused by a crash in the guest",
}
# Paused by something that will let it go on by itself, or must not be disturbed.
_BUSY_PAUSES = (2, 3, 4, 7, 9, 11, 12, 13, 14)


@dataclass(frozen=True)
class Found:
    """One domain: libvirt's handle, what it is, and why it is in its state."""

    handle: Any
    uuid: str
    domain: str
    mark: dict[str, str] | None
    actual: vm_diff.Actual
    why: str
    config_xml: str


def state_of(code: int, reason: int) -> tuple[str, str]:
    """libvirt's state and reason numbers as our word and a short explanation (pure)."""
    state = _STATES.get(code, vm_diff.UNKNOWN)
    if code == 3 and reason in _BUSY_PAUSES:
        return vm_diff.UNKNOWN, _PAUSED.get(reason, "paused by an operation in progress")
    words = _SHUTOFF.get(reason, "") if code == 5 else _PAUSED.get(reason, "") if code == 3 else ""
    return state, "crashed" if code == 6 else words


def read_domains(connection: Any, libvirt: Any) -> dict[str, Found]:
    """All domains by UUID; one that vanishes while it is read is left out.

    Raises libvirtError when the list itself cannot be read: unknown is not absent.
    """
    stats = {
        dom.UUIDString(): values for dom, values in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
    }
    found = {}
    for handle in connection.listAllDomains(0):
        uuid = handle.UUIDString()
        try:
            found[uuid] = _read_domain(handle, libvirt, uuid, stats.get(uuid, {}))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return found


def _read_domain(handle: Any, libvirt: Any, uuid: str, stats: dict[str, int]) -> Found:
    state, why = state_of(stats.get("state.state", 0), stats.get("state.reason", 0))
    config = handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    root = ET.fromstring(config)
    mark = vm_spec.parse_mark(root)
    active = state in vm_diff.ACTIVE and mark is not None
    live = ET.fromstring(handle.XMLDesc(0)) if active else None
    return Found(
        handle=handle,
        uuid=uuid,
        domain=handle.name(),
        mark=mark,
        actual=vm_diff.Actual(
            spec=vm_spec.parse_root(root),
            live=None if live is None else vm_spec.parse_root(live),
            state=state,
            autostart=bool(handle.autostart()) if mark is not None else False,
            room=vm_room.Room() if live is None else vm_room.parse_room(live),
        ),
        why=why,
        config_xml=config,
    )
