# SPDX-License-Identifier: Apache-2.0
"""The relay by which an l3-network's DNS asks other servers from the host: units, sockets, the way to the namespace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Ansible sends what is named anywhere; it is put on the host as a program, not used here
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_dns_relay as _shipped_too  # noqa: F401
try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_l3_dns as dns
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_boot import UNITS, WANTS, install_unit
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference, text_differences
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import read_text, run, succeeds, write_text
except ImportError:
    import zctl_l3_dns as dns  # type: ignore[no-redef]
    from zctl_network_boot import UNITS, WANTS, install_unit  # type: ignore[no-redef]
    from zctl_results import difference, text_differences  # type: ignore[no-redef]
    from zctl_system import read_text, run, succeeds, write_text  # type: ignore[no-redef]

Json = dict[str, Any]
NAMESPACES = Path("/run/netns")


def relay_differences(network: Json, folder: Path, state: str) -> list[Json]:
    """Where the relay's units, or what leads to its namespace, are not as wanted; `state` is its socket's."""
    name = dns.socket_unit(network["uuid"])
    enabled = (WANTS / name).is_symlink()
    if not dns.has_relay(network):
        return [difference("relay", "there", None)] if enabled or state == "active" else []
    target = str(NAMESPACES / network["namespace"])
    link = folder / "netns"
    actual = os.readlink(link) if link.is_symlink() else None
    found = [difference("relay.namespace", actual, target)] if actual != target else []
    for unit, text in ((dns.SOCKET, dns.SOCKET_TEXT), (dns.SERVICE, dns.SERVICE_TEXT)):
        found += text_differences(unit, read_text(UNITS / unit), text)
    if state != "active":
        found.append(difference("relay", state, "active"))
    if not enabled:
        found.append(difference("relay.enabled", "disabled", "enabled"))
    return found


def mend_relay(network: Json, folder: Path, again: bool) -> None:
    """Make the relay listen, `again` when its namespace or its servers are others now; or take it away."""
    uuid = network["uuid"]
    if not dns.has_relay(network):
        remove_relay(uuid)
        return
    link = folder / "netns"
    link.unlink(missing_ok=True)
    link.symlink_to(NAMESPACES / network["namespace"])
    fresh = write_text(UNITS / dns.SERVICE, dns.SERVICE_TEXT)
    fresh = install_unit(dns.SOCKET, dns.SOCKET_TEXT, dns.socket_unit(uuid)) or fresh
    if fresh:
        run(["systemctl", "daemon-reload"])
    if again:
        succeeds(["systemctl", "stop", f"zctl-dns@{uuid}.service", dns.socket_unit(uuid)])
    run(["systemctl", "start", dns.socket_unit(uuid)])


def remove_relay(uuid: str) -> None:
    """Take a network's relay away."""
    if (WANTS / dns.socket_unit(uuid)).is_symlink():
        succeeds(["systemctl", "disable", "--now", "--quiet", dns.socket_unit(uuid)])
        succeeds(["systemctl", "stop", f"zctl-dns@{uuid}.service"])
