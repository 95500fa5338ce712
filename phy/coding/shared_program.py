"""Many codes, one program: what tells one code from another is data, padded to a shape that all of them have.

A decoder that is compiled for its code costs seconds of compilation, as often as a sweep has codes. Here columns, shifts,
rate matching, scrambling and CRC are index arrays that a program is given. Results are those of `TransportBlock.soft` and
`receive`, bit by bit, for the layered schedule and payloads of one code block, sent once.

For a CPU: rows are updated in place (`schedules.layered`), which other devices get wrong.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Integer, Shaped

from phy.coding.base_graph import PUNCTURED_COLUMNS
from phy.coding.check_nodes import LARGEST_LLR, quantise
from phy.coding.crc import remainders
from phy.coding.ldpc import KNOWN_LLR
from phy.coding.ldpc_decoder import until_satisfied
from phy.coding.schedules import Messages, behind_branch, layered
from phy.coding.tanner import Rows, TannerGraph
from phy.coding.transport import TransportBlock

DEGREES = (19, 10, 6, 4)
"""A row has the first of these degrees from below that holds it: each is a loop of its own to compile, and padded edges cost
as much as others. 19 and 10 are the largest of the two base graphs."""
_CERTAIN = 10_000
"""Posterior of the bit that padded edges meet: 0 for sure, whatever is taken from it. An int16 holds it."""
_CRC_BITS = 24


class Tables(NamedTuple):
    """One code, in the shape that it shares."""

    sources: np.ndarray | Array  # [copies, columns, Z] which LLR each posterior begins with; they add up
    signs: np.ndarray | Array  # [n] 1 or -1: scrambling
    schedule: tuple[Rows, ...]  # for each of DEGREES
    members: tuple[np.ndarray | Array, ...]  # for each: as its bits, but between iterations
    exit: np.ndarray | Array  # [k] where the bits of the block lie among the posteriors
    remainders: (
        np.ndarray | Array
    )  # [k, 24] what each bit adds to the CRC, received and computed: 0 in all where it holds
    payload: np.ndarray | Array  # [k] True for bits of the payload


@dataclass(frozen=True)
class Shape:
    """What the codes of a program have in common: the most of each. Hashable.

    size: lifting size. columns, rows: of the base graph, rows by DEGREES. copies: of one bit among the sent ones.
    k: bits of a block with its CRC. n: LLRs of a transmission.
    """

    size: int
    columns: int
    rows: tuple[int, ...]
    copies: int
    k: int
    n: int

    def tables(self, block: TransportBlock, places: Integer[np.ndarray, " n"]) -> Tables:
        """A block's own data. places: of each sent bit among the n LLRs of a transmission."""
        code, tanner = block.code, _tanner(block)
        nothing, known = self.n, self.n + 1  # places of the two LLRs that `receive` appends
        of_bit = np.full((self.copies, code.word_bits), nothing, np.int32)
        for copy, first in enumerate(range(0, block.n, per := _buffer(block))):
            # Sent bits go through the whole buffer before one is repeated, but the interleaver has turned their order.
            numbers = _in_order(block)[first : first + per]
            of_bit[copy, code.selection[numbers]] = places[numbers]
        filler = slice(code.block_bits, code.graph.num_information_columns * code.graph.lifting_size)
        of_bit[:, filler], of_bit[0, filler] = nothing, known
        entry = tanner.entry
        sources = np.full((self.copies, self.columns, self.size), nothing, np.int32)
        sources[:, : len(entry), : entry.shape[1]] = of_bit[:, entry]
        signs = np.ones(self.n, np.float32)
        signs[places] = 1 - 2 * block.scrambling_bits.astype(np.float32)
        exit_ = np.full(self.k, self.columns * self.size, np.int32)  # the bit that is 0 for sure
        exit_[: code.block_bits] = self._moved(tanner, tanner.exit)
        checked = np.zeros((self.k, _CRC_BITS), np.float32)
        if block.crc_name is not None:
            end, length = block.num_bits, block.crc_bits
            checked[:end, :length] = remainders(block.crc_name, end).reshape(end, length)
            checked[end : end + length, :length] = np.eye(length)
        schedule, members = self._rows(tanner)
        return Tables(sources, signs, schedule, members, exit_, checked, np.arange(self.k) < block.num_bits)

    def _rows(self, tanner: TannerGraph) -> tuple[tuple[Rows, ...], tuple[np.ndarray, ...]]:
        """The rows by DEGREES, in the order of their turns, padded by edges to the bit that is 0 for sure."""
        certain = self.columns * self.size
        chosen: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in DEGREES]
        for rows, members in zip(tanner.schedule, tanner.members, strict=True):
            chosen[_class(members.shape[1])].extend(zip(rows.bits, rows.columns, members, strict=True))
        schedule, between = [], []
        for degree, most, mine in zip(DEGREES, self.rows, chosen, strict=True):
            bits, members = np.full((2, most, degree, self.size), certain, np.int32)
            # Beyond the columns, each in a place of its own: what is written there is dropped.
            columns = np.tile(self.columns + 1 + np.arange(degree, dtype=np.int32), (most, 1))
            for row, (met, where, later) in enumerate(mine):
                bits[row, : len(met), : met.shape[1]] = self._moved(tanner, met)
                columns[row, : len(where)] = where
                members[row, : len(later), : later.shape[1]] = self._moved(tanner, later)
            schedule.append(Rows(np.int32(len(mine)), bits, columns))
            between.append(members)
        return tuple(schedule), tuple(between)

    def _moved(self, tanner: TannerGraph, place: np.ndarray) -> np.ndarray:
        """A place among the posteriors of a graph, in the longer columns of the shape."""
        column, bit = np.divmod(place, tanner.graph.lifting_size)
        return column * self.size + bit


class Received(NamedTuple):
    """Blocks as they arrived."""

    bits: Array  # [b, k] int32: payload and CRC, zeros behind them
    ok: Array  # [b] bool: all parity checks hold, and the CRC
    iterations: Array  # [b]


def shape_of(blocks: Sequence[TransportBlock], n: int) -> Shape:
    """The smallest that holds all blocks, in transmissions of n LLRs.

    Errors: ValueError for a block of several code blocks.
    """
    for block in blocks:
        if block.code.num_blocks > 1:
            raise ValueError(f"a program is shared by payloads of one code block; got {block.num_bits} bits")
    tanners = [_tanner(block) for block in blocks]
    counts = np.array([[0] * len(DEGREES) for _ in tanners])
    for count, tanner in zip(counts, tanners, strict=True):
        for members in tanner.members:
            count[_class(members.shape[1])] += len(members)
    return Shape(
        size=max(block.code.graph.lifting_size for block in blocks),
        columns=max(len(tanner.columns) for tanner in tanners),
        rows=tuple(max(1, int(most)) for most in counts.max(axis=0)),
        copies=max(-(-block.n // _buffer(block)) for block in blocks),
        k=max(block.code.block_bits for block in blocks),
        n=n,
    )


def receive(
    shape: Shape,
    tables: Tables,
    llr: Float[Array, "b n"],
    *,
    rule: str,
    precision: str,
    num_iterations: int,
) -> Received:
    """Decides blocks from the LLRs ln P(1)/P(0) of a transmission; those that no sent bit has do not matter.

    rule, precision, num_iterations: of `LdpcDecoder`. All blocks are decoded together.
    """
    integer = precision == "int8"
    llr = llr * jnp.asarray(tables.signs)[None]
    ends = jnp.broadcast_to(jnp.array([0.0, KNOWN_LLR], llr.dtype), (len(llr), 2))
    start = -jnp.concatenate([llr, ends], axis=1).T[jnp.asarray(tables.sources)]
    start = functools.reduce(jnp.add, list(start))
    start = quantise(start).astype(jnp.int16) if integer else jnp.clip(start, -LARGEST_LLR, LARGEST_LLR)
    sure = jnp.full((1, *start.shape[1:]), _CERTAIN, start.dtype)
    channel = jnp.concatenate([start, sure])
    kind = jnp.int8 if integer else jnp.float32
    messages = tuple(
        jnp.zeros((rows, degree, shape.size, len(llr)), kind)
        for rows, degree in zip(shape.rows, DEGREES, strict=True)
    )

    def iterate(number: Array, posterior: Array, messages: Messages) -> tuple[Array, Messages]:
        return layered(
            tables.schedule, rule, posterior, messages, functools.partial(behind_branch, number >= 0)
        )

    final = until_satisfied(num_iterations, iterate, functools.partial(_satisfied, tables), channel, messages)
    bits = (final.kept.reshape(-1, len(llr))[jnp.asarray(tables.exit)] <= 0).T
    ones = jnp.matmul(bits.astype(jnp.float32), jnp.asarray(tables.remainders))
    holds = jnp.all(ones.astype(jnp.int32) & 1 == 0, axis=-1)
    return Received(bits.astype(jnp.int32), final.satisfied & holds, final.iterations)


def _satisfied(tables: Tables, posterior: Shaped[Array, "n z b"]) -> Bool[Array, "b"]:
    """As `schedules.satisfied`, row after row: padding takes no time."""
    hard = (posterior <= 0).astype(jnp.int8).reshape(-1, posterior.shape[-1])
    broken = jnp.zeros(hard.shape[1], jnp.int8)
    for rows, members in zip(tables.schedule, tables.members, strict=True):

        def one(i: Array, broken: Array, members: Array | np.ndarray = members) -> Array:
            return broken | jnp.max(lax.reduce_xor(hard[jnp.asarray(members)[i]], (0,)), axis=0)

        broken = lax.fori_loop(0, rows.used, one, broken)
    return broken == 0


def _tanner(block: TransportBlock) -> TannerGraph:
    return block.decoder().tanner


def _buffer(block: TransportBlock) -> int:
    """Bits of the circular buffer: after so many sent ones they come again."""
    code = block.code
    filler = code.graph.num_information_columns * code.graph.lifting_size - code.block_bits
    return code.word_bits - PUNCTURED_COLUMNS * code.graph.lifting_size - filler


def _in_order(block: TransportBlock) -> np.ndarray:
    """Numbers of the sent bits in the order of the buffer: the bit interleaver undone."""
    return np.arange(block.n).reshape(-1, block.num_bits_per_symbol).T.ravel()


def _class(degree: int) -> int:
    return max(place for place, most in enumerate(DEGREES) if degree <= most)
