"""Encrypt passwords for the configuration and for manifests, read them, change the key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from zctl.cli.call import Call, add_command, group_app, warn
from zctl.errors import Misuse

if TYPE_CHECKING:
    from pathlib import Path


def read_value(prompt: str) -> str:
    """A value from the terminal, unseen, or from the input: never from the arguments, which other users can see."""
    try:
        if sys.stdin.isatty():
            value = str(typer.prompt(prompt, hide_input=True, err=True))
        else:
            value = sys.stdin.read().removesuffix("\n")
        value.encode()  # where the locale has no encoding of its own, other bytes are let in until here
    except UnicodeError:
        raise Misuse("the value is no text in UTF-8", remedy="make it text first, such as by base64") from None
    if not value:
        raise Misuse("there is no value on the input", remedy="type it, or pipe it in: zctl secret encrypt < FILE")
    return value


def home_of() -> Path:
    """The data folder. The configured database is left alone: its address may need the very key that is to be made."""
    from zctl.config import load

    return load(db="sqlite://").home


def encrypt(call: Call) -> None:
    """Print ENC(...) of a value that is typed or piped in; makes the key when there is none."""
    from zctl.secrets import key_file, make

    value, home = read_value("Value"), home_of()
    is_new = not key_file(home).exists()
    keys = make(home)
    print(keys.seal(value))
    if is_new:
        call.done(f"made the key {keys.path}: keep a copy elsewhere, without it no encrypted value can be read")


def decrypt(
    call: Call,
    value: Annotated[str, typer.Argument(help="ENC(...); none: from the input.", metavar="ENC(...)")] = "",
) -> None:
    """Print the value of an ENC(...)."""
    from zctl.secrets import load

    print(load(home_of()).open((value or read_value("ENC(...)")).strip()))


def rotate_key(call: Call) -> None:
    """Make a new key and encrypt by it all values in configuration files and in the inventory; the old one goes.

    Values elsewhere, as in manifests or dumps, need the old key: decrypt them before, or keep a copy of it. So do the
    files of other management nodes, which need the new key, too.
    """
    from zctl.actions.secret import rotate

    call.confirm(
        "Replace the key? Values in manifests, in older dumps and in the files of other management nodes will not open "
        "any more."
    )
    if call.dry_run:
        return
    done = rotate(call.config)
    for path, count in done.files.items():
        call.done(f"{path}: {count} value(s) encrypted by the new key")
    call.done(f"inventory: {done.rows} value(s) encrypted by the new key")
    if done.nodes:
        warn(
            f"the new key is needed on {', '.join(done.nodes)}, too (put it above the old one in its key file; "
            "docs/secrets.md tells how the values in that node's own files are replaced)"
        )


def apps() -> dict[str, typer.Typer]:
    """The application with its verbs."""
    app = group_app(__doc__)
    add_command(app, "encrypt", encrypt)
    add_command(app, "decrypt", decrypt)
    add_command(app, "rotate-key", rotate_key, mutating=True)
    return {"secret": app}
