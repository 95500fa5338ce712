"""What the commands print: progress on stderr, tables or JSON lines on stdout."""

import json
import math
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from semsim.backend import is_leader
from semsim.engine import Progress, silent
from semsim.interference import InterferenceWarning
from semsim.planner import Plan
from semsim.runs import Run
from semsim.tables import print_table

console = Console(stderr=True)


def show(rows: Sequence[Mapping], as_json: bool, columns: tuple[str, ...]) -> None:
    """Result rows as JSON lines, or as tables in which what does not change is said once."""
    if as_json:
        print_json(rows)
        return
    keys = tuple(name for name in columns if any(name in row for row in rows))
    print_table(
        [
            {name: plain(row.get(name, "")) for name in keys}
            | {"value": f"{row['value']:.4g}", "95 % interval": bounds(row, ".4g")}
            for row in rows
        ],
        keys,
    )


def bounds(row: Mapping, form: str) -> str:
    """The interval of a row; one image, or tiles of one photograph, say nothing about others."""
    if not (math.isfinite(row["low"]) and math.isfinite(row["high"])):
        return "unknown"
    return f"{row['low']:{form}} .. {row['high']:{form}}"


def show_table(rows: Sequence[Mapping], as_json: bool = False) -> None:
    """Rows of the same columns as they are."""
    if as_json:
        print_json(rows)
    else:
        print_table([{name: plain(value) for name, value in row.items()} for row in rows])


def print_json(rows: Iterable[Mapping]) -> None:
    """One object a line."""
    for row in rows:
        print(dumps(row), flush=True)


@contextmanager
def warnings_said() -> Iterator[None]:
    """Within it, what the library warns of is one line each on stderr, whatever Python's filters are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", InterferenceWarning)
        usual, said = warnings.showwarning, set[str]()

        def say(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, InterferenceWarning):
                usual(message, category, *where, **more)
            elif is_leader() and str(message) not in said:  # once, however many grids have it
                said.add(str(message))
                print(f"semsim: warning: {message}", file=sys.stderr)

        warnings.showwarning = say
        yield


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
    return f"{value + 0.0:g}" if isinstance(value, float) else str(value)  # no -0


def show_plan(plan: Plan, as_json: bool) -> None:
    """What a sweep will cost: a line per program, and the sum."""
    times = plan.seconds()
    if as_json:
        programs = [program._asdict() for program in plan.programs]
        whole = {
            "points": plan.points,
            "total": plan.total,
            "devices": plan.devices,
            "seconds": times,
        }
        print(dumps({**whole, "compilations": len(programs), "programs": programs}))
        return
    rows = [
        {
            "channels": one.what, "points": str(one.points), "batches": _range(one.fewest, one.most),
            "realisations": _range(one.fewest * one.realizations, one.most * one.realizations),
            "memory a device": f"{one.memory / 2**20:.1f} MiB",
            "compile": "-" if one.compile_seconds is None else f"{one.compile_seconds:.1f} s",
            "a batch": "not timed" if one.seconds is None else f"{one.seconds * 1e3:.2f} ms",
        }
        for one in plan.programs
    ]  # fmt: skip
    told = "time unknown: too large to try out on a CPU, or images would have to be coded; memory by the shapes, of "
    told += "which XLA takes up to 2.5 times"
    if times is not None:
        told = _duration(times[0]) + (f" .. {_duration(times[1])}" if times[1] > times[0] else "")
    note = f"{plan.points} points, {len(plan.programs)} compilations, {plan.devices} devices, {told}"
    if plan.total is not None:
        note += f"; what is left of {plan.total:g} goes to the widest intervals"
    print_table(rows, ("channels",), [note])


def show_comparison(
    rows: list[dict], differing: dict[str, tuple], left_out: list[dict], confidence: float, as_json: bool
) -> None:
    """Differences with their verdicts, what is being compared, and the points that could not be."""
    fields = ("modulation", "channel", "esno_db", "metric")
    for entry in left_out:
        label = " ".join(plain(value) for name, value in entry.items() if name in fields)
        print(f"not compared: {label}: {entry['reason']}", file=sys.stderr)
    if as_json:
        print_json(rows)
        return
    keys = tuple(name for name in fields if any(name in row for row in rows))
    cells = [
        {name: plain(row.get(name, "")) for name in keys}
        | {
            "a": f"{row['value_a']:.4g}", "b": f"{row['value_b']:.4g}", "a - b": f"{row['difference']:+.3g}",
            f"{100 * confidence:g} % interval": bounds(row, "+.3g"), "verdict": row["verdict"],
            "draws": str(row["draws"]), "unpaired": f"{row['unpaired_draws']:,}",
        }
        for row in rows
    ]  # fmt: skip
    print_table(cells, keys, [f"{name}: a {a}, b {b}" for name, (a, b) in differing.items()])


def _range(low: float, high: float) -> str:
    return f"{low:,}" if low == high else f"{low:,} .. {high:,}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Progress]:
    """A display for `progress=`: a bar on a terminal, one line that changes in a notebook, a line now and then elsewhere."""
    if quiet:
        yield silent
    elif console.is_jupyter:  # no widgets: they need an extension, and are lost when the notebook is saved
        yield _InPlace()
    elif not console.is_terminal:
        yield _Lines()
    else:
        layout = (
            TextColumn("{task.description:32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*layout, console=console) as bar:
            task = bar.add_task("compiling")
            yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)


class _InPlace:
    """Progress as one line of a notebook cell that is written over."""

    def __init__(self) -> None:
        from IPython.display import display  # a notebook has it; nothing else of semsim needs it

        self.line: Any = display({"text/plain": "compiling"}, raw=True, display_id=True)

    def __call__(self, text: str, done: int, total: int) -> None:
        self.line.update({"text/plain": f"{done} of {total} points {text}".rstrip()}, raw=True)


class _Lines:
    """Progress as plain lines on stderr, a few seconds apart: for logs."""

    def __init__(self, seconds: float = 10.0):
        self.seconds, self.last = seconds, time.monotonic()

    def __call__(self, text: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= self.seconds:
            self.last = now
            words = f"semsim: {done} of {total} points{', ' if text else ''}{text}"
            print(words, file=sys.stderr, flush=True)
