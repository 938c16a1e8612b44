"""Printing rows: tables for people, aligned lines for pipes, JSON and YAML for programs, names for shells."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from zctl.cli.call import Call
from zctl.resources.base import Resource, attrs, public_name
from zctl.units import format_size

STYLES = {
    "Running": "green",
    "Connected": "green",
    "Ready": "green",
    "Done": "green",
    "Failed": "red",
    "Disconnected": "red",
    "Unknown": "yellow",
    "Stopped": "dim",
    "Destroyed": "dim",
    "Starting": "yellow",
    "Stopping": "yellow",
    "Connecting": "yellow",
}
SIZES = {"total", "free"}


def size_columns(cls: type[Resource]) -> set[str]:
    """The columns that hold bytes."""
    return {public_name(f) for f, about in attrs(cls).items() if about.unit == "bytes"} | (SIZES & set(cls.computed))


def text_of(value: Any, is_size: bool = False) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if is_size and isinstance(value, int):
        return format_size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, dict):
        return " ".join(f"{key}={text_of(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return " ".join(text_of(entry) for entry in value)
    return " ".join(str(value).split())


def plain(value: Any) -> Any:
    """A value as JSON and YAML hold it."""
    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    return value


def print_rows(call: Call, cls: type[Resource], rows: list[dict[str, Any]], columns: list[str]) -> None:
    """A list in the format that was asked for."""
    from zctl.inventory.listing import value_of

    if call.output in ("json", "yaml"):
        dump(call.output, [{key: plain(value_of(row, key)) for key in columns} for row in rows])
    elif call.output == "name":
        for row in rows:
            print(row["name"])
    else:
        sizes = size_columns(cls)
        cells = [[text_of(value_of(row, key), key in sizes) for key in columns] for row in rows]
        print_table(call, [key.replace("_", " ").upper() for key in columns], cells)


def print_row(call: Call, cls: type[Resource], row: dict[str, Any]) -> None:
    """One resource: all of it, one line a field."""
    if call.output in ("json", "yaml"):
        dump(call.output, {key: plain(value) for key, value in row.items()})
    elif call.output == "name":
        print(row["name"])
    else:
        sizes, width = size_columns(cls), max(len(key) for key in row)
        for key, value in row.items():
            if isinstance(value, dict) and key == "facts":
                print(f"{key:<{width}}  -o json shows {len(value)} facts" if value else f"{key:<{width}}")
            else:
                print(f"{key:<{width}}  {text_of(value, key in sizes)}".rstrip())


def dump(form: str, value: Any) -> None:
    """Write JSON or YAML to stdout."""
    if form == "json":
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        import yaml

        yaml.safe_dump(value, sys.stdout, sort_keys=False, allow_unicode=True)


def report(call: Call, values: dict[str, Any], text: str) -> None:
    """Tell what became of a command: values for programs on stdout, words for people on stderr."""
    if call.output in ("json", "yaml"):
        dump(call.output, values)
    else:
        call.done(text)


def print_table(call: Call, header: list[str], rows: list[list[str]]) -> None:
    """Aligned columns. On a terminal they fit its width; into a pipe they are never cut or wrapped."""
    if sys.stdout.isatty() and not call.no_color:
        print_rich(header if not call.no_header else [], rows)
        return
    widths = (
        [max(len(line[n]) for line in ([header] if not call.no_header else []) + rows) for n in range(len(header))]
        if rows or not call.no_header
        else []
    )
    lines = ([] if call.no_header else [header]) + rows
    sys.stdout.write(
        "".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
            for line in lines
        )
    )


def print_rich(header: list[str], rows: list[list[str]]) -> None:
    """The same with colours for states."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(header), header_style="bold")
    for name in header or [""] * (len(rows[0]) if rows else 0):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)
