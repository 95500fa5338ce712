"""Jobs of two processes on this machine, as a cluster starts them: the same command twice.

Every job has a time limit, so that one that hangs fails.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import semsim
from semsim import backend
from semsim.processes import MESSAGE, agreed, any_process, unanimous
from semsim.runs import load_run

LIMIT = 240  # seconds
AXES = ("--modulation", "qam16", "--channel", "tdl-a", "--ebno-db", "4", "8", "--max-bits", "4e6", "--json")
LONG = (
    "--modulation",
    "qam64",
    "--channel",
    "rayleigh-block",
    "--ebno-db",
    "10",
    "--min-errors",
    "1000000000",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody else is given meanwhile: it is held here without listening, and shared with the coordinator."""
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("", 0))
        yield held.getsockname()[1]


def start(command: list[str], folder: Path, cache: Path) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {
        "JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": str(Path(semsim.__file__).parents[1]),
    }  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, **pipes)


def finish(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each; those that do not end are killed."""
    try:
        return [(one.wait(LIMIT), *one.communicate()) for one in processes]
    finally:
        for one in processes:
            one.kill()


def job(folder: Path, cache: Path, *commands: tuple[str, ...], act=lambda processes: None):
    """One `semsim ber` a process, all of them one job."""
    with free_port() as port:
        cluster = [
            "--distributed",
            "--coordinator",
            f"localhost:{port}",
            "--num-processes",
            str(len(commands)),
        ]
        processes = [
            start(["-m", "semsim.cli", "ber", *command, *cluster, "--process-id", str(number)], folder, cache)
            for number, command in enumerate(commands)
        ]
        act(processes)
        return finish(processes)


def test_two_processes_count_what_one_counts_and_one_of_them_writes(tmp_path, cache):
    command = (*AXES, "--out", "run")
    (status, said, complaints), other = job(tmp_path, cache, command, command)
    assert (status, complaints, other) == (0, "", (0, "", ""))
    alone = semsim.ber("qam16", "tdl-a", [4, 8], max_bits=4e6)
    rows = [json.loads(line) for line in said.splitlines()]
    assert rows == json.loads(json.dumps(alone.rows())) and len(rows) == 4
    assert len(list((tmp_path / "run").glob("rows-*"))) == 1
    found = load_run(tmp_path / "run")
    assert found.points == alone.points and len(found.config["environment"]["devices"]) == 2

    both = job(tmp_path, cache, command, command)  # the folder is taken: process 0 sees that, and tells
    assert (
        both
        == [(2, "", "semsim: run already holds a run: resume it, choose another folder or remove it\n")] * 2
    )


def test_a_mistake_in_one_process_ends_all(tmp_path, cache):
    wrong = ("--modulation", "qam17", "--out", "run")
    first, second = job(tmp_path, cache, (*AXES, "--out", "run"), wrong)
    assert first == (2, "", "semsim: process 1 of the job ended before the start: it says why\n")
    assert second[:2] == (2, "") and second[2].startswith("semsim: unknown modulation 'qam17'")
    assert second[2].count("\n") == 1 and not (tmp_path / "run").exists()


def test_options_that_differ_end_all_and_leave_nothing(tmp_path, cache):
    """What is drawn, or the portions of a call: either would mix draws or hang."""
    command = (*AXES, "--out", "run")
    for other in (("--seed", "9"), ("--batch", "4096")):
        found = job(tmp_path, cache, command, (*command, *other))
        line = "semsim: the processes of the job differ in options or code: start all of them with the same\n"
        assert found == [(2, "", line)] * 2
        assert not (tmp_path / "run").exists()


def test_a_signal_to_one_process_stops_all_and_the_run_is_resumed(tmp_path, cache):
    """100 batches of 3 Mbit, stopped as soon as there are some, then resumed by both."""
    command = (*LONG, "--max-bits", "3.1e8", "--json", "--out", "run")
    seen = []

    def stop(processes):
        limit = time.monotonic() + LIMIT
        while not seen and time.monotonic() < limit and all(one.poll() is None for one in processes):
            time.sleep(0.02)
            seen.extend(path for path in tmp_path.glob("run/rows-*") if path.stat().st_size)
        processes[1].send_signal(signal.SIGTERM)

    (status, said, complaints), other = job(tmp_path, cache, command, command, act=stop)
    assert status == 130 and "stopped; the points and batches that were finished are in run" in complaints
    assert other[1] == "" and other[0] == 130
    (point, sums), *_ = load_run(tmp_path / "run").points
    assert 0 < len(load_run(tmp_path / "run").batches(point)) < 99 and '"interrupted"' in said

    again = ("--resume", "run", "--json")  # how to print is no part of a run
    resumed = job(tmp_path, cache, again, again)
    assert [status for status, *_ in resumed] == [0, 0]
    alone = semsim.ber("qam64", "rayleigh-block", [10], min_errors=10**9, max_bits=3.1e8)
    assert load_run(tmp_path / "run").points == alone.points
    assert '"trials"' in resumed[0][1] and resumed[1][1] == ""


def member(port: str, number: str) -> None:
    """What processes tell each other, from inside a job of two."""
    backend.join(backend.Cluster(True, f"localhost:{port}", 2, int(number)))
    mine = int(number)
    time.sleep(mine)
    backend.meet()
    text = "x" * (2 * MESSAGE - 2)  # fills two messages
    print(json.dumps({
        "agreed": [agreed(value) for value in (mine, {"a": [1.5, None]}, [])], "long": agreed(text + "y") == text + "y",
        "full": agreed(text[:-2]) == text[:-2], "any": [any_process(mine == 1), any_process(False)],
        "unanimous": [unanimous({"seed": 0}), unanimous({"seed": mine})], "leader": backend.is_leader(),
    }))  # fmt: skip


def test_what_processes_tell_each_other(tmp_path, cache):
    with free_port() as port:
        found = finish([start([__file__, str(port), str(number)], tmp_path, cache) for number in range(2)])
    assert [status for status, *_ in found] == [0, 0], found
    for number, (_, said, _) in enumerate(found):
        assert json.loads(said) == {
            "agreed": [0, {"a": [1.5, None]}, []], "long": True, "full": True, "any": [True, False],
            "unanimous": [True, False], "leader": number == 0,
        }  # fmt: skip


if __name__ == "__main__":
    member(*sys.argv[1:])
