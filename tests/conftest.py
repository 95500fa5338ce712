"""Strict settings of every test: ranks never promoted in silence, one backend, no window, no heap of programs.

Compiled programs are kept on disk, as the commands keep them: processes, modules and a second interpreter share them.

Set before anything imports jax or matplotlib. pyproject.toml makes warnings errors; annotated shapes become
run-time checks with `pytest --jaxtyping-packages=phy,channels,models,semsim,beartype.beartype`.
"""

import gc
import os
import signal

# The tolerances were chosen for the CPU. Export JAX_PLATFORMS to try another backend.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# Every test of the engine runs on four devices, whatever machine it runs on.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")

# A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

from semsim.backend import prepare  # noqa: E402

prepare()
hypothesis.settings.register_profile("same examples every time", derandomize=True)
hypothesis.settings.load_profile("same examples every time")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_go_with_their_module():
    """Each holds some memory maps, of which Linux gives a process 65,530: XLA aborts at the next program after the last."""
    yield
    jax.clear_caches()
    gc.collect()
