"""Taking over a NIC in use: a try that undoes itself unless it is confirmed, and what keeps network managers away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import Steps, move
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        ip_batch,
        ip_json,
        read_json,
        run,
        succeeds,
        write_json,
        write_text,
    )
except ImportError:
    from zctl_network_plan import Steps, move
    from zctl_system import Trouble, ip_batch, ip_json, read_json, run, succeeds, write_json, write_text

TRIES = Path("/var/lib/zctl/net-try")
L2 = Path("/etc/zctl/l2")
LIBRARY = Path("/usr/local/lib/zctl")
PARTS = (
    "zctl_system",
    "zctl_results",
    "zctl_network_plan",
    "zctl_network_try",
    "zctl_network",
    "zctl_l3_plan",
    "zctl_l3",
    "zctl_boot",
)
NETWORKD = Path("/etc/systemd/network")
NETWORK_MANAGER = Path("/etc/NetworkManager/conf.d")
UNITS = Path("/etc/systemd/system")
MADE = "# Made by zctl; removed with the network it is for.\n"
NET_UNIT = (
    MADE
    + """[Unit]
Description=zctl: bridges, tunnels and network namespaces
Documentation=file:/etc/zctl
After=network-pre.target systemd-networkd.service networking.service NetworkManager.service nftables.service
Before=libvirtd.service virtqemud.service libvirt-guests.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/python3 /usr/local/lib/zctl/zctl_boot.py boot

[Install]
WantedBy=multi-user.target
"""
)


def source_of(part: str) -> str | None:
    """The text of one of zctl's own files, also when it runs out of Ansible's zip."""
    package = __name__.rpartition(".")[0]
    name = f"{package}.{part}" if package else part
    __import__(name)
    module = sys.modules[name]
    loader = getattr(module, "__loader__", None)
    return loader.get_source(name) if loader is not None else None


def install_boot() -> bool:
    """Put the code and the unit that rebuild everything at boot on the host; whether anything changed."""
    changed = False
    for part in PARTS:
        text = source_of(part)
        if text is None:
            raise Trouble(f"the text of {part} cannot be read")
        changed |= write_text(LIBRARY / f"{part}.py", text)
    if write_text(UNITS / "zctl-net.service", NET_UNIT):
        run(["systemctl", "daemon-reload"])
        changed = True
    if not (UNITS / "multi-user.target.wants" / "zctl-net.service").exists():
        run(["systemctl", "enable", "--quiet", "zctl-net.service"])
        changed = True
    return changed


def try_unit(uuid: str) -> str:
    """The name of the timer that undoes a try."""
    return f"zctl-net-revert-{uuid[:8]}"


def begin(network: dict[str, Any], patience: int) -> None:
    """Before a NIC in use is taken: write down how to undo it, and let a timer do so in `patience` seconds."""
    install_boot()
    write_json(TRIES / f"{network['uuid']}.json", network)
    succeeds(["systemctl", "stop", f"{try_unit(network['uuid'])}.timer"])
    run(
        [
            "systemd-run",
            "--quiet",
            f"--on-active={patience}",
            "--timer-property=AccuracySec=100ms",
            f"--unit={try_unit(network['uuid'])}",
            "/usr/bin/python3",
            str(LIBRARY / "zctl_boot.py"),
            "revert",
            network["uuid"],
        ]
    )


def confirm() -> list[str]:
    """Keep what is being tried: stop the timers, write the networks down for the next boot. Returns their names."""
    kept = []
    for path in sorted(TRIES.glob("*.json")) if TRIES.is_dir() else []:
        network = read_json(path)
        if network is None:
            continue
        succeeds(["systemctl", "stop", f"{try_unit(network['uuid'])}.timer"])
        keep_managers_away(network)
        write_json(L2 / f"{network['uuid']}.json", network)
        path.unlink()
        kept.append(str(network["name"]))
    return kept


def revert(uuid: str) -> bool:
    """Undo a try: addresses and routes go back to the NIC, the bridge goes. False when there is no such try."""
    path = TRIES / f"{uuid}.json"
    network = read_json(path)
    if network is None:
        return False
    taken, links = network["taken"], {entry["ifname"]: entry for entry in ip_json("address", "show")}
    nic, bridge, steps = taken["nic"], taken["bridge"], Steps()
    if links.get(nic, {}).get("master") == bridge:
        steps.add(f"link set dev {nic} nomaster")
    if bridge in links:
        steps.add(f"link del dev {bridge}")
    present = [f"{e['local']}/{e['prefixlen']}" for e in links.get(nic, {}).get("addr_info", [])]
    move(steps, bridge, nic, [], [a for a in taken["addresses"] if a not in present], taken["routes"])
    ip_batch(steps.lines)
    let_managers_back(network)
    path.unlink()
    return True


def keep_managers_away(network: dict[str, Any]) -> None:
    """Tell networkd and NetworkManager, where they are, to leave zctl's devices and the taken NIC alone."""
    nic = network.get("interface") if network["kind"] == "no-vlan" else None
    changed = False
    if succeeds(["systemctl", "is-active", "--quiet", "systemd-networkd.service"]):
        changed |= write_text(
            NETWORKD / "05-zctl.network", MADE + "[Match]\nName=zbr-* zvx-* zv-* zt-*\n\n[Link]\nUnmanaged=yes\n"
        )
        if nic:
            text = MADE + f"[Match]\nName={nic}\n\n[Link]\nUnmanaged=yes\n"
            changed |= write_text(NETWORKD / f"05-zctl-{network['uuid'][:8]}.network", text)
        if changed:
            succeeds(["networkctl", "reload"])
    if NETWORK_MANAGER.is_dir():
        names = "interface-name:zbr-*;interface-name:zvx-*;interface-name:zv-*;interface-name:zt-*"
        changed = write_text(NETWORK_MANAGER / "90-zctl.conf", MADE + f"[keyfile]\nunmanaged-devices+={names}\n")
        if nic:
            text = MADE + f"[keyfile]\nunmanaged-devices+=interface-name:{nic}\n"
            changed |= write_text(NETWORK_MANAGER / f"90-zctl-{network['uuid'][:8]}.conf", text)
        if changed:
            succeeds(["nmcli", "general", "reload", "conf"])


def let_managers_back(network: dict[str, Any]) -> None:
    """Give a NIC back to its network manager."""
    for path in (
        NETWORKD / f"05-zctl-{network['uuid'][:8]}.network",
        NETWORK_MANAGER / f"90-zctl-{network['uuid'][:8]}.conf",
    ):
        if path.exists():
            path.unlink()
            succeeds(["networkctl", "reload"] if path.parent == NETWORKD else ["nmcli", "general", "reload", "conf"])
