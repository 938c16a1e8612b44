"""A VM's domain with its disks and network cards, as its host is to have them. Not a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zctl.plan.names import bridge_name, tap_name
from zctl.resources.vm_columns import free_disk_name
from zctl.units import parse_rate

if TYPE_CHECKING:
    from zctl.plan import hoststate
    from zctl.plan.snapshot import Snapshot
    from zctl.resources.vm import Vm


def domain_of(snapshot: Snapshot, vm: Vm, usual: str) -> hoststate.Vm:
    """The domain; `usual` is what its host emulates or virtualizes with: kvm or qemu."""
    from zctl.plan import hoststate

    return hoststate.Vm(
        uuid=vm.id,
        name=vm.name,
        domain=vm.domain or f"z-{vm.name}",
        description=vm.description,
        vcpus=vm.cpus or 1,
        memory=vm.memory or 0,
        virt_type="kvm" if (vm.virt_type or usual) == "kvm" else "qemu",
        boot=vm.boot.split(","),
        adopted=vm.adopted,
        state="Running" if vm.power == "Running" else "Stopped",
        autostart=vm.autostart and (vm.adopted or vm.power == "Running"),
        stop_timeout=vm.stop_timeout,
        reboot=vm.reboot_token,
        disks=disks_of(snapshot, vm),
        nics=nics_of(snapshot, vm),
    )


def disks_of(snapshot: Snapshot, vm: Vm) -> list[hoststate.Disk]:
    """The disks of a VM's domain."""
    from zctl.plan import hoststate
    from zctl.resources.primary_storage import PrimaryStorage
    from zctl.resources.volume import Volume

    volumes = sorted(snapshot.by(Volume, "vm_id", vm.id), key=lambda volume: volume.device)
    adopted = {volume.target for volume in volumes}
    return [
        hoststate.Disk(
            uuid=volume.id,
            format=volume.format,
            dev=volume.target or free_disk_name(volume.device, adopted),
            path=volume.file or volume.path(snapshot.need(PrimaryStorage, volume.primary_storage_id)),
        )
        for volume in volumes
    ]


def nics_of(snapshot: Snapshot, vm: Vm) -> list[hoststate.Nic]:
    """The network cards of a VM's domain."""
    from zctl.plan import hoststate
    from zctl.resources.l2_network import L2Network
    from zctl.resources.l3_network import L3Network
    from zctl.resources.nic import Nic

    found = []
    for nic in sorted(snapshot.by(Nic, "vm_id", vm.id), key=lambda nic: nic.device):
        if nic.bridge is not None:  # adopted: plugged in where it was found
            found.append(hoststate.Nic(uuid=nic.id, mac=nic.mac or "", bridge=nic.bridge, tap="", ip=nic.ip))
            continue
        l2 = snapshot.need(L2Network, snapshot.need(L3Network, nic.l3_network_id).l2_network_id)
        found.append(
            hoststate.Nic(
                uuid=nic.id,
                mac=nic.mac or "",
                bridge=bridge_name(l2.id),
                tap=tap_name(nic.id),
                ip=nic.ip,
                mtu=l2.mtu,
                inbound=parse_rate(nic.inbound) if nic.inbound else None,
                outbound=parse_rate(nic.outbound) if nic.outbound else None,
            )
        )
    return found


def uuids_of(snapshot: Snapshot, vm: Vm) -> list[str]:
    """What a VM is on its host: the domain, its disks with their storage and image, its leases and eips."""
    from zctl.resources.eip import Eip
    from zctl.resources.nic import Nic
    from zctl.resources.volume import Volume

    found = {vm.id}
    for volume in snapshot.by(Volume, "vm_id", vm.id):
        found |= {key for key in (volume.id, volume.primary_storage_id, volume.image_id) if key}
    for nic in snapshot.by(Nic, "vm_id", vm.id):
        found |= {nic.id, *(eip.id for eip in snapshot.by(Eip, "nic_id", nic.id))}
    return sorted(found)
