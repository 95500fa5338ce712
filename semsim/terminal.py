"""What the commands print: progress on stderr, tables or JSON lines on stdout."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from semsim.runs import Run

console = Console(stderr=True)


def show(found: Run, as_json: bool, columns: tuple[str, ...]) -> None:
    """Result rows as JSON lines, or as a table whose caption holds the columns that never change."""
    rows = found.rows()
    if as_json:
        for row in rows:
            print(dumps(row), flush=True)
        return
    same = {name: rows[0][name] for name in columns if rows and len({row[name] for row in rows}) == 1}
    caption = ", ".join(f"{name} {plain(value)}" for name, value in same.items())
    shown = [name for name in columns if name not in same]
    table = Table(*shown, "value", "95 % interval", caption=caption)
    for row in rows:
        interval = f"{row['low']:.4g} .. {row['high']:.4g}"
        table.add_row(*(plain(row[name]) for name in shown), f"{row['value']:.4g}", interval)
    Console().print(table)


def say_if_interrupted(found: Run) -> None:
    """After Ctrl-C says what is kept and ends with status 130."""
    if found.interrupted:
        where = f"in {found.folder}" if found.folder else "shown above"
        print(f"semsim: stopped; the points and batches that were finished are {where}", file=sys.stderr)
        raise SystemExit(130)


def dumps(value: object) -> str:
    """JSON; what it cannot say, such as the infinite interval of a single value, is null."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain(value: object) -> str:
    """A value as a person reads it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr; none with --json or when stderr is not a terminal."""
    if quiet or not console.is_terminal:
        yield lambda text, done, total: None
        return
    layout = (
        TextColumn("{task.description:32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*layout, console=console) as bar:
        task = bar.add_task("compiling")
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)
