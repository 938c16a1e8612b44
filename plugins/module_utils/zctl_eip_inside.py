# SPDX-License-Identifier: Apache-2.0
"""What is in a network namespace: read, set, and the nftables table loaded there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_eip_arp as arp
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_eip_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference, text_differences
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import read_text, run, write_json
except ImportError:
    import zctl_eip_arp as arp  # type: ignore[no-redef]
    import zctl_eip_plan as plan  # type: ignore[no-redef]
    from zctl_results import difference, text_differences  # type: ignore[no-redef]
    from zctl_system import read_text, run, write_json  # type: ignore[no-redef]

Json = dict[str, Any]


def ip_json_in(namespace: str, *words: str) -> list[Json]:
    """What ip(8) says in a namespace, as values."""
    return [entry for entry in json.loads(run(["ip", "-n", namespace, "-j", *words]) or "[]") if entry]


def read_inside(namespace: str, version: int) -> Json:
    """Addresses, rules, routes and neighbours of one family in a namespace."""
    family = f"-{version}"
    return plan.seen_inside(
        ip_json_in(namespace, family, "address", "show"),
        ip_json_in(namespace, family, "rule", "show"),
        ip_json_in(namespace, family, "route", "show", "table", "all"),
        ip_json_in(namespace, family, "neigh", "show", "dev", plan.INSIDE, "nud", "permanent"),
    )


def set_sysctls(namespace: str, wanted: dict[str, str], check: bool) -> list[Json]:
    """The kernel's settings in a namespace."""

    def work() -> list[Json]:
        found = []
        for name, value in wanted.items():
            path = Path("/proc/sys") / name.replace(".", "/")
            have = (read_text(path) or "").strip()
            if have != value:
                found.append(difference(name, have, value))
                if not check:
                    path.write_text(value, encoding="ascii")
        return found

    found: list[Json] = arp.within(namespace, work)
    return found


def load_table(path: Path, family: str, inventory: str, text: str, namespace: str, check: bool) -> list[Json]:
    """Make an nftables table as wanted; what nft showed right after is kept, so that any later change is seen."""
    name = plan.table_name(inventory)
    nft = [*(["ip", "netns", "exec", namespace] if namespace else []), "nft"]
    is_wanted = f"table {family} {name} {{\n" in text.partition("delete")[2]
    listed = (
        run([*nft, "-s", "list", "table", family, name])
        if name in run([*nft, "list", "tables", family]).split()
        else ""
    )
    kept = json.loads(read_text(path) or "{}")
    if not is_wanted and not listed:
        return []
    if kept.get("text") == text and kept.get("listed") == listed:
        return []
    if kept.get("text") == text or not is_wanted:
        wrong = text_differences("filter", listed or None, kept.get("listed", "") if is_wanted else "")
    else:
        wrong = text_differences("filter", listed or None, text.split("\n", 2)[2])
    if not check:
        run([*nft, "-f", "-"], text)
        if is_wanted:
            write_json(path, {"text": text, "listed": run([*nft, "-s", "list", "table", family, name])})
        else:
            path.unlink(missing_ok=True)
    return wrong or [difference("filter", "another one", "as zctl writes it")]
