"""The desired state of one host, as values: what the roles and modules receive.

One `HostState` holds everything zctl wants on a host, one part for each concern, in the order in which the
concerns are applied. It is computed from the inventory by pure functions and never reads anything itself.
Sizes are bytes, times are seconds, addresses are text.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zctl.plan.hoststate_balancer import Balancer
from zctl.plan.hoststate_base import Named, Part
from zctl.plan.hoststate_metadata import MetadataState
from zctl.plan.hoststate_security import SecurityState

__all__ = ["Named", "Part"]  # others take these from here, beside what is declared below
SCHEMA_VERSION = 1
CONCERNS = ("kvm_host", "storage", "network", "l3_services", "metadata", "security", "vm", "eip")


class KvmHost(Part):
    """What the machine itself must be: packages, libvirt, the kernel settings that the network needs."""

    virt_type: Literal["auto", "kvm", "qemu"] = "auto"
    metadata: bool = Field(default=False, description="whether a metadata service runs here, which needs nginx")
    balancers: bool = Field(default=False, description="whether load balancers run here, which need haproxy")


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

    kind: Literal["no-vlan", "vlan", "vxlan"]
    bridge: str
    interface: str | None = Field(
        default=None,
        description="no-vlan: the NIC that becomes a port of the bridge. vlan: the NIC that carries it. vxlan: the NIC"
        " that carries the tunnel (none: the one that holds the host's management address)",
    )
    vlan: int | None = None
    vni: int | None = None
    device: str | None = Field(default=None, description="vlan, vxlan: name of the VLAN's or tunnel's device")
    group: str | None = Field(default=None, description="vxlan: multicast group; without one the peers are told")
    peers: list[str] = Field(default=[], description="vxlan without a group: the tunnel addresses of the other hosts")
    mtu: int | None = None


class NetworkState(Part):
    management_address: str | None = Field(default=None, description="the address that zctl reaches the host by")
    l2_networks: list[L2Network] = []


class Lease(Named):
    """One NIC's address, by MAC; uuid is the NIC's, name is the host name that DHCP gives out."""

    mac: str
    ip: str
    ip6: str | None = None


class L3Network(Named):
    """DHCP, DNS and metadata for one L3 network, in a namespace of this host."""

    l2: str
    bridge: str
    uplink: str = Field(description="the bridge's port that leads out of the host: the NIC or the tunnel device")
    namespace: str
    veth: str = Field(description="the namespace's port on the bridge")
    cidr: str
    gateway: str | None = None
    gateway_here: bool = Field(default=False, description="the namespace has the gateway's address, on every host")
    dhcp_ip: str
    mac: str | None = Field(default=None, description="of the namespace's port; by the machine's id when not given")
    dns: list[str] = []
    domain: str | None = None
    mtu: int | None = None
    metadata: bool = Field(default=False, description="whether 169.254.169.254 is the namespace's")
    cidr6: str | None = Field(default=None, description="IPv6 beside IPv4; the next two only with it")
    gateway6: str | None = None
    dhcp_ip6: str | None = None
    dns_service: bool = Field(
        default=False, description="whether the namespace answers for names; dns is asked for others"
    )
    routes: list[str] = Field(default=[], description="further routes of the guests: CIDR via GATEWAY")
    leases: list[Lease] = []
    names: dict[str, str] = Field(
        default={}, description="for each NIC on the network, on any host: its VM's name and its addresses"
    )


class L3State(Part):
    l3_networks: list[L3Network] = []


class PublicLink(Named):
    """A namespace's port on a public l3-network."""

    bridge: str
    uplink: str = Field(description="the bridge's port that leads out of the host")
    veth: str = Field(description="the port on the bridge")
    port: str = Field(description="its other end, within the namespace")
    mac: str
    cidr: str
    gateway: str | None = None
    cidr6: str | None = None
    gateway6: str | None = None
    mtu: int | None = None
    mark: int = Field(description="mark of its packets, and number of its routing table")


class Eip(Named):
    """A public address and the card that it stands for."""

    ip: str
    public: str = Field(description="uuid of the public l3-network")
    private_ip: str
    mac: str
    tap: str


class Snat(Named):
    """The address that cards without an eip are seen by outside; this host is the way out for all of the network."""

    ip: str
    public: str


class Exit(Named):
    """The way out of a network that another host is: what has no eip is handed to its namespace, by MAC."""

    mac: str


class Forward(Named):
    """A port of a public address that leads to a card."""

    ip: str
    public: str
    protocol: Literal["tcp", "udp"]
    start: int
    end: int
    private_ip: str
    private_start: int = Field(description="the same as start for more than one port")
    allowed: str | None = Field(default=None, description="only from this CIDR")


class Router(Named):
    """What the namespace of one l3-network translates on this host; uuid and name are the network's."""

    namespace: str
    mac: str
    bridge: str
    cidr: str
    cidr6: str | None = None
    gateway_here: bool
    publics: list[PublicLink] = []
    eips: list[Eip] = []
    snats: list[Snat] = Field(default=[], description="at most one")
    exits: list[Exit] = Field(default=[], description="at most one, and not where there is a snat")
    forwards: list[Forward] = []
    balancers: list[Balancer] = []
    neighbours: dict[str, str] = Field(default={}, description="address -> MAC of the cards that are reached from here")


class EipState(Part):
    routers: list[Router] = []


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
    inbound: int | None = Field(default=None, description="bits a second that the guest may receive")
    outbound: int | None = Field(default=None, description="bits a second that the guest may send")


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
    metadata: MetadataState = MetadataState()
    security: SecurityState = SecurityState()
    vm: VmState = VmState()
    eip: EipState = EipState()
