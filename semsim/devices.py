"""The realisation axis over devices: blocks of draws, each with a key of its own, on as many devices as there are.

    key of a block = fold_in(key of (point, batch), block)
    blocks --(shard_map)--> devices --(lax.map over groups of `width`)--> kernel --> counts, back on the host

A block knows its key and nothing of the device that works it off, so counts are the same on any number of devices and
processes. Sums of reals are formed on the host, in float64 and in a fixed order.
"""

import abc
import hashlib
import json
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Key, UInt32

from semsim.backend import meet
from semsim.sweep import DEFAULT_GENERATOR, key_of_words

AXIS = "realisations"
MAX_WIDTH = 4096
MEMORY_SHARE = 0.5
"""Of a device's memory; the rest is for weights, images and what other programs leave behind."""
MESSAGE = 1 << 14
"""Bytes that processes exchange at once."""


class Kernel(abc.ABC):
    """What one block computes: a frozen dataclass of static settings, called with traced data."""

    realizations: int

    @abc.abstractmethod
    def __call__(self, key: Key[Array, ""], mapped: Any, shared: Any) -> Any:
        """A pytree of arrays with one leading axis of `realizations` independent draws.

        mapped: what belongs to this block (its images, say). shared: what belongs to the point and the plan.
        """


@dataclass(frozen=True)
class Execution:
    """Where and in what portions; results do not depend on it.

    devices: how many of JAX's devices, the first ones; default all. batch: realisations that a device works on at
    once;
    "auto": on an accelerator as many as fit into half of its memory, on a CPU one block, which fits its cache.
    Errors: ValueError for numbers that are not positive.
    """

    devices: int | None = None
    batch: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.devices is not None and self.devices < 1:
            raise ValueError(f"devices must be at least 1; got {self.devices}")
        if self.batch != "auto" and self.batch < 1:
            raise ValueError(f"batch must be auto or at least 1 realisation; got {self.batch}")


class Work(NamedTuple):
    """A point as the devices see it."""

    kernel: Kernel
    blocks: int  # in a batch
    words: UInt32[np.ndarray, "3"]  # of `draw_words`
    generator: str
    shared: Any
    mapped: Callable[[int], Any]  # batch -> pytree of [blocks, ...], or ()


class Evaluator:
    """Works off batches on the devices of one `Execution`.

    Errors: ValueError for more devices than there are, or when another process of a distributed job has ended.
    """

    def __init__(self, execution: Execution = Execution()):  # noqa: B008 (frozen)
        found = jax.devices()
        if execution.devices is not None and jax.process_count() > 1:
            raise ValueError("a distributed job uses all devices of all its processes: leave devices out")
        if execution.devices is not None and execution.devices > len(found):
            raise ValueError(f"there are {len(found)} devices; got devices = {execution.devices}")
        meet()
        self.mesh = Mesh(np.array(found[: execution.devices]), (AXIS,))
        self.batch = execution.batch
        self._widths: dict[Hashable, int] = {}

    def batches(self, work: Work, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """(batch, what the kernel returned for it: [blocks, realisations, ...]), in the order of `numbers`.

        One call is always under way while another is being read. A device that runs out of memory gets half as much
        at once.
        Errors: ValueError when a single block is too much.
        """
        waiting = deque(self._calls(work, numbers))
        running: deque[tuple[Sequence[int], int, Any]] = deque()
        while waiting or running:
            if waiting and len(running) < 2:
                chosen = waiting.popleft()
                running.append((chosen, self.width(work), self._start(work, chosen)))
                continue
            chosen, width, found = running.popleft()
            try:
                if isinstance(found, Exception):
                    raise found
                found = jax.device_get(found)
            except jax.errors.JaxRuntimeError as error:
                if not _out_of_memory(error):
                    raise
                redo = [number for batch in (chosen, *(x[0] for x in running), *waiting) for number in batch]
                running.clear()
                self._halve(work, width)
                waiting = deque(self._calls(work, redo))
                continue
            for place, number in enumerate(chosen):
                part = slice(place * work.blocks, (place + 1) * work.blocks)
                yield number, jax.tree.map(lambda leaf, part=part: leaf[part], found)

    def batches_per_call(self, work: Work) -> int:
        """Batches that a call of all devices holds."""
        return self._call_size(work, self.width(work)) // work.blocks

    def width(self, work: Work) -> int:
        """Blocks that a device works on at once."""
        name = (work.kernel, work.generator)
        if name not in self._widths:
            if isinstance(self.batch, int):
                self._widths[name] = -(-self.batch // work.kernel.realizations)
            else:
                self._widths[name] = agreed(self._fitting(work))  # hosts may see different amounts of memory
        return self._widths[name]

    def memory(self, work: Work, width: int) -> int:
        """Bytes that the program needs on a device beside its arguments; compiles it."""
        arguments = self._arguments(work, (0,), self._call_size(work, width))
        lowered = evaluate.lower(
            *arguments, kernel=work.kernel, mesh=self.mesh, width=width, generator=work.generator
        )
        analysis = lowered.compile().memory_analysis()
        return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes) if analysis else 0

    def _fitting(self, work: Work) -> int:
        device = self.mesh.local_devices[0]
        if device.platform == "cpu":
            return 1
        limit = (device.memory_stats() or {}).get("bytes_limit")
        needed = self.memory(work, 1)
        if not limit or not needed:
            return 64
        return min(1 << max(int(MEMORY_SHARE * limit / needed).bit_length() - 1, 0), MAX_WIDTH)

    def _halve(self, work: Work, failed: int) -> None:
        where = self.mesh.local_devices[0]
        if jax.process_count() > 1:  # the others are in the middle of the same call
            raise ValueError(f"{where} ran out of memory with {failed} blocks at once: set batch lower")
        if failed == 1:
            raise ValueError(
                f"a block of {work.kernel.realizations} realisations does not fit into the memory of {where}: "
                "use a smaller grid or codec"
            )
        self._widths[work.kernel, work.generator] = failed // 2

    def _call_size(self, work: Work, width: int) -> int:
        """Blocks in a call: a batch or more, and the same load for every device."""
        lanes = self.mesh.size * width
        return -(-max(work.blocks, lanes // work.blocks * work.blocks) // lanes) * lanes

    def _calls(self, work: Work, numbers: Sequence[int]) -> list[Sequence[int]]:
        size = self.batches_per_call(work)
        return [numbers[start : start + size] for start in range(0, len(numbers), size)]

    def _start(self, work: Work, chosen: Sequence[int]) -> Any:
        width = self.width(work)
        arguments = self._arguments(work, chosen, self._call_size(work, width))
        try:
            return evaluate(
                *arguments, kernel=work.kernel, mesh=self.mesh, width=width, generator=work.generator
            )
        except jax.errors.JaxRuntimeError as error:
            return error  # raised again where results are read

    def _arguments(self, work: Work, chosen: Sequence[int], size: int) -> tuple[Any, ...]:
        numbers = np.zeros((size, 2), np.uint32)
        used = len(chosen) * work.blocks
        numbers[:used, 0] = np.repeat(np.asarray(chosen, np.uint32), work.blocks)
        numbers[:used, 1] = np.tile(np.arange(work.blocks, dtype=np.uint32), len(chosen))
        each = [work.mapped(number) for number in chosen]
        mapped = jax.tree.map(lambda *leaves: _filled(np.concatenate(leaves), size), *each)
        return work.words, numbers, mapped, work.shared


@partial(jax.jit, static_argnames=("kernel", "mesh", "width", "generator"))
def evaluate(
    words: UInt32[Array, "3"],
    numbers: UInt32[Array, "n 2"],
    mapped: Any,
    shared: Any,
    *,
    kernel: Kernel,
    mesh: Mesh,
    width: int,
    generator: str = DEFAULT_GENERATOR,
) -> Any:
    """The kernel at n blocks, [n, realisations, ...]; `numbers` are (batch, block), n a multiple of devices x
    width."""

    def block(item: tuple[Array, Any], words: Array, shared: Any) -> Any:
        number, mine = item
        return kernel(block_key(words, number, generator), mine, shared)

    def local(words: Array, numbers: Array, mapped: Any, shared: Any) -> Any:
        found = jax.lax.map(
            partial(block, words=words, shared=shared),
            (numbers, mapped),
            batch_size=width if width > 1 else None,
        )
        # A process sees its own devices only: it needs the counts of the others as well.
        return jax.lax.all_gather(found, AXIS, tiled=True) if jax.process_count() > 1 else found

    along, everywhere = P(AXIS), P()
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(everywhere, along, along, everywhere),
        out_specs=everywhere if jax.process_count() > 1 else along,
        check_vma=False,  # constants of a kernel vary over no axis, its draws do: the checker would want each marked
    )(words, numbers, mapped, shared)


def block_key(
    words: UInt32[Array, "3"], number: UInt32[Array, "2"], generator: str = DEFAULT_GENERATOR
) -> Key[Array, ""]:
    """The key of block number[1] of batch number[0]."""
    return jax.random.fold_in(key_of_words(words, number[0], generator), number[1])


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


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    """Padded to `size` with its last entry: the results of the padding are dropped."""
    missing = size - len(array)
    return np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)], mode="edge") if missing else array


def _out_of_memory(error: Exception) -> bool:
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
