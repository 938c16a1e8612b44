"""The files of the metadata service: the tree of a card, its token, and the user that may read them."""

from __future__ import annotations

import grp
import os
import shutil
from pathlib import Path

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_metadata_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import read_text, run
except ImportError:
    import zctl_metadata_plan as plan  # type: ignore[no-redef]
    from zctl_system import read_text, run  # type: ignore[no-redef]

TOKEN_BYTES = 32


def group_of_service() -> int | None:
    """The group that may read metadata; None when the service's user is not there."""
    try:
        return grp.getgrnam(plan.USER).gr_gid
    except KeyError:
        return None


def make_user() -> None:
    """Make the service's user, which owns nothing (sysusers.d(5))."""
    if group_of_service() is None:
        run(["systemd-sysusers", "--inline", f'u {plan.USER} - "zctl metadata service" /nonexistent'])


def read_tree(home: Path, nic: str) -> plan.Tree:
    """The tree that is served at a card's address; empty when it is not that card's."""
    if read_text(home / "nic") != nic:
        return {}
    found: plan.Tree = {}
    top = str(home / "data")
    for folder, _folders, names in os.walk(top):
        for name in names:
            path = f"{folder}/{name}"
            with open(path, "rb") as file:
                found[path[len(top) + 1 :]] = file.read()
    return found


def write_tree(home: Path, nic: str, actual: plan.Tree, desired: plan.Tree, group: int) -> None:
    """Make the tree so. A new one appears at once; of one that is served, each file changes as a whole."""
    if actual:
        for path in plan.differs(actual, desired):
            if path in desired:
                write_file(home / "data" / path, desired[path], group)
            else:
                (home / "data" / path).unlink(missing_ok=True)
        return
    new = home.with_name(f".new-{nic}")
    shutil.rmtree(new, ignore_errors=True)
    make_folder(new, group)
    write_file(new / "nic", nic.encode(), group)
    for path, content in desired.items():
        write_file(new / "data" / path, content, group, fresh=True)
    shutil.rmtree(home, ignore_errors=True)  # another card's, which had the address before
    new.rename(home)


def has_token(home: Path) -> bool:
    """Whether there is a token, and nginx would know it again: after a crash either may be empty or gone."""
    token = read_text(home / "token" / "value") or ""
    return bool(token) and (home / "token" / "is" / token).exists()


def write_token(home: Path, required: bool, group: int) -> None:
    """A token that nobody can guess, and whether the VM can do without one.

    nginx compares what a client sends with the names in the folder `is`; `value` is what it hands out.
    """
    value = home / "token" / "value"
    if not has_token(home):
        import secrets

        shutil.rmtree(home / "token" / "is", ignore_errors=True)

        token = secrets.token_urlsafe(TOKEN_BYTES)
        write_file(home / "token" / "is" / token, b"", group)
        write_file(value, token.encode(), group)
    free = home / plan.OPEN
    if required:
        free.unlink(missing_ok=True)
    elif not free.exists():
        write_file(free, b"", group)


def make_folder(path: Path, group: int) -> None:
    """A folder that the service can read."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_folder(path.parent, group)
    path.mkdir(mode=0o750)
    os.chown(path, 0, group)


def write_file(path: Path, content: bytes, group: int, fresh: bool = False) -> None:
    """A file that the service can read and nobody can write; its old content is replaced as a whole."""
    make_folder(path.parent, group)
    target = path if fresh else path.with_name(f".new-{path.name}")
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        os.fchown(handle, 0, group)
        os.fchmod(handle, 0o640)
        os.write(handle, content)
    finally:
        os.close(handle)
    if not fresh:
        target.rename(path)
