"""Results as text that fits: no number is cut off, however narrow the terminal.

rows --> what all have in common, said once --> a table
             too wide: the same for the rows of each value of the first column
             still too wide: a row as a paragraph
"""

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

Cells = Mapping[str, str]
"""A row: column -> what is written there."""


def print_table(rows: Sequence[Cells], keys: Sequence[str] = (), notes: Sequence[str] = ()) -> None:
    """Rows of the same columns on stdout, as wide as the terminal or as `COLUMNS` says; a pipe is as wide as it takes.

    keys: columns that say what a row is about, which may be said once for several rows. notes: lines below.
    """
    console = Console()
    width = (console.width or None) if console.is_terminal or "COLUMNS" in os.environ else None
    for part in fitting(rows, keys, width):
        if isinstance(part, Table):
            Console(width=width or max(_width(part), 40)).print(part)
        else:
            print(part)
    for note in notes:
        print(_filled(note, width))


def fitting(rows: Sequence[Cells], keys: Sequence[str], width: int | None) -> Iterator[str | Table]:
    """The lines and tables that show rows in so many columns of text; None: as many as it takes."""
    same = {name: rows[0][name] for name in keys if len({row[name] for row in rows}) == 1} if rows else {}
    if said := ", ".join(f"{name} {value}" for name, value in same.items() if value):
        yield _filled(said, width)
    rows = [{name: text for name, text in row.items() if name not in same} for row in rows]
    columns = list(rows[0] if rows else keys)
    table = Table(box=SIMPLE_HEAD)
    for name in columns:
        table.add_column(Text(name))  # names, also of files, are no markup
    for row in rows:
        table.add_row(*map(Text, row.values()))
    left = [name for name in keys if name not in same]
    if width is None or _width(table) <= width:
        yield table
    elif left:
        for value in dict.fromkeys(row[left[0]] for row in rows):
            yield from fitting([row for row in rows if row[left[0]] == value], left, width)
    else:
        for row in rows:
            yield _filled(", ".join(f"{name} {text}" for name, text in row.items() if text), width)


def _width(table: Table) -> int:
    return Console(width=10_000).measure(table).maximum


def _filled(text: str, width: int | None) -> str:
    if width is None:
        return text
    return textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
