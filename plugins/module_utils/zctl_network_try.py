"""Taking over a NIC that is in use: a try, which a timer on the host undoes unless it is confirmed in time.

A try is a file in /var/lib/zctl/net-try. Whoever renames it, the confirmation or the timer, has won.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_network_managers as managers
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_boot import LIBRARY, install_boot
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import (
        GUEST_PORTS,
        Facts,
        Steps,
        move,
        parse_links,
        same,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import addresses_of as held
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        ip_batch_all,
        ip_json,
        read_json,
        run,
        succeeds,
        write_json,
    )
except ImportError:
    import zctl_network_managers as managers  # type: ignore[no-redef]
    from zctl_network_boot import LIBRARY, install_boot  # type: ignore[no-redef]
    from zctl_network_plan import GUEST_PORTS, Facts, Steps, move, parse_links, same  # type: ignore[no-redef]
    from zctl_network_plan import addresses_of as held  # type: ignore[no-redef]
    from zctl_system import (  # type: ignore[no-redef]
        Trouble,
        ip_batch_all,
        ip_json,
        read_json,
        run,
        succeeds,
        write_json,
    )

TRIES = Path("/var/lib/zctl/net-try")
L2 = Path("/etc/zctl/l2")
SETTLING = 30  # tenths of a second for a manager to set up a NIC
CALM = 5  # tenths of a second without change, after which it is taken to be done


def try_unit(uuid: str) -> str:
    """The name of the timer that undoes a try."""
    return f"zctl-net-revert-{uuid[:8]}"


def pending(uuid: str) -> bool:
    """Whether this network is being tried."""
    return (TRIES / f"{uuid}.json").exists()


def begin(network: dict[str, Any], patience: int) -> None:
    """Before a NIC in use is taken: write down how to undo it, and let a timer do so in `patience` seconds.

    Raises Trouble when no timer can be had; nothing was changed then.
    """
    install_boot()
    unit, path = try_unit(network["uuid"]), TRIES / f"{network['uuid']}.json"
    write_json(path, network)
    succeeds(["systemctl", "stop", f"{unit}.timer"])
    program = ["/usr/bin/python3", str(LIBRARY / "zctl_boot.py"), "revert", network["uuid"]]
    timing = [f"--on-active={patience}", "--timer-property=AccuracySec=100ms", "--collect"]
    try:
        run(["systemd-run", "--quiet", *timing, f"--unit={unit}", *program])
    except Trouble:
        path.unlink(missing_ok=True)
        raise


def confirm(inventory: str) -> list[str]:
    """Keep what an inventory is trying: stop the timers, write the networks down for the next boot.

    Returns the uuids of the networks; one whose timer was faster is not among them.
    """
    kept = []
    for path in sorted(TRIES.glob("*.json")):
        network = read_json(path)
        if network is None or network.get("inventory") != inventory:
            continue
        won = path.with_suffix(".confirmed")
        try:
            path.rename(won)
        except FileNotFoundError:
            continue
        write_json(L2 / f"{network['uuid']}.json", network)
        succeeds(["systemctl", "stop", f"{try_unit(network['uuid'])}.timer"])
        won.unlink()
        kept.append(str(network["uuid"]))
    return kept


def revert(uuid: str) -> bool:
    """Undo a try: addresses and routes go back to the NIC, the bridge goes. False when there is no such try."""
    path = TRIES / f"{uuid}.json"
    lost = path.with_suffix(".reverting")
    try:
        path.rename(lost)
    except FileNotFoundError:
        return False
    network = read_json(lost)
    if network is not None:
        restore_nic(network)
    lost.unlink()
    return True


def restore_nic(network: dict[str, Any]) -> None:
    """Bring back what a NIC had before it was tried. Each step is made even when another fails."""
    taken = network["taken"]
    nic, bridge = taken["nic"], taken["bridge"]
    facts = Facts(parse_links(ip_json("address", "show")))
    steps, link = Steps(), facts.links.get(nic, {})
    guests = [name for name in facts.ports(bridge) if name.startswith(GUEST_PORTS)]
    if link.get("master") == bridge:
        steps.add(f"link set dev {nic} nomaster")
    if network.get("nic_mtu"):
        steps.add(f"link set dev {nic} mtu {network['nic_mtu']}")
    if bridge in facts.links and not guests:
        steps.add(f"link del dev {bridge}")
    on_bridge = held(facts.links[bridge]) if guests else []
    missing = [address for address in taken["addresses"] if address.split()[0] not in same(held(link))]
    move(steps, bridge, nic, on_bridge, missing, taken["routes"])
    ip_batch_all(steps.lines)
    give_back(network, nic, taken["addresses"], taken["routes"])


def give_back(network: dict[str, Any], nic: str, addresses: list[str], routes: list[str]) -> None:
    """Let a manager have its NIC again, and wait until the NIC's addresses are as they were.

    networkd begins by taking away what it does not know, then sets what its files say: that takes it a moment.
    """
    if not managers.let_back(network, is_last=not any(L2.glob("*.json"))) or not addresses:
        return
    calm = 0
    for _ in range(SETTLING):
        time.sleep(0.1)
        held_now = same(held(parse_links(ip_json("address", "show", "dev", nic)).get(nic, {})))
        calm = calm + 1 if held_now >= same(addresses) else 0
        if calm == CALM:
            return
    steps = Steps()
    move(steps, nic, nic, [], [address for address in addresses if address.split()[0] not in held_now], routes)
    ip_batch_all(steps.lines)
