"""A run on disk: a folder with `config.json` and append-only `rows-*.jsonl`, one file per writer.

A line is one finished batch of one point: {"point": ..., "batch": i, "sums": ...}. Totals are sums of lines; a torn last
line is dropped on reading; a point that was not simulated is absent.
"""

import errno
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

import jax

import phy
from semsim.sweep import Sums, Totals, result_rows


@dataclass(frozen=True)
class Run:
    """A run as written or read back: its configuration and the totals of every point in it.

    interrupted: the job that returned this was ended by Ctrl-C; what it had finished is here. A run read from disk does not
    know: there a point says in its rows why it stopped, and one that was not simulated is absent.
    """

    folder: Path | None
    config: dict
    points: list[tuple[dict, Sums]]
    interrupted: bool = False

    def rows(self, confidence: float = 0.95) -> list[dict]:
        """Result rows with intervals, as the command that made the run prints them."""
        extra = self.config.get("row", {})
        return [
            {**row, **extra, **self._stopped(sums)}
            for point, sums in self.points
            for row in result_rows(point, sums, shared_trials(point), confidence)
        ]

    def _stopped(self, sums: Sums) -> dict[str, str]:
        """Why a point of a run with a stop rule ended: {"stopped": "errors" | "trials" | "interrupted"}."""
        rule = self.config.get("stop")
        if rule is None:
            return {}
        part = sums[rule["metric"]]
        reached = [name for name in ("errors", "trials") if part[name] >= rule[name]]
        return {"stopped": reached[0] if reached else "interrupted"}


def shared_trials(point: Mapping) -> dict[str, int]:
    """How many trials of each error rate share a draw at a point, for `result_rows`.

    Without fading, or with a gain per symbol, symbols are independent and the bits of a symbol err together. Otherwise all
    trials of a block, a faded transmission or an image, share its fade.
    """
    if point["channel"] not in ("awgn", "rayleigh", "rician"):
        return {}
    return {"ser": 1} if "system" in point else {"ser": 1, "ber": phy.num_bits(point["modulation"])}


class RunWriter:
    """Writes a run, and closes it at the end of a `with` block; `folder` None keeps it in memory only.

    Errors: ValueError if the folder cannot be written or already holds a run; then nothing of this one is left in it.
    """

    def __init__(self, folder: Path | None, config: dict):
        self.folder = folder
        self.config = {**config, "environment": environment()}
        self._totals = Totals()
        self._file = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / "config.json").exists() or any(folder.glob("rows-*.jsonl")):
                raise ValueError(f"{folder} already holds a run: choose another folder or remove it")
            rows = folder / f"rows-{os.getpid()}.jsonl"
            # Unbuffered: a line that could not be written must not be tried again when the file closes.
            self._file = rows.open("xb", buffering=0)
            try:
                write_text(folder / "config.json", json.dumps(self.config, indent=1) + "\n")
            except OSError:
                self._file.close()
                rows.unlink()
                raise
        except OSError as error:
            raise ValueError(f"cannot write to {folder}: {error.strerror}") from None

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, point: Mapping, batch: int, sums: Sums) -> None:
        """Stores a finished batch; with the operating system when this returns.

        Errors: OSError that names the file when it cannot be stored (disk full); earlier lines stay whole.
        """
        line = {"point": dict(point), "batch": batch, "sums": sums}
        if self._file is not None:
            self._store((json.dumps(line) + "\n").encode())
        self._totals.count(line)

    def _store(self, data: bytes) -> None:
        assert self._file is not None
        end = self._file.seek(0, os.SEEK_END)
        try:
            left = data
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)
            raise OSError(error.errno or errno.EIO, error.strerror, str(self._file.name)) from None

    def finish(self, interrupted: bool = False) -> Run:
        """The run so far."""
        return Run(self.folder, self.config, self._totals.points(), interrupted)


def load_run(folder: Path) -> Run:
    """Reads a run back. Errors: ValueError for a folder that holds none, or a damaged line that is not the last."""
    try:
        config = json.loads((folder / "config.json").read_text())
        if not isinstance(config, dict):
            raise TypeError
    except (OSError, ValueError, TypeError):
        raise ValueError(f"{folder} holds no run: config.json is missing or damaged") from None
    found = Totals()
    for path in sorted(folder.glob("rows-*.jsonl")):
        texts = path.read_text(errors="replace").split("\n")
        for number, text in enumerate(texts, start=1):
            try:
                if text:
                    found.count(json.loads(text))
            except (ValueError, KeyError, TypeError, AttributeError):
                if number < len(texts):  # a whole line: not one torn by a crash
                    raise ValueError(
                        f"{path}, line {number} is damaged: restore it or remove the file"
                    ) from None
    return Run(folder, config, found.points())


def environment() -> dict[str, object]:
    """What a result may depend on: versions, devices and the state of the code."""
    return {
        "versions": {
            name: _version(name) for name in ("semsim-jax", "jax", "jaxlib", "flax", "numpy", "scipy")
        },
        "python": platform.python_version(),
        "devices": [str(device) for device in jax.devices()],
        "git": _git_state(),
    }


def write_text(path: Path, text: str) -> None:
    """Writes a file that appears under its name only when complete, and leaves nothing when it cannot be."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _git_state() -> str | None:
    """Commit of the source tree, with "+" if it was changed; None outside a checkout of this project."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    commit, changes = (_git(root, "rev-parse", "--short", "HEAD"), _git(root, "status", "--porcelain"))
    return f"{commit}{'+' if changes else ''}" if commit else None


def _git(root: Path, *words: str) -> str | None:
    """What a git command prints; None if it fails."""
    try:
        found = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
