"""Whether a program fits into memory, told from its shapes: a host does not refuse too much memory, it kills the process."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.extend.core
import numpy as np

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much of the machine a container may use, by its two versions."""
NEARLY = 1 / 32
"""Share of the memory from which on the compiler is asked too: a program holds more than its largest array."""


def check_fits(program: Any, devices: Sequence[Any], exact: Callable[[], int], advice: str) -> None:
    """Errors: ValueError, with what is needed and what there is, for a program that cannot run on these devices.

    program: its jaxpr, with the shapes of one device within. devices: of this process; those of a CPU share its memory.
    exact: bytes on a device by the compiler, asked only where the largest array alone leaves a doubt, and only of a CPU:
    an accelerator says so itself. advice: what would do.
    """
    shared = devices[0].platform == "cpu"
    limit = host_memory() if shared else (devices[0].memory_stats() or {}).get("bytes_limit")
    if not limit:
        return
    users = len(devices) if shared else 1
    needed = users * largest_array(program)
    if shared and NEARLY * limit < needed <= limit:
        needed = users * exact()
    if needed > limit:
        where = "this machine" if shared else str(devices[0])
        raise ValueError(
            f"that needs at least {_said(needed)} of memory, {where} has {_said(limit)}: {advice}"
        )


def host_memory() -> int | None:
    """Bytes that this process may use at most; None where the system does not tell."""
    found = []
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in CGROUPS:
        with suppress(OSError, ValueError):  # "max" is no number
            found.append(int(Path(path).read_text()))
    return min(found, default=None)


def largest_array(program: Any) -> int:
    """Bytes of the largest array that a jaxpr makes, or that one within it does."""
    largest = 0
    for equation in program.eqns:
        for made in equation.outvars:
            largest = max(largest, _bytes(made.aval))
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            largest = max(largest, largest_array(inner))
    return largest


def live_bytes(program: Any) -> int:
    """Bytes that the values of a jaxpr take at most at once, beside its arguments.

    A value lives from where it is made to its last use; within a loop, or a call, what its body holds comes on top. No more
    than about the memory of a program: compilers fuse values away, and need room for their own (nets on a CPU: 0.6 to
    2.5 times).
    """
    last = {
        id(name): place
        for place, equation in enumerate(program.eqns)
        for name in equation.invars
        if not isinstance(name, jax.extend.core.Literal)
    }
    last |= {id(name): len(program.eqns) for name in program.outvars}
    most, now, ends = 0, 0, dict[int, int]()
    for place, equation in enumerate(program.eqns):
        made = {id(name): _bytes(name.aval) for name in equation.outvars}
        bodies = jax.extend.core.jaxprs_in_params(equation.params)
        within = max(
            (live_bytes(body) - sum(_bytes(name.aval) for name in body.outvars) for body in bodies), default=0
        )
        most = max(most, now + max(within, 0) + sum(made.values()))
        for name, size in made.items():
            if name in last:
                now += size
                ends[last[name]] = ends.get(last[name], 0) + size
        now -= ends.pop(place, 0)
    return most


def _bytes(aval: Any) -> int:
    if not hasattr(aval, "shape") or not hasattr(aval.dtype, "itemsize"):
        return 0
    return int(np.prod([int(size) for size in aval.shape], dtype=object)) * aval.dtype.itemsize


def _said(size: float) -> str:
    for unit in ("MiB", "GiB", "TiB"):
        size /= 1024 if unit != "MiB" else 2**20
        if size < 1000:
            break
    return f"{size:,.1f} {unit}"
