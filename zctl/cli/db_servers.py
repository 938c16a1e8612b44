"""The servers of the inventory's database: setting them up, replication, failover."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zctl.cli.call import Call, add_command, warn

if TYPE_CHECKING:
    from zctl.actions.database_servers import Group, Operation
    from zctl.actions.database_status import Status
    from zctl.actions.database_summary import Summary

WHERE = "[USER@]ADDRESS[:PORT]"
DATA = ("table", "json", "yaml")
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer questions with yes.")]


def operation_of(call: Call) -> Operation:
    """How this call works on the servers."""
    from zctl.actions.database_servers import operation_of

    return operation_of(call.config, call.progress.say, warn, call.progress.watch)


def tell_address(call: Call, group: Group, use: bool) -> None:
    """Print the line for the configuration, or write it there."""
    from zctl.actions.database_config import write_setting
    from zctl.actions.database_servers import database_url

    url = database_url(call.config, group)
    if use:
        call.done(f"{write_setting(call.config, url)}: db is set")
    else:
        call.done("in the configuration file (--use writes it there):")
        print(f'db = "{url}"')


def deploy(
    call: Call,
    host: Annotated[str, typer.Option("--host", help="The machine, by SSH.", metavar=WHERE)],
    use: Annotated[bool, typer.Option("--use", help="Write the address into zctl's configuration file.")] = False,
    sql_port: Annotated[int, typer.Option("--sql-port", help="The port for clients.", min=1, max=65535)] = 3306,
) -> None:
    """Make a Debian machine the server of the inventory's database, with TLS and users that may do no more than needed.

    zctl init makes the inventory on it, zctl db move takes an inventory there.
    """
    from zctl.actions import database_servers

    group, changed = database_servers.deploy(operation_of(call), host, sql_port)
    call.done(f"database server {host}: {'set up' if changed else 'unchanged: it is like that already'}")
    tell_address(call, group, use)


def replicate(
    call: Call,
    primary: Annotated[str, typer.Option("--primary", help="The server to copy from.", metavar=WHERE)],
    replica: Annotated[list[str], typer.Option("--replica", help="A server to copy to; repeat it.", metavar=WHERE)],
    semi_sync: Annotated[
        bool | None,
        typer.Option(
            "--semi-sync/--no-semi-sync",
            help="A write is acknowledged only when a replica has it, too.",
            show_default=False,
        ),
    ] = None,
    use: Annotated[bool, typer.Option("--use", help="Write the addresses into zctl's configuration file.")] = False,
) -> None:
    """Make servers replicas of the primary: set up, copied by mariadb-backup, following by GTID over TLS."""
    from zctl.actions import database_servers

    group = database_servers.replicate(operation_of(call), primary, replica, semi_sync)
    tell_address(call, group, use)


def status(call: Call) -> None:
    """Show the database: address, schema, last dump; of servers that zctl set up also role, positions, lag, errors.

    Exit code 1 when something is wrong.
    """
    from zctl.actions.database_status import status as read
    from zctl.actions.database_summary import summary
    from zctl.cli.output import dump

    about = summary(call.config)
    found = read(operation_of(call))
    call.progress.stop()
    if call.output in ("json", "yaml"):
        dump(call.output, {"database": about.as_dict()} | (found.as_dict() if found else {"servers": []}))
    else:
        show_summary(about)
        if found:
            show(call, found)
    if about.problems or (found and (found.problems or any(entry.problems for entry in found.servers))):
        raise typer.Exit(1)


def show_summary(about: Summary) -> None:
    """The database itself, a line for each thing."""
    from zctl.units import format_size

    print(f"database   {about.address}")
    if about.version:
        print(f"version    {about.version}{f' on {about.server}' if about.server else ''}")
    if about.schema:
        print(f"schema     {about.schema}{', as this zctl needs it' if about.schema == about.wanted else ''}")
        print(f"size       {format_size(about.size)}")
    print(f"dumps      {about.dumps} in {about.dump_folder}{f', last at {about.last_dump}' if about.last_dump else ''}")
    for text in about.problems:
        print(f"! {text}")


def show(call: Call, found: Status) -> None:
    """The servers as a table, and below it what is wrong."""
    from zctl.cli.output import print_table

    rows = []
    for entry in found.servers:
        seen = entry.seen
        lag = seen.source.get("lag_seconds")
        state = ("writable" if seen.writable else "read-only") if seen.up else "away"
        if entry.wanted == "replica" and seen.up:
            state = "following" if seen.follows else "stopped"
        rows.append(
            [entry.server.endpoint, entry.wanted, state, seen.current_pos, "" if lag is None else f"{lag} s",
             "yes" if seen.reached else "no", "yes" if entry.sql else "no"]
        )  # fmt: skip
    print_table(call, ["SERVER", "ROLE", "STATE", "GTID", "LAG", "SSH", "SQL"], rows)
    for entry in found.servers:
        for text in entry.problems:
            print(f"! {entry.server.name}: {text}")
    for text in found.problems:
        print(f"! {text}")


def failover(
    call: Call,
    to: Annotated[str, typer.Option("--to", help="The new primary; else the replica that has most.")] = "",
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on where acknowledged writes may be lost: the primary is gone.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Make another server the primary. While the primary lives nothing is lost; a dead one is shut out.

    A failover that was cut off is finished by calling it again.
    """
    from zctl.actions import database_failover

    call.yes = yes
    if accept_loss:
        call.confirm("lose what only servers that are gone may hold?")
    group = database_failover.failover(operation_of(call), to, accept_loss=accept_loss)
    call.done(f"the primary is {group.primary}")


def rejoin(
    call: Call,
    server: Annotated[str, typer.Argument(help="The server, as zctl db status shows it.", show_default=False)],
    errant: Annotated[
        str,
        typer.Option("--errant", help="What becomes of transactions that only it has.", metavar="discard|keep-dump"),
    ] = "",
    dump_file: Annotated[
        Path | None, typer.Option("--dump-file", help="Where keep-dump writes them.", show_default=False)
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the primary's data in any case.")] = False,
    yes: Yes = False,
) -> None:
    """Bring a server back as a replica of the present primary."""
    from zctl.actions import database_rejoin

    call.yes = yes
    if errant:
        call.confirm(f"replace the data of {server}, with what only it has?")
    database_rejoin.rejoin(operation_of(call), server, errant=errant, dump=dump_file, copy=copy)
    call.done(f"{server} is a replica again")


def forget(
    call: Call,
    server: Annotated[str, typer.Argument(help="The server, as zctl db status shows it.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Let a server go that will not come back. Nothing on it is touched."""
    from zctl.actions import database_rejoin

    call.yes = yes
    call.confirm(f"forget the database server {server}?")
    database_rejoin.forget(operation_of(call), server)
    call.done(f"{server} is forgotten")


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    add_command(app, "deploy", deploy)
    add_command(app, "replicate", replicate)
    add_command(app, "status", status, formats=DATA)
    add_command(app, "failover", failover)
    add_command(app, "rejoin", rejoin)
    add_command(app, "forget", forget)
