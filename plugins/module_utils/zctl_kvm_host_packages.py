"""Which packages a host needs, by family, and which are missing: judged by the files that zctl uses, which is quicker
than asking the package manager and is true for programs that were installed in other ways too.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

_PROGRAM_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/libexec", "/usr/local/sbin", "/usr/local/bin")

# Package -> what of it zctl uses: a program, python:MODULE, or several of which one is enough (with |).
PACKAGES = {
    "debian": {
        "qemu-system-x86": "qemu-system-x86_64",
        "qemu-utils": "qemu-img",
        "libvirt-daemon-system": "libvirtd|virtqemud",
        "libvirt-clients": "virsh",
        "python3-libvirt": "python:libvirt",
        "dnsmasq-base": "dnsmasq",
        "nftables": "nft",
        "iproute2": "ip",
        "iputils-arping": "arping",
    },
    "redhat": {
        "qemu-kvm": "qemu-kvm|qemu-system-x86_64",
        "qemu-img": "qemu-img",
        "libvirt-daemon-driver-qemu": "virtqemud|libvirtd",
        "libvirt-daemon-config-nwfilter": "virtnwfilterd|libvirtd",
        "libvirt-client": "virsh",
        "python3-libvirt": "python:libvirt",
        "dnsmasq": "dnsmasq",
        "nftables": "nft",
        "iproute": "ip",
        "iputils": "arping",
    },
}

# Only where a metadata service or load balancers run, as the state says by these words. Their own services, which are
# for the whole host, are not wanted.
OPTIONAL = {
    "metadata": {"debian": {"nginx-light": "nginx"}, "redhat": {"nginx": "nginx"}},
    "balancers": {"debian": {"haproxy": "haproxy"}, "redhat": {"haproxy": "haproxy"}},
}


def _is_there(name: str) -> bool:
    kind, _, module = name.partition(":")
    if kind == "python":
        return importlib.util.find_spec(module) is not None
    return any(os.access(f"{folder}/{name}", os.X_OK) for folder in _PROGRAM_FOLDERS)


def missing_packages(family: str, state: dict[str, Any] | None = None) -> list[str]:
    """Packages whose files are not there; of an unknown family Debian's names are given."""
    wanted = dict(PACKAGES.get(family, PACKAGES["debian"]))
    for word, more in OPTIONAL.items():
        if (state or {}).get(word):
            wanted.update(more.get(family, more["debian"]))
    return [package for package, uses in wanted.items() if not any(_is_there(name) for name in uses.split("|"))]
