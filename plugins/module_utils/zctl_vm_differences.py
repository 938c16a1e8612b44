"""In which fields a domain is not as the inventory wants it, for people and for drift checks. Pure.

What only waits for the guest's next start is no difference: the configuration has it already. What changes by
itself (a guest that is starting or shutting down, a migration) is none either.
"""

from __future__ import annotations

from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_bandwidth as bandwidth
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_diff as vm_diff
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_spec as vm_spec
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_vm_adopted import follow
except ImportError:
    import zctl_vm_bandwidth as bandwidth  # type: ignore[no-redef]
    import zctl_vm_diff as vm_diff  # type: ignore[no-redef]
    import zctl_vm_spec as vm_spec  # type: ignore[no-redef]
    from zctl_vm_adopted import follow  # type: ignore[no-redef]

# What a domain's state is called in the inventory.
_FIELD_STATES = {vm_diff.PAUSED: "Unknown", vm_diff.SUSPENDED: "Stopped"}
_ON_ITS_WAY = (vm_diff.STOPPING, vm_diff.UNKNOWN)


def field_state(state: str) -> str:
    """The word that the inventory uses for a state."""
    return _FIELD_STATES.get(state, state)


def difference(field: str, actual: Any, desired: Any) -> dict[str, Any]:
    """One field that is not as wanted; None stands for what is not there."""
    return {"field": field, "actual": actual, "desired": desired}


def differences(actual: vm_diff.Actual | None, desired: vm_diff.Desired) -> list[dict[str, Any]]:
    """Each field in which the domain as found is not the wanted one; sizes in bytes."""
    if actual is None:
        return [difference("domain", None, desired.spec.domain)]
    wanted = follow(desired.spec, actual.spec)
    found = []
    state = field_state(actual.state)
    if state != desired.state and actual.state not in _ON_ITS_WAY:
        found.append(difference("state", state, desired.state))
    if actual.autostart != desired.autostart:
        found.append(difference("autostart", actual.autostart, desired.autostart))
    config = _fields(actual.spec)
    # A running guest that is not like its configuration counts where that could be mended now.
    ops = {"vcpus": "vcpus", "plug-memory": "memory", "unplug-memory": "memory"}
    mended = {ops.get(step.op) for step in vm_diff.diff(actual, desired).steps}
    live = _fields(actual.live) if actual.live else config
    for field, value in _fields(wanted).items():
        if config[field] != value:
            found.append(difference(field, config[field], value))
        elif live[field] != value and field in mended:
            found.append(difference(field, live[field], value))
    return found + _disks(actual, wanted) + _nics(actual, wanted)


def _fields(spec: vm_spec.DomainSpec) -> dict[str, Any]:
    return {
        "vcpus": spec.vcpus,
        "memory": spec.memory * vm_spec.KIB,
        "description": spec.description,
        "name": spec.name,
        "boot": ",".join(spec.boot),
        "virt_type": spec.virt_type,
    }


def _disks(actual: vm_diff.Actual, wanted: vm_spec.DomainSpec) -> list[dict[str, Any]]:
    config = {disk.uuid: disk for disk in actual.spec.disks}
    live = {disk.uuid: disk for disk in actual.live.disks} if actual.live else config
    found = []
    for disk in wanted.disks:
        have = config.get(disk.uuid)
        if have is None or disk.uuid not in live:
            found.append(difference(f"disk {disk.dev}", None, disk.path))
        elif have.path != disk.path:
            found.append(difference(f"disk {disk.dev}", have.path, disk.path))
        elif have != disk:
            found.append(difference(f"disk {disk.dev}", f"{have.dev} {have.format}", f"{disk.dev} {disk.format}"))
    kept = {disk.uuid for disk in wanted.disks}
    extra = {disk.uuid: disk for disk in [*live.values(), *config.values()] if disk.uuid not in kept}
    return found + [difference(f"disk {disk.dev}", disk.path, None) for disk in extra.values()]


def _nics(actual: vm_diff.Actual, wanted: vm_spec.DomainSpec) -> list[dict[str, Any]]:
    config = {(nic.uuid, nic.mac): nic for nic in actual.spec.nics}
    live = {(nic.uuid, nic.mac): nic for nic in actual.live.nics} if actual.live else config
    found = []
    for nic in wanted.nics:
        have, running = config.get((nic.uuid, nic.mac)), live.get((nic.uuid, nic.mac))
        if have is None or running is None:
            found.append(difference(f"nic {nic.mac}", None, nic_words(nic)))
        elif have != nic:
            found.append(difference(f"nic {nic.mac}", nic_words(have), nic_words(nic)))
        elif (running.bridge, running.limits) != (nic.bridge, nic.limits):
            found.append(difference(f"nic {nic.mac}", nic_words(running), nic_words(nic)))
    kept = {(nic.uuid, nic.mac) for nic in wanted.nics}
    extra = {key: nic for key, nic in [*live.items(), *config.items()] if key not in kept}
    return found + [difference(f"nic {nic.mac}", nic_words(nic), None) for nic in extra.values()]


def nic_words(nic: vm_spec.NicSpec) -> str:
    """What a network card is plugged into, and how fast it may be."""
    more = [f"mtu {nic.mtu}" if nic.mtu else "", bandwidth.words(nic.limits)]
    return ", ".join(filter(None, [f"bridge {nic.bridge}, port {nic.tap}", *more]))
