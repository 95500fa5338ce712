"""How long a command takes to end after Ctrl-C (SIGINT) or SIGTERM, in ten situations, each a fresh process.

A signal is sent so many seconds after the commands have loaded, as measured first; the first situation gets it while they
load. Programs are compiled anew: every process has an empty compilation cache. Printed: seconds from the signal to the
end of the process (least, median, most), exit status, whether a traceback was shown, and the last line said.

    python benchmarks/interrupts.py [--repeats 3] [--only WORD]
"""

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from PIL import Image

PATIENCE = 60.0
"""Seconds after which a process that does not end is killed."""


class Situation(NamedTuple):
    """A command, and when it gets which signal. after: seconds from when it has loaded; negative: that share of its loading,
    from its start."""

    what: str
    after: float
    command: str
    number: signal.Signals = signal.SIGINT


SITUATIONS = (
    Situation("while loading", -0.3, "info"),
    Situation("in compilation", 1.5, "run stsc --modulation auto --channel tdl-a --esno-db 10 --limit 1 --data {images}"),
    Situation("ber, in a long batch", 6, "ber --batch 1000000 --min-errors 1000000000 --max-bits 1e13 --ebno-db 3"),
    Situation("run over images", 8, "run ujscc --channel tdl-a --esno-db 0:30:1"),
    Situation("run, 10000 realizations", 10, "run ujscc --modulation qam16 --realizations 10000", signal.SIGTERM),
    Situation("train", 8, "train ujscc --data {images} --batch 16 --out {folder}/train"),
    Situation("run separation", 6, "run separation --esno-db 0:20:1"),
    Situation("run --plan", 4, "run ujscc --channel awgn tdl-a --plan"),
    Situation("plot", 0, "plot {run} --out {folder}/figure.png"),
    Situation("demo", 8, "demo --out {folder}/demo"),
)  # fmt: skip


class Ending(NamedTuple):
    """Seconds from the signal to the end, NaN where it had ended before; exit status; whether a traceback was shown;
    the last line on stderr."""

    seconds: float
    status: int
    traceback: bool
    said: str


def start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "semsim.cli", *command],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def loading_time(environment: dict[str, str]) -> float:
    """Seconds until a command begins: until the shortest of them ends."""
    started = time.perf_counter()
    start(["data", "list"], environment).communicate()
    return time.perf_counter() - started


def interrupted(
    situation: Situation, command: list[str], loading: float, environment: dict[str, str]
) -> Ending:
    """Sends the signal and waits for the end of the process."""
    with tempfile.TemporaryDirectory() as cache:
        return _ending(situation, start(command, environment | {"JAX_COMPILATION_CACHE_DIR": cache}), loading)


def _ending(situation: Situation, process: "subprocess.Popen[str]", loading: float) -> Ending:
    time.sleep(-situation.after * loading if situation.after < 0 else loading + situation.after)
    if process.poll() is not None:
        return Ending(
            math.nan, process.returncode, "Traceback" in process.communicate()[1], "ended before the signal"
        )
    sent = time.perf_counter()
    process.send_signal(situation.number)
    try:
        said = process.communicate(timeout=PATIENCE)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[1]
    seconds = time.perf_counter() - sent
    lines = said.strip().splitlines() or [""]
    return Ending(seconds, process.returncode, "Traceback" in said, lines[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="situations whose name has this word")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        images = folder / "images"
        images.mkdir()
        rng = np.random.default_rng(0)
        for number in range(64):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(images / f"{number}.png")
        run = folder / "run"
        start(["ber", "--ebno-db", "0:6:2", "--max-bits", "1", "--out", str(run)], environment).communicate()
        loading = loading_time(environment)
        load = os.getloadavg()[0]
        print(
            f"{os.cpu_count()} cores, load {load:.1f}; commands load in {loading:.1f} s; seconds after the signal:"
        )
        print(
            f"{'situation':26} {'signal':8} {'least':>6} {'median':>6} {'most':>6}  status  traceback  last line"
        )
        for situation in SITUATIONS:
            if arguments.only not in situation.what:
                continue
            endings = []
            for repeat in range(arguments.repeats):
                here = folder / f"{situation.what.replace(' ', '-')}-{repeat}"
                here.mkdir()
                words = [
                    word.format(images=images, run=run, folder=here) for word in situation.command.split()
                ]
                endings.append(interrupted(situation, words, loading, environment))
            times = [ending.seconds for ending in endings if ending.seconds >= 0] or [math.nan]
            statuses = "/".join(str(status) for status in sorted({ending.status for ending in endings}))
            traceback = "yes" if any(ending.traceback for ending in endings) else "no"
            said = endings[-1].said.replace(name, "FOLDER")
            print(
                f"{situation.what:26} {situation.number.name:8} {min(times):6.2f} {median(times):6.2f} {max(times):6.2f}"
                f"  {statuses:6}  {traceback:9}  {said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
