"""What is on a host near the l3-networks without being of this inventory: told of, never touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_foreign import devices_in_subnets, dhcp_servers
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_inside import NAMESPACES
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import foreign
except ImportError:
    from zctl_foreign import devices_in_subnets, dhcp_servers  # type: ignore[no-redef]
    from zctl_l3_inside import NAMESPACES  # type: ignore[no-redef]
    from zctl_results import foreign  # type: ignore[no-redef]

Json = dict[str, Any]


def foreign_things(
    inventory: str, stored: dict[str, Json], damaged: dict[Path, str], desired: dict[str, Json], links: dict[str, Json]
) -> list[Json]:
    """What is not this inventory's and serves, or lies in, one of its subnets."""
    subnets = {entry["cidr"]: entry["name"] for entry in desired.values()}
    things = devices_in_subnets(links, subnets)
    things += dhcp_servers(subnets, {entry["bridge"] for entry in desired.values()})
    for entry in stored.values():
        if entry["inventory"] != inventory:
            things.append(foreign("l3-network", entry["name"], f"zctl, inventory {entry['inventory']}"))
    lost = [path for path in damaged if path.parent.name not in desired]
    things += [foreign("file", str(path), f"nobody knows: {damaged[path]}") for path in lost]
    known = {entry["namespace"] for entry in [*stored.values(), *desired.values()]}
    names = sorted(path.name for path in NAMESPACES.glob("zl3-*") if path.name not in known)
    return things + [foreign("namespace", name, "looks like zctl's, but is of no network known here") for name in names]
