"""What semsim asks of JAX before its first computation: a CPU device per core, and compiled programs kept on disk."""

import atexit
import hashlib
import os
import platform
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from semsim.signals import stop_together

PATIENCE = 300
"""Seconds that the processes of a distributed job wait for each other at the start."""
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_no_cache: str | None = None  # why compiled programs are not kept, where that was not the user's wish
_barrier: Callable[..., None] | None = None  # of a distributed job whose processes have yet to `meet`


_settings: Any = jax.config  # its attributes are made at run time


def prepare() -> None:
    """Asks for one CPU device per core and for the persistent compilation cache; cheap, and harmless to call again.

    XLA works off cache-sized blocks on one core per device, so a machine without an accelerator simulates on as many
    devices as it has cores. JAX grants them until its first computation only: a process that has already used JAX keeps
    its devices.
    Settings that the user made (JAX_NUM_CPU_DEVICES, XLA_FLAGS, JAX_COMPILATION_CACHE_DIR,
    JAX_ENABLE_COMPILATION_CACHE) win.
    """
    forced = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if _settings.jax_num_cpu_devices < 1 and not forced:
        with suppress(RuntimeError):  # too late: a backend is in use
            jax.config.update("jax_num_cpu_devices", num_cores())
    wanted = _settings.jax_enable_compilation_cache and _settings.jax_compilation_cache_dir is None
    if wanted and (folder := _programs()) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # A first result waits for some twenty small programs, each below JAX's default threshold of one second.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@dataclass(frozen=True)
class Cluster:
    """The processes of a distributed job: each runs the same command, and all of them form one set of devices.

    distributed: join the job that the scheduler started (TPU pod, Slurm, Open MPI, Kubernetes: JAX finds out by itself), or
    the one at `coordinator`, host:port of process 0, with `num_processes` and this one's `process_id`.
    Errors: ValueError for a part of the three, a coordinator without a port, or numbers that make no job.
    """

    distributed: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.coordinator, self.num_processes, self.process_id)]
        if any(given) and not (all(given) and self.distributed):
            raise ValueError("coordinator, num_processes and process_id go together, with distributed")
        if self.coordinator is not None and not self.coordinator.rpartition(":")[2].isdecimal():
            raise ValueError(f"coordinator must be host:port of process 0; got {self.coordinator}")
        if all(given) and not 0 <= (self.process_id or 0) < (self.num_processes or 0):
            raise ValueError(
                f"process_id must be in [0, {self.num_processes}), the number of processes; got {self.process_id}"
            )


def join(cluster: Cluster) -> None:
    """Joins a distributed job, before JAX is used. Errors: ValueError when there is none to join."""
    if not cluster.distributed:
        return
    global _barrier
    prepare()
    _keep_stdout_clean()
    stop_together()
    # JAX's own handler of SIGTERM would take the place of the one that ends a sweep between two batches.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.num_processes,
            cluster.process_id,
            cluster_detection_method=None if cluster.coordinator is None else "deactivate",
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"no distributed job to join ({error}): start under a scheduler that JAX knows, or give coordinator, "
            "num_processes and process_id"
        ) from None
    from orbax.checkpoint import multihost  # slow to import, and rarely needed

    jax.devices()  # each waits here for the devices of the others: a process that has ended could not tell its own
    _barrier = multihost.get_barrier_sync_fn()
    atexit.register(meet, False)


def meet(ready: bool = True) -> None:
    """Waits, once, until every process of a distributed job is about to start its work.

    One that ends before that, by a mistake of its own, comes here on its way out: the others end too and wait for nobody.
    Errors: ValueError in those others.
    """
    global _barrier
    if _barrier is None:
        return
    barrier, _barrier = _barrier, None
    # Collectives of CPU devices give up after 30 s, too soon for a process that still loads images.
    barrier(key="semsim", timeout_ms=1000 * PATIENCE)
    present = np.ravel(multihost_utils.process_allgather(np.array([ready])))
    if ready and not present.all():
        raise ValueError(f"process {np.argmin(present)} of the job ended before the start: it says why")


def _keep_stdout_clean() -> None:
    """Leaves stdout to Python: Gloo, which connects the processes of a CPU job, says so there, in the middle of our JSON."""
    if sys.stdout is not sys.__stdout__ or not hasattr(os, "dup"):
        return  # somebody, a test or a notebook, has already put it elsewhere
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def is_leader() -> bool:
    """Whether this process is the one of its job that writes and prints."""
    return jax.process_index() == 0


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compilation_cache() -> str | None:
    """Folder of the persistent compilation cache; None when it is off."""
    return _settings.jax_compilation_cache_dir if _settings.jax_enable_compilation_cache else None


def no_cache_because() -> str | None:
    """Why compiled programs are not kept although nobody switched that off; None where they are."""
    return _no_cache


def _programs() -> Path | None:
    """A folder of this user alone for compiled programs, which are code that will run; None, noted, where there is none.

    It lies with the user's caches and not with the data sets, whose folder (SEMSIM_DATA) people share. One that somebody
    else owns or may write to is not used, nor a link to another place.
    """
    global _no_cache
    base = os.environ.get("XDG_CACHE_HOME")
    root = (Path(base) if base else Path("~/.cache")) / "semsim" / "jax"
    try:
        root = root.expanduser()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.lstat()
        if not stat.S_ISDIR(found.st_mode):
            _no_cache = f"{root} is a link, not a folder"
        elif hasattr(os, "geteuid") and (found.st_uid != os.geteuid() or found.st_mode & OTHERS_WRITE):
            _no_cache = f"{root} belongs to somebody else, or others may write to it: remove it"
        else:
            root.chmod(0o700)  # earlier versions left it open to readers
            return root / _machine()
    except (OSError, RuntimeError) as error:
        _no_cache = f"{root} cannot be made: {error}"
    return None


def _machine() -> str:
    """A name for this kind of processor: machines that share a home folder must not run each other's programs."""
    features = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), features)
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
