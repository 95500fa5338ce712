"""Commands with results on disk, run in order of need, several at once, resumable.

    OUT/NAME/log.txt    what the command printed, every attempt below the last
    OUT/NAME/done.json  its command, seconds and machine; written when it ended well, and only then

A task whose done.json is there is not run again. Ctrl-C and SIGTERM ask every running command to stop, and each saves what
it has. After kill -9 of the list its commands live on: the log is locked as long as one writes to it, and the next list
waits for that before it starts the same task.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

POLL, GRACE = 0.2, 60.0
"""Seconds between two looks at running commands, and what they get to end after they were asked to."""


class Task(NamedTuple):
    """command: made when the task starts, from its folder, which exists then. needs: tasks that must be done before.
    finish: called with the folder after the command ended well, before the task counts as done."""

    name: str
    command: Callable[[Path], Sequence[str]]
    needs: tuple[str, ...] = ()
    finish: Callable[[Path], None] = lambda folder: None


def _said(command: Sequence[object], out: Path) -> list[str]:
    """A command as it is compared with an earlier one: whatever the interpreter and the folder, begun or gone on with."""
    return [str(word).replace(str(out), "OUT") for word in command[1:] if word != "--resume"]


def done(out: Path, name: str) -> dict | None:
    """What is known of a finished task; None for one that is not."""
    path = out / name / "done.json"
    return json.loads(path.read_text()) if path.exists() else None


def run_tasks(
    tasks: Sequence[Task],
    out: Path,
    jobs: int,
    environment: Mapping[str, str],
    report: Callable[[str], None] = print,
) -> list[str]:
    """Runs what is not done, `jobs` at a time, and returns the names of what failed or could not start for that reason.

    environment: added to this process's for every command. Errors: KeyboardInterrupt after every command has ended, for
    Ctrl-C and SIGTERM; ValueError for needs that no task here meets, and for a task that another command has done there.
    """
    known = {task.name for task in tasks}
    for task in tasks:
        missing = [name for name in task.needs if name not in known and done(out, name) is None]
        if missing:
            raise ValueError(
                f"{task.name} needs {', '.join(missing)}: add it, or run it into the same folder first"
            )
    for task in tasks:
        entry = done(out, task.name)
        if entry is not None and entry["compared"] != _said(task.command(out / task.name), out):
            raise ValueError(
                f"{task.name} in {out} is the result of another command ({' '.join(entry['command'])}): "
                f"remove {out / task.name}, or take another folder"
            )
    waiting = [task for task in tasks if done(out, task.name) is None]
    running: dict[str, tuple[Task, subprocess.Popen, float]] = {}
    failed: list[str] = []
    locked: set[str] = set()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while waiting or running:
            for name, (task, process, started) in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    failed += [] if _end(task, process.returncode, out, started, report) else [name]
            for task in [task for task in waiting if set(task.needs) & set(failed)]:
                report(f"{task.name}: not started, {', '.join(set(task.needs) & set(failed))} failed")
                waiting.remove(task)
                failed.append(task.name)
            ready = [task for task in waiting if all(done(out, name) is not None for name in task.needs)]
            for task in ready[: jobs - len(running)]:
                process = _start(task, out, environment)
                if process is not None:
                    waiting.remove(task)
                    running[task.name] = (task, process, time.monotonic())
                    report(f"{task.name}: started")
                elif task.name not in locked:
                    locked.add(task.name)
                    report(f"{task.name}: a command of an earlier list still runs: waiting for its end")
            time.sleep(POLL)
    except KeyboardInterrupt:
        _stop([process for _, process, _ in running.values()])
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return failed


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _start(task: Task, out: Path, environment: Mapping[str, str]) -> subprocess.Popen | None:
    """The running command; None while one of an earlier list holds the log."""
    folder = out / task.name
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(part) for part in task.command(folder)]
    with (folder / "log.txt").open("a") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the command inherits it with its output
        except BlockingIOError:
            return None
        log.write(f"$ {' '.join(command)}\n")
        log.flush()
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which passes it on once.
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip


def _end(task: Task, code: int, out: Path, started: float, report: Callable[[str], None]) -> bool:
    """Whether the task is done: its command ended well, and so did what comes after."""
    folder, seconds = out / task.name, time.monotonic() - started
    if code:
        report(f"{task.name}: FAILED with {code} after {seconds:.0f} s, see {folder / 'log.txt'}")
        return False
    try:
        task.finish(folder)
    except (OSError, ValueError) as error:
        report(f"{task.name}: FAILED after its command: {error}")
        return False
    command = list(map(str, task.command(folder)))
    entry = {
        "command": command,
        "compared": _said(command, out),
        "seconds": round(seconds, 1),
        "python": sys.version.split()[0],
    }
    partial = folder / "done.partial"
    partial.write_text(json.dumps(entry, indent=1) + "\n")
    partial.replace(folder / "done.json")
    report(f"{task.name}: done in {seconds:.0f} s")
    return True


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """Asks, waits, and kills what does not answer."""
    for process in processes:
        _signal(process, signal.SIGINT)
    end = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen, number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
