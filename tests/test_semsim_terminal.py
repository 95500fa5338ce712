"""Progress where it is read: a bar, lines in a log, one line in a notebook."""

import io
import math
import sys
import types

from rich.console import Console

from semsim import terminal
from semsim.terminal import progress_bar


def work(progress):
    for done in range(3):
        progress(f"point {done}", done, 3)
    progress("", 3, 3)


def test_quiet_is_quiet(capsys):
    with progress_bar(quiet=True) as progress:
        work(progress)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_log_gets_plain_lines_some_seconds_apart(capsys, monkeypatch):
    monkeypatch.setattr(terminal.console, "_force_terminal", False)
    clock = iter([0.0, 4.0, 11.0, 12.0, 30.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with progress_bar() as progress:
        work(progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "semsim: 1 of 3 points, point 1\nsemsim: 3 of 3 points\n"


def test_a_notebook_gets_one_line_that_is_written_over(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    fake = types.ModuleType("IPython.display")
    fake.display = display
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setattr(terminal.console, "is_jupyter", True)
    with progress_bar() as progress:
        work(progress)
    assert shown[0] == "compiling" and shown[1] == "0 of 3 points point 0" and shown[-1] == "3 of 3 points"


def test_a_terminal_gets_a_bar(monkeypatch):
    recorded = Console(record=True, force_terminal=True, width=100, file=io.StringIO())
    monkeypatch.setattr(terminal, "console", recorded)
    with progress_bar() as progress:
        work(progress)
    assert "3/3" in recorded.export_text()


def test_the_interval_of_one_photograph_is_unknown(capsys):
    one = {"metric": "psnr", "n": 64, "photographs": 1, "value": 20.0, "low": -math.inf, "high": math.inf}
    terminal.show(
        [one, one | {"metric": "ssim", "low": 0.5, "high": 1.0}], False, ("metric", "n", "photographs")
    )
    shown = capsys.readouterr().out
    assert "unknown" in shown and "inf" not in shown and "0.5 .. 1" in shown and "photographs 1" in shown
    terminal.show([one], True, ())
    assert '"low": null, "high": null' in capsys.readouterr().out
