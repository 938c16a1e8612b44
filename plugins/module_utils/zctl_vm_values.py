"""The values that say what zctl decides about a libvirt domain."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class DiskSpec:
    """A disk of the domain: `dev` is the name that the guest is likely to see (vda, vdb ...)."""

    uuid: str
    path: str
    format: str
    dev: str
    adopted: bool = False


@dataclass(frozen=True)
class NicSpec:
    """A network card of the domain; `mtu` is what the guest is told, in bytes, or None for the bridge's own."""

    uuid: str
    mac: str
    bridge: str
    tap: str
    mtu: int | None = None
    adopted: bool = False


@dataclass(frozen=True)
class DomainSpec:
    """All that zctl sets in a domain; `memory` is in KiB because libvirt rounds to them."""

    uuid: str
    name: str
    domain: str
    inventory: str
    virt_type: str
    vcpus: int
    memory: int
    description: str | None = None
    reboot: str | None = None
    boot: tuple[str, ...] = ("disk",)
    disks: tuple[DiskSpec, ...] = field(default=())
    nics: tuple[NicSpec, ...] = field(default=())
    adopted: bool = False
