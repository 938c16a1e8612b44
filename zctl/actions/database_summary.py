"""What the inventory's database is: where it lies, whether zctl can work with it, when it was dumped last."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from zctl.backup import folder as dumps
from zctl.errors import DatabaseError
from zctl.inventory.engine import Inventory, shown, sqlite_path
from zctl.inventory.head import HEAD
from zctl.inventory.schema import revision_of

if TYPE_CHECKING:
    from pathlib import Path

    from zctl.config import Config

SIZE = "SELECT SUM(DATA_LENGTH + INDEX_LENGTH) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"


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
    schema, version, server, size, problems = "", "", "", 0, []
    try:
        schema = revision_of(config.url) or ""
        version, server, size = about(config.url)
        if not schema:
            problems.append("it holds no inventory (zctl init makes one)")
        elif schema != HEAD:
            problems.append(f"its schema is {schema}, this zctl needs {HEAD} (zctl upgrade --check)")
    except DatabaseError as error:
        problems.append(str(error))
    folder = dumps.default_folder(config.home, config.dump_folder)
    count, last, wrong = about_dumps(folder)
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


def about_dumps(folder: Path) -> tuple[int, str, list[str]]:
    """How many dumps there are, when the last one was taken, and what is wrong with them."""
    found, problems = dumps.listed(folder)
    taken = [dump.manifest.started_at for dump in found if dump.path.is_file()]
    if not taken:
        return 0, "", [*problems, f"there is no dump in {folder} (zctl dump_mysql)"]
    age = datetime.now(UTC) - max(taken)
    if age.days >= 2:
        problems.append(f"the last dump is {age.days} days old (systemctl status zctl-dump.timer)")
    return len(taken), max(taken).isoformat(timespec="seconds"), problems
