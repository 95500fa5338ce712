"""Real processes on a real run folder: killed at any moment, several at once, on a full disk, stopped by signals.

A process that imports JAX takes seconds to start, so most processes here are forks of one that has imported the
commands and has not yet used JAX: from there on they are `semsim ber ...`, with their own devices, files and signals.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from semsim.runs import load_run
from semsim.sweep import point_name

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

SERVER = r"""
import ctypes, json, os, signal, sys
from semsim import claims, cli, engine, error_counts, runs
from semsim.claims import Claims
from semsim.runs import RunWriter

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def in_row(number, share):
    "Killed when a share of the bytes of a row is written."
    store, seen = RunWriter._store, []
    def torn(self, data):
        seen.append(data)
        if len(seen) == number:
            self._file.write(data[: int(share * len(data))])
            die()
        store(self, data)
    RunWriter._store = torn

def full_disk(number, share):
    "No space left when a share of the bytes of a row is written."
    class Full:
        def __init__(self, file):
            self.file, self.rows = file, 0
        def write(self, data):
            self.rows += 1
            if self.rows < number:
                return self.file.write(data)
            if self.rows == number and share:
                return self.file.write(data[: int(share * len(data))])
            raise OSError(28, "No space left on device")
        def __getattr__(self, name):
            return getattr(self.file, name)
    begin = RunWriter.__init__
    def wrapped(self, *values, **named):
        begin(self, *values, **named)
        if self._file is not None:
            self._file = Full(self._file)
    RunWriter.__init__ = wrapped

def in_config(): runs.Path.replace = die
def in_claim(): claims.json.dumps = die
def in_takeover(): claims.Path.rename = die
def at_release(): claims.Path.unlink = die
def slow_rows(seconds):
    import time
    append = RunWriter.append
    def slowly(self, *values):
        append(self, *values)
        time.sleep(seconds)
    RunWriter.append = slowly
def rows_beside(folder, files):
    "Waits after its first row until others have written rows too."
    import time
    from pathlib import Path
    append, end = RunWriter.append, time.monotonic() + 300
    def patiently(self, *values):
        append(self, *values)
        while time.monotonic() < end and sum(path.stat().st_size > 0 for path in Path(folder).glob("rows-*")) < files:
            time.sleep(0.01)
    RunWriter.append = patiently
def obey():
    "Root loses the right to write where the mode of a folder says no (CAP_DAC_OVERRIDE); others never had it."
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        version, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert libc.capget(version, sets) == 0
        sets[0] &= ~(1 << 1)
        assert libc.capset(version, sets) == 0

for name, value in {"FLAT_BLOCK": 8, "FLAT_SYMBOLS": 64, "BLOCKS": 4}.items():
    setattr(error_counts, name, value)
for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        print(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]), flush=True)
        continue
    child = os.fork()
    if not child:
        said = os.open(order["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.close(0)
        engine.WAIT = 0.02
        for name, *values in order["hooks"]:
            globals()[name](*values)
        os._exit(cli.main(order["arguments"]))
    print(child, flush=True)
"""

OPTIONS = [
    "--modulation", "qpsk", "qam16", "--ebno-db", "2", "5", "8", "11", "--min-errors", "300", "--max-bits", "60000",
    "--target", "2e-3", "--total-bits", "700000", "--seed", "3", "--devices", "1", "--json",
]  # fmt: skip
"""Some 120 batches of 4,096 and 8,192 bits: every way to end a point, and a rest of the budget to spend."""


class Forks:
    def __init__(self, folder):
        self.log = folder / "log.txt"
        environment = {**os.environ, "SEMSIM_DATA": str(folder / "cache"), "PYTHONWARNINGS": "ignore"}
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=environment,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **order):
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, *arguments, hooks=()):
        return self.ask(arguments=[str(a) for a in arguments], hooks=hooks, log=str(self.log))

    def wait(self, child):
        return self.ask(wait=child)

    def run(self, *arguments, hooks=()):
        return self.wait(self.start(*arguments, hooks=hooks))

    def said(self):
        return self.log.read_text()


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    made = Forks(tmp_path_factory.mktemp("forks"))
    yield made
    made.server.stdin.close()
    made.server.stdout.close()
    made.server.wait()


@pytest.fixture(scope="module")
def whole(forks, tmp_path_factory):
    """The run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert forks.run("ber", "--out", folder, *OPTIONS) == 0, forks.said()
    return folder


def contents(folder):
    """Every batch of every point with its sums and parts."""
    run = load_run(folder)
    return {
        (point_name(point), number): (batch.sums, {k: np.asarray(v).tolist() for k, v in batch.parts.items()})
        for point, _ in run.points
        for number, batch in run.batches(point).items()
    }


def by_name(rows):
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def assert_same(folder, whole):
    assert contents(folder) == contents(whole)
    assert by_name(load_run(folder).rows()) == by_name(load_run(whole).rows())
    assert not (folder / "claims").exists() or not _claims(folder)


def _claims(folder):
    """Claims in force: what a killed process was about to move or to measure is no claim."""
    return [path for path in (folder / "claims").iterdir() if len(path.name) == 20]


def lines(folder):
    """Whole lines in the folder, with the file each is in."""
    found = []
    for path in sorted(folder.glob("rows-*.jsonl")):
        for text in path.read_bytes().split(b"\n")[:-1]:
            line = json.loads(text)
            found.append((path.name, point_name(line["point"]), line["batch"]))
    return found


def size(folder):
    try:
        return sum(path.stat().st_size for path in folder.glob("rows-*.jsonl"))
    except FileNotFoundError:  # an empty file, just removed
        return 0


def tear(folder, rng):
    """Cuts the last line of a file that a killed process left: what a machine that lost its power leaves."""
    path = rng.choice(sorted(folder.glob("rows-*.jsonl")))
    data = path.read_bytes()
    if not data:
        return False
    last = len(data) - (data[:-1].rfind(b"\n") + 1)
    path.write_bytes(data[: len(data) - rng.randint(1, last)] + rng.choice([b"", bytes(50)]))
    return True


def wait_until(reached, seconds=20.0):
    end = time.monotonic() + seconds
    while not reached() and time.monotonic() < end:
        time.sleep(0.0005)


def one_life(forks, folder, kind, number, rng, whole):
    """Starts or resumes the run and kills it as `kind` says; the exit status."""
    begun = (folder / "config.json").exists()
    hooks = {
        "config": [["in_config"]],
        "row": [["in_row", rng.randint(1, 4), rng.random()]],
        "claim": [["in_claim"]],
        "release": [["at_release"]],
        "rows": [["slow_rows", 0.002]],
    }
    where = ["--resume", folder] if begun else ["--out", folder, *OPTIONS]
    complete, had = size(whole), size(folder)
    child = forks.start("ber", *where, hooks=hooks.get(kind, []))
    if kind == "start":
        time.sleep(rng.uniform(0, 0.03))
    elif kind == "time":
        time.sleep(rng.uniform(0, 0.8))
    elif kind == "rows":
        goal = min(had + rng.randint(1, complete // 6), complete)
        wait_until(lambda: size(folder) >= goal, 3.0)
    elif kind == "last":
        everything = len(lines(whole))
        wait_until(lambda: len({line[1:] for line in lines(folder)}) == everything, 5.0)
    if kind in ("start", "time", "rows", "last"):
        os.kill(child, number)  # the server has not waited for it, so the number is still its own
    return forks.wait(child)


@pytest.mark.slow
def test_fifty_kills_at_random_moments_change_nothing(forks, whole, tmp_path):
    """SIGKILL and SIGTERM before the config, in it, between rows, within a row, in claims, and after the last row."""
    rng = random.Random(20)
    deck, first = [], ["config", "start"]
    kinds = ("time",) * 3 + ("rows",) * 4 + ("row", "row", "claim", "release", "last")
    kills, signals, torn, complete = Counter(), Counter(), 0, 0
    folder = tmp_path / "0"

    def enough():
        return kills.total() >= 50 and {*kinds, *first} <= set(kills) and signals[130] > 3 and torn > 3

    while not enough() or (folder / "config.json").exists():
        deck = deck or rng.sample(kinds, len(kinds))
        kind = first[complete % 2] if not folder.exists() and rng.random() < 0.5 else deck.pop()
        if enough():
            kind = "none"
        # Every other time that rows come it is asked to stop; else killed, more often than not.
        gentle = kills["rows"] % 2 if kind == "rows" else rng.random() < 0.3
        status = one_life(forks, folder, kind, signal.SIGTERM if gentle else signal.SIGKILL, rng, whole)
        if status in (-signal.SIGKILL, -signal.SIGTERM, 130):
            kills[kind] += 1
            signals[status] += 1
            if status == -signal.SIGKILL and rng.random() < 0.4 and list(folder.glob("rows-*.jsonl")):
                torn += tear(folder, rng)
            continue
        assert status == 0, (kind, forks.said()[-2000:])
        assert_same(folder, whole)
        complete += 1
        folder = tmp_path / str(complete)
    print(f"{kills.total()} kills {dict(kills)}, status {dict(signals)}, {torn} lines torn, {complete} runs")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_command_itself_is_killed_and_resumed(number, tmp_path):
    """`python -m semsim.cli`, from the start, in another folder each time."""
    options = [
        "--modulation",
        "qpsk",
        "--ebno-db",
        "3",
        "--min-errors",
        "900000000",
        "--max-bits",
        "3e7",
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def command(*words, cwd):
        cwd.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "semsim.cli", "ber", *map(str, words)],
            env=environment,
            cwd=cwd,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    folder = tmp_path / "run"
    first = command("--out", "../run", *options, cwd=tmp_path / "a")
    wait_until(lambda: size(folder) > 0 or first.poll() is not None, 60.0)
    first.send_signal(number)
    _, said = first.communicate()
    assert first.returncode == (-number if number == signal.SIGKILL else 130), said
    assert "Traceback" not in said and ("semsim: stopped" in said) == (number != signal.SIGKILL)
    before = len(lines(folder))
    assert 0 < before < 29
    again = command("--resume", "../run", cwd=tmp_path / "b")
    _, said = again.communicate()
    assert again.returncode == 0, said
    found = lines(folder)
    assert [batch for *_, batch in sorted(found, key=lambda line: line[2])] == list(range(29))


def test_three_processes_fill_one_folder_and_do_nothing_twice(forks, whole, tmp_path):
    folder = tmp_path / "run"
    first = forks.start(
        "ber", "--out", folder, *OPTIONS, hooks=[["rows_beside", str(folder), 2]]
    )  # so that there is work left
    wait_until(lambda: size(folder) > 0)
    others = [forks.start("ber", "--resume", folder, hooks=[["slow_rows", 0.01]]) for _ in range(2)]
    assert [forks.wait(child) for child in (first, *others)] == [0, 0, 0], forks.said()[-2000:]
    assert_same(folder, whole)
    found = lines(folder)
    assert len({name for name, *_ in found}) > 1  # it was not one alone
    assert len(found) == len({(point, batch) for _, point, batch in found})


def test_the_work_of_one_that_died_is_taken_over_by_those_that_live(forks, whole, tmp_path):
    folder = tmp_path / "run"
    first = forks.start(
        "ber", "--out", folder, *OPTIONS, hooks=[["rows_beside", str(folder), 2]]
    )  # so that there is work left
    wait_until(lambda: size(folder) > 0)
    others = [forks.start("ber", "--resume", folder, hooks=[["slow_rows", 0.01]]) for _ in range(2)]
    here = size(folder)
    wait_until(lambda: size(folder) > 1.2 * here)
    os.kill(first, signal.SIGKILL)
    # Its parent has not waited for it yet: a zombie has a number and does nothing.
    assert [forks.wait(child) for child in others] == [0, 0], forks.said()[-2000:]
    assert forks.wait(first) == -signal.SIGKILL
    assert_same(folder, whole)


def test_a_sleeper_that_lost_its_claim_counts_nothing_twice(forks, whole, tmp_path):
    """Stopped, as by a laptop's lid; its claims look as old as on a machine that went away."""
    folder = tmp_path / "run"
    first = forks.start("ber", "--out", folder, *OPTIONS, hooks=[["slow_rows", 0.005]])
    wait_until(lambda: size(folder) > 0)
    os.kill(first, signal.SIGSTOP)
    for path in _claims(folder):
        os.utime(path, (1e9, 1e9))
    assert forks.run("ber", "--resume", folder) == 0
    assert_same(folder, whole)
    os.kill(first, signal.SIGCONT)
    assert forks.wait(first) == 0
    assert_same(folder, whole)
    found = lines(folder)
    assert len(found) - len({(point, batch) for _, point, batch in found}) > 0  # it did some batches again


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_full_disk_loses_no_more_than_the_batch_at_hand(forks, whole, tmp_path, share):
    folder = tmp_path / "run"
    assert forks.run("ber", "--out", folder, *OPTIONS, hooks=[["full_disk", 20, share]]) == 2
    said = forks.said().splitlines()[-1]
    assert "No space left on device" in said and "rows-0001-" in said and "is kept" in said
    assert len(lines(folder)) == 19
    assert all(path.read_bytes().endswith(b"\n") for path in folder.glob("rows-*.jsonl"))
    assert forks.run("ber", "--resume", folder) == 0
    assert_same(folder, whole)
    assert len(lines(folder)) == len(lines(whole))


def test_a_complete_run_is_resumed_without_a_batch(forks, whole, tmp_path):
    before = lines(whole)
    assert forks.run("ber", "--resume", whole) == 0
    assert lines(whole) == before and len(list(whole.glob("rows-*.jsonl"))) == 1


def test_two_that_begin_at_once_do_not_both_begin(forks, tmp_path):
    """One has the folder, the other is told so; whichever it is, the run is of one seed."""
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        options = [*OPTIONS, "--max-bits", "5000", "--total-bits", "60000"]
        both = [forks.start("ber", "--out", folder, *options, "--seed", seed) for seed in (1, 2)]
        assert sorted(forks.wait(child) for child in both) == [0, 2], forks.said()[-2000:]
        assert f"semsim: {folder} already holds a run" in forks.said()


def test_a_read_only_folder_is_refused_in_one_line_and_can_be_read(forks, whole):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name) / "run"
        shutil.copytree(whole, folder)
        for path in (folder.parent, folder):
            path.chmod(0o555)
        for words in (["--resume", folder], ["--out", folder.parent / "new", *OPTIONS]):
            assert forks.run("ber", *words, hooks=[["obey"]]) == 2, forks.said()[-2000:]
            assert f"semsim: cannot write to {words[1]}: Permission denied" == forks.said().splitlines()[-1]
        assert contents(folder) == contents(whole)
        for path in (folder.parent, folder):
            path.chmod(0o755)
