"""What `semsim train` shows: a bar with loss, PSNR and the time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from semsim.terminal import print_json
from semsim.train import unwatched


class Display(NamedTuple):
    """The two that `semsim.train.fit` calls: with every line of the log, and after every step."""

    report: Callable[[dict[str, object]], None]
    progress: Callable[[int, int], None]


@contextmanager
def training_display(console: Console | None = None, *, as_json: bool = False) -> Iterator[Display]:
    """A display on stderr, or on `console`; as_json: the lines of the log on stdout instead."""
    if as_json:
        yield Display(lambda line: print_json([line]), unwatched)
        return
    console = console or Console(stderr=True)
    if not console.is_terminal:
        lines = _Lines()
        yield Display(lines.report, lines.progress)
        return
    layout = (
        TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*layout, console=console) as bar:
        task = bar.add_task("compiling", total=None)

        def report(line: dict[str, object]) -> None:
            if "loss" in line:
                bar.update(task, description=described(line))
            else:
                bar.console.print(_words(line))

        yield Display(report, lambda step, steps: bar.update(task, completed=step, total=steps))


def described(line: dict[str, Any]) -> str:
    """Stage, loss and PSNR of a line of the log; one that has no PSNR has none here."""
    found = [str(line["stage"])] if line.get("stage") else []
    found.append(f"loss {line['loss']:.4g}")
    if "psnr" in line:  # of every order, where it is a list
        found.append(f"PSNR {' '.join(f'{value:.2f}' for value in np.atleast_1d(line['psnr']))} dB")
    return ", ".join(found)


def _words(line: dict[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in line.items())


class _Lines:
    """A line on stderr for every line of the log."""

    def __init__(self) -> None:
        self.step = self.steps = self.first = 0
        self.started = time.monotonic()

    def progress(self, step: int, steps: int) -> None:
        if step < self.step or not self.steps:  # another stage, or the first one
            self.first, self.started = step, time.monotonic()
        self.step, self.steps = step, steps

    def report(self, line: dict[str, object]) -> None:
        if "loss" not in line:
            text = _words(line)
        else:
            each = (time.monotonic() - self.started) / max(self.step - self.first, 1)
            left = time.strftime("%H:%M:%S", time.gmtime(each * (self.steps - self.step)))
            text = f"step {self.step} of {self.steps}, {described(line)}, {left} left"
        print(f"semsim: {text}", file=sys.stderr, flush=True)
