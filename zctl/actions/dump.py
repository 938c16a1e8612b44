"""Dumping the inventory: one moment of it, under its name only when it is whole; older dumps go by their number."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zctl import __version__, temporary
from zctl.backup import folder as dumps
from zctl.backup import mysql, remote, retention, sqlite
from zctl.backup.folder import DEFAULT_PREFIX, Dump
from zctl.backup.manifest import Manifest
from zctl.backup.stream import Counted, file_sum, packed, pieces
from zctl.errors import DatabaseError, Misuse, ZctlError
from zctl.inventory.engine import Inventory, shown, sqlite_path
from zctl.log import logger

if TYPE_CHECKING:
    from zctl.actions.context import Say
    from zctl.config import Config

KEEP = 60
SAFETY_PREFIX = "zctl-before"
SAFETY_KEEP = 20


@dataclass(frozen=True)
class Wish:
    """What a dump is to be: the prefix of its name, where it goes, how many are kept, for whom it is encrypted.

    `remote` is a further place for a copy; `remote_keep` how many stay there when `delete_expired` is set.
    """

    prefix: str = DEFAULT_PREFIX
    keep: int = KEEP
    folder: Path | None = None
    recipients: tuple[str, ...] = ()
    verify: bool = False
    identity: str = ""
    remote: remote.Remote | None = None
    remote_keep: int = KEEP
    delete_expired: bool = False


@dataclass
class Written:
    """What a dump came to: the dump, the names of the older ones that went, what people should hear."""

    dump: Dump
    removed: list[str] = field(default_factory=list)
    removed_remotely: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def take(config: Config, inventory: Inventory, wish: Wish, say: Say) -> Written:
    """Dump the inventory. Raises ZctlError; then no new file has a final name and no older dump is gone."""
    log = logger(config.home, "dump")
    place = wish.folder or dumps.default_folder(config.home, config.dump_folder)
    try:
        if wish.keep < 1 or wish.remote_keep < 1:
            raise Misuse("at least one dump must be kept", remedy="give --keep-amount 1 or more")
        if wish.verify and wish.recipients and not wish.identity:
            raise Misuse(
                "an encrypted dump is verified with the key that opens it",
                remedy="give --identity FILE with age's private key, or set dump_identity in the configuration",
            )
        dumps.check_prefix(wish.prefix)
        dumps.make(place)
        temporary.clear()
        with dumps.alone(place):
            written = Written(write(inventory, wish, place, say))
            log.info(
                "wrote %s: %d rows, %d bytes", written.dump.path, written.dump.manifest.rows, written.dump.manifest.size
            )
            thin_out(wish, place, written)
        if wish.remote:
            say(f"copying to {wish.remote.label}")
            remote.send(wish.remote, written.dump)
            log.info("copied %s to %s", written.dump.path.name, wish.remote.label)
            thin_out_remote(wish.remote, wish, written)
    except ZctlError as error:
        log.error("%s: %s", shown(inventory.url), error)
        raise
    except BaseException as error:
        log.error("%s: ended by %s", shown(inventory.url), type(error).__name__)
        raise
    for name in written.removed:
        log.info("removed %s, older than the newest %d", name, wish.keep)
    for text in written.warnings:
        log.warning(text)
    return written


def write(inventory: Inventory, wish: Wish, place: Path, say: Say) -> Dump:
    """Write one dump with its manifest."""
    started = datetime.now(UTC)
    path = sqlite_path(inventory.url)
    server = None if path else mysql.server_of(inventory)
    name = server.name if server else platform.node()
    suffix = (".sql.zst" if server else ".db.zst") + (".age" if wish.recipients else "")
    taken = {entry.name for entry in place.iterdir()}
    file_name = dumps.file_name(wish.prefix, started, name, suffix, taken)
    say(f"dumping {shown(inventory.url)}")
    with dumps.draft(place, file_name) as (file, part):
        with packed(file, wish.recipients) as sink:
            facts = from_server(server, sink) if server else from_file(path, place, sink)  # type: ignore[arg-type]
        file.flush()
        known, _problems = dumps.listed(place)
        inventory_id = facts.pop("inventory")
        earlier = [dump.manifest.sequence for dump in known if dump.manifest.inventory == inventory_id]
        manifest = Manifest(
            file=file_name,
            prefix=wish.prefix,
            sequence=max(earlier, default=0) + 1,
            inventory=inventory_id,
            server=name,
            zctl=__version__,
            started_at=started,
            finished_at=datetime.now(UTC),
            content_size=sink.size,
            content_sha256=sink.sha256,
            size=part.stat().st_size,
            sha256=file_sum(part),
            encrypted=bool(wish.recipients),
            **facts,
        )
        require_inventory(inventory, manifest)
        if wish.verify:
            from zctl.actions.verify import verify

            verify(inventory, Dump(part, manifest), wish.identity, say)
            manifest = manifest.model_copy(update={"verified_at": datetime.now(UTC)})
        return dumps.publish(place, part, manifest)


def from_server(server: mysql.Server, sink: Counted) -> dict[str, Any]:
    """Dump a MySQL or MariaDB database into a sink; returns what the manifest tells of it."""
    counter = mysql.dump(server, server.database, sink)
    return {
        "engine": "mysql",
        "server_version": server.version,
        "tool": mysql.tool_version(mysql.dumper()),
        "tables": dict(sorted(counter.rows.items())),
        "schema_revision": counter.word("alembic_version"),
        "inventory": counter.word("info"),
    }


def from_file(path: Path, place: Path, sink: Counted) -> dict[str, Any]:
    """Dump an SQLite file into a sink; returns what the manifest tells of it."""
    if not path.exists():
        raise DatabaseError("there is no inventory", resource=str(path), remedy="zctl init makes one")
    # The copy is checked before anything is made of it: a damaged inventory must not push good dumps out.
    with dumps.draft(place, "copy") as (file, part):
        tables = sqlite.copy(path, part)
        for piece in pieces(file):
            sink.write(piece)
        return {
            "engine": "sqlite",
            "server_version": sqlite.version(),
            "tool": f"SQLite's online backup, {sqlite.version()}",
            "tables": tables,
            "schema_revision": sqlite.word(part, "alembic_version", "version_num"),
            "inventory": sqlite.word(part, "info", "inventory"),
        }


def require_inventory(inventory: Inventory, manifest: Manifest) -> None:
    """Raise DatabaseError when what was dumped is no inventory: keeping it would be a false comfort."""
    if not manifest.schema_revision or not manifest.inventory:
        raise DatabaseError(
            "the database holds no inventory",
            resource=shown(inventory.url),
            remedy="correct --db, or make one: zctl init",
        )


def is_kin(dump: Dump, newest: Dump) -> bool:
    """Whether a dump is one of the same inventory, taken under the same prefix."""
    old, new = dump.manifest, newest.manifest
    return (old.inventory, old.prefix) == (new.inventory, new.prefix)


def thin_out(wish: Wish, place: Path, written: Written) -> None:
    """Remove the dumps of this inventory beyond those to be kept; what is damaged or not ours stays and is told."""
    there, problems = dumps.listed(place)
    kin = [dump for dump in there if is_kin(dump, written.dump)]
    old, bad = retention.expired(kin, wish.keep)
    written.warnings += [*problems, *(f"{dump.path.name} is {found} and does not count" for dump, found in bad)]
    for dump in old:
        try:
            dumps.remove(dump)
        except OSError as error:
            written.warnings.append(f"{dump.path.name} could not be removed: {error.strerror}")
        else:
            written.removed.append(dump.path.name)


def thin_out_remote(place: remote.Remote, wish: Wish, written: Written) -> None:
    """The same on the other machine, when asked for."""
    kin = [dump for dump in remote.listed(place) if is_kin(dump, written.dump)]
    if not wish.delete_expired or len(kin) <= wish.remote_keep:
        return
    conditions = remote.conditions(place, kin)
    old, bad = retention.expired(kin, wish.remote_keep, lambda dump: conditions[dump.manifest.file])
    written.warnings += [f"{place.label}: {dump.path.name} is {found} and does not count" for dump, found in bad]
    if old:
        remote.remove(place, old)
        written.removed_remotely = [dump.path.name for dump in old]
