"""What the inventory's database is: where it lies, whether zctl can work with it, when it was dumped last."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from zctl.backup import folder as dumps
from zctl.errors import DatabaseError, ZctlError
from zctl.inventory.engine import Inventory, shown, sqlite_path
from zctl.inventory.head import HEAD
from zctl.inventory.schema import revision_of

if TYPE_CHECKING:
    from pathlib import Path

    from zctl.actions.context import Say
    from zctl.config import Config

SIZE = "SELECT SUM(DATA_LENGTH + INDEX_LENGTH) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True)
class Summary:
    """The database; sizes are bytes, times UTC. `problems` are sentences."""

    address: str
    version: str
    server: str
    schema: str
    wanted: str
    size: int
    dumps: int
    dump_folder: str
    last_dump: str
    problems: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def summary(config: Config) -> Summary:
    """Ask the database and look into the folder of dumps; what cannot be told is a problem in words."""
    schema, version, server, size, identity, problems = "", "", "", 0, "", []
    try:
        schema = revision_of(config.url) or ""
        version, server, size = about(config.url)
        if not schema:
            problems.append("it holds no inventory (zctl init makes one)")
        elif schema != HEAD:
            problems.append(f"its schema is {schema}, this zctl needs {HEAD} (zctl upgrade --check)")
        identity = identity_of(config.url) if schema else ""
    except DatabaseError as error:
        problems.append(str(error))
    folder = dumps.default_folder(config.home, config.dump_folder)
    count, last, wrong = about_dumps(folder, identity)
    return Summary(
        shown(config.url), version, server, schema, HEAD, size, count, str(folder), last, [*problems, *wrong]
    )


def about(url: str) -> tuple[str, str, int]:
    """Version, name of the server and size of what is stored."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        raise DatabaseError("there is no inventory", resource=str(path), remedy="zctl init makes one")
    with Inventory(url).read() as db:
        if path is not None:
            return f"SQLite {db.scalar(text('SELECT sqlite_version()'))}", "", path.stat().st_size
        version, server = db.execute(text("SELECT VERSION(), @@hostname")).one()
        return str(version), str(server), int(db.scalar(text(SIZE)) or 0)


def identity_of(url: str, say: Say | None = None) -> str:
    """The inventory's own UUID, whatever its schema; empty when there is none, or nobody to ask."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return ""
    try:
        with Inventory(url, waiting=say).read() as db:
            return str(db.scalar(text("SELECT inventory FROM info")) or "")
    except ZctlError:
        return ""


def about_dumps(folder: Path, identity: str) -> tuple[int, str, list[str]]:
    """How many dumps of an inventory there are, when the last one was taken, and what is wrong with them.

    All dumps count where nobody can tell whose inventory this is.
    """
    found, problems = dumps.listed(folder)
    there = [dump for dump in found if dump.path.is_file()]
    taken = [dump.manifest.started_at for dump in there if identity in ("", dump.manifest.inventory)]
    if not taken:
        others = f", only {len(there)} of other inventories" if there else ""
        return 0, "", [*problems, f"there is no dump in {folder}{others} (zctl dump_mysql)"]
    present = datetime.now(UTC)
    past = [moment for moment in taken if moment <= present + CLOCKS_DIFFER]
    if len(past) < len(taken):
        wrong = max(taken).isoformat(timespec="seconds")
        problems.append(f"a dump has a time that is still to come, {wrong} (check the clock; move that dump away)")
    last = max(past or taken)
    if (age := present - last).days >= 2:
        problems.append(f"the last dump is {age.days} days old (systemctl status zctl-dump.timer)")
    return len(taken), last.isoformat(timespec="seconds"), problems
