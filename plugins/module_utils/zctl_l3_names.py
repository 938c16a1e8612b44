# SPDX-License-Identifier: Apache-2.0
"""The names of an l3-network's VMs, on whatever host they are: one small file for each card, which dnsmasq watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_l3_dns import answers_names
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference, in_scope, result
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble, read_text, run, write_text
except ImportError:
    from zctl_l3_dns import answers_names  # type: ignore[no-redef]
    from zctl_results import difference, in_scope, result  # type: ignore[no-redef]
    from zctl_system import Trouble, read_text, run, write_text  # type: ignore[no-redef]

KIND = "name"
FOLDER = "names"
Json = dict[str, Any]


def name_lines(words: str, domain: str) -> str:
    """A card's file, as hosts(5): `words` are its VM's name and its addresses."""
    name, *addresses = words.split()
    return "".join(f"{address} {name}.{domain}\n" for address in addresses)


def shown(text: str | None) -> str | None:
    """A file's lines for people."""
    return None if text is None else "; ".join(text.split("\n")).strip("; ") or "an empty file"


def files(folder: Path, scope: list[str] | None) -> set[str]:
    """The cards that have a file; of a scope only these are looked for."""
    if scope is not None:
        return {key for key in scope if (folder / key).is_file()}
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else set()


def names(root: Path, network: Json, scope: list[str] | None, check: bool, is_served: bool) -> list[Json]:
    """Bring the names in scope to what they should be: all when the network is. Only differences are told of then."""
    folder = root / network["uuid"] / FOLDER
    named = None if in_scope(network["uuid"], scope) else scope
    told = network.get("names") or {} if answers_names(network) else {}
    wanted = {key: words for key, words in told.items() if in_scope(key, named)}
    if not is_served:
        if in_scope(network["uuid"], scope):
            return []  # the network itself tells why
        reason = f"l3-network {network['name']} is not served on this host: see what it says, then zctl converge"
        return [result(KIND, entry(key, words), "failed", reason) for key, words in wanted.items()]
    present = files(folder, named)
    found = [bring(folder, network, key, wanted[key], named is not None, check) for key in sorted(wanted)]
    for key in sorted(present - set(wanted)):
        actual = read_text(folder / key)
        name = (actual or key).split()[-1].partition(".")[0]
        if not check:
            (folder / key).unlink(missing_ok=True)
        gone = [difference("name", shown(actual), None)]
        found.append(result(KIND, {"uuid": key, "name": name}, "removed", "name removed", gone))
    return [one for one in found if one is not None]


def entry(key: str, words: str) -> Json:
    """What a result calls a name."""
    return {"uuid": key, "name": words.partition(" ")[0]}


def bring(folder: Path, network: Json, key: str, words: str, tell: bool, check: bool) -> Json | None:
    """One name. A new one needs nothing more: dnsmasq watches its folder."""
    text, actual = name_lines(words, network["domain"]), read_text(folder / key)
    if actual == text:
        return result(KIND, entry(key, words), "unchanged", "its name is known already") if tell else None
    wrong = [difference("name", shown(actual), shown(text))]
    if not check:
        try:
            write_text(folder / key, text)
        except OSError as error:
            return result(KIND, entry(key, words), "failed", f"its name cannot be written: {error}", wrong)
    return result(KIND, entry(key, words), "changed", f"name {'added' if actual is None else 'changed'}", wrong)


def reread(network: Json, found: list[Json], leases: list[Json]) -> list[Json]:
    """Make dnsmasq forget names that are gone, which before version 2.88 it does not see by itself; returns `found`.

    When one of these leases went, it has read its files again already.
    """
    done = [one["result"] == "removed" or one["reason"].endswith(" changed") for one in (*found, *leases)]
    if not any(done[: len(found)]) or any(done[len(found) :]):
        return found
    try:
        run(["systemctl", "try-reload-or-restart", f"zctl-l3@{network['uuid']}.service"])
    except Trouble as error:
        for one in found:
            if one["result"] in ("changed", "removed"):
                one.update(result="failed", reason=f"the DNS service did not read its files again: {error}")
    return found
