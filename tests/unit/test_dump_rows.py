"""Counting rows in what mariadb-dump and mysqldump write, however it is cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zctl.backup.rows import RowCounter

HEAD = b"CREATE TABLE `%b` (\n  `id` int(11)\n) ENGINE=InnoDB;\nLOCK TABLES `%b` WRITE;\n"
TAIL = b"UNLOCK TABLES;\n(this is no row\n"


def escaped(value: str) -> bytes:
    """A text as both programs write it."""
    table = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\0": "\\0", '"': '\\"'}
    return "".join(table.get(sign, sign) for sign in value).encode()


def text(tables: dict[str, list[str]], lines: bool) -> bytes:
    """A dump of these tables with these rows."""
    made = b"/*!40101 SET NAMES utf8mb4 */;\n"
    for name, rows in tables.items():
        quoted = name.replace("`", "``").encode()
        made += HEAD % (quoted, quoted)
        for start in range(0, len(rows), 3):
            values = [b"(1,'" + escaped(row) + b"',NULL)" for row in rows[start : start + 3]]
            glue, begin = (b",\n", b"\n") if lines else (b",", b" ")
            made += b"INSERT INTO `" + quoted + b"` VALUES" + begin + glue.join(values) + b";\n"
        made += TAIL
    return made


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1, max_size=9
)
ROWS = st.lists(st.text(st.sampled_from("a(),;'`\\\n\"") | st.characters(codec="utf-8"), max_size=30), max_size=9)


@given(st.dictionaries(NAMES, ROWS, max_size=4), st.booleans(), st.integers(1, 60))
def test_every_row_is_counted_once(tables: dict[str, list[str]], lines: bool, size: int) -> None:
    """Whatever is in names and values, for both programs, in pieces of any size."""
    counter, whole = RowCounter(), text(tables, lines)
    for start in range(0, len(whole), size):
        counter.feed(whole[start : start + size])
    counter.finish()
    assert counter.rows == {name: len(rows) for name, rows in tables.items()}


def test_which_inventory_it_is() -> None:
    """The revision and the UUID are read in passing."""
    for lines in (True, False):
        counter = RowCounter()
        counter.feed(text({"alembic_version": ["0009"], "zone": ["x"]}, lines))
        counter.finish()
        assert counter.rows["zone"] == 1 and b"0009" in counter.first["alembic_version"]
