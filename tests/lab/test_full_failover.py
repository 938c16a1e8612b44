"""Twenty failovers at random moments: servers and machines are killed or cut off, and zctl itself amid its work."""

from __future__ import annotations

import json
import os
import random
import sys
import time

from tests.lab.database_group import DatabaseGroup, cut_off, writable
from tests.lab.test_database_servers import group

__all__ = ["group"]
ROUNDS = int(os.environ.get("ZCTL_TEST_ROUNDS") or 20)
SEED = int(os.environ.get("ZCTL_TEST_SEED") or 2026)
KINDS = (
    "planned",
    "planned, zctl killed",
    "server killed",
    "server and zctl killed",
    "power cut",
    "power cut, zctl killed",
    "network cut",
    "network cut, zctl killed",
)


def hurt(group: DatabaseGroup, kind: str, primary: str, dice: random.Random) -> str:
    """Do what a round does to the servers; returns what was done."""
    time.sleep(dice.uniform(0, 2))
    words = ()
    if kind.startswith("planned"):
        others = [name for name in ("h1", "h2", "h3") if name != primary]
        words = ("--to", group.address(dice.choice(others)))
    elif kind.startswith("server"):
        group.kill_server(primary)
        if dice.random() < 0.5:  # so that it does not start by itself
            group.lab.ssh(primary, "systemctl stop mariadb.service")
    elif kind.startswith("network"):
        group.cut_network(primary)
    else:
        group.lab.kill(primary)
    if "zctl" in kind:
        return f"after {cut_off(group, dice, *words):.1f} s"
    group.ok("failover", *words)
    return ""


def test_twenty_rounds(group: DatabaseGroup) -> None:
    """After each no acknowledged write is lost, one server is writable, and writers write again within 30 s."""
    dice = random.Random(SEED)
    figures = []
    group.begin_writing()
    group.wait_for_writes(time.time())
    for number in range(ROUNDS):
        kind = KINDS[number % len(KINDS)] if number < len(KINDS) else dice.choice(KINDS)
        begun = time.time()
        primary = group.name(group.status()["primary"])
        how = hurt(group, kind, primary, dice)
        if "zctl" in kind:
            group.ok("failover")
        done = time.time()
        recovered = group.wait_for_writes(done)
        outage = group.outage(begun)
        missing = group.missing()
        if "power" in kind:
            group.power_on()
        if "network" in kind:
            group.mend_network(primary)
            group.wait_for_one_writable()
        assert len(writable(group)) == 1
        group.heal()
        found = group.status()
        told = group.told()
        figures.append(
            {
                "round": number + 1,
                "kind": kind,
                "how": how,
                "failover": round(done - begun, 1),
                "outage": round(outage, 1),
                "recovered": round(recovered, 2),
                "missing": len(missing),
                "stored": len(told.stored),
                "failed": len(told.failed),
                "problems": found["problems"],
            }
        )
        (group.folder / "rounds.json").write_text(json.dumps(figures, indent=1))
        print(figures[-1], file=sys.stderr)
        assert not missing, (kind, how, sorted(missing)[:10])
        assert recovered < 30
        assert "zctl" in kind or outage < 30, (kind, outage)
        assert found["problems"] == []
    group.end_writing()
    assert group.missing() == set()
