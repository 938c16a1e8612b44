"""Puts on a host what rebuilds its networks at boot: the very code that the modules run, and a unit."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference, text_differences
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble, read_text, run, write_text
except ImportError:
    from zctl_results import difference, text_differences  # type: ignore[no-redef]
    from zctl_system import Trouble, read_text, run, write_text  # type: ignore[no-redef]

LIBRARY = Path("/usr/local/lib/zctl")
UNITS = Path("/etc/systemd/system")
WANTS = UNITS / "multi-user.target.wants"
PARTS = (
    "zctl_system",
    "zctl_results",
    "zctl_records",
    "zctl_foreign",
    "zctl_network_plan",
    "zctl_network_tunnel",
    "zctl_network_guests",
    "zctl_network_facts",
    "zctl_network_managers",
    "zctl_network_boot",
    "zctl_network_try",
    "zctl_network",
    "zctl_l3_dns",
    "zctl_l3_plan",
    "zctl_l3_filter",
    "zctl_l3_foreign",
    "zctl_l3_release",
    "zctl_l3_leases",
    "zctl_l3_names",
    "zctl_l3_relay",
    "zctl_dns_relay",
    "zctl_l3_inside",
    "zctl_l3",
    "zctl_metadata_plan",
    "zctl_metadata_files",
    "zctl_metadata_nginx",
    "zctl_metadata",
    "zctl_security_rules",
    "zctl_security_model",
    "zctl_security_text",
    "zctl_security_flows",
    "zctl_security",
    "zctl_eip_family",
    "zctl_eip_inside",
    "zctl_balancer_plan",
    "zctl_balancer",
    "zctl_eip_plan",
    "zctl_eip_nd",
    "zctl_eip_arp",
    "zctl_eip",
    "zctl_boot",
)
HEADER = "# Put here by zctl, which writes it anew; rebuilds at boot what /etc/zctl describes.\n"
# It runs again when the host's firewall is loaded anew, because `flush ruleset` takes zctl's filter with it.
NET_UNIT = (
    HEADER
    + """[Unit]
Description=zctl: bridges, tunnels and network namespaces
Documentation=file:/etc/zctl
After=network-pre.target systemd-networkd.service networking.service NetworkManager.service
After=nftables.service firewalld.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service firewalld.service
Before=network-online.target libvirtd.service virtqemud.service libvirt-guests.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/python3 /usr/local/lib/zctl/zctl_boot.py boot
ExecReload=/usr/bin/python3 /usr/local/lib/zctl/zctl_boot.py boot

[Install]
WantedBy=multi-user.target
"""
)


def source_of(part: str) -> str:
    """The text of one of zctl's own files, also when it runs out of Ansible's zip."""
    package = __name__.rpartition(".")[0]
    name = f"{package}.{part}" if package else part
    # It is not imported: programs among the parts need what no module does, and that takes its time.
    spec = importlib.util.find_spec(name)
    text = spec.loader.get_source(name) if spec is not None and spec.loader is not None else None  # type: ignore
    if text is None:
        raise Trouble(f"the text of {part} cannot be read: install zctl anew")
    return str(text)


def text_of(part: str) -> str:
    """A part as it lies on the host."""
    return HEADER + source_of(part).removeprefix(HEADER)


def boot_differences() -> list[dict[str, Any]]:
    """What of the code and the unit that rebuild everything at boot is not as this version writes it."""
    found: list[dict[str, Any]] = []
    for part in PARTS:
        actual = read_text(LIBRARY / f"{part}.py")
        if actual != text_of(part):
            seen = None if actual is None else "another text"
            found.append(difference(f"{LIBRARY}/{part}.py", seen, "as this version has it"))
    if len(found) > 3:  # another version of zctl, or none yet
        found = [difference(str(LIBRARY), f"{len(found)} files differ or are missing", "as this version has them")]
    return found + unit_differences("zctl-net.service", NET_UNIT)


def unit_differences(name: str, text: str, instance: str = "") -> list[dict[str, Any]]:
    """Where a unit's file, or whether it (or an instance of it) starts at boot, is not as wanted."""
    found = text_differences(name, read_text(UNITS / name), text)
    enabled = instance or name
    if not (WANTS / enabled).is_symlink():  # it may lead to a unit file that somebody has removed
        found.append(difference(f"{enabled}.enabled", "disabled", "enabled"))
    return found


def install_boot() -> bool:
    """Put the code and the unit that rebuild everything at boot on the host; whether anything changed."""
    changed = False
    for part in PARTS:
        changed |= write_text(LIBRARY / f"{part}.py", text_of(part))
    return install_unit("zctl-net.service", NET_UNIT) or changed


def install_unit(name: str, text: str, instance: str = "") -> bool:
    """Write a unit, and let it (or an instance of it) start at boot; whether anything changed."""
    changed = write_text(UNITS / name, text)
    if changed:
        run(["systemctl", "daemon-reload"])
    enabled = instance or name
    if not (WANTS / enabled).exists():
        run(["systemctl", "enable", "--quiet", enabled])
        changed = True
    return changed
