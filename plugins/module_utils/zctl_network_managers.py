"""Keeping others' hands off: network managers from zctl's devices, and the host's packet filter from guests' frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference, text_differences
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import read_text, succeeds, write_text
except ImportError:
    from zctl_results import difference, text_differences  # type: ignore[no-redef]
    from zctl_system import read_text, succeeds, write_text  # type: ignore[no-redef]

NETWORKD = Path("/etc/systemd/network")
NETWORK_MANAGER = Path("/etc/NetworkManager/conf.d")
MADE = "# Made by zctl; removed with the last network it is for.\n"
OURS = ("zbr-*", "zvx-*", "zvl-*", "zv-*", "zt-*", "zp-*")
BRIDGE_SETTINGS = Path("/proc/sys/net/bridge")
BRIDGE_CALLS = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables")
SYSCTL = Path("/etc/sysctl.d/90-zctl-bridge.conf")
UDEV = Path("/etc/udev/rules.d/90-zctl-bridge.rules")
SYSCTL_TEXT = MADE + "".join(f"-net.bridge.{name} = 0\n" for name in BRIDGE_CALLS)
# The settings come into being, as 1, when some program loads br_netfilter: the example of sysctl.d(5).
UDEV_TEXT = f"""{MADE}ACTION=="add", SUBSYSTEM=="module", KERNEL=="br_netfilter", \\
  RUN+="/lib/systemd/systemd-sysctl --prefix=/net/bridge"
"""


def networkd_text(names: str) -> str:
    """A systemd.network(5) file that makes networkd leave devices alone."""
    return f"{MADE}[Match]\nName={names}\n\n[Link]\nUnmanaged=yes\n"


def manager_text(names: str) -> str:
    """A NetworkManager.conf(5) file that makes NetworkManager leave devices alone."""
    return f"{MADE}[keyfile]\nunmanaged-devices+={names}\n"


def files(network: dict[str, Any]) -> dict[Path, str]:
    """The files that a network needs of each manager, by path; those without a uuid are for all networks."""
    short, nic = network["uuid"][:8], network.get("interface") if network["kind"] == "no-vlan" else None
    found = {
        NETWORKD / "05-zctl.network": networkd_text(" ".join(OURS)),
        NETWORK_MANAGER / "90-zctl.conf": manager_text(";".join(f"interface-name:{name}" for name in OURS)),
    }
    if nic:
        found[NETWORKD / f"05-zctl-{short}.network"] = networkd_text(nic)
        found[NETWORK_MANAGER / f"90-zctl-{short}.conf"] = manager_text(f"interface-name:{nic}")
    return found


def is_there(folder: Path) -> bool:
    """Whether this manager runs the host's network."""
    if folder == NETWORKD:
        return succeeds(["systemctl", "is-active", "--quiet", "systemd-networkd.service"])
    return folder.is_dir()


def reload(folders: set[Path]) -> bool:
    """Make the managers read their files again; whether there was any."""
    if NETWORKD in folders:
        succeeds(["networkctl", "reload"])
    if NETWORK_MANAGER in folders:
        succeeds(["nmcli", "general", "reload", "conf"])
    return bool(folders)


def present() -> set[Path]:
    """The managers that run this host's network, by the folder of their settings."""
    return {folder for folder in (NETWORKD, NETWORK_MANAGER) if is_there(folder)}


def file_differences(network: dict[str, Any], there: set[Path]) -> list[dict[str, Any]]:
    """Where the files that keep managers off a network's NIC are not as wanted."""
    wanted = {path: text for path, text in files(network).items() if network["uuid"][:8] in path.name}
    return [
        entry
        for path, text in wanted.items()
        if path.parent in there
        for entry in text_differences(str(path), read_text(path), text)
    ]


def shared_differences(network: dict[str, Any], there: set[Path]) -> list[dict[str, Any]]:
    """Where that which is for all networks together is not as wanted; any network can stand for all here."""
    wanted = {path: text for path, text in files(network).items() if network["uuid"][:8] not in path.name}
    wanted = {path: text for path, text in wanted.items() if path.parent in there} | {SYSCTL: SYSCTL_TEXT}
    if UDEV.parent.parent.is_dir():
        wanted[UDEV] = UDEV_TEXT
    found = [entry for path, text in wanted.items() for entry in text_differences(str(path), read_text(path), text)]
    for name in BRIDGE_CALLS:
        value = (read_text(BRIDGE_SETTINGS / name) or "0").strip()
        if value != "0":
            found.append(difference(f"net.bridge.{name}", value, "0"))
    return found


def keep_away(network: dict[str, Any]) -> bool:
    """Tell networkd and NetworkManager, where they are, to leave zctl's devices and a taken NIC alone.

    Whether they were told something new: they may act on it for a moment yet.
    """
    wanted = files(network)
    there = present()
    filter_no_guests()
    return reload({path.parent for path, text in wanted.items() if path.parent in there and write_text(path, text)})


def let_back(network: dict[str, Any], is_last: bool) -> bool:
    """Give a NIC back to its network manager; with the last network everything goes. Whether there is a manager."""
    gone = [path for path in files(network) if is_last or path.name.startswith(("05-zctl-", "90-zctl-"))]
    present = [path for path in gone if path.exists()]
    for path in present:
        path.unlink()
    if is_last:
        for path in (SYSCTL, UDEV):
            path.unlink(missing_ok=True)
    return reload({path.parent for path in present})


def filter_no_guests() -> None:
    """Keep the host's own packet filter (docker's, say) away from what passes a bridge, now and after a reboot.

    Without br_netfilter there is nothing to do now; with it, frames between guests would meet FORWARD rules that
    were not meant for them.
    """
    write_text(SYSCTL, SYSCTL_TEXT)
    if UDEV.parent.parent.is_dir():
        write_text(UDEV, UDEV_TEXT)
    for name in BRIDGE_CALLS:
        path = BRIDGE_SETTINGS / name
        if (read_text(path) or "0").strip() != "0":
            path.write_text("0\n", encoding="ascii")
