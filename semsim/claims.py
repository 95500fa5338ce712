"""Who works on what in a run folder that several processes fill: one small file per piece of work.

    O_EXCL create --> ours, touched while we work --> removed when done
    a file whose owner died on this machine, or that nobody touched for `EXPIRY` seconds --> taken over

Claims only keep processes from doing the same work twice. Correct totals do not rest on them: a batch that two
processes made after all counts once.
"""

import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EXPIRY = 900.0
"""Seconds without a sign of life, which every batch gives, after which a claim counts as abandoned."""
TORN = 10.0
"""The same for a claim that does not say whose it is: its owner died, or the disk was full, as it was being written."""


class Claims:
    """The claims of a run folder; `folder` None: nobody else is there, and every claim is granted."""

    def __init__(self, folder: Path | None, expiry: float = EXPIRY):
        self.folder = folder / "claims" if folder else None
        self.expiry = expiry
        self._held: Path | None = None
        self._text = ""
        self._touched = 0.0

    @contextmanager
    def hold(self, work: str) -> Iterator[bool]:
        """Whether the work is ours until the end of the block."""
        if self.folder is None:
            yield True
            return
        path = self.folder / hashlib.sha256(work.encode()).hexdigest()[:20]
        if not self._take(path):
            yield False
            return
        self._held, self._touched = path, time.monotonic()
        try:
            yield True
        finally:
            self._held = None
            with suppress(OSError):
                if path.read_text() == self._text:  # not so if we were silent, and another one took it over
                    path.unlink()
            with suppress(OSError):  # the last one out leaves no empty folder
                self.folder.rmdir()

    def alive(self) -> None:
        """A sign of life on the claim at hand; cheap to call often."""
        if self._held is not None and time.monotonic() - self._touched > self.expiry / 20:
            self._touched = time.monotonic()
            with suppress(OSError):
                os.utime(self._held)

    def _take(self, path: Path) -> bool:
        """Creates the claim; that of a dead or silent owner is moved aside first."""
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
        self._text = json.dumps({**owner, "token": secrets.token_hex(4)})
        for _ in range(3):
            with suppress(FileNotFoundError, FileExistsError):  # removed, or created, in between: both too
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x") as file:
                    file.write(self._text)
                return True
            with suppress(FileNotFoundError):  # removed meanwhile: try again
                seen = path.stat().st_mtime_ns
                if not self._abandoned(path):
                    return False
                aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
                path.rename(aside)
                if aside.stat().st_mtime_ns != seen:  # not the abandoned one: another process was faster
                    aside.rename(path)
                    return False
                aside.unlink()
        return False

    def _abandoned(self, path: Path) -> bool:
        silent = self._now(path) - path.stat().st_mtime
        try:
            owner = json.loads(path.read_text())
            here, process = owner["host"] == socket.gethostname(), (owner["pid"], owner["started"])
        except (ValueError, KeyError, TypeError):  # being written, or torn: then only its age tells
            return silent > min(TORN, self.expiry)
        return silent > self.expiry or (here and not _runs(*process))

    def _now(self, path: Path) -> float:
        """The file server's clock, which set the times that it is compared with."""
        probe = path.with_name(f"clock-{secrets.token_hex(4)}")
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()


def _runs(pid: int, started: str | None) -> bool:
    """Whether that very process runs: a container that starts again gives its processes the old numbers."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return _started(pid) == started


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's words; None if it is a zombie, or where the kernel does not tell."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else fields[18]
