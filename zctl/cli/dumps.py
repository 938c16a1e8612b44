"""Dumping the database and restoring it: the verbs that cron lines depend on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zctl.cli.call import FORMATS, Call, command_apps, warn
from zctl.errors import Misuse

if TYPE_CHECKING:
    from zctl.backup.folder import Dump
    from zctl.config import Config

REMOTE_FOLDER = "/var/lib/zctl/mysql-backup"
OFFERED = 50
Folder = Annotated[str, typer.Option("--file-path", help="The folder with the dumps.", metavar="DIR")]
Identity = Annotated[
    str, typer.Option("--identity", help="File with age's private key, for encrypted dumps.", metavar="FILE")
]

Prefix = Annotated[
    str, typer.Option("--file-name", help="How its name begins; time and server are added.", metavar="NAME")
]
Machine = Annotated[
    str, typer.Option("--host", help="Copy it to that machine too, over SSH.", metavar="USER@ADDRESS:PORT")
]
Recipients = Annotated[
    list[str] | None,
    typer.Option("--recipient", help="An age or SSH public key to encrypt for; may be repeated.", metavar="KEY"),
]


def dump_mysql(
    call: Call,
    file_name: Prefix = "zctl-backup-db",
    keep_amount: Annotated[int, typer.Option("--keep-amount", help="How many dumps to keep.", min=1)] = 60,
    file_path: Folder = "",
    host: Machine = "",
    remote_path: Annotated[str, typer.Option("--remote-path", help="The folder there.", metavar="DIR")] = REMOTE_FOLDER,
    remote_keep_amount: Annotated[
        int, typer.Option("--remote-keep-amount", help="How many to keep there, with --delete-expired.", min=1)
    ] = 60,
    delete_expired: Annotated[bool, typer.Option("--delete-expired", help="Remove older ones there, too.")] = False,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Encrypt it by age, for --recipient or the configured dump_recipients.")
    ] = False,
    recipient: Recipients = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Restore it into a scratch database and compare before it counts.")
    ] = False,
    identity: Identity = "",
) -> None:
    """Dump the database, MySQL or SQLite, as it is at one moment, while zctl goes on working.

    The file is compressed, readable by its owner only, and has a manifest beside it; it gets its name when it is whole.
    Of this inventory's dumps the newest good ones are kept; other files in the folder are never touched.
    """
    from zctl.actions.dump import Wish, take
    from zctl.backup.remote import parse_place
    from zctl.inventory.engine import Inventory

    config = call.config
    if recipient and not encrypt:
        raise Misuse("--recipient goes with --encrypt", remedy="add --encrypt")
    if delete_expired and not host:
        raise Misuse("--delete-expired goes with --host", remedy="name the machine with --host")
    wish = Wish(
        file_name,
        keep_amount,
        Path(file_path).absolute() if file_path else None,
        recipients_of(config, recipient or []) if encrypt else (),
        verify,
        identity or config.dump_identity,
        parse_place(host, remote_path, config.home / "known_hosts", config.ssh_key) if host else None,
        remote_keep_amount,
        delete_expired,
    )
    with ended_cleanly():
        written = take(config, Inventory(config.url), wish, call.progress.say)
    call.progress.stop()
    for text in written.warnings:
        warn(text)
    tell(
        call,
        described(written.dump, "good") | {"removed": written.removed, "removed_remotely": written.removed_remotely},
    )


def recipients_of(config: Config, given: list[str]) -> tuple[str, ...]:
    """Whom a dump is encrypted for. Raises Misuse when that is nobody."""
    if found := tuple(given or config.dump_recipients):
        return found
    raise Misuse(
        "nobody is named whom the dump is encrypted for",
        remedy="make a pair of keys: age-keygen -o FILE, then give its public key as --recipient age1...",
    )


def restore_mysql(
    call: Call,
    file: Annotated[
        str,
        typer.Option("--file", help="The dump: a path, or a name in the folder.", metavar="FILE", show_default=False),
    ],
    file_path: Folder = "",
    identity: Identity = "",
    other_inventory: Annotated[
        bool, typer.Option("--other-inventory", help="Replace this inventory by the dump of another one.")
    ] = False,
    compare: Annotated[bool, typer.Option("--plan/--no-plan", help="Say afterwards how hosts differ from it.")] = True,
) -> None:
    """Put a dump in the place of the inventory, after a dump of what is there now.

    Sums and schema are checked and the dump is restored and migrated beside the inventory first; then it takes its
    place in one step. Nothing on hosts is changed: VMs that the dump does not know go on running.
    """
    from zctl.actions import restore
    from zctl.actions.present import look
    from zctl.backup.folder import find
    from zctl.cli.output import dump as show
    from zctl.cli.output import report
    from zctl.inventory.engine import shown

    config = call.config
    folder = folder_of(config, file_path)
    dump = find(folder, file)
    present = look(config.url)
    restore.check(dump, config.url, present, other=other_inventory)
    manifest = dump.manifest
    what = f"{dump.path.name} of {manifest.started_at:%Y-%m-%d %H:%M} UTC, {manifest.rows} rows"
    if call.dry_run:
        values = {"dry_run": True, "dump": str(dump.path), "rows": manifest.rows, "schema": manifest.schema_revision}
        report(call, values, f"it can be restored: {what}")
        return
    if present.exists:
        call.confirm(f"Replace the inventory {shown(config.url)} by {what}?")
    with ended_cleanly():
        done = restore.restore(config, dump, present, identity or config.dump_identity, folder, call.progress.say)
    call.progress.stop()
    if done.cancelled:
        warn(f"jobs that ran when the dump was taken are given up: {', '.join(done.cancelled)}")
    if call.output in ("json", "yaml"):
        values = {"restored": str(dump.path), "rows": done.rows, "schema": done.from_schema}
        show(call.output, values | {"safety_dump": str(done.safety or ""), "cancelled_jobs": done.cancelled})
    else:
        call.done(f"restored {dump.path.name}: {done.rows} rows, taken with schema {done.from_schema}")
        if done.safety:
            call.done(f"what was there before: {done.safety}")
    if compare:
        tell_differences(call)


def tell_differences(call: Call) -> None:
    """Say how hosts differ from what was restored; that it cannot be told is no failure of the restore."""
    from zctl.actions.drift import Selection, drift
    from zctl.actions.jobs import host_ids
    from zctl.cli.drift_text import lines
    from zctl.errors import ZctlError

    context = call.context(resume=False)
    if not host_ids(context):
        return
    try:
        offer(call)
    except ZctlError as error:
        warn(f"what hosts know beyond it cannot be told: {error}")
    try:
        found = drift(context, Selection())
    except ZctlError as error:
        warn(f"how hosts differ from it cannot be told: {error}; ask again: zctl plan")
        return
    call.progress.stop()
    for line in lines(found):
        call.done(line)


def offer(call: Call) -> None:
    """Name what hosts keep and the dump does not know, such as VMs made since; it stays until it is taken in."""
    from zctl.cli.db_rebuild import beyond

    rows = beyond(call)
    for entry in rows[:OFFERED]:
        call.done(f"on hosts, not in the dump: {entry['noun']} {entry['name']}")
    if rows:
        more = f" and {len(rows) - OFFERED} more" if len(rows) > OFFERED else ""
        call.done(f"{len(rows[:OFFERED])} rows{more} made since: zctl db rebuild --from-hosts takes them in")


def described(dump: Dump, condition: str) -> dict[str, Any]:
    """A dump as values."""
    manifest = dump.manifest
    return {
        "file": dump.path.name,
        "path": str(dump.path),
        "taken_at": manifest.started_at.isoformat(timespec="seconds"),
        "server": manifest.server,
        "engine": manifest.engine,
        "schema": manifest.schema_revision,
        "rows": manifest.rows,
        "size": manifest.size,
        "encrypted": manifest.encrypted,
        "verified": manifest.verified_at is not None,
        "sequence": manifest.sequence,
        "inventory": manifest.inventory,
        "condition": condition,
    }


def tell(call: Call, values: dict[str, Any]) -> None:
    """Say what was written."""
    from zctl.cli.output import dump as show

    if call.output in ("json", "yaml"):
        show(call.output, values)
    elif call.output == "name":
        print(values["path"])
    else:
        words = f"dump {values['path']}: {values['rows']} rows, {values['size']} bytes"
        call.done(words + (", verified" if values["verified"] else ""))
        if gone := len(values["removed"]) + len(values["removed_remotely"]):
            call.done(f"{gone} older dump(s) removed")


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """A request to end, as systemd sends it, ends like an interrupt: what is half written is removed."""

    def end(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def folder_of(config: Config, file_path: str) -> Path:
    """The folder that a verb looks into."""
    from zctl.backup.folder import default_folder

    return Path(file_path).absolute() if file_path else default_folder(config.home, config.dump_folder)


def apps() -> dict[str, typer.Typer]:
    """A Typer application for each of the commands."""
    return command_apps({"dump_mysql": (dump_mysql, False, FORMATS), "restore_mysql": (restore_mysql, True, FORMATS)})
