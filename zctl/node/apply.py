"""Reading and writing the files of a management node; its user; its timers. Needs root."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zctl.errors import Refused
from zctl.node.changes import Change, Found
from zctl.node.wanted import HOME, TASKS, USER, File, Folder

LOCK = Path("/run/zctl-install.lock")


def read_found(paths: Iterable[Path]) -> dict[Path, Found]:
    """What is at each path; paths with nothing are left out."""
    found = {}
    for path in paths:
        try:
            about = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        plain = stat.S_ISREG(about.st_mode)
        text = path.read_text(encoding="utf-8", errors="replace") if plain else None
        found[path] = Found(
            text, user_name(about.st_uid), group_name(about.st_gid), about.st_mode & 0o7777, stat.S_ISDIR(about.st_mode)
        )
    return found


def user_name(uid: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """A group's name, or the number of one that has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def has_user() -> bool:
    """Whether the user of the services is there."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def make_user() -> None:
    """Make the system user and its group. Its home is made as a folder like the others."""
    argv = ["useradd", "--system", "--user-group", "--home-dir", str(HOME), "--no-create-home"]
    run([*argv, "--shell", "/usr/sbin/nologin", "--comment", "zctl", USER])


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other install is at work on this machine. The lock ends with its process."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def apply_change(change: Change) -> None:
    """Do one change. A file is there in full or not at all. Raises Refused when the machine does not let us."""
    path, thing = change.path, change.thing
    try:
        if change.kind == "remove":
            path.unlink(missing_ok=True)
        elif isinstance(thing, Folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.chown(path, thing.owner, thing.group)
            path.chmod(thing.mode)
        else:
            write_file(thing)
    except OSError as error:
        words = error.strerror or str(error)
        raise Refused(
            f"it cannot be written: {words}",
            resource=str(path),
            remedy="mend that; the same command goes on from there",
        ) from None


def write_file(file: File) -> None:
    """Write a file beside its place, with its rights, and put it there."""
    file.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = file.path.with_name(f".{file.path.name}.new")
    new.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
            handle.write(file.text)
            shutil.chown(new, "root", file.group)
            new.chmod(file.mode)
            handle.flush()
            os.fsync(handle.fileno())
        new.rename(file.path)
    finally:
        new.unlink(missing_ok=True)


def has_systemd() -> bool:
    """Whether this machine was booted with systemd (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def sleeping_timers() -> list[str]:
    """The timers that are not enabled and waiting. One that an administrator masked is left out: that is meant."""
    found = []
    for task in TASKS:
        enabled = answer(["systemctl", "is-enabled", task.timer])
        waiting = answer(["systemctl", "is-active", task.timer])
        if enabled != "masked" and (enabled, waiting) != ("enabled", "active"):
            found.append(task.timer)
    return found


def start_timers(names: list[str]) -> None:
    """Have timers run now and after each boot."""
    run(["systemctl", "enable", "--quiet", "--now", *names])


def restart_timers(names: list[str]) -> None:
    """Have timers that run go by their changed files."""
    run(["systemctl", "try-restart", *names])


def stop_timers(names: list[str]) -> None:
    """Stop timers for good, before their files go. A service that runs at this moment comes to its end."""
    run(["systemctl", "disable", "--quiet", "--now", *names])


def reload_units() -> None:
    """Have systemd read its unit files anew, and forget failures of services that are no more."""
    run(["systemctl", "daemon-reload"])
    answer(["systemctl", "reset-failed", "zctl-*"])


def run(argv: list[str]) -> None:
    """A program that must succeed. Raises Refused with what it said."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise Refused(f"there is no {argv[0]} here", remedy="zctl install is for Debian 12 and Ubuntu 24.04") from None
    if done.returncode != 0:
        raise Refused(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}", remedy="mend that and try again")


def answer(argv: list[str]) -> str:
    """What a program says in one line, whatever its exit code."""
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return done.stdout.strip()


def run_as_user(argv: list[str]) -> None:
    """A program as the user of the services, with nothing of root's environment. Raises Refused with what it said."""
    argv = ["runuser", "--user", USER, "--", "env", "--ignore-environment", f"HOME={HOME}", "LC_ALL=C.UTF-8", *argv]
    run(argv)
