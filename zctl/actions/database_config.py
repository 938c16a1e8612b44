"""The `db` setting in zctl's configuration file: set by a deploy, and kept up with the servers."""

from __future__ import annotations

import re
from pathlib import Path

from zctl.config import SYSTEM_FILE, Config, user_file
from zctl.errors import ZctlError
from zctl.files import replace_file
from zctl.servers.record import Group

ADDRESSES = re.compile(r"(?P<head>[a-z+]+://[^@/]*@)(?P<hosts>[^/?]+)(?P<tail>.*)", re.DOTALL)


def write_setting(config: Config, url: str) -> Path:
    """Make `url` the database of this user, or of the machine where its file is the one in use; returns the file."""
    import tomlkit

    path = holder(config) or (config.files[-1] if config.files else user_file())
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    document = tomlkit.parse(text)
    document["db"] = url
    store(path, tomlkit.dumps(document))
    return path


def follow_group(config: Config, group: Group) -> Path | None:
    """Write the servers' addresses, the primary first, into the setting; None when no file has one of these servers."""
    import tomlkit

    path = holder(config)
    if path is None:
        return None
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    found = ADDRESSES.fullmatch(str(document["db"]))
    known = {server.endpoint for server in group.servers}
    if found is None or not known.intersection(found["hosts"].split(",")):
        return None
    hosts = ",".join(server.endpoint for server in group.ordered)
    if hosts != found["hosts"]:
        document["db"] = f"{found['head']}{hosts}{found['tail']}"
        store(path, tomlkit.dumps(document))
    return path


def holder(config: Config) -> Path | None:
    """The last of the files in use that sets `db`."""
    import tomllib

    for path in reversed(config.files or tuple(p for p in (SYSTEM_FILE, user_file()) if p.exists())):
        if "db" in tomllib.loads(path.read_text(encoding="utf-8")):
            return path
    return None


def store(path: Path, text: str) -> None:
    """Replace a configuration file, or the one that a link leads to. Raises ZctlError."""
    try:
        replace_file(path.resolve(), text)
    except OSError as error:
        raise ZctlError(
            f"it cannot be written: {error.strerror}", resource=str(path), remedy="set db there by hand"
        ) from None
