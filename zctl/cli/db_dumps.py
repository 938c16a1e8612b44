"""Dumps of the database: listing and trying them; carrying the inventory elsewhere; a prompt of the database's own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zctl.cli.call import Call, add_command, warn
from zctl.cli.dumps import Folder, Identity, described, folder_of
from zctl.errors import DatabaseError, Misuse

if TYPE_CHECKING:
    from pathlib import Path

    from zctl.backup.folder import Dump


def list_backups(
    call: Call,
    file_path: Folder = "",
    check: Annotated[bool, typer.Option("--check", help="Read each file and compare its sum.")] = False,
) -> None:
    """List the dumps in the folder, newest last, also those of other inventories."""
    from zctl.backup.folder import listed
    from zctl.cli.output import dump as show
    from zctl.cli.output import print_table
    from zctl.units import format_size

    found, problems = listed(folder_of(call.config, file_path))

    def condition(dump: Dump) -> str:
        return dump.condition() if check else "present" if dump.path.is_file() else "missing"

    ours = inventory_of(call, found)
    rows = [
        described(dump, condition(dump)) | {"other_inventory": ours not in ("", dump.manifest.inventory)}
        for dump in found
    ]
    for words in problems:
        warn(words)
    if call.output in ("json", "yaml"):
        show(call.output, rows)
    elif call.output == "name":
        for row in rows:
            print(row["file"])
    else:
        print_table(call, ["TAKEN (UTC)", "ROWS", "SIZE", "STATE", "FILE"], [cells(row, format_size) for row in rows])


def inventory_of(call: Call, found: list[Dump]) -> str:
    """The UUID of the inventory in use; empty when it cannot be told, as when its database is dead."""
    from zctl.actions.database_summary import identity_of

    identity = identity_of(call.config.url, call.say) if found else ""
    if not identity and len({dump.manifest.inventory for dump in found}) > 1:
        warn("these are dumps of several inventories, and which of them is in use cannot be told")
    return identity


def newest(call: Call, folder: Path) -> Dump:
    """The dump of the inventory in use that was written last. Raises Misuse when there is none."""
    from zctl.backup.folder import listed

    found = [dump for dump in listed(folder)[0] if dump.path.is_file()]
    ours = inventory_of(call, found)
    own = [dump for dump in found if ours in ("", dump.manifest.inventory)]
    if not own:
        others = f", only {len(found)} of other inventories" if found else ""
        raise Misuse(f"there is no dump in {folder}{others}", remedy="zctl dump_mysql takes one; or name a dump")
    if len({dump.manifest.inventory for dump in own}) > 1:
        raise Misuse(f"there are dumps of several inventories in {folder}", remedy="name one: zctl db list-backups")
    return max(own, key=lambda dump: (dump.manifest.sequence, dump.manifest.started_at))


def cells(row: dict[str, Any], size: Any) -> list[str]:
    """A dump's line in the table."""
    state = row["condition"] + (", verified" if row["verified"] else "")
    state += ", of another inventory" if row["other_inventory"] else ""
    return [row["taken_at"][:16].replace("T", " "), str(row["rows"]), size(row["size"]), state, row["file"]]


def verify(
    call: Call,
    file: Annotated[str, typer.Argument(help="A path, or a name in the folder; none: this inventory's newest.")] = "",
    file_path: Folder = "",
    identity: Identity = "",
) -> None:
    """Restore a dump into a scratch database, compare, and take that away again; the inventory is not touched."""
    from zctl.actions.verify import verify as run
    from zctl.backup.folder import find
    from zctl.cli.output import report
    from zctl.inventory.engine import Inventory

    folder = folder_of(call.config, file_path)
    dump = find(folder, file) if file else newest(call, folder)
    run(Inventory(call.config.url), dump, identity or call.config.dump_identity, call.progress.say)
    call.progress.stop()
    count = len(dump.manifest.tables)
    report(
        call,
        described(dump, "good") | {"verified": True, "tables": count},
        f"dump {dump.path.name}: {dump.manifest.rows} rows in {count} tables came back the same",
    )


def move(
    call: Call,
    to: Annotated[
        str,
        typer.Option("--to", help="The other database: a file or a SQLAlchemy URL.", metavar="URL", show_default=False),
    ],
) -> None:
    """Carry the inventory to another database, SQLite to MySQL or back, and compare every row."""
    from zctl.actions.move import move as run
    from zctl.cli.output import report
    from zctl.config import database_url
    from zctl.inventory.addresses import checked, shown, split

    target = checked(database_url(call.config, to), "--to")
    if call.dry_run:
        from zctl.actions.move import require_free

        require_free(call.config.url, target)
        values = {"dry_run": True, "from": shown(call.config.url), "database": shown(target)}
        report(call, values, f"the inventory can be moved from {shown(call.config.url)} to {shown(target)}")
        return
    call.confirm(f"Move the inventory from {shown(call.config.url)} to {shown(target)}?")
    done = run(call.config, target, call.progress.say)
    call.progress.stop()
    values = {"from": shown(call.config.url), "database": shown(target), "rows": done.rows, "tables": len(done.tables)}
    report(call, values, f"{done.rows} rows in {len(done.tables)} tables are the same in both")
    if split(target)[0].password is None:
        call.done(f'use it from now on: db = "{shown(target)}" in the configuration (ZCTL_DB and --db count, too)')
    else:
        call.done(f"use it from now on: {shown(target)}, by db in the configuration (ZCTL_DB and --db count, too)")
        call.done("put its password there in the place of ***, as ENC(...): zctl secret encrypt")


def shell(call: Call) -> None:
    """Open the database's own prompt, without a password in any process's arguments."""
    from zctl.backup import mysql
    from zctl.backup.stream import child_environment
    from zctl.inventory.engine import Inventory, sqlite_path

    if path := sqlite_path(call.config.url):
        if not path.exists():
            raise DatabaseError("there is no inventory", resource=str(path), remedy="zctl init makes one")
        code = subprocess.run([mysql.program("sqlite3"), str(path)], env=child_environment(), check=False).returncode
    else:
        server = mysql.server_of(Inventory(call.config.url))
        with mysql.option_file(server.options) as options:
            argv = [mysql.program("mariadb", "mysql"), f"--defaults-file={options}", f"--database={server.database}"]
            code = subprocess.run(argv, env=child_environment(), check=False).returncode
    raise typer.Exit(code)


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    add_command(app, "list-backups", list_backups, listing=False)
    add_command(app, "verify", verify)
    add_command(app, "move", move, mutating=True)
    add_command(app, "shell", shell)
