"""Belief propagation for NR LDPC: one chunk of words at a time, batch last, with or without early termination.

A program for a CPU and one for every other device give the same bits (see `schedules`); which one is compiled is decided
when the program is lowered, so that a decoder may also be exported for a device that is not there.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from phy.coding.check_nodes import LARGEST_LLR, RULES, STEPS_PER_UNIT, quantise
from phy.coding.ldpc import LdpcCode
from phy.coding.schedules import (
    Messages,
    behind_barrier,
    behind_branch,
    flooding,
    layered,
    layered_unrolled,
    no_messages,
    satisfied,
)
from phy.coding.tanner import TannerGraph

SCHEDULES = ("layered", "flooding")
PRECISIONS = ("int8", "float32")
_STRAGGLERS = 16
"""Early termination leaves a chunk when one word in so many is unfinished, and collects those."""
CPU_CHUNK = 128
"""Words that a CPU decodes together: their state fits its caches."""
MEMORY_SHARE = 0.25
"""Of an accelerator's memory, for the words that it decodes together."""
_UNKNOWN_MEMORY = 16 << 30  # bytes of a device that is not there, or does not say


@dataclass(frozen=True)
class LdpcDecoder:
    """Static plan of a decoder: hashable, never traced.

    code: what was sent; its redundancy version and n decide which checks are of use. A combination of several
    transmissions is decoded with `num_rows` of the one that uses most rows of the base graph.
    rule: "offset-min-sum" (offset 0.5), "normalised-min-sum" (factor 0.75), "min-sum" or "sum-product" (exact).
    schedule: "layered" needs about half the iterations of "flooding".
    precision: of messages. "int8" has steps of 1/8 up to 15.9, twice the speed of float32 and the same error rate.
    early_stop: a word is finished after the first iteration at which all its checks hold.
    chunk: words decoded together, which changes no result; None: 128 on a CPU, and on an accelerator all that fit
    into a quarter of its memory.
    Errors: ValueError, at construction, for unknown names or numbers out of range.
    """

    code: LdpcCode
    num_iterations: int = 20
    rule: str = "offset-min-sum"
    schedule: str = "layered"
    precision: str = "int8"
    early_stop: bool = True
    chunk: int | None = None
    num_rows: int | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("rule", RULES),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        if self.rule == "sum-product" and self.precision == "int8":
            raise ValueError('the sum-product rule needs precision="float32": tanh has no int8 messages')
        if self.num_iterations < 1:
            raise ValueError(f"num_iterations must be at least 1; got {self.num_iterations}")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be at least 1 word, or None; got {self.chunk}")
        if self.num_rows is not None and not self.code.num_rows <= self.num_rows <= self.code.graph.num_rows:
            raise ValueError(
                f"num_rows must be in [{self.code.num_rows}, {self.code.graph.num_rows}]; got {self.num_rows}"
            )

    @functools.cached_property
    def tanner(self) -> TannerGraph:
        """The graph that is decoded on."""
        return TannerGraph(self.code.graph, self.code.block_bits, self.num_rows or self.code.num_rows)

    @property
    def bytes_per_word(self) -> int:
        """Memory for a word: posteriors before, after and kept, messages before and after, and its LLRs."""
        posterior, message = (2, 1) if self.precision == "int8" else (4, 4)
        tanner, size = self.tanner, self.code.graph.lifting_size
        edges = sum(members.shape[0] * members.shape[1] for members in tanner.members)
        return size * (3 * posterior * len(tanner.columns) + 2 * message * edges) + 8 * self.code.word_bits

    def words_at_once(self, words: int, *, on_cpu: bool) -> int:
        """Words of so many that are decoded together; chunks of an accelerator are about equal."""
        if self.chunk is not None or on_cpu:
            return min(self.chunk or CPU_CHUNK, words)
        limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", _UNKNOWN_MEMORY)
        most = max(1, int(MEMORY_SHARE * limit) // self.bytes_per_word)
        return -(-words // -(-words // most))


class Decoded(NamedTuple):
    """Decided code blocks; `join` puts them together."""

    bits: Array  # [*b, C, K'] int32, information bits with the block's CRC
    llr: Array  # [*b, C, K'] float32, a-posteriori ln P(1)/P(0)
    iterations: Array  # [*b, C] int32, iterations after which the result stood
    satisfied: Array  # [*b, C] bool: every check holds


def decode(decoder: LdpcDecoder, llr: Float[Array, "*b c w"]) -> Decoded:
    """Decides words from the LLRs ln P(1)/P(0) of all their bits, as `rate_recover` gives them.

    A posterior LLR of 0 is decided as 1, so that words of which nothing was heard fail. Laws: the result of a word
    does not depend on the words beside it; posteriors are those of the all-zero word, mirrored where a 1 was sent.
    Errors: ValueError unless the last two axes are the code's blocks and bits.
    """
    code, tanner = decoder.code, decoder.tanner
    if llr.shape[-2:] != (code.num_blocks, code.word_bits):
        raise ValueError(
            f"the last two axes must be {(code.num_blocks, code.word_bits)} (code block, bit): rate_recover the LLRs "
            f"first; got shape {llr.shape}"
        )
    batch = llr.shape[:-1]
    start = -llr.reshape(-1, code.word_bits)
    if len(start) == 0:
        raise ValueError("there are no words to decode: the batch is empty")
    start = quantise(start) if decoder.precision == "int8" else jnp.clip(start, -LARGEST_LLR, LARGEST_LLR)
    found = lax.platform_dependent(
        start,
        cpu=functools.partial(decode_words, decoder, on_cpu=True),
        default=functools.partial(decode_words, decoder, on_cpu=False),
    )
    posterior, iterations, holds = found
    scale = 1 / STEPS_PER_UNIT if decoder.precision == "int8" else 1.0
    return Decoded(
        (posterior <= 0).astype(jnp.int32).reshape(*batch, tanner.block_bits),
        (posterior.astype(jnp.float32) * -scale).reshape(*batch, tanner.block_bits),
        iterations.reshape(batch),
        holds.reshape(batch),
    )


class Found(NamedTuple):
    """What a decoder knows of words in the end."""

    posterior: Array  # [b, K'] ln P(0)/P(1), in the type that it computes with
    iterations: Array  # [b]
    satisfied: Array  # [b]


def decode_words(decoder: LdpcDecoder, start: Shaped[Array, "b w"], *, on_cpu: bool) -> Found:
    """Decides words chunk by chunk, from ln P(0)/P(1) of all their bits, by the program for a CPU or for other devices.

    Both run anywhere and give the same bits; on a GPU the one for a CPU may not.
    """
    words = len(start)
    size = decoder.words_at_once(words, on_cpu=on_cpu)
    chunk = functools.partial(_chunk, decoder, on_cpu)
    # Padding repeats a word, which finishes when that word does.
    start = jnp.concatenate([start, jnp.broadcast_to(start[:1], (-words % size, start.shape[1]))])
    if decoder.early_stop and (len(start) > size or size > CPU_CHUNK):
        found = _in_two_rounds(chunk, start, size)
    else:
        found = _every_chunk(chunk, start, size, 0)
    return Found(*(x[:words] for x in found))


class State(NamedTuple):
    """Of words that are decoded together."""

    iteration: Array
    posterior: Array  # [n, z, b]
    messages: Messages
    kept: Array  # [n, z, b] posteriors of each word when it was finished
    iterations: Array  # [b]
    satisfied: Array  # [b]


@functools.partial(jax.jit, static_argnums=(0, 1))  # traced once for both rounds
def _chunk(decoder: LdpcDecoder, on_cpu: bool, start: Array, leave: int | Array) -> Found:
    """One chunk, [b, w], from scratch; with early termination it may `leave` so many words unfinished."""
    tanner, batch = decoder.tanner, len(start)
    integer = decoder.precision == "int8"
    # A posterior sums up to 31 messages of 127 steps: int16 never saturates.
    channel = start.T[tanner.entry].astype(jnp.int16 if integer else jnp.float32)
    unrolled = decoder.schedule == "layered" and not on_cpu
    messages = no_messages(tanner, batch, jnp.int8 if integer else jnp.float32, unrolled=unrolled)

    def iterate(iteration: Array, posterior: Array, messages: Messages) -> tuple[Array, Messages]:
        apart = functools.partial(behind_branch, iteration >= 0) if on_cpu else behind_barrier
        if decoder.schedule == "flooding":
            return flooding(tanner, decoder.rule, channel, posterior, messages, apart)
        if unrolled:
            return layered_unrolled(tanner, decoder.rule, posterior, messages, apart)
        return layered(tanner.schedule, decoder.rule, posterior, messages, apart)

    if not decoder.early_stop:
        body = lambda i, state: iterate(i, *state)  # noqa: E731
        posterior, _ = lax.fori_loop(0, decoder.num_iterations, body, (channel, messages))
        used = jnp.full(batch, decoder.num_iterations, jnp.int32)
        return Found(_exit(tanner, posterior), used, satisfied(tanner, posterior))

    final = until_satisfied(
        decoder.num_iterations, iterate, functools.partial(satisfied, tanner), channel, messages, leave
    )
    return Found(_exit(tanner, final.kept), final.iterations, final.satisfied)


def until_satisfied(
    num_iterations: int,
    iterate: Callable[[Array, Array, Messages], tuple[Array, Messages]],
    holds: Callable[[Array], Array],
    channel: Shaped[Array, "n z b"],
    messages: Messages,
    leave: int | Array = 0,
) -> State:
    """Iterates until all words but `leave` have found their checks to hold, or `num_iterations` are done.

    iterate: (number, posteriors, messages) -> both after it. holds: posteriors -> words whose every check holds, [b].
    """

    def unfinished(state: State) -> Bool[Array, ""]:
        waiting = jnp.sum(~state.satisfied, dtype=jnp.int32)
        return (state.iteration < num_iterations) & (waiting > leave)

    def step(state: State) -> State:
        posterior, messages = iterate(state.iteration, state.posterior, state.messages)
        done = state.satisfied
        kept = jnp.where(done[None, None], state.kept, posterior)
        iterations = jnp.where(done, state.iterations, state.iteration + 1)
        return State(state.iteration + 1, posterior, messages, kept, iterations, done | holds(posterior))

    batch = channel.shape[-1]
    nobody = jnp.zeros(batch, bool)
    begin = State(jnp.int32(0), channel, messages, channel, jnp.zeros(batch, jnp.int32), nobody)
    return lax.while_loop(unfinished, step, begin)


def _every_chunk(chunk: Callable[[Array, int], Found], start: Array, size: int, leave: int) -> Found:
    """All words, chunk after chunk."""
    if len(start) == size:
        return chunk(start, leave)
    found = lax.map(
        lambda first: chunk(lax.dynamic_slice_in_dim(start, first, size), leave),
        jnp.arange(0, len(start), size),
    )
    return Found(*(x.reshape(len(start), *x.shape[2:]) for x in found))


def _in_two_rounds(chunk: Callable[[Array, int], Found], start: Array, size: int) -> Found:
    """Early termination over many words: each chunk runs until few of its words are unfinished, and those start again in
    chunks of their own. A chunk is else as slow as its slowest word, and one word in a hundred may never finish."""
    found = _every_chunk(chunk, start, size, size // _STRAGGLERS)
    order = jnp.argsort(found.satisfied, stable=True)  # the unfinished first
    waiting = jnp.sum(~found.satisfied, dtype=jnp.int32)
    again = min(size, max(CPU_CHUNK, size // _STRAGGLERS))

    def more(state: tuple[Array, Found]) -> tuple[Array, Found]:
        done, found = state
        # Finished words may fill the last chunk: they come to the same end again.
        new = chunk(start[lax.dynamic_slice_in_dim(order, done, again)], 0)
        return done + again, jax.tree.map(
            lambda old, x: lax.dynamic_update_slice_in_dim(old, x, done, 0), found, new
        )

    ordered = Found(*(x[order] for x in found))
    _, ordered = lax.while_loop(lambda state: state[0] < waiting, more, (jnp.int32(0), ordered))
    place = jnp.argsort(order)
    return Found(*(x[place] for x in ordered))


def _exit(tanner: TannerGraph, posterior: Array) -> Array:
    """Posteriors of the block's bits, batch first. [b, K']"""
    return posterior.reshape(-1, posterior.shape[-1])[tanner.exit].T
