# SPDX-License-Identifier: Apache-2.0
"""Reading what a host keeps of inventories, and which domains carry their marks; nothing is changed."""

from __future__ import annotations

import base64
import json
import xml.etree.ElementTree as ET
import zlib
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_rows as rows
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_spec as vm_spec
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import read_text
except ImportError:
    import zctl_rows as rows  # type: ignore[no-redef]
    import zctl_vm_spec as vm_spec  # type: ignore[no-redef]
    from zctl_system import read_text  # type: ignore[no-redef]

Json = dict[str, Any]


def read(only: str, libvirt: Any) -> list[Json]:
    """One result for each inventory, or only one, that has files or domains here."""
    domains = None if libvirt is None else read_domains(libvirt)
    return [entry for entry in answers(domains) if only in ("", entry["uuid"])]


def answers(domains: dict[str, dict[str, str]] | None) -> list[Json]:
    """What the files hold, packed, beside the marked domains of each inventory."""
    names = {path.name for path in rows.FOLDER.iterdir() if path.is_dir()} if rows.FOLDER.is_dir() else set()
    found = []
    for inventory in sorted({*names, *(domains or {})}):
        folder = rows.FOLDER / inventory
        texts = {name: read_text(folder / f"{name}{rows.ENDING}") for name in (rows.OWN, rows.SHARED, rows.LEFT)}
        marked = None if domains is None else domains.get(inventory, {})
        found.append(
            {
                "uuid": inventory,
                "kind": "inventory",
                "name": inventory,
                "result": "unchanged",
                "reason": "",
                "observed": {"files": pack(texts), "domains": marked},
            }
        )
    return found


def pack(value: Any) -> str:
    """A value as one short text."""
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


def read_domains(libvirt: Any) -> dict[str, dict[str, str]]:
    """Inventory -> uuid -> name of the VMs whose domains carry its mark."""
    connection = libvirt.open("qemu:///system")
    try:
        return marks([domain.XMLDesc() for domain in connection.listAllDomains()])
    finally:
        connection.close()


def marks(texts: list[str]) -> dict[str, dict[str, str]]:
    """The marks in domain XML. Pure."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        mark = vm_spec.parse_mark(ET.fromstring(text))
        if mark and mark.get("inventory") and mark.get("uuid"):
            found.setdefault(mark["inventory"], {})[mark["uuid"]] = mark.get("name", "")
    return found
