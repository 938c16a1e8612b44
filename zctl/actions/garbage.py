"""zctl gc: old jobs, events, run folders and temporary ones, and management nodes that are no more."""

from __future__ import annotations

import os
import pwd
import shutil
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, delete, func, select
from sqlmodel import col

from zctl import log, temporary
from zctl.actions.context import Context
from zctl.inventory.lease import is_dead
from zctl.inventory.nodes import node_id
from zctl.inventory.store import drop_tags
from zctl.resources.base import Resource
from zctl.resources.clock import clock
from zctl.resources.event import Event
from zctl.resources.job import Job
from zctl.resources.management_node import ManagementNode
from zctl.run.runner import OWNER_FILE

BATCH = 1000
"""Rows in one transaction: writers take turns, so a long one would keep every other command waiting."""
NODE_DAYS = 30
DAY_SECONDS = 86_400


@dataclass
class Garbage:
    """How much was removed, or would be: rows by noun, run folders, and private temporary ones."""

    rows: dict[str, int] = field(default_factory=dict)
    folders: int = 0
    temporary: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts as plain values."""
        return {**self.rows, "run-folder": self.folders, "temporary-folder": self.temporary}


def collect(context: Context, events_days: int, jobs_days: int) -> Garbage:
    """Remove events and ended jobs older than so many days, silent nodes, and run folders that nobody works in."""
    with context.inventory.read() as db:
        present = clock(db)
    found = Garbage()
    for cls, condition in old_rows(present, events_days, jobs_days):
        found.rows[cls.noun] = remove(context, cls, condition)
    for folder in stale_folders(context.config.home / "runs", jobs_days):
        if context.dry_run or remove_folder(context, folder):
            found.folders += 1
    for folder in temporary.left():
        if context.dry_run or remove_folder(context, folder):
            found.temporary += 1
    if not context.dry_run and any(found.as_dict().values()):
        words = ", ".join(f"{number} {noun}" for noun, number in found.as_dict().items() if number)
        log.logger(context.config.home, "gc").info("removed %s", words)
    return found


def old_rows(present: datetime, events_days: int, jobs_days: int) -> list[tuple[type[Resource], ColumnElement[bool]]]:
    """Each type with the condition that makes a row of it garbage. Running jobs and this machine never are."""
    jobs, events, nodes = (days_before(present, days) for days in (jobs_days, events_days, NODE_DAYS))
    return [
        (Event, col(Event.at) < events),
        (Job, (col(Job.state) != "Running") & (func.coalesce(col(Job.ended_at), col(Job.created_at)) < jobs)),
        (ManagementNode, (col(ManagementNode.last_seen) < nodes) & (col(ManagementNode.id) != node_id())),
    ]


def days_before(present: datetime, days: int) -> datetime:
    """The moment so many days ago; for more days than the calendar has, its first, before which there is nothing."""
    try:
        return present - timedelta(days=days)
    except OverflowError:
        return datetime.min.replace(tzinfo=present.tzinfo)


def remove(context: Context, cls: type[Resource], condition: ColumnElement[bool]) -> int:
    """Delete the rows in batches; returns how many. A dry run only counts them."""
    if context.dry_run:
        with context.inventory.read() as db:
            return db.scalar(select(func.count()).select_from(cls).where(condition)) or 0
    count = 0
    while True:
        with context.inventory.write() as db:
            ids = list(db.scalars(select(col(cls.id)).where(condition).limit(BATCH)))
            drop_tags(db, ids)
            db.execute(delete(cls).where(col(cls.id).in_(ids)), execution_options={"synchronize_session": False})
        count += len(ids)
        if len(ids) < BATCH:
            return count
        context.say(f"{count} old {cls.noun} rows removed")


def stale_folders(runs: Path, days: int) -> list[Path]:
    """The folders of runs whose process is dead; those kept for people when they are older than `days`.

    zctl makes no links there: they are left alone, and what they lead to.
    """
    folders = [path for path in sorted(runs.glob("*")) if path.is_dir() and not path.is_symlink()]
    return [folder for folder in folders if is_stale(folder, days)]


def is_stale(folder: Path, days: int) -> bool:
    """Whether nobody needs a run's folder any more. What cannot be read stays."""
    try:
        age = time.time() - folder.stat().st_mtime
        owner = (folder / OWNER_FILE).read_text()
    except FileNotFoundError:
        return folder.exists() and age > days * DAY_SECONDS
    except OSError:
        return False
    dead = is_dead(owner)
    # Of a process before the last boot only time tells; no run takes a day.
    return dead is True or (dead is None and age > DAY_SECONDS)


def remove_folder(context: Context, folder: Path) -> bool:
    """Remove a folder with all in it; a warning when that cannot be."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        owner = folder.stat().st_uid
        if os.geteuid() in (0, owner):
            context.warn(f"{folder} cannot be removed whole: look whether its file system takes changes")
        else:
            context.warn(f"{folder} cannot be removed: it belongs to {user_name(owner)}, who can do so by zctl gc")
        return False
    return True


def user_name(uid: int) -> str:
    """A user's name, or the number of one that is no more."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
