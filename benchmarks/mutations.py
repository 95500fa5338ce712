"""Do the tests notice a wrong line? Each mutation of `mutations.toml` is made in a copy of the tree; its tests must fail.

    python benchmarks/mutations.py               # what has no result yet, or changed since
    python benchmarks/mutations.py --only stats  # those whose file or name has the word

A mutation of the list says which file, the text as it stands there (exactly once), the text instead, and what pytest is
called with. The same tests must pass without the mutation, or it counts for nothing. The working tree is not touched.
"""

import argparse
import ast
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import NamedTuple

TREE = Path(__file__).parents[1]
LIST, RESULTS = TREE / "benchmarks/mutations.toml", TREE / "benchmarks/results/mutations.txt"
KILLED, HANGS, SURVIVED = "killed", "hangs", "survived"
NOT_ONCE, RED = "text is not there once", "tests fail without it"
LIMIT = 400
"""Seconds for the tests of a mutation: one that makes a loop endless is noticed too."""
PARTS = ("semsim", "phy", "channels", "models", "tests", "benchmarks", "pyproject.toml", "README.md", "docs")
"""What a copy of the tree holds."""


class Mutation(NamedTuple):
    """what: the fault in words. file: in the tree. old: text that stands there once; new: instead. tests: for pytest."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mark(self) -> str:
        """Changes with the mutation, its tests, and the function or class that it is in."""
        text = (TREE / self.file).read_text()
        line = text.count("\n", 0, max(text.find(self.old), 0)) + 1
        around = [x for x in ast.parse(text).body if x.lineno <= line <= (x.end_lineno or line)]
        code = "".join(ast.get_source_segment(text, block) or "" for block in around)
        said = "\0".join((self.file, self.old, self.new, *self.tests, code))
        return hashlib.sha256(said.encode()).hexdigest()[:12]


def mutations() -> list[Mutation]:
    """The list."""
    entries = tomllib.loads(LIST.read_text())["mutation"]
    return [Mutation(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def verdict(mutation: Mutation, copy: Path) -> str:
    """Of one mutation, in a copy of the tree, which is as it was afterwards."""
    path = copy / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1 or mutation.old == mutation.new:
        return NOT_ONCE
    try:
        path.write_text(text.replace(mutation.old, mutation.new))
        found = passes(mutation.tests, copy)
    finally:
        path.write_text(text)
    return HANGS if found is None else SURVIVED if found else KILLED


def passes(tests: Sequence[str], copy: Path) -> bool | None:
    """Whether these tests pass in the copy; None if they do not end.

    Errors: RuntimeError where there are none, and where they were ended from outside, which is no verdict.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, timeout=LIMIT, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return None
    # 1: a test failed; 2: what they import cannot be, but also Ctrl-C; below 0: a signal.
    if done.returncode < 0 or "KeyboardInterrupt" in done.stdout:
        raise RuntimeError(f"ended from outside: {' '.join(tests)}")
    if done.returncode > 2:
        raise RuntimeError(f"pytest finds no tests: {' '.join(tests)}")
    return done.returncode == 0


def known() -> dict[str, str]:
    """Mark -> verdict, of what the results file has."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {row[1]: row[0] for row in cells if len(row) == 4 and row[0] in (KILLED, HANGS)}


def write(marks: dict[Mutation, str], found: dict[str, str]) -> str:
    """The table; returns its last line, which says the share killed."""
    rows = [(found.get(mark, "not run"), mark, each.file, each.what) for each, mark in marks.items()]
    dead = sum(row[0] in (KILLED, HANGS) for row in rows)
    judged = sum(row[0] in (KILLED, HANGS, SURVIVED) for row in rows)
    last = (
        f"{dead} of {judged} mutations killed, {100 * dead / max(judged, 1):.1f} %; {len(rows)} in the list"
    )
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [" | ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]) for row in sorted(rows)]
    RESULTS.write_text("\n".join(["python benchmarks/mutations.py", "", *lines, "", last]) + "\n")
    return last


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="how many at a time")
    parser.add_argument("--only", default="", help="a word in the file or name of the mutations to run")
    parser.add_argument(
        "--trust", action="store_true", help="the suite has just passed: do not try the tests without"
    )
    chosen = parser.parse_args()
    writing = Lock()
    marks, found = {each: each.mark() for each in mutations()}, known()
    waiting = [
        each
        for each, mark in marks.items()
        if mark not in found and chosen.only.lower() in f"{each.file} {each.what}".lower()
    ]
    together: dict[tuple[str, ...], list[Mutation]] = {}
    for each in waiting:
        together.setdefault(each.tests, []).append(each)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(chosen.jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(chosen.jobs):
            copies.put(_copied(Path(scratch) / str(number)))

        def judge(group: Sequence[Mutation]) -> None:
            copy = copies.get()
            sound = chosen.trust or passes(group[0].tests, copy)
            for mutation in group:
                found[marks[mutation]] = what = verdict(mutation, copy) if sound else RED
                with writing:
                    print(f"{what}: {mutation.file}: {mutation.what}", flush=True)
                    write(marks, found)
            copies.put(copy)

        list(pool.map(judge, together.values()))
    print(write(marks, found))
    return 0 if all(found.get(mark) in (KILLED, HANGS) for mark in marks.values()) else 1


def _copied(folder: Path) -> Path:
    folder.mkdir()
    for name in PARTS:
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


if __name__ == "__main__":
    sys.exit(main())
