"""zctl keypair create."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from zctl.cli.call import Call
from zctl.cli.nouns import create as create_row
from zctl.errors import Misuse
from zctl.resources.base import Resource


def option(name: str, kind: Any, default: Any, *words: str, help: str) -> inspect.Parameter:
    """An option beyond the fields."""
    about = typer.Option(*words, help=help, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, about])


CREATE_OPTIONS = [
    option("public_key_file", str | None, None, "--public-key-file", help="File with the public key; - is the input."),
    option("generate", bool, False, "--generate", help="Make a new pair; the private key is shown once, never stored."),
    option("out", str | None, None, "--out", help="With --generate: file for the private key, which must be new."),
]


def create(
    call: Call, cls: type[Resource], public_key_file: str | None, generate: bool, out: str | None, **values: Any
) -> None:
    """Take a public key, or make a pair of which only the public key is kept."""
    given = [word for word in (public_key_file, values.get("public_key"), generate or None) if word is not None]
    label = f"keypair {values['name']}"
    if len(given) != 1:
        what = "more than one key is given" if given else "no key is given"
        raise Misuse(what, resource=label, remedy="one of --public-key-file FILE, --public-key TEXT, --generate")
    if out and not generate:
        raise Misuse("--out is for --generate only", resource=label, remedy="leave one of them out, or add --generate")
    if public_key_file is not None:
        values["public_key"] = read_file(label, public_key_file).decode("utf-8", "replace")
    if not generate:
        create_row(call, cls, **values)
        return
    from zctl.ssh_keys import generate as make_pair

    private, values["public_key"] = make_pair(str(values["name"]))
    if call.dry_run:
        create_row(call, cls, **values)
        return
    path = write_new(label, out, private) if out else None
    try:
        create_row(call, cls, **values)
    except BaseException:
        if path is not None:
            path.unlink()
        raise
    if path is None:
        sys.stdout.write(private)
    else:
        call.done(f"private key in {path}")


def read_file(label: str, name: str) -> bytes:
    """A file's bytes; - is the standard input. Raises Misuse when it cannot be read."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).expanduser().read_bytes()
    except OSError as error:
        raise Misuse(
            f"{name} cannot be read: {error.strerror}", resource=label, remedy="give a readable file"
        ) from None


def write_new(label: str, name: str, text: str) -> Path:
    """A new file that only its owner can read."""
    path = Path(name).expanduser()
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise Misuse(f"{path} cannot be made: {error.strerror}", resource=label, remedy="give a new file") from None
    return path


def register(app: typer.Typer) -> None:
    """There are no verbs beyond the usual ones."""
