"""What must be done to bring one domain from what it is to what it should be. Pure: values in, steps out.

The steps of one domain are in the order in which they are done. `pending` names what is already in the domain's
configuration but waits for the guest's next start.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_room as vm_room
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_spec as vm_spec
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_vm_adopted import follow
except ImportError:
    import zctl_vm_room as vm_room  # type: ignore[no-redef]
    import zctl_vm_spec as vm_spec  # type: ignore[no-redef]
    from zctl_vm_adopted import follow  # type: ignore[no-redef]

RUNNING, STOPPED, PAUSED, STOPPING, SUSPENDED, UNKNOWN = (
    "Running",
    "Stopped",
    "Paused",
    "Stopping",
    "Suspended",
    "Unknown",
)
ACTIVE = (RUNNING, PAUSED, STOPPING, SUSPENDED)


@dataclass(frozen=True)
class Actual:
    """A domain as libvirt has it; `live` is what the running guest was given, None when it does not run.

    `room` is how far the running guest can grow.
    """

    spec: vm_spec.DomainSpec
    live: vm_spec.DomainSpec | None
    state: str
    autostart: bool
    room: vm_room.Room = field(default_factory=vm_room.Room)


@dataclass(frozen=True)
class Desired:
    """A domain as the inventory wants it."""

    spec: vm_spec.DomainSpec
    state: str
    autostart: bool
    stop_timeout: int = 60


@dataclass(frozen=True)
class Step:
    """One thing to do; `value` is what the operation needs (a spec, a disk, a NIC, a flag, a token)."""

    op: str
    value: Any = None


@dataclass(frozen=True)
class Plan:
    """The steps of one domain, and what waits for its next start."""

    steps: tuple[Step, ...] = ()
    pending: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conflict:
    """The domain cannot be ours: why, in plain words."""

    reason: str


def desired_of(inventory: str, vm: dict[str, Any]) -> Desired:
    """The wanted domain of one VM of the host state; it starts with the host only when it should run at all.

    An adopted one keeps its own way: it may be down and set to start with the host.
    """
    running = vm["state"] == RUNNING
    return Desired(
        spec=vm_spec.desired_spec(inventory, vm),
        state=RUNNING if running else STOPPED,
        autostart=(running or bool(vm.get("adopted"))) and bool(vm.get("autostart", True)),
        stop_timeout=int(vm.get("stop_timeout", 60)),
    )


def conflict(desired: vm_spec.DomainSpec, mark: dict[str, str] | None, namesake: str | None) -> Conflict | None:
    """Whether the VM's UUID or libvirt name is taken by a domain that is not ours.

    `mark` is that of the domain with our UUID ({} when there is no such domain, None when it has no mark);
    `namesake` the UUID of another domain with our libvirt name.
    """
    if mark is None and desired.adopted:
        return Conflict(
            f"the domain with UUID {desired.uuid} does not carry zctl's mark: its adoption was cut short, or the mark"
            " was removed; 'zctl host adopt' of its host sets it again"
        )
    if mark is None:
        return Conflict(f"a domain with UUID {desired.uuid} exists that zctl did not make; it is left as it is")
    if mark and mark.get("inventory") != desired.inventory:
        return Conflict(
            f"the domain with UUID {desired.uuid} belongs to another zctl inventory ({mark.get('inventory', '?')});"
            " remove it there first"
        )
    if not mark and namesake:
        return Conflict(
            f"libvirt's name {desired.domain!r} is taken by another domain (UUID {namesake}) that is not this VM;"
            f" rename it with 'virsh domrename {desired.domain} NEW-NAME' or give this VM another name"
        )
    return None


def diff(actual: Actual | None, desired: Desired) -> Plan:
    """The steps from `actual` (None: no such domain) to `desired`."""
    if actual is None:
        steps = [Step("define", desired.spec), *_autostart(False, desired)]
        if desired.state == RUNNING:
            steps.append(Step("start"))
        return Plan(tuple(steps))
    wanted = replace(follow(desired.spec, actual.spec), domain=actual.spec.domain)
    rebooted = wanted.reboot in (None, actual.spec.reboot)
    # The token is recorded after the reboot, so that a run that dies in between does it again.
    config = wanted if rebooted or actual.state not in ACTIVE else replace(wanted, reboot=actual.spec.reboot)
    steps = [] if config == actual.spec else [Step("define", config)]
    steps += _autostart(actual.autostart, desired)
    if actual.state == UNKNOWN:
        return Plan(tuple(steps))  # neither start nor stop what may be running
    if desired.state == STOPPED:
        if actual.state in ACTIVE:
            steps.append(Step("stop"))
        if not rebooted and config != wanted:
            steps.append(Step("mark", wanted))
        return Plan(tuple(steps))
    if actual.state not in ACTIVE:
        return Plan((*steps, Step("start")))
    if not rebooted or actual.state == STOPPING:
        steps += [Step("stop"), Step("start")]
        if config != wanted:
            steps.append(Step("mark", wanted))
        return Plan(tuple(steps))
    if actual.state in (PAUSED, SUSPENDED):
        steps.append(Step("resume" if actual.state == PAUSED else "wake"))
    live = [*size_steps(actual, wanted), *live_steps(actual.live, wanted)] if actual.live else []
    done = {step.op for step in live}
    return Plan((*steps, *live), pending_of(actual, wanted, done))


def _autostart(now: bool, desired: Desired) -> list[Step]:
    return [] if now == desired.autostart else [Step("autostart", desired.autostart)]


def _nic_live(nic: vm_spec.NicSpec) -> tuple[str, str]:
    """What makes a running NIC another card."""
    return nic.uuid, nic.mac


def live_steps(live: vm_spec.DomainSpec, wanted: vm_spec.DomainSpec) -> list[Step]:
    """Disks and NICs to plug into and out of a running guest; NICs that stay get their bridge and their limits."""
    steps = []
    wanted = follow(wanted, live)
    want_nics = {_nic_live(nic): nic for nic in wanted.nics}
    have_nics = {_nic_live(nic): nic for nic in live.nics}
    want_disks = {disk.uuid: disk for disk in wanted.disks}
    have_disks = {disk.uuid: disk for disk in live.disks}
    steps += [Step("detach-nic", nic) for key, nic in have_nics.items() if key not in want_nics]
    steps += [Step("detach-disk", disk) for key, disk in have_disks.items() if key not in want_disks]
    steps += [Step("attach-disk", disk) for key, disk in want_disks.items() if key not in have_disks]
    steps += [Step("attach-nic", nic) for key, nic in want_nics.items() if key not in have_nics]
    for key, nic in want_nics.items():
        have = have_nics.get(key)
        if have and (have.bridge, have.limits) != (nic.bridge, nic.limits):
            op = "update-nic" if have.bridge != nic.bridge else "limit-nic"
            steps.append(Step(op, replace(have, bridge=nic.bridge, limits=nic.limits)))
    return steps


def size_steps(actual: Actual, wanted: vm_spec.DomainSpec) -> list[Step]:
    """CPUs and memory to plug into a running guest, and out of it.

    Taking away is tried once, together with the change of the configuration: a guest that keeps what it has is not
    asked again by every run.
    """
    live, room = actual.live, actual.room
    if live is None:
        return []
    steps = []
    # Under emulation QEMU (7.2) does not survive the loss of a CPU.
    fewer = live.virt_type == "kvm" and wanted.vcpus < live.vcpus and actual.spec.vcpus != wanted.vcpus
    if fewer or live.vcpus < wanted.vcpus <= room.vcpus:
        steps.append(Step("vcpus", wanted.vcpus))
    growth = wanted.memory - live.memory
    if growth > 0 and wanted.memory <= room.memory:
        dimm = vm_room.dimm_to_plug(room, growth)
        steps += [Step("plug-memory", dimm)] if dimm else []
    elif growth < 0 and actual.spec.memory != wanted.memory:
        steps += [Step("unplug-memory", dimm) for dimm in vm_room.dimms_to_unplug(room, -growth)]
    return steps


def pending_of(actual: Actual, wanted: vm_spec.DomainSpec, done: Container[str] = ()) -> tuple[str, ...]:
    """What the running guest does not have yet and gets at its next start, in words with both values.

    `done` are the operations that are about to be carried out.
    """
    live = actual.live
    if live is None:
        return ()
    wanted = follow(wanted, live)
    pending = []
    if live.vcpus != wanted.vcpus and "vcpus" not in done:
        pending.append(f"cpus {live.vcpus} -> {wanted.vcpus}")
    if live.memory != wanted.memory and not ("plug-memory" in done or "unplug-memory" in done):
        pending.append(_memory_words(live.memory, wanted.memory, actual.room))
    if live.virt_type != wanted.virt_type:
        pending.append(f"virtualization {live.virt_type} -> {wanted.virt_type}")
    if live.boot != wanted.boot:
        pending.append(f"boot {','.join(live.boot)} -> {','.join(wanted.boot)}")
    have_disks = {disk.uuid: disk for disk in live.disks}
    for disk in wanted.disks:
        found = have_disks.get(disk.uuid, disk)
        if found != disk:
            pending.append(f"disk {found.dev} {found.path} -> {disk.dev} {disk.path}")
    have_nics = {_nic_live(nic): nic for nic in live.nics}
    for nic in wanted.nics:
        have = have_nics.get(_nic_live(nic), nic)
        if replace(have, bridge=nic.bridge, limits=nic.limits) != nic:
            pending.append(f"nic {nic.mac} mtu {have.mtu or '-'} -> {nic.mtu or '-'}")
    return tuple(pending)


def _memory_words(live: int, wanted: int, room: vm_room.Room) -> str:
    words = f"memory {vm_room.size_words(live)} -> {vm_room.size_words(wanted)}"
    if wanted < live:
        return words
    why = vm_room.why_not_grow(room, wanted - live)
    if not why and wanted > room.memory:
        why = f"the guest was started with room for {vm_room.size_words(room.memory)}"
    return f"{words} ({why})" if why else words


_WORDS = {
    "autostart": "autostart",
    "stop": "stopped",
    "start": "started",
    "resume": "resumed",
    "wake": "woken",
    "vcpus": "{0} CPUs in the running guest",
    "plug-memory": "memory plugged in",
    "unplug-memory": "memory taken out",
    "attach-disk": "disk {0.dev} attached",
    "detach-disk": "disk {0.dev} detached",
    "attach-nic": "NIC {0.mac} attached",
    "detach-nic": "NIC {0.mac} detached",
    "update-nic": "NIC {0.mac} moved to bridge {0.bridge}",
    "limit-nic": "NIC {0.mac} given its limits",
}


def describe(actual: Actual | None, plan: Plan) -> str:
    """What the plan changes, in plain words; an empty text when nothing."""
    words = []
    for step in plan.steps:
        if step.op == "define":
            words.append("created" if actual is None else f"changed {', '.join(changed_fields(actual, step.value))}")
        elif step.op == "autostart":
            words.append(f"autostart {'on' if step.value else 'off'}")
        elif step.op in _WORDS:
            words.append(_WORDS[step.op].format(step.value))
    if [step.op for step in plan.steps[-3:]][:2] == ["stop", "start"]:
        words = [*words[:-2], "rebooted"]
    return ", ".join(words)


def changed_fields(actual: Actual, spec: vm_spec.DomainSpec) -> list[str]:
    """Names of the fields in which the configuration differs from `spec`."""
    return [
        name for name in vm_spec.DomainSpec.__dataclass_fields__ if getattr(actual.spec, name) != getattr(spec, name)
    ]
