"""What the processes of a distributed job agree on; one process agrees with itself."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

MESSAGE = 1 << 14
"""Bytes that processes exchange at once."""


def agreed(value: Any) -> Any:
    """The value of process 0, in every process of a distributed job: plain data, as JSON can say it."""
    if jax.process_count() == 1:
        return value
    left = json.dumps(value).encode() if jax.process_index() == 0 else b""
    found, more = b"", True
    while more:  # messages of one size: another would compile another program
        part, left = left[: MESSAGE - 1], left[MESSAGE - 1 :]
        message = np.frombuffer(part.ljust(MESSAGE - 1) + bytes([bool(left)]), np.uint8)
        heard = np.asarray(multihost_utils.broadcast_one_to_all(message)).tobytes()
        found, more = found + heard[:-1], bool(heard[-1])
    return json.loads(found)


def unanimous(value: Any) -> bool:
    """Whether every process of a distributed job has the same value: plain data, as JSON can say it."""
    if jax.process_count() == 1:
        return True
    digest = np.frombuffer(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest(), np.uint8)
    found = multihost_utils.process_allgather(digest)
    return bool(np.all(found == found[:1]))


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process of a distributed job."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array([flag]))))


def refuse_together(check: Callable[[], None], elsewhere: str) -> None:
    """Makes a check in every process of a distributed job: what one of them refuses, all do, so that none waits for it.

    Errors: the ValueError of this process's own check, or one that says `elsewhere`.
    """
    refused: ValueError | None = None
    try:
        check()
    except ValueError as error:
        refused = error
    if any_process(refused is not None):
        raise refused or ValueError(elsewhere)
