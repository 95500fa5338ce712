"""One program for the frames of many schemes: modulation and code are data, as the SNR is.

A program that is compiled for its code takes seconds to compile, and a sweep over the schemes of NR has up to 37 codes. On a
CPU frames of one part, one code block and a Gray QAM share one program for each of SIZES; all others have one of their own
(`semsim.transmission`). Files are encoded on the host.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, UInt8

import phy
from phy import Equalised
from phy.coding.shared_program import Shape, Tables, receive, shape_of
from semsim.coding import Decoding, interleaver
from semsim.frame import Frame
from semsim.transmission import OverDraws

SIZES = (96, 192, 384)
"""A code shares its program with those whose lifting size is below the same of these. Checks are padded to the largest one
there is: more programs would decode short codes faster, and take longer to compile."""
_ALONE = ("psk8",)
"""Modulations outside the bank of `phy.Qam`."""


class Words(NamedTuple):
    """What the sender makes of the payloads of a block of images."""

    labels: Array | np.ndarray  # [b, s] in the order in which they are sent
    bits: Array | np.ndarray  # [b, k] uint8: payload, zeros behind it


class Code(NamedTuple):
    """What tells a scheme from the others of its program."""

    num_bits_per_symbol: np.int32 | Array
    tables: Tables


@dataclass(frozen=True)
class SharedTransmission(OverDraws):
    """Kernel: any frame of a shape. width: bits per symbol of its largest modulation."""

    shape: Shape
    width: int
    decoding: Decoding

    @property
    def num_symbols(self) -> int:
        return self.shape.n // self.width

    def symbols(self, mapped: Words, code: Code) -> Complex[Array, "b s"]:
        return self._bank(code).modulate(jnp.asarray(mapped.labels, jnp.int32))

    def decide(
        self, mapped: Words, code: Code, equalised: Equalised
    ) -> tuple[Bool[Array, "b parts"], Bool[Array, "b parts"]]:
        llr = self._bank(code).llr(*equalised, self.decoding.llr)
        found = receive(
            self.shape, code.tables, llr.reshape(len(llr), -1),
            rule=self.decoding.rule, precision=self.decoding.precision,
            num_iterations=self.decoding.num_iterations,
        )  # fmt: skip
        wrong = (found.bits != mapped.bits) & jnp.asarray(code.tables.payload)[None]
        return jnp.any(wrong, axis=-1)[:, None], ~found.ok[:, None]

    def _bank(self, code: Code) -> phy.Qam:
        return phy.qam(jnp.asarray(code.num_bits_per_symbol), self.width)


class Program(NamedTuple):
    """The program of a scheme, and what the scheme gives to it."""

    shape: Shape
    width: int
    code: Code
    frame: Frame

    def words(self, payloads: UInt8[np.ndarray, "*c n"]) -> Words:
        """What is sent of payloads, in NumPy."""
        (part,) = self.frame.parts
        bits = np.unpackbits(payloads, axis=-1)
        sent = part.block.send(bits).reshape(*bits.shape[:-1], part.num_symbols, -1)
        powers = 1 << np.arange(sent.shape[-1] - 1, -1, -1)
        labels = (sent @ powers.astype(np.int32)).astype(np.uint16)
        padded = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, self.shape.k - bits.shape[-1])])
        return Words(labels[..., interleaver(part.num_symbols)], padded)


def programs(frames: Mapping[Any, Frame]) -> dict[Any, Program]:
    """Of frames of equal length and decoding those that share a program, and with which; none where there is no CPU."""
    found: dict[Any, Program] = {}
    if jax.default_backend() != "cpu":
        return found
    for size in SIZES:
        mine = {
            name: plan for name, plan in frames.items()
            if _shares(plan) and size == min(most for most in SIZES if most >= _size(plan))
        }  # fmt: skip
        if not mine:
            continue
        width = max(plan.parts[0].block.num_bits_per_symbol for plan in mine.values())
        symbols = next(iter(mine.values())).num_symbols
        shape = shape_of([plan.parts[0].block for plan in mine.values()], symbols * width)
        for name, plan in mine.items():
            found[name] = Program(shape, width, _code(plan, shape, width), plan)
    return found


def _code(plan: Frame, shape: Shape, width: int) -> Code:
    block = plan.parts[0].block
    order = block.num_bits_per_symbol
    when = np.argsort(interleaver(plan.num_symbols))  # each symbol is sent
    places = when[:, None] * width + np.arange(order)
    return Code(np.int32(order), shape.tables(block, places.ravel()))


def _shares(plan: Frame) -> bool:
    part = plan.parts[0]
    alone = part.modulation in _ALONE or part.decoding.schedule != "layered"
    return len(plan.parts) == 1 and part.block.code.num_blocks == 1 and not alone


def _size(plan: Frame) -> int:
    return plan.parts[0].block.code.graph.lifting_size
