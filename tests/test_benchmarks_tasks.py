"""Resumable lists of commands: order of need, failures that stay with their own, kills."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def _load(name: str):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tasks = _load("_tasks")


def _python(text: str):
    return lambda folder: (sys.executable, "-c", text, str(folder))


APPEND = "import sys, pathlib; p = pathlib.Path(sys.argv[1]) / 'runs'; p.open('a').write('x')"


def test_tasks_run_once_and_in_order_of_need(tmp_path):
    said: list[str] = []
    seen = f"import pathlib, sys; assert pathlib.Path({str(tmp_path / 'first' / 'runs')!r}).exists(); {APPEND[12:]}"
    jobs = [
        tasks.Task("second", _python("import sys, pathlib; " + seen), needs=("first",)),
        tasks.Task("first", _python(APPEND)),
    ]
    assert tasks.run_tasks(jobs, tmp_path, 2, {}, said.append) == []
    assert tasks.run_tasks(jobs, tmp_path, 2, {}, said.append) == []
    assert [(tmp_path / name / "runs").read_text() for name in ("first", "second")] == ["x", "x"]
    assert said.index("second: started") > next(
        i for i, text in enumerate(said) if text.startswith("first: done")
    )
    assert tasks.done(tmp_path, "first")["command"][0] == sys.executable
    other = tasks.Task("first", _python(APPEND + "; p.exists()"))
    with pytest.raises(ValueError, match="first in .* is the result of another command .*: remove"):
        tasks.run_tasks([other], tmp_path, 1, {}, said.append)
    goes_on = tasks.Task("first", lambda folder: ("another python", *_python(APPEND)(folder)[1:], "--resume"))
    assert tasks.run_tasks([goes_on], tmp_path, 1, {}, said.append) == []


def test_at_most_so_many_at_once(tmp_path):
    mark = (
        "import os, pathlib, sys, time; here = pathlib.Path(sys.argv[1]).parent / 'now'; here.mkdir(exist_ok=True); "
        "mine = here / str(os.getpid()); mine.touch(); n = len(list(here.iterdir())); time.sleep(0.4); "
        "n = max(n, len(list(here.iterdir()))); mine.unlink(); (pathlib.Path(sys.argv[1]) / 'most').write_text(str(n))"
    )
    jobs = [tasks.Task(f"task{i}", _python(mark)) for i in range(4)]
    assert tasks.run_tasks(jobs, tmp_path, 2, {}, lambda text: None) == []
    most = [int((tmp_path / f"task{i}" / "most").read_text()) for i in range(4)]
    assert max(most) == 2


def test_a_failure_stops_what_needs_it_and_nothing_else_and_is_tried_again(tmp_path):
    said: list[str] = []
    flag = tmp_path / "flag"
    jobs = [
        tasks.Task(
            "bad", _python(f"import pathlib, sys; sys.exit(0 if pathlib.Path({str(flag)!r}).exists() else 3)")
        ),
        tasks.Task("after", _python(APPEND), needs=("bad",)),
        tasks.Task("other", _python(APPEND)),
    ]
    assert set(tasks.run_tasks(jobs, tmp_path, 1, {}, said.append)) == {"bad", "after"}
    assert any("bad: FAILED with 3" in text for text in said)
    assert (tmp_path / "other" / "runs").read_text() == "x" and not (tmp_path / "after").exists()
    flag.touch()
    assert tasks.run_tasks(jobs, tmp_path, 1, {}, said.append) == []
    assert [(tmp_path / name / "runs").read_text() for name in ("after", "other")] == ["x", "x"]


def test_what_follows_a_command_decides_too(tmp_path):
    def refuse(folder: Path) -> None:
        raise ValueError("no weights")

    assert tasks.run_tasks(
        [tasks.Task("a", _python(APPEND), finish=refuse)], tmp_path, 1, {}, lambda x: None
    ) == ["a"]
    assert tasks.done(tmp_path, "a") is None


def test_a_need_that_nobody_meets_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="b needs a: add it"):
        tasks.run_tasks([tasks.Task("b", _python(APPEND), needs=("a",))], tmp_path, 1, {}, lambda text: None)


SLOW = """
import functools, importlib.util, pathlib, sys
print = functools.partial(print, flush=True)
spec = importlib.util.spec_from_file_location("t", sys.argv[1])
t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
out = pathlib.Path(sys.argv[2])
slow = "import pathlib, sys, time; p = pathlib.Path(sys.argv[1]); (p / 'begun').touch(); go = p.parent / 'go'\\n" \\
       "while not go.exists(): time.sleep(0.05)"
make = lambda text: lambda folder: (sys.executable, "-c", text, str(folder))
quick = "import sys, pathlib; (pathlib.Path(sys.argv[1]) / 'runs').open('a').write('x')"
print(t.run_tasks([t.Task("quick", make(quick)), t.Task("slow", make(slow), needs=("quick",))], out, 2, {}, print))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_list_goes_on_where_it_was(tmp_path, number):
    command = [sys.executable, "-c", SLOW, str(BENCHMARKS / "_tasks.py"), str(tmp_path)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "slow" / "begun").exists():
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(number)
    assert first.wait() != 0
    assert tasks.done(tmp_path, "quick") is not None and tasks.done(tmp_path, "slow") is None
    if number == signal.SIGKILL:  # its command lives on, alone
        again = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert again.stdout is not None and "still runs" in again.stdout.readline()
        (tmp_path / "go").touch()
        again.communicate()
        assert (tmp_path / "slow" / "log.txt").read_text().count("$ ") == 2
        return
    (tmp_path / "go").touch()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "quick" / "runs").read_text() == "x"
    assert json.loads((tmp_path / "slow" / "done.json").read_text())["seconds"] >= 0
