# SPDX-License-Identifier: Apache-2.0
"""The firewall of a host: one nftables table of its own, a file and a unit that load it at boot.

Loading rules is a try: a timer on the host brings back what was there unless a new connection confirms it. The try is
the file undo.nft; whoever renames it, the confirmation or the timer, has won. It lies in /run: after a boot there is
none, and the rules of the file are loaded, which only a confirmation writes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_firewall_rules as rules
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        answers,
        ip_json,
        read_text,
        run,
        succeeds,
        write_text,
    )
except ImportError:
    import zctl_firewall_rules as rules  # type: ignore[no-redef]
    from zctl_system import (  # type: ignore[no-redef]
        Trouble,
        answers,
        ip_json,
        read_text,
        run,
        succeeds,
        write_text,
    )

Json = dict[str, Any]
FILE = Path("/etc/zctl/firewall.nft")
LISTED = Path("/var/lib/zctl/firewall.listed")  # how nft showed the table right after it was loaded
UNIT = Path("/etc/systemd/system/zctl-firewall.service")
WANTED = Path("/etc/systemd/system/sysinit.target.wants/zctl-firewall.service")
TRY = Path("/run/zctl/firewall-try")
TIMER = "zctl-firewall-revert"
OLD_TABLES = Path("/proc/net/ip_tables_names")
LISTEN = 2.0  # seconds in which the kernel learns of connections, before the first one is refused
# No Conflicts=shutdown.target: the host stays closed until it is off. What begins with `flush ruleset`, as the two
# other services do, is followed by it.
UNIT_TEXT = """\
# Put here by zctl (role firewall), which writes it anew.
[Unit]
Description=zctl: firewall of this host
Documentation=file:/etc/zctl/firewall.nft
DefaultDependencies=no
After=local-fs.target nftables.service firewalld.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service firewalld.service
Wants=network-pre.target
Before=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/zctl/firewall.nft
ExecReload=/usr/sbin/nft -f /etc/zctl/firewall.nft
ExecStop=/usr/sbin/nft delete table inet zctl_firewall

[Install]
WantedBy=sysinit.target
"""
# Better an open host than one that nobody reaches, where what was there cannot be loaded any more.
LOAD_UNDONE = f"{{ nft -f undone.nft || nft delete table inet {rules.TABLE}; }}"
REVERT = (
    f"cd {TRY} && mv undo.nft undone.nft && {LOAD_UNDONE} && rm undone.nft"
    " && echo nobody confirmed the rules in time: undone"
)
UNDO = f"cd {TRY}; [ ! -e undo.nft ] || mv undo.nft undone.nft; [ ! -e undone.nft ] || {LOAD_UNDONE}"


@dataclass(frozen=True)
class Facts:
    """What is there: texts, empty for what is not, and whether the unit is on and has loaded its file."""

    file: str
    listed: str
    loaded: str
    unit: str
    is_enabled: bool
    is_active: bool


def read_facts() -> Facts:
    """Look at the host. Raises Trouble when nft cannot say what is loaded."""
    return Facts(
        file=read_text(FILE) or "",
        listed=read_text(LISTED) or "",
        loaded=read_table(),
        unit=read_text(UNIT) or "",
        is_enabled=WANTED.is_symlink(),
        is_active=answers(["systemctl", "is-active", UNIT.name]) == ["active"],
    )


def read_table() -> str:
    """The table as it is loaded, without counters; an empty text when there is none."""
    if rules.TABLE not in run(["nft", "list", "tables", "inet"]).split():
        return ""
    return run(["nft", "-s", "list", "table", "inet", rules.TABLE])


def plan(facts: Facts, text: str) -> list[str]:
    """What is not as wanted. Pure."""
    found = []
    if facts.file != text:
        found.append("rules")
    elif facts.loaded != facts.listed or not facts.loaded:
        found.append("what is loaded")
    if facts.unit != UNIT_TEXT or not facts.is_enabled or not facts.is_active:
        found.append(UNIT.name)
    return found


def converge(entries: list[Any], check: bool, patience: int, may_lock_out: bool) -> Json:
    """Make the firewall as the rules say, `patience` seconds at first. Raises Trouble; nothing was changed then."""
    wanted = rules.parse_rules(entries)
    text = rules.render(wanted)
    if shutil.which("nft") is None or shutil.which("ss") is None:
        missing = [name for name, program in (("nftables", "nft"), ("iproute2", "ss")) if shutil.which(program) is None]
        diff = {"before": "", "after": text, "before_header": str(FILE), "after_header": str(FILE)}
        return {"changed": check, "differences": ["rules"], "missing_packages": missing, "diff": diff}
    if not may_lock_out and (cut := rules.lockouts(wanted, *whom_to_let_in())):
        raise Trouble(f"these rules would cut {'; '.join(cut)} (firewall_allow_lockout: true goes on in spite of it)")
    run(["nft", "-c", "-f", "-"], text)
    if not check:
        undo_pending()
    facts = read_facts()
    found = plan(facts, text)
    answer: Json = {"changed": bool(found), "differences": found, "try_pending": False, "others": others()}
    answer["diff"] = diff_of(facts, text)
    if check or not found:
        return answer
    if found == [UNIT.name]:
        install_unit()
    else:
        answer |= {"attempt": begin(text, facts.loaded, patience), "try_pending": True}
    return answer


def diff_of(facts: Facts, text: str) -> Json:
    """What Ansible shows with --diff: the file, or where only what is loaded was changed, that."""
    if facts.file == text and facts.listed:
        pair = {"before": facts.loaded, "after": facts.listed}
        return {**pair, "before_header": "loaded", "after_header": "loaded"}
    return {"before": facts.file, "after": text, "before_header": str(FILE), "after_header": str(FILE)}


def others() -> list[str]:
    """What else filters what comes in, in words."""
    chains = json.loads(run(["nft", "-j", "list", "chains"]) or "{}").get("nftables", [])
    found = [f"the chain {name} filters too: a packet must pass both" for name in rules.other_filters(chains)]
    if "filter" in (read_text(OLD_TABLES) or "").split():
        found.append("rules of the old iptables filter too: iptables-legacy -S INPUT lists them")
    return found


# --- whom it must not cut ---------------------------------------------------------------------------------------------
def whom_to_let_in() -> tuple[list[rules.Connection], dict[str, int]]:
    """The SSH connection that we were called by (all, where that is not known), and the tunnels of VMs."""
    connections = rules.parse_ssh(run(["ss", "-Htnp", "state", "established"]))
    ours = rules.present_connection(connections, ancestors())
    links = ip_json("link", "show", "type", "vxlan") if shutil.which("ip") else []
    tunnels = {link["ifname"]: int(link["linkinfo"]["info_data"]["port"]) for link in links}
    return ([ours] if ours else connections), tunnels


def ancestors() -> list[int]:
    """This process, its parent, and so on."""
    found, pid = [], os.getpid()
    while pid > 1:
        found.append(pid)
        # The name, in brackets, may hold anything; the parent is the second word behind it.
        stat = read_text(Path(f"/proc/{pid}/stat"))
        pid = int(stat.rpartition(")")[2].split()[1]) if stat else 0
    return found


def caller() -> str:
    """What tells the SSH connection that we were called by; an empty text when it was none."""
    ours = rules.present_connection(rules.parse_ssh(run(["ss", "-Htnp", "state", "established"])), ancestors())
    return ours.name if ours else ""


# --- the try ----------------------------------------------------------------------------------------------------------
def begin(text: str, before: str, patience: int) -> str:
    """Load rules, with a timer set that brings back `before`. Raises Trouble; then the host is as it was.

    Returns what the confirmation has to name, so that nobody confirms the rules of another.
    """
    attempt = uuid.uuid4().hex
    shutil.rmtree(TRY, ignore_errors=True)
    write_text(TRY / "attempt", attempt)
    write_text(TRY / "wanted.nft", text)
    write_text(TRY / "caller", caller())
    undo = rules.DELETE + before
    run(["nft", "-c", "-f", "-"], undo)
    write_text(TRY / "undo.nft", undo)
    timing = [f"--on-active={patience}", "--timer-property=AccuracySec=100ms", "--collect"]
    try:
        run(["systemd-run", "--quiet", *timing, f"--unit={TIMER}", "/bin/sh", "-c", REVERT])
        if not before:
            run(["nft", "-f", "-"], rules.watch())
            time.sleep(LISTEN)
        run(["nft", "-f", "-"], text)
        write_text(TRY / "listed", read_table())
    except (Trouble, OSError):
        undo_pending()
        raise
    return attempt


def undo_pending() -> None:
    """End a try that nobody confirmed, as its timer would: another controller's, or one that could not begin.

    A timer that was killed between its two steps is finished too.
    """
    if TRY.is_dir():
        stop_timer()
        run(["/bin/sh", "-c", UNDO])
        shutil.rmtree(TRY)


def stop_timer() -> None:
    """The timer of a try, what it may just be doing, and what it leaves when it failed."""
    succeeds(["systemctl", "stop", f"{TIMER}.timer", f"{TIMER}.service"])
    succeeds(["systemctl", "reset-failed", f"{TIMER}.service"])


def confirm(attempt: str, is_local: bool) -> Json:
    """Keep what is being tried, also for the next boot. Raises Trouble when the timer was faster, or another run.

    It must come by another connection than the one that began the try, unless Ansible runs on the host itself:
    that one lives on whatever the rules say.
    """
    if (read_text(TRY / "attempt") or attempt) != attempt:
        raise Trouble("another run is trying other rules in the place of these: let one end before the next begins")
    if not (TRY / "undo.nft").exists():
        raise Trouble(
            "nobody confirmed the new rules in time: the former ones are back (firewall_confirm_timeout), or what"
            " another run has put in their place"
        )
    mine = caller()
    if mine and mine == read_text(TRY / "caller") and not is_local:
        raise Trouble("this is the SSH connection that the try was begun by, which proves nothing: use a new one")
    text, listed = read_text(TRY / "wanted.nft"), read_text(TRY / "listed")
    if text is None or listed is None:
        raise Trouble(f"{TRY} is damaged: the former rules come back by themselves")
    try:
        (TRY / "undo.nft").rename(TRY / "confirmed.nft")
    except FileNotFoundError:
        raise Trouble("nobody confirmed the new rules in time: the former ones are back") from None
    try:
        write_text(LISTED, listed)
        write_text(FILE, text)
    except OSError:
        (TRY / "confirmed.nft").rename(TRY / "undo.nft")  # the timer may still do its work
        raise
    stop_timer()
    install_unit()
    shutil.rmtree(TRY)
    return {"changed": True, "try_pending": False}


# --- boot, and the end ------------------------------------------------------------------------------------------------
def install_unit() -> None:
    """Let the rules be loaded at boot."""
    if write_text(UNIT, UNIT_TEXT):
        run(["systemctl", "daemon-reload"])
    run(["systemctl", "enable", "--quiet", "--now", UNIT.name])


def remove(check: bool) -> Json:
    """Take away the firewall: the table, its file, its unit, and a try. Nothing else is touched."""
    has_nft = shutil.which("nft") is not None
    paths = [path for path in (FILE, LISTED, UNIT, WANTED) if path.exists() or path.is_symlink()]
    loaded = read_table() if has_nft else ""
    before = read_text(FILE) or loaded
    diff = {"before": before, "after": "", "before_header": str(FILE), "after_header": str(FILE)}
    found = [str(path) for path in paths] + (["what is loaded"] if loaded else [])
    answer = {"changed": bool(found), "differences": found, "try_pending": False, "diff": diff}
    if check or not (found or TRY.is_dir()):
        return answer
    stop_timer()
    shutil.rmtree(TRY, ignore_errors=True)
    if UNIT.exists() or WANTED.is_symlink():
        succeeds(["systemctl", "disable", "--quiet", "--now", UNIT.name])
    if has_nft:
        run(["nft", "-f", "-"], rules.DELETE)
    for path in paths:
        path.unlink(missing_ok=True)
    run(["systemctl", "daemon-reload"])
    return answer
