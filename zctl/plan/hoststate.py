"""The desired state of one host, as values: what the roles and modules receive.

One `HostState` holds everything zctl wants on a host, one part for each concern, in the order in which the
concerns are applied. It is computed from the inventory by pure functions and never reads anything itself.
Sizes are bytes, times are seconds, addresses are text.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
CONCERNS = ("kvm_host", "storage", "network", "l3_services", "vm")


class Part(BaseModel):
    """A value of the host state: unknown keys are refused, so that a misspelt one cannot be ignored."""

    model_config = ConfigDict(extra="forbid")


class Named(Part):
    """Something with an identity in the inventory."""

    uuid: str
    name: str


class KvmHost(Part):
    """What the machine itself must be: packages, libvirt, the kernel settings that the network needs."""

    virt_type: Literal["auto", "kvm", "qemu"] = "auto"


class Storage(Named):
    """A folder that holds images and volumes."""

    kind: Literal["local", "shared-mount-point"]
    path: str


class Image(Named):
    """A disk image to be cached on a storage; `source` is an absolute path on the controller or an http(s) URL."""

    storage: str
    path: str
    source: str
    checksum: str | None = Field(default=None, description="sha256:HEX; verified before the image is used")
    format: Literal["qcow2", "raw"] = "qcow2"


class Volume(Named):
    """A disk file; with `backing` a qcow2 overlay on a cached image."""

    storage: str
    path: str
    size: int = Field(description="virtual size in bytes")
    format: Literal["qcow2", "raw"] = "qcow2"
    made: bool = Field(
        default=False, description="it has been there before: a missing file is a loss, not to be made anew"
    )
    backing: str | None = None
    backing_format: Literal["qcow2", "raw"] | None = None


class PurgedFile(Named):
    """A file that the user has asked to delete. Data is only ever removed when it is named here."""

    storage: str
    path: str


class StorageState(Part):
    storages: list[Storage] = []
    images: list[Image] = []
    volumes: list[Volume] = []
    purge: list[PurgedFile] = []


class L2Network(Named):
    """A bridge and its way out of the host."""

    kind: Literal["no-vlan", "vxlan"]
    bridge: str
    interface: str | None = Field(
        default=None,
        description="no-vlan: the NIC that becomes a port of the bridge. vxlan: the NIC that carries the tunnel"
        " (none: the one that holds the host's management address)",
    )
    vni: int | None = None
    device: str | None = Field(default=None, description="vxlan: name of the tunnel device")
    group: str | None = Field(default=None, description="vxlan: multicast group")
    mtu: int | None = None


class NetworkState(Part):
    management_address: str | None = Field(default=None, description="the address that zctl reaches the host by")
    l2_networks: list[L2Network] = []


class Lease(Named):
    """One NIC's address, by MAC; uuid is the NIC's, name is the host name that DHCP gives out."""

    mac: str
    ip: str


class L3Network(Named):
    """DHCP and, later, metadata and EIPs for one L3 network, in a namespace of this host."""

    l2: str
    bridge: str
    uplink: str = Field(description="the bridge's port that leads out of the host: the NIC or the tunnel device")
    namespace: str
    veth: str = Field(description="the namespace's port on the bridge")
    cidr: str
    gateway: str | None = None
    dhcp_ip: str
    dns: list[str] = []
    domain: str | None = None
    mtu: int | None = None
    leases: list[Lease] = []


class L3State(Part):
    l3_networks: list[L3Network] = []


class Disk(Part):
    """A disk of a domain. For an adopted VM `path` is whatever its source holds: a file, a device, pool/image."""

    uuid: str
    path: str
    format: str
    dev: str


class Nic(Part):
    """A network card. For an adopted VM `bridge` is what it was found on (br0, network:default), `tap` is empty."""

    uuid: str
    mac: str
    bridge: str
    tap: str
    ip: str | None = None
    mtu: int | None = None


class Vm(Named):
    """A libvirt domain. It is found by `uuid`; `domain` is the libvirt name that a new one gets."""

    domain: str
    description: str | None = None
    vcpus: int
    memory: int
    virt_type: Literal["kvm", "qemu"]
    state: Literal["Running", "Stopped"]
    autostart: bool = True
    boot: list[Literal["disk", "network"]] = ["disk"]
    adopted: bool = Field(default=False, description="taken over: its devices are known by the mark, not by aliases")
    stop_timeout: int = Field(default=60, description="how long to wait for the guest before it is forced off")
    reboot: str | None = Field(
        default=None, description="token of a wanted reboot; kept in the domain's mark, so that it is done once"
    )
    disks: list[Disk] = []
    nics: list[Nic] = []


class VmState(Part):
    vms: list[Vm] = []
    purge: list[Named] = Field(default=[], description="domains that the user has asked to remove")


class HostState(Part):
    """Everything that zctl wants on one host."""

    schema_version: int = SCHEMA_VERSION
    inventory: str = Field(description="uuid of the inventory: part of every mark, so that two clouds can share hosts")
    host: Named
    kvm_host: KvmHost = KvmHost()
    storage: StorageState = StorageState()
    network: NetworkState = NetworkState()
    l3_services: L3State = L3State()
    vm: VmState = VmState()
