"""What `zctl host adopt` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zctl.errors import Misuse

if TYPE_CHECKING:
    from zctl.actions.adopt import Adoption
    from zctl.cli.call import Call


def pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """KEY=VALUE words as a mapping. Raises Misuse for any other word, and for a key given twice."""
    found: dict[str, str] = {}
    for text in given or []:
        key, equals, value = text.rpartition("=")
        if not (equals and key and value):
            raise Misuse(f"{option} {text!r} is not KEY=VALUE", remedy=f"such as {option} old=new")
        if key in found:
            raise Misuse(f"{option} names {key} twice", remedy="give it once")
        found[key] = value
    return found


def show(call: Call, result: Adoption) -> None:
    """The VMs on stdout, the notes, refusals and silent hosts on stderr; everything in one value for machines."""
    from zctl.cli.call import warn
    from zctl.cli.output import dump, print_table, text_of

    if call.output in ("json", "yaml"):
        dump(
            call.output,
            {
                "dry_run": call.dry_run,
                "adopted": result.adopted,
                "refused": result.refused,
                "unread": [{"host": host, "reason": reason} for host, reason in result.unread.items()],
                "already": result.already,
            },
        )
        return
    if call.output == "name":
        for entry in result.adopted:
            print(entry["vm"])
    elif result.adopted:
        lines = [
            [
                entry["vm"],
                entry.get("host") or "",
                entry.get("domain") or "",
                entry.get("state") or "",
                str(entry.get("cpus") or ""),
                text_of(entry.get("memory"), True),
                str(len(entry.get("disks") or [])),
                " ".join(f"{nic['source']}={nic['l3_network'] or '-'}" for nic in entry.get("nics") or []),
            ]
            for entry in result.adopted
        ]
        print_table(call, ["NAME", "HOST", "DOMAIN", "STATE", "CPUS", "MEMORY", "DISKS", "NETWORKS"], lines)
    for entry in result.adopted:
        for note in entry["notes"]:
            call.done(f"- {entry['vm']}: {note}")
    for entry in result.refused:
        warn(f"host {entry['host']}: domain {entry['domain']} is left as it is: {entry['reason']}")
    for host, reason in result.unread.items():
        warn(f"host {host}: {reason}")
    words = "would adopt" if call.dry_run else "adopted"
    more = f"; {result.already} of zctl's own were left alone" if result.already else ""
    call.done(f"{words} {len(result.adopted)} VMs{more}")
