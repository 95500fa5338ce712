"""The plan of an NR LDPC transmission, segmentation and rate matching (3GPP TS 38.212 clauses 5.2.2, 5.4.2 and 5.5).

bits -> segment -> [blocks] -> systematic encoding -> circular buffer, redundancy version, interleaver -> sent bits
LLRs of sent bits -> rate_recover -> [LLRs of every bit of every block] -> decode -> join -> bits
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from phy.coding.base_graph import (
    NUM_CORE_ROWS,
    PUNCTURED_COLUMNS,
    BaseGraph,
    largest_block,
    select_base_graph,
    select_lifting_size,
)
from phy.coding.crc import Words, crc_attach, crc_check

BLOCK_CRC = "24b"
KNOWN_LLR = -1e4
"""LLR of a filler bit, which is 0 for certain."""
_BLOCK_CRC_BITS = 24
HIGHEST_RATE = (
    0.95  # above, TS 38.214 clause 5.1.3.1 lets a receiver give up: the punctured head eats the parity
)
_SMALLEST = 12  # the smallest block that fills its columns: 6 of lifting size 2
_STARTS = {1: (0, 17, 33, 56), 2: (0, 13, 25, 43)}  # of the redundancy versions, in columns: table 5.4.2.1-2


@dataclass(frozen=True)
class LdpcCode:
    """Static plan of a coded transmission: hashable, never traced; every index array is cached, read-only NumPy.

    k: bits that enter, with their transport block CRC if there is one; n: bits that are sent, a multiple of
    num_bits_per_symbol. num_bits_per_symbol: rows of the bit interleaver (clause 5.4.2.2); 1 leaves the order.
    redundancy_version: where the circular buffer is entered, 0 to 3. base_graph: 1, 2 or None for the choice of
    clauses 6.2.2 and 7.2.2 by k and k / n. More bits than a block holds (8448 or 3840) are split into equal
    blocks, each with a CRC 24B; rates below that of the mother code repeat bits.
    Laws: two codes that differ in n (same blocks), redundancy version or interleaver only share one mother code, so
    their recovered LLRs add up. Errors: ValueError, at construction, for a plan that cannot exist.
    """

    k: int
    n: int
    num_bits_per_symbol: int = 1
    redundancy_version: int = 0
    base_graph: int | None = None

    def __post_init__(self) -> None:
        if self.k < _SMALLEST:
            raise ValueError(
                f"k must be at least {_SMALLEST} bits, the smallest NR LDPC code; got {self.k}: pad the payload"
            )
        if self.n * HIGHEST_RATE < self.k:
            raise ValueError(
                f"k={self.k} bits in n={self.n} is a code rate above {HIGHEST_RATE}; send at least "
                f"{-int(-self.k / HIGHEST_RATE // 1)} bits"
            )
        if self.num_bits_per_symbol < 1 or self.n % self.num_bits_per_symbol:
            raise ValueError(
                f"n must be a multiple of num_bits_per_symbol; got {self.n} and {self.num_bits_per_symbol}"
            )
        if self.redundancy_version not in range(4):
            raise ValueError(f"redundancy versions are 0 to 3; got {self.redundancy_version}")
        if self.base_graph not in (None, 1, 2):
            raise ValueError(f"NR LDPC has base graphs 1 and 2; got {self.base_graph}")
        if self.k % self.num_blocks:
            raise ValueError(
                f"{self.k} bits are split into {self.num_blocks} equal code blocks; pad them to "
                f"{-(-self.k // self.num_blocks) * self.num_blocks}"
            )
        if self.n < self.num_blocks * self.num_bits_per_symbol:
            raise ValueError(
                f"n={self.n} leaves nothing for some of {self.num_blocks} code blocks; send more bits"
            )

    @property
    def coderate(self) -> float:
        """Bits that enter per bit that is sent, k / n."""
        return self.k / self.n

    @functools.cached_property
    def num_blocks(self) -> int:
        """Number C of code blocks (clause 5.2.2)."""
        largest = largest_block(self._number)
        return 1 if self.k <= largest else -(-self.k // (largest - _BLOCK_CRC_BITS))

    @property
    def block_bits(self) -> int:
        """Bits K' of one code block, its CRC included, fillers not."""
        return self.k if self.num_blocks == 1 else self.k // self.num_blocks + _BLOCK_CRC_BITS

    @functools.cached_property
    def graph(self) -> BaseGraph:
        """The lifted base graph of the mother code."""
        return BaseGraph(self._number, select_lifting_size(self._number, self.k, self.block_bits))

    @property
    def word_bits(self) -> int:
        """Bits of one word of the mother code: systematic with fillers and the punctured head, then parity."""
        return self.graph.num_columns * self.graph.lifting_size

    @property
    def sent_per_block(self) -> tuple[int, ...]:
        """Bits E_r sent of each code block; they differ by at most one symbol (clause 5.4.2.1)."""
        symbols, blocks = self.n // self.num_bits_per_symbol, self.num_blocks
        longer = symbols % blocks
        return tuple(
            self.num_bits_per_symbol * (symbols // blocks + (block >= blocks - longer))
            for block in range(blocks)
        )

    @functools.cached_property
    def selection(self) -> np.ndarray:
        """Position in the words, laid end to end, of every sent bit (clauses 5.4.2.1, 5.4.2.2 and 5.5). [n]"""
        head, filler = self._head_bits, self._filler
        buffer = np.concatenate([np.arange(head, filler.start), np.arange(filler.stop, self.word_bits)])
        parts = []
        for block, sent in enumerate(self.sent_per_block):
            chosen = buffer[(self._first + np.arange(sent)) % len(buffer)]
            parts.append(block * self.word_bits + chosen.reshape(self.num_bits_per_symbol, -1).T.ravel())
        return _frozen(np.concatenate(parts).astype(np.int32))

    @functools.cached_property
    def num_rows(self) -> int:
        """Rows of the base graph that this transmission uses: the last ones belong to parity bits that are not sent."""
        last = int(np.max(self.selection % self.word_bits)) // self.graph.lifting_size
        return max(NUM_CORE_ROWS, last + 1 - self.graph.num_information_columns)

    @property
    def _head_bits(self) -> int:
        return PUNCTURED_COLUMNS * self.graph.lifting_size

    @property
    def _filler(self) -> range:
        """Positions of the filler bits in a word."""
        return range(self.block_bits, self.graph.num_information_columns * self.graph.lifting_size)

    @property
    def _first(self) -> int:
        """Where the redundancy version enters the circular buffer, which has neither head nor fillers."""
        start = _STARTS[self._number][self.redundancy_version] * self.graph.lifting_size
        last = self._filler.start - self._head_bits
        return start if start < last else max(last, start - len(self._filler))

    @functools.cached_property
    def _number(self) -> int:
        return select_base_graph(self.k, self.coderate) if self.base_graph is None else self.base_graph


class Joined(NamedTuple):
    """Bits of a transmission put together from its code blocks."""

    bits: Array  # [*b, k]
    blocks_ok: Array  # [*b, C] bool: the CRC 24B of each block holds; True where a single block carries none


def segment(code: LdpcCode, bits: Integer[Words, "*b k"]) -> Integer[Words, "*b c k2"]:
    """The code blocks of a payload, each with its CRC 24B if there are several (clause 5.2.2); fillers not included."""
    if bits.shape[-1] != code.k:
        raise ValueError(f"the code carries k={code.k} bits; got {bits.shape[-1]}: pad or cut the payload")
    blocks = bits.reshape(*bits.shape[:-1], code.num_blocks, -1)
    return blocks if code.num_blocks == 1 else crc_attach(blocks, BLOCK_CRC)


def join(code: LdpcCode, blocks: Integer[Array, "*b c w"]) -> Joined:
    """Payload bits of decided blocks or whole words (what lies beyond K' is dropped): the inverse of `segment`."""
    _check_blocks(code, blocks)
    blocks = blocks[..., : code.block_bits]
    if code.num_blocks == 1:
        return Joined(blocks[..., 0, :], jnp.ones(blocks.shape[:-1], bool))
    body = blocks[..., :-_BLOCK_CRC_BITS]
    return Joined(body.reshape(*body.shape[:-2], code.k), crc_check(blocks, BLOCK_CRC))


def rate_recover(code: LdpcCode, llr: Float[Array, "*b n"]) -> Float[Array, "*b c w"]:
    """LLRs ln P(1)/P(0) of every bit of every word, from those of the sent bits: `encode`'s selection undone.

    Bits that were not sent are 0, copies of one bit add up, fillers are KNOWN_LLR. Law: the results of several
    transmissions of one mother code add up to the LLRs of the combination (chase or incremental redundancy).
    """
    if llr.shape[-1] != code.n:
        raise ValueError(f"the code sends n={code.n} bits; got {llr.shape[-1]} LLRs")
    words, start = [], 0
    for sent in sorted(set(code.sent_per_block)):  # the shorter blocks come first
        count = code.sent_per_block.count(sent)
        part = llr[..., start : start + count * sent].reshape(*llr.shape[:-1], count, sent)
        words.append(_recover_words(code, part))
        start += count * sent
    return words[0] if len(words) == 1 else jnp.concatenate(words, axis=-2)


def _recover_words(code: LdpcCode, llr: Array) -> Array:
    """LLRs of words from those of as many sent bits each. [*b, sent] -> [*b, w].

    Slices only: a gather along the last axis is many times slower on a CPU.
    """
    batch, bits_per_symbol = llr.shape[:-1], code.num_bits_per_symbol
    in_order = jnp.swapaxes(llr.reshape(*batch, -1, bits_per_symbol), -1, -2).reshape(*batch, -1)
    length = code.word_bits - code._head_bits - len(code._filler)
    copies = -(-llr.shape[-1] // length)
    if copies > 1:
        in_order = _cut(in_order, 0, copies * length).reshape(*batch, copies, length).sum(axis=-2)
    systematic = code._filler.start - code._head_bits
    # In the order of the buffer: its bit j was sent as number j - first, modulo its length.
    bounds = sorted({0, systematic, code._first, length})
    runs = [(i - code._first) % length for i in bounds[:-1]]
    pieces = [
        _cut(in_order, run, run + stop - i) for run, i, stop in zip(runs, bounds, bounds[1:], strict=False)
    ]
    filler = jnp.full((*batch, len(code._filler)), KNOWN_LLR, llr.dtype)
    pieces.insert(bounds.index(systematic), filler)
    return jnp.concatenate([jnp.zeros((*batch, code._head_bits), llr.dtype), *pieces], axis=-1)


def _cut(x: Array, start: int, stop: int) -> Array:
    """x[..., start:stop], with zeros where x has ended."""
    found = x[..., start:stop]
    return jnp.pad(found, [(0, 0)] * (x.ndim - 1) + [(0, stop - start - found.shape[-1])])


def _check_blocks(code: LdpcCode, blocks: Array) -> None:
    if blocks.ndim < 2 or blocks.shape[-2] != code.num_blocks or blocks.shape[-1] < code.block_bits:
        raise ValueError(
            f"the last two axes must be {code.num_blocks} code blocks with at least {code.block_bits} bits; "
            f"got shape {blocks.shape}"
        )


def _frozen(x: np.ndarray) -> np.ndarray:
    x.setflags(write=False)
    return x
