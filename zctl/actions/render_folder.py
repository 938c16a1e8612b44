"""Writing what a run would do as a folder that ansible-playbook runs without zctl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zctl.actions.ansible_inventory import Member, members
from zctl.actions.context import Context
from zctl.errors import Misuse, Refused
from zctl.resources.host import Host
from zctl.resources.lookup import find
from zctl.run.eject import eject
from zctl.run.folder import ALWAYS, PLAYBOOK, folder_files

ANSIBLES_OWN = ("all", "ungrouped")
ENDINGS = (".yml", ".yaml", ".json")


@dataclass(frozen=True)
class Rendered:
    """What came of it: the hosts in the folder, and how many files were written or removed."""

    folder: Path
    hosts: list[str]
    written: int


def render_folder(context: Context, folder: Path, names: list[str], *, force: bool) -> Rendered:
    """Write the folder for the named hosts (none: all that are not in maintenance). Contacts no host.

    Raises Refused for a folder with other things in it, and for hosts that are in maintenance or whose names Ansible
    takes for something else.
    """
    with context.inventory.read() as db:
        chosen = {row.id: row.name for row in (find(db, Host, name) for name in names)}
    found = members(context, lambda host: not chosen or host.id in chosen)
    left_out = sorted(set(chosen.values()) - {member.name for member in found})
    if left_out:
        raise Refused(
            "it is in maintenance, where no run goes",
            resource=f"host {', '.join(left_out)}",
            remedy=f"zctl host enable {left_out[0]}",
        )
    if not found:
        raise Misuse(
            "there are no hosts to render", remedy="zctl host list shows them; those in maintenance are left out"
        )
    refuse_names(found)
    files = folder_files([(member.run, member.groups) for member in found], context.config.forks)
    written = eject(folder, files, PLAYBOOK, force=force)
    return Rendered(folder, [member.name for member in found], written)


def refuse_names(found: list[Member]) -> None:
    """Raises Refused for a host that Ansible would take for a group, or give another's variables."""
    groups = {*ANSIBLES_OWN, *ALWAYS}.union(*(member.groups for member in found))
    names = {member.name for member in found}
    for name in sorted(names):
        twin = next((name.removesuffix(end) for end in ENDINGS if name.removesuffix(end) in names - {name}), "")
        if name in groups or twin:
            what = f"Ansible would read the variables of host {twin} for it" if twin else "Ansible has a group so named"
            raise Refused(what, resource=f"host {name}", remedy=f"zctl host update {name} --name NEW")
