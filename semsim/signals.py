"""Ctrl-C and SIGTERM: a question that the work answers between two batches, and a command that ends in any case.

    signal --> Python's handler: the work at hand ends by itself (`asked_to_stop`, KeyboardInterrupt)
           \\-> a thread that C code cannot hold up: ends the process after PATIENCE, or at the second signal

Python runs handlers between two of its own steps only. A compilation, or a long call of a device, is one step: there the
thread is what answers. To end so is safe at any moment: rows are on disk as soon as they are there, other files appear under
their names when they are complete, and what a process claimed is free when it is gone.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STATUS = 130
"""Exit status of a command that was stopped by either of them."""
PATIENCE = 4.0
"""Seconds that a command may take to end by itself."""
_saving = 0  # blocks of `saving` under way


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Within the block the first SIGINT or SIGTERM only sets the answer of the function; a second one acts as usual.

    Outside the main thread, where Python cannot handle signals, the answer stays no.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(seen)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def saving() -> Iterator[None]:
    """Within the block, which keeps what would be lost, only a second signal ends the process."""
    global _saving
    _saving += 1
    try:
        yield
    finally:
        _saving -= 1


def stop_together() -> None:
    """From now on only a second signal ends the process: those of a distributed job agree on where they stop."""
    global _saving
    _saving += 1


def end_while_loading() -> None:
    """From now on either signal ends the process at once: nothing has begun yet, and an import cannot be interrupted."""

    def end(number: int, frame: FrameType | None) -> None:
        _end("stopped")

    for number in SIGNALS:
        signal.signal(number, end)


@contextmanager
def ending_in_time() -> Iterator[None]:
    """Within the block either signal raises KeyboardInterrupt, and ends the process where that is not heard in time.

    Outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    old = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(reader,), daemon=True, name="semsim-signals")
    watch.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        writer.close()
        watch.join()
        reader.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(reader: socket.socket) -> None:
    """Ends the process at the second signal, or `PATIENCE` after the first; returns when the other end is closed."""
    first = None
    while True:
        reader.settimeout(None if first is None else max(0.01, first + PATIENCE - time.monotonic()))
        try:
            heard = reader.recv(64)
        except TimeoutError:
            if not _saving:
                _end("stopped in the middle of a step; what was finished before is kept")
            first = time.monotonic()
            continue
        if not heard:
            return
        for number in heard:
            if number not in SIGNALS:
                continue
            if first is not None:
                _end("stopped at once; what was finished before is kept")
            first = time.monotonic()


def _end(said: str) -> NoReturn:
    """Ends the process from any thread, with one line; what Python has yet to do at its exit is left undone."""
    try:
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides the cursor
        os.write(2, f"{shown}semsim: {said}\n".encode())
    finally:  # whoever read stderr may be gone
        os._exit(STATUS)
