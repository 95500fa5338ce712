"""Ctrl-C and SIGTERM as a question that the work answers between two batches."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Within the block the first SIGINT or SIGTERM only sets the answer of the function; a second one acts as usual.

    Outside the main thread, where Python cannot handle signals, the answer stays no.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
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
