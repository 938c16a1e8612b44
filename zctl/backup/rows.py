"""Counting the rows in an SQL dump as it passes by, so that the count is of just what the dump holds. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

NAME = re.compile(rb"`((?:[^`]|``)+)` ?(?:VALUES|\()")
INSERT, TABLE, END = b"\nINSERT INTO ", b"\nCREATE TABLE ", b"\nUNLOCK TABLES;"
TEXT = re.compile(rb"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
KEPT_TABLES = ("alembic_version", "info")


def unquoted(name: bytes) -> str:
    """A table's name as it stands between backticks."""
    return name.replace(b"``", b"`").decode()


def marks(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Where lines begin that say which table's rows follow. Plain search: a dump is passed through it whole."""
    for words in (INSERT, TABLE, END):
        place = text.find(words)
        while place >= 0:
            yield place, words
            place = text.find(words, place + 1)


class RowCounter:
    """Takes pieces of what mariadb-dump or mysqldump writes; `rows` are the rows of each table so far.

    Both escape line ends within texts, so a line that begins with a parenthesis within an INSERT is a row. mysqldump
    writes all rows of an INSERT on one line; there the parentheses outside of texts are counted. `first` holds the
    first row of the tables that tell which inventory this is.
    """

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.first: dict[str, bytes] = {}
        self._rest: list[bytes] = []
        self._table: str | None = None

    def feed(self, piece: bytes) -> None:
        """Take a piece, cut anywhere."""
        whole, newline, rest = piece.rpartition(b"\n")
        if not newline:
            self._rest.append(piece)
            return
        text = b"".join([b"\n", *self._rest, whole, newline])
        self._rest = [rest]
        self._count(text)

    def finish(self) -> None:
        """There are no more pieces."""
        text = b"".join(self._rest)
        self._rest = []
        if text:
            self._count(b"\n" + text)

    def _count(self, text: bytes) -> None:
        """Count in whole lines; the text begins with a line end."""
        position = 0
        for place, words in sorted(marks(text)):
            self._add(text, position, place)
            position = place + len(words)
            name = NAME.match(text, position)
            self._table = unquoted(name[1]) if name and words == INSERT else None
            if name and words == TABLE:
                self.rows[unquoted(name[1])] += 0
            position = name.end() if name else position
        self._add(text, position, len(text))

    def _add(self, text: bytes, start: int, end: int) -> None:
        """Count the rows of the present table between two places."""
        if self._table is None or start >= end:
            return
        if text[start : start + 1] == b" ":  # mysqldump: all rows on this line
            line_end = text.find(b"\n", start)
            line = TEXT.sub(b"", text[start : end if line_end < 0 else line_end])
            self.rows[self._table] += line.count(b"(")
        else:
            self.rows[self._table] += text.count(b"\n(", start, end)
        if self._table in KEPT_TABLES and self._table not in self.first:
            row = text[start:end].strip()
            if row:
                self.first[self._table] = row[:200]

    def word(self, table: str) -> str:
        """The last text in the first row of a kept table, such as the schema's revision; empty when there is none."""
        found = TEXT.findall(self.first.get(table, b"").partition(b")")[0])
        return found[-1][1:-1].decode() if found else ""
