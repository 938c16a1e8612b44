"""The entry: commands are found by file name and loaded when they are used, so that help stays fast."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from zctl import __version__

HERE = Path(__file__).parent
COMMANDS = {
    "apply": "Create, change and remove resources as manifests say.",
    "converge": "Bring hosts to what the inventory wants.",
    "db": "Look after the inventory's database.",
    "dump_mysql": "Dump the database to a file, while zctl goes on working.",
    "export": "Write the inventory as manifests.",
    "gc": "Remove old events, jobs and files of runs.",
    "graph": "Draw zones, hosts, networks, VMs and what leads to them.",
    "init": "Make the inventory, or bring its schema up to date.",
    "install": "Set up this machine as a management node.",
    "lab": "Throwaway real hosts for trying zctl and for tests.",
    "net": "Look into networks: by real packets, or by following one.",
    "plan": "Say what an apply would change, or how hosts differ from the inventory.",
    "refresh": "Read the state of VMs back from the hosts.",
    "render": "Write what a run would do as a folder for ansible-playbook.",
    "restore_mysql": "Put a dump in the place of the inventory.",
    "secret": "Encrypt passwords for the configuration and for manifests, read them, change the key.",
    "upgrade": "Bring the inventory to this zctl, after a dump.",
    "version": "Print the version.",
    "wait": "Wait until a resource is in a state, or a VM answers.",
}
MODULES = {
    "apply": "zctl.cli.manifests",
    "converge": "zctl.cli.drift",
    "db": "zctl.cli.db",
    "dump_mysql": "zctl.cli.dumps",
    "export": "zctl.cli.manifests",
    "gc": "zctl.cli.node",
    "graph": "zctl.cli.graph",
    "install": "zctl.cli.node",
    "lab": "zctl.cli.lab",
    "net": "zctl.cli.net",
    "plan": "zctl.cli.manifests",
    "restore_mysql": "zctl.cli.dumps",
    "secret": "zctl.cli.secret",
    "upgrade": "zctl.cli.upgrade",
}


def command_app(name: str) -> typer.Typer:
    """The application of one of COMMANDS; imports its module."""
    module = import_module(MODULES.get(name, "zctl.cli.top"))
    found: typer.Typer = module.app if name == "lab" else module.apps()[name]
    return found


class LazyGroup(TyperGroup):
    """Loads a command's module when the command is called; listing them imports nothing."""

    def index(self) -> dict[str, str]:
        """All commands with their one line of help, nouns by file name."""
        from zctl.resources.registry_index import noun_files

        return dict(sorted((COMMANDS | noun_files()).items()))

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return list(self.index())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, loaded now."""
        if cmd_name in COMMANDS:
            return typer.main.get_command(command_app(cmd_name))
        from zctl.cli.nouns import noun_app
        from zctl.resources.registry_index import foreign_nouns, noun_files

        if cmd_name in noun_files() or cmd_name in foreign_nouns():
            return typer.main.get_command(noun_app(cmd_name))
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As usual, but a mistyped noun or command is told what it may have meant."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from zctl.errors import did_you_mean

            hint = did_you_mean(args[0], self.index())
            print(
                f"error: there is no command {args[0]!r}" + (f" ({hint})" if hint else " (zctl --help lists them)"),
                file=sys.stderr,
            )
            raise typer.Exit(2)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in --help, from the index."""
        for title, names in (("Commands", sorted(COMMANDS)), ("Resources", sorted(set(self.index()) - set(COMMANDS)))):
            with formatter.section(title):
                formatter.write_dl([(name, self.index()[name]) for name in names])


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"zctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    """A private cloud on Linux servers over SSH: zctl NOUN VERB.

    Exit codes: 0 done, 1 failed, 2 misuse. Options such as -o json, --filter, --yes,
    --dry-run, --reason, --db and --debug belong behind the verb; zctl NOUN VERB --help lists them.
    """


def main() -> None:
    """Run the command line."""
    from zctl.config import take_secrets

    take_secrets()
    app(prog_name="zctl")
