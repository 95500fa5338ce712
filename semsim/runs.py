"""A run on disk: a folder with `config.json` and append-only `rows-*.jsonl`, one file per writer.

A line is one finished batch of one point: {"point": ..., "batch": i, "sums": ..., "parts": ...}. Totals are sums of
lines; a torn last line is dropped on reading; a batch that several writers made counts once; a point that was not
simulated is absent.
"""

import errno
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from types import TracebackType

import phy
from semsim.energy import energy_fields, metrics_of
from semsim.environment import environment
from semsim.resume import check_same
from semsim.stats import ALIKE, FADE, INDEPENDENT, Interval, Sharing
from semsim.stopping import Stop
from semsim.sweep import Batch, Parts, Sums, Totals, metric_interval, result_rows

AXES = ("modulation", "channel", "ebno_db", "esno_db")


@dataclass(frozen=True)
class Run:
    """A run as written or read back: its configuration and the batches of every point in it.

    interrupted: the job that returned this was asked to end early (Ctrl-C, SIGTERM); what it had finished is here. A
    run read from disk does not know: there a point says in its rows why it stopped, and one that was not simulated is
    absent.
    """

    folder: Path | None
    config: dict
    totals: Totals
    interrupted: bool = False

    @property
    def points(self) -> list[tuple[dict, Sums]]:
        """Every point that was simulated, with its sums, in the order of the config's axes."""
        axes = {name: list(self.config.get(name, ())) for name in AXES}

        def place(item: tuple[dict, Sums]) -> list[int]:
            return [
                axis.index(item[0][name]) if item[0].get(name) in axis else len(axis)
                for name, axis in axes.items()
            ]

        return sorted(self.totals.points(), key=place)

    def batches(self, point: Mapping) -> dict[int, Batch]:
        """The batches of a point by number; empty if it was not simulated."""
        return self.totals.batches(point)

    def rows(self, confidence: float = 0.95) -> list[dict]:
        """Result rows with intervals, as the command that made the run prints them."""
        extra, of_channel = (self.config.get(entry, {}) for entry in ("row", "interference"))
        rule = stop_of(self.config)
        return [
            {
                **row,
                **extra,
                **of_channel.get(point.get("channel"), {}),
                **energy_fields(sums),
                **_why(rule, point, sums),
            }
            for point, sums in self.points
            for row in result_rows(point, metrics_of(sums), partial(sharing_of, point), confidence)
        ]


def _why(rule: Stop | None, point: Mapping, sums: Sums) -> dict[str, str]:
    return {"stopped": stopped(rule, point, sums)} if rule else {}


def stop_of(config: Mapping) -> Stop | None:
    """The stop rule of a run; None for one that has none."""
    rule = config.get("stop")
    known = {field.name for field in fields(Stop)}
    return Stop(**{name: value for name, value in rule.items() if name in known}) if rule else None


def stopped(rule: Stop, point: Mapping, sums: Sums) -> str:
    """Why a point of a run ended: "errors", "width", "trials" or "interrupted"."""
    return rule.reached(sums[rule.metric], point_interval(rule, point, sums)) or "interrupted"


def point_interval(rule: Stop, point: Mapping, sums: Sums) -> Interval:
    """The 95 % interval that a stop rule looks at."""
    return metric_interval(sums[rule.metric], sharing_of(point, rule.metric))


def sharing_of(point: Mapping, metric: str) -> Sharing:
    """What the trials of an error rate share at a point, which decides the interval.

    Without fading, or with a gain per symbol, symbols are independent and the bits of a symbol err together. Images differ
    in the points that they send, and all symbols on a grid share its channel estimate: there the spread over images decides.
    Words are independent where a transmission has one. All else shares the fade of its block.
    """
    if "words" in point and metric in ("bler", "undetected") and int(point["words"]) == 1:
        return INDEPENDENT
    if "words" in point or point["channel"] not in ("awgn", "rayleigh", "rician"):
        return FADE
    if metric not in ("ser", "ber") or point.get("csi", "perfect") != "perfect":
        return ALIKE
    if "system" in point:
        return Sharing(together=1, most=math.inf)
    # symbols that meet one matrix of gains
    symbols = 1 if point.get("scheme", "mrc") == "mrc" else int(point["num_tx"])
    together = symbols * phy.num_bits(point["modulation"]) if metric == "ber" else symbols
    return Sharing(together, together)


class RunWriter:
    """Writes a run, and closes it at the end of a `with` block; `folder` None keeps it in memory only.

    resume: go on with the run in `folder`; what it holds is in `totals`, and nothing of it is changed. force_config:
    also where settings differ that leave its batches valid (code version, stop rule, more points); the config becomes
    the new one.
    Errors: ValueError if the folder cannot be written, already holds a run and `resume` is not set, or holds none or
    one of other settings and it is; then nothing of this one is left in it.
    """

    def __init__(
        self, folder: str | Path | None, config: dict, *, resume: bool = False, force_config: bool = False
    ):
        folder = None if folder is None else folder_path("out", folder)
        self.folder = folder
        self.config = json.loads(json.dumps({**config, "environment": environment()}))
        self.totals = Totals()
        self._file = None
        self._reader = None
        if folder is None:
            if resume:
                raise ValueError("resume needs the folder of the run: give out")
            return
        try:
            if resume:
                self._take_up(folder, force_config)
            else:
                self._begin(folder)
            number = (
                len(list(folder.glob("rows-*.jsonl"))) + 1
            )  # only for the order; the token makes it unique
            mine = folder / f"rows-{number:04d}-{secrets.token_hex(4)}.jsonl"
            # Unbuffered: a line that could not be written must not be tried again when the file closes.
            self._file = mine.open("xb", buffering=0)
            self._reader = RowsReader(folder, mine)
            try:
                self.refresh()
            except ValueError:
                self.__exit__(None, None, None)
                raise
        except OSError as error:
            raise ValueError(f"cannot write to {folder}: {error.strerror}") from None

    def _begin(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if any(folder.glob("rows-*.jsonl")):
                raise FileExistsError
            write_text(folder / "config.json", json.dumps(self.config, indent=1) + "\n", replace=False)
        except FileExistsError:
            message = f"{folder} already holds a run: resume it, choose another folder or remove it"
            raise ValueError(message) from None

    def _take_up(self, folder: Path, force_config: bool) -> None:
        before = read_config(folder)
        if check_same(folder, before, self.config, force_config):
            history = [*before.get("history", []), before.get("environment")]
            self.config["history"] = history
            write_text(folder / "config.json", json.dumps(self.config, indent=1) + "\n")
        else:
            self.config = before

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            path = Path(str(self._file.name))
            with suppress(OSError):
                if not path.stat().st_size:  # another process had left nothing to do
                    path.unlink()

    def refresh(self) -> None:
        """Takes in what other writers have finished since."""
        if self._reader is not None:
            for line in self._reader.lines():
                self.totals.count(line)

    def append(self, point: Mapping, batch: int, sums: Sums, parts: Parts | None = None) -> None:
        """Stores a finished batch; with the operating system when this returns.

        Errors: OSError that names the file when it cannot be stored (disk full); earlier lines stay whole.
        """
        line = {"point": dict(point), "batch": batch, "sums": sums, **({"parts": parts} if parts else {})}
        if self._file is not None:
            self._store((json.dumps(line) + "\n").encode())
        self.totals.count(line)

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
        return Run(self.folder, self.config, self.totals, interrupted)


class RowsReader:
    """Reads the rows of a folder as they grow, each whole line once, but for the file that is one's own.

    Errors: ValueError for a damaged line.
    """

    def __init__(self, folder: Path, own: Path | None = None):
        self.folder, self.own = folder, own
        self._read: dict[Path, tuple[int, int]] = {}  # bytes and lines

    def lines(self, torn: bool = False) -> Iterator[dict]:
        """Lines that were not returned before; `torn`: also a last one without its line end, if it can be read."""
        for path in sorted(self.folder.glob("rows-*.jsonl")):
            if path == self.own:
                continue
            offset, number = self._read.get(path, (0, 0))
            try:
                with path.open("rb") as file:
                    file.seek(offset)
                    *whole, rest = file.read().split(b"\n")
            except FileNotFoundError:  # empty: its writer had nothing to do and has removed it
                continue
            self._read[path] = (offset + sum(len(line) + 1 for line in whole), number + len(whole))
            for place, text in enumerate(whole, start=number + 1):
                line = _parsed(text)
                if line is None:
                    raise ValueError(f"{path}, line {place} is damaged: restore it or remove the file")
                yield line
            if torn and (line := _parsed(rest)):
                yield line


def _parsed(text: bytes) -> dict | None:
    """A batch line; None if this is none."""
    try:
        line = json.loads(text)
        Totals().count(line)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return line


def load_run(folder: str | Path) -> Run:
    """Reads a run back. Errors: ValueError for a folder that holds none, or a damaged line that is not the last."""
    folder = folder_path("folder", folder)
    config = read_config(folder)
    return Run(folder, config, Totals(RowsReader(folder).lines(torn=True)))


def folder_path(name: str, given: str | Path) -> Path:
    """A folder as the user names it. Errors: ValueError for an empty name, which would be the current folder, and for what
    is no name."""
    if not isinstance(given, str | Path) or not str(given).strip():
        raise ValueError(f"{name} takes the name of a folder, such as runs/demo; got {given!r}")
    return Path(given)


def read_config(folder: Path) -> dict:
    """The configuration of a run. Errors: ValueError for a folder that holds none."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text()) if path.is_file() else None  # a device has no end
        if not isinstance(config, dict):
            raise TypeError
    except (OSError, ValueError, TypeError, RecursionError):
        raise ValueError(f"{folder} holds no run: config.json is missing or damaged") from None
    return config


def write_text(path: Path, text: str, *, replace: bool = True) -> None:
    """Writes a file that appears under its name only when complete, and leaves nothing when it cannot be.

    replace False: of several processes that try at once, one succeeds. Errors: FileExistsError for the others.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_text(text)
        if replace:
            partial.replace(path)
        else:
            _rename_to_new(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()


def _rename_to_new(source: Path, target: Path) -> None:
    """Errors: FileExistsError if the target exists."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, as cloud drives are
        with target.open("x") as file:
            file.write(source.read_text())
