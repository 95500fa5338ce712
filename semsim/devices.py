"""The realisation axis over devices: blocks of draws, each with a key of its own, on as many devices as there are.

    key of a block = fold_in(key of (point, batch), block)
    blocks --(shard_map)--> devices --(lax.map over groups of `width`)--> kernel --> counts, back on the host

A block knows its key and nothing of the device that works it off, so counts are the same on any number of devices and
processes. Sums of reals are formed on the host, in float64 and in a fixed order.
"""

import abc
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int, Key, UInt32

from semsim.backend import meet
from semsim.memory import check_fits, live_bytes
from semsim.processes import agreed, refuse_together
from semsim.sweep import DEFAULT_GENERATOR, key_of_words

AXIS = "realisations"
MAX_WIDTH = 4096
MEMORY_SHARE = 0.5
"""Of a device's memory; the rest is for weights, images and what other programs leave behind."""
SMALLER = "take smaller images, a smaller grid, fewer antennas or shorter codes"


class Kernel(abc.ABC):
    """What one block computes: a frozen dataclass of static settings, called with traced data."""

    realizations: int

    @abc.abstractmethod
    def __call__(self, key: Key[Array, ""], mapped: Any, shared: Any) -> Any:
        """A pytree of arrays with one leading axis of `realizations` independent draws.

        mapped: what belongs to this block (its images, say). shared: what belongs to the point and the plan.
        """

    @property
    def pieces(self) -> int:
        """Calls that a batch takes: one whose blocks are long work is done piece by piece, and may be left in between."""
        return 1

    def piece(self, key: Key[Array, ""], mapped: Any, shared: Any, number: Int[Array, ""]) -> Any:
        """Piece `number` of what a call returns, where there are several."""
        raise NotImplementedError

    def join(self, found: Sequence[Any]) -> Any:
        """On the host, what a call would have returned, from its pieces; leaves [blocks, realisations, ...]."""
        raise NotImplementedError


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
    example: int = 0  # a batch that `mapped` has: one work may serve only some of the batches of a point


class Stopped(Exception):
    """Asked to stop while devices work; what they work on is dropped."""


class Evaluator:
    """Works off batches on the devices of one `Execution`.

    Errors: ValueError for more devices than there are, or when another process of a distributed job has ended.
    """

    def __init__(self, execution: Execution = Execution()):  # noqa: B008 (frozen)
        found = jax.devices()
        if execution.devices is not None and jax.process_count() > 1:
            raise ValueError("a distributed job uses all devices of all its processes: leave devices out")
        if execution.devices is not None and execution.devices > len(found):
            raise ValueError(
                f"devices must be at most {len(found)}, as many as there are; got {execution.devices}"
            )
        meet()
        self.mesh = Mesh(np.array(found[: execution.devices]), (AXIS,))
        self.batch = execution.batch
        self._widths: dict[Hashable, int] = {}

    def batches(
        self, work: Work, numbers: Sequence[int], asked: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[int, Any]]:
        """(batch, what the kernel returned for it: [blocks, realisations, ...]), in the order of `numbers`.

        One call is always under way while another is being read. A device that runs out of memory gets half as much
        at once. asked: whether to stop, looked at while devices work; a distributed job does not, so that its processes
        stay together.
        Errors: ValueError when a single block is too much; Stopped.
        """
        waiting = deque(self._calls(work, numbers))
        running: deque[tuple[_Call, int, Any]] = deque()
        pieces: list[Any] = []
        while waiting or running:
            if waiting and len(running) < 2:
                call = waiting.popleft()
                running.append((call, self.width(work), self._start(work, call)))
                continue
            call, width, found = running.popleft()
            try:
                if isinstance(found, Exception):
                    raise found
                found = _read(found, asked)
            except jax.errors.JaxRuntimeError as error:
                if not _out_of_memory(error):
                    raise
                calls = (call, *(each[0] for each in running), *waiting)
                redo = list(dict.fromkeys(number for each in calls for number in each.numbers))
                running.clear()
                pieces.clear()
                self._halve(work, width)
                waiting = deque(self._calls(work, redo))
                continue
            if work.kernel.pieces > 1:
                pieces.append(found)
                if len(pieces) < work.kernel.pieces:
                    continue
                found = work.kernel.join(pieces)
                pieces.clear()
            for place, number in enumerate(call.numbers):
                part = slice(place * work.blocks, (place + 1) * work.blocks)
                yield number, jax.tree.map(lambda leaf, part=part: leaf[part], found)

    @property
    def platform(self) -> str:
        return self.mesh.local_devices[0].platform

    def batches_per_call(self, work: Work) -> int:
        """Batches that a call of all devices holds."""
        return self._call_size(work, self.width(work)) // work.blocks

    def width(self, work: Work) -> int:
        """Blocks that a device works on at once."""
        name = (work.kernel, work.generator)
        if name not in self._widths:
            # hosts may see different amounts of memory
            width = self._asked(work) or agreed(self._fitting(work))
            self._check_fits(self._traced(work, width).jaxpr, lambda: self.memory(work, width))
            self._widths[name] = width
        return self._widths[name]

    def memory(self, work: Work, width: int) -> int:
        """Bytes that the program needs on a device beside its arguments; compiles it."""
        analysis = self._traced(work, width).lower().compile().memory_analysis()
        return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes) if analysis else 0

    def outline(self, work: Work) -> int:
        """About the `memory` of a device of the CPU, from shapes alone: compiles nothing, and takes seconds.

        Errors: ValueError where one array alone is more than there is.
        """
        program = self._traced(work, self._asked(work) or 1).jaxpr
        self._check_fits(program, lambda: 0)
        return live_bytes(program)

    def _asked(self, work: Work) -> int:
        """Blocks at once that `batch` asks for; 0 for auto."""
        return -(-self.batch // work.kernel.realizations) if isinstance(self.batch, int) else 0

    def _traced(self, work: Work, width: int) -> Any:
        """The program as JAX traces it, from shapes alone; a call of these shapes does not trace it again."""
        size = self._call_size(work, width)
        words, numbers, mapped, shared, piece = self._arguments(work, _Call((work.example,), 0), work.blocks)
        numbers, mapped = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), (numbers, mapped)
        )
        return evaluate.trace(
            words, numbers, mapped, shared, piece,
            kernel=work.kernel, mesh=self.mesh, width=width, generator=work.generator,
        )  # fmt: skip

    def _check_fits(self, program: Any, exact: Callable[[], int]) -> None:
        """Errors: ValueError for more than the memory that there is, before any of it is asked for; in every process of a
        distributed job where it is in one. exact: bytes on a device by the compiler."""
        refuse_together(
            lambda: check_fits(program, self.mesh.local_devices, exact, self._smaller),
            f"another process of this job has too little memory: {self._smaller}",
        )

    @property
    def _smaller(self) -> str:
        """What would fit."""
        return (
            f"set batch, now {self.batch} realisations at once, lower"
            if isinstance(self.batch, int)
            else SMALLER
        )

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

    def _calls(self, work: Work, numbers: Sequence[int]) -> "list[_Call]":
        size = self.batches_per_call(work)
        chosen = [tuple(numbers[start : start + size]) for start in range(0, len(numbers), size)]
        return [_Call(each, piece) for each in chosen for piece in range(work.kernel.pieces)]

    def _start(self, work: Work, call: "_Call") -> Any:
        width = self.width(work)
        arguments = self._arguments(work, call, self._call_size(work, width))
        try:
            return evaluate(
                *arguments, kernel=work.kernel, mesh=self.mesh, width=width, generator=work.generator
            )
        except jax.errors.JaxRuntimeError as error:
            return error  # raised again where results are read

    def _arguments(self, work: Work, call: "_Call", size: int) -> tuple[Any, ...]:
        chosen = call.numbers
        numbers = np.zeros((size, 2), np.uint32)
        used = len(chosen) * work.blocks
        numbers[:used, 0] = np.repeat(np.asarray(chosen, np.uint32), work.blocks)
        numbers[:used, 1] = np.tile(np.arange(work.blocks, dtype=np.uint32), len(chosen))
        each = [work.mapped(number) for number in chosen]
        mapped = jax.tree.map(lambda *leaves: _filled(np.concatenate(leaves), size), *each)
        piece = np.int32(call.piece) if work.kernel.pieces > 1 else None
        return work.words, numbers, mapped, work.shared, piece


@partial(jax.jit, static_argnames=("kernel", "mesh", "width", "generator"))
def evaluate(
    words: UInt32[Array, "3"],
    numbers: UInt32[Array, "n 2"],
    mapped: Any,
    shared: Any,
    piece: Int[Array, ""] | None = None,
    *,
    kernel: Kernel,
    mesh: Mesh,
    width: int,
    generator: str = DEFAULT_GENERATOR,
) -> Any:
    """The kernel at n blocks, [n, realisations, ...]; `numbers` are (batch, block), n a multiple of devices x
    width. piece: which one, of a kernel that has several."""

    def block(item: tuple[Array, Any], words: Array, shared: Any, piece: Any) -> Any:
        number, mine = item
        key = block_key(words, number, generator)
        return kernel(key, mine, shared) if piece is None else kernel.piece(key, mine, shared, piece)

    def local(words: Array, numbers: Array, mapped: Any, shared: Any, piece: Any) -> Any:
        found = jax.lax.map(
            partial(block, words=words, shared=shared, piece=piece),
            (numbers, mapped),
            batch_size=width if width > 1 else None,
        )
        # A process sees its own devices only: it needs the counts of the others as well.
        return jax.lax.all_gather(found, AXIS, tiled=True) if jax.process_count() > 1 else found

    along, everywhere = P(AXIS), P()
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(everywhere, along, along, everywhere, everywhere),
        out_specs=everywhere if jax.process_count() > 1 else along,
        check_vma=False,  # constants of a kernel vary over no axis, its draws do: the checker would want each marked
    )(words, numbers, mapped, shared, piece)


def block_key(
    words: UInt32[Array, "3"], number: UInt32[Array, "2"], generator: str = DEFAULT_GENERATOR
) -> Key[Array, ""]:
    """The key of block number[1] of batch number[0]."""
    return jax.random.fold_in(key_of_words(words, number[0], generator), number[1])


class _Call(NamedTuple):
    """What the devices are given at once."""

    numbers: tuple[int, ...]  # of batches
    piece: int


def _read(found: Any, asked: Callable[[], bool]) -> Any:
    """What devices return, on the host. Waits in steps that are short beside the call: Python hears signals between them.

    Errors: Stopped.
    """
    leaves: list[Any] = [leaf for leaf in jax.tree.leaves(found) if isinstance(leaf, jax.Array)]
    began = time.monotonic()
    while jax.process_count() == 1 and not all(leaf.is_ready() for leaf in leaves):
        if asked():
            raise Stopped
        time.sleep(min(0.05, 1e-4 + 0.02 * (time.monotonic() - began)))
    return jax.device_get(found)


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    """Padded to `size` with its last entry: the results of the padding are dropped."""
    missing = size - len(array)
    return np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)], mode="edge") if missing else array


def _out_of_memory(error: Exception) -> bool:
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
