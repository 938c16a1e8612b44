"""zctl install: what a management node needs is made on this machine, or removed again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zctl import config, secrets
from zctl.errors import Refused
from zctl.node import apply, place
from zctl.node.changes import Change, plan_files, plan_folders
from zctl.node.wanted import (
    CONFIG_FILE,
    HOME,
    LOGS,
    TASKS,
    UNITS,
    USER,
    Choice,
    all_paths,
    wanted_files,
    wanted_folders,
)


@dataclass
class Installed:
    """What was done, or would be, marked + (made), ~ (changed) or - (gone), each with its diff; notes for people."""

    done: list[tuple[str, list[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return {"changes": [{"what": what, "diff": diff} for what, diff in self.done], "notes": self.notes}


@dataclass
class Step:
    """One thing to do, in words, with what shows it in full."""

    what: str
    act: Callable[[], object]
    diff: list[str] = field(default_factory=list)


def install(*, cron: bool, completions: dict[str, str], dry_run: bool) -> Installed:
    """Make this machine a management node; what is there already stays. Raises Refused before anything is changed."""
    require_root()
    with apply.alone():
        return _install(cron=cron, completions=completions, dry_run=dry_run)


def _install(*, cron: bool, completions: dict[str, str], dry_run: bool) -> Installed:
    if not cron and not apply.has_systemd():
        raise Refused("this machine does not run systemd", remedy="add --cron")
    choice = choose(cron=cron, completions=completions)
    files = wanted_files(choice)
    folders = wanted_folders(choice)
    found = apply.read_found([*all_paths(), *(folder.path for folder in folders)])
    surplus = [path for path in all_paths() if path not in {file.path for file in files}]
    file_changes = plan_files(files, surplus, found)
    steps = [] if apply.has_user() else [Step(f"+ user {USER}", apply.make_user)]
    steps += [step_of(change) for change in plan_folders(folders, found)]
    steps += timers_going(file_changes)
    steps += [step_of(change) for change in file_changes]
    steps += reload_step(file_changes)
    steps += inventory_step(choice)
    if not cron:
        steps += timer_steps(file_changes)
    return carry_out(steps, notes_of(choice), dry_run=dry_run)


def uninstall(*, dry_run: bool) -> Installed:
    """Remove what install made but the data, and the user whom they belong to. Raises Refused when not root."""
    require_root()
    with apply.alone():
        return _uninstall(dry_run=dry_run)


def _uninstall(*, dry_run: bool) -> Installed:
    found = apply.read_found(all_paths())
    untouched = wanted_files(Choice(Path("/"), home=settings_home()))[0]
    changes = plan_files([], all_paths(), found)
    if CONFIG_FILE in found and found[CONFIG_FILE].text == untouched.text:
        changes.append(Change("remove", untouched, found[CONFIG_FILE]))
    steps = [*timers_going(changes), *(step_of(change) for change in changes), *reload_step(changes)]
    kept = [str(path) for path in (CONFIG_FILE, settings_home(), LOGS) if path.exists()]
    if CONFIG_FILE in {change.path for change in changes}:
        kept.remove(str(CONFIG_FILE))
    notes = [f"these stay, and the user {USER} with them: {', '.join(kept)}"] if kept else []
    return carry_out(steps, notes, dry_run=dry_run)


def carry_out(steps: list[Step], notes: list[str], *, dry_run: bool) -> Installed:
    """Do the steps in order, or only tell them."""
    for step in () if dry_run else steps:
        step.act()
    return Installed([(step.what, step.diff) for step in steps], notes)


def require_root() -> None:
    """Raise Refused for other users."""
    if os.geteuid() != 0:
        raise Refused("it makes a user, folders and services", remedy="give the command as root: sudo zctl install")


def settings() -> dict[str, Any]:
    """What the machine's configuration file says, if there is one."""
    return config.read_file(CONFIG_FILE) if CONFIG_FILE.exists() else {}


def settings_home() -> Path:
    """The data folder of the services."""
    return Path(settings().get("home") or HOME)


def choose(*, cron: bool, completions: dict[str, str]) -> Choice:
    """How the node is wanted, by the options, the settings and where zctl lies."""
    said = settings()
    writable = (Path(said["dump_folder"]),) if said.get("dump_folder") else ()
    place.require_usable(settings_home(), "data folder")
    for folder in writable:
        place.require_usable(folder, "folder for dumps")
    return Choice(
        program=place.program(),
        cron=cron,
        credential=f"{secrets.CREDENTIAL}:{secrets.SYSTEM_KEY}" if secrets.SYSTEM_KEY.exists() else "",
        home=settings_home(),
        writable=writable,
        completions=tuple(completions.items()),
    )


def step_of(change: Change) -> Step:
    """A change as a step."""
    marks = {"make": "+", "change": "~", "remove": "-"}
    return Step(f"{marks[change.kind]} {change.path}", lambda: apply.apply_change(change), change.diff())


def timers_going(changes: list[Change]) -> list[Step]:
    """Timers are stopped before their files go."""
    gone = {change.path for change in changes if change.kind == "remove"}
    names = [task.timer for task in TASKS if UNITS / task.timer in gone]
    if not names or not apply.has_systemd():
        return []
    return [Step(f"- running: {', '.join(names)}", lambda: apply.stop_timers(names))]


def reload_step(changes: list[Change]) -> list[Step]:
    """Systemd has to hear of it when unit files were touched."""
    touched = [change for change in changes if change.path.parent == UNITS]
    return [Step("~ systemd's units, read anew", apply.reload_units)] if touched and apply.has_systemd() else []


def timer_steps(changes: list[Change]) -> list[Step]:
    """Start the timers that do not wait yet, and those whose file is another now."""
    asleep = apply.sleeping_timers()
    steps = []
    if asleep:
        steps.append(Step(f"+ running: {', '.join(asleep)}", lambda: apply.start_timers(asleep)))
    changed = {change.path for change in changes if change.kind == "change"}
    others = [task.timer for task in TASKS if UNITS / task.timer in changed and task.timer not in asleep]
    if others:
        steps.append(Step(f"~ running: {', '.join(others)}", lambda: apply.restart_timers(others)))
    return steps


def inventory_step(choice: Choice) -> list[Step]:
    """Make the services' inventory, as its user, when it is to be a file and there is none, here or elsewhere."""
    if settings().get("db") or (choice.home / "zctl.db").exists() or elsewhere():
        return []
    return [Step(f"+ inventory in {choice.home}", lambda: apply.run_as_user([str(choice.program), "init"]))]


def elsewhere() -> Path | None:
    """An inventory that root used before there were settings for the machine."""
    path = config.data_home() / "zctl.db"
    return path if not settings() and "ZCTL_HOME" not in os.environ and path.exists() else None


def notes_of(choice: Choice) -> list[str]:
    """What people should know or do next."""
    notes = []
    if old := elsewhere():
        notes.append(
            f"the inventory in {old.parent} is not used any more, since zctl's data lie in {choice.home} now; "
            f"move it there: mv {old.parent}/* {choice.home}/ && chown -R {USER}: {choice.home}"
        )
    if CONFIG_FILE.exists():
        about = apply.read_found([CONFIG_FILE])[CONFIG_FILE]
        if about.mode & 0o004 == 0 and (about.group != USER or about.mode & 0o040 == 0):
            notes.append(f"the services cannot read {CONFIG_FILE}: chgrp {USER} {CONFIG_FILE}; chmod 640 {CONFIG_FILE}")
        if not settings().get("home"):
            notes.append(f'{CONFIG_FILE} does not say where the data lie: add home = "{HOME}"')
    if choice.cron and not Path("/usr/sbin/cron").exists():
        notes.append("cron is not installed here: apt install cron")
    if choice.cron and choice.credential:
        notes.append(f"programs started by cron read the key as {USER}: chown {USER}: {secrets.SYSTEM_KEY}")
    return notes
