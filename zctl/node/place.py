"""Where zctl lies on this machine, and whether the user of the services can run it there."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

from zctl.errors import Refused

# What ProtectHome= and PrivateTmp= hide from a service (systemd.exec(5)).
HIDDEN = (Path("/root"), Path("/home"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108
PLAIN = re.compile(r"[A-Za-z0-9_./+@-]+")
REMEDY = "install it where everybody can read it: python3 -m venv /opt/zctl && /opt/zctl/bin/pip install zctl"


def program() -> Path:
    """The zctl of this Python environment. Raises Refused when the services could not run it."""
    found = Path(sys.executable).parent / "zctl"
    if not found.exists():
        raise Refused("this zctl is not installed: there is no program", resource=str(found), remedy=REMEDY)
    if not PLAIN.fullmatch(str(found)):
        raise Refused("unit files and cron cannot name this path", resource=str(found), remedy=REMEDY)
    package = Path(__file__).parent
    for path in dict.fromkeys((found, Path(sys.executable), Path(sys.base_prefix), package)):
        require_reachable(path)
    return found


def require_reachable(path: Path) -> None:
    """Raise Refused when the services' user cannot come to a path, or to where it leads."""
    for place in dict.fromkeys((path, path.resolve())):
        if any(place.is_relative_to(hidden) for hidden in HIDDEN):
            raise Refused(f"zctl runs from {place}, which services cannot see", resource=str(path), remedy=REMEDY)
        for part in (*reversed(place.parents), place):
            if (barred := part.stat()).st_mode & stat.S_IXOTH == 0 and stat.S_ISDIR(barred.st_mode):
                raise Refused(f"others than {part.owner()} cannot enter {part}", resource=str(path), remedy=REMEDY)
        if place.stat().st_mode & stat.S_IROTH == 0:
            raise Refused("others cannot read it", resource=str(place), remedy=REMEDY)


def require_usable(path: Path, what: str) -> None:
    """Raise Refused for a folder from the settings that services could not write to, or a unit file not name."""
    if not path.is_absolute() or not PLAIN.fullmatch(str(path)):
        raise Refused(f"unit files cannot name this {what}", resource=str(path), remedy="set an absolute, plain path")
    if any(path.is_relative_to(hidden) for hidden in HIDDEN):
        raise Refused(f"services cannot see this {what}", resource=str(path), remedy="set one below /var or /srv")
