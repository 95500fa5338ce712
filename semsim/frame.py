"""A frame of coded bits: a body, and before it, if it is to be better protected, a header with a code of its own.

header bits -> CRC, LDPC of low rate -> QPSK  --+
                                                +--> one transmission --> soft bits --> each decoded, lost or not
body bits -> CRC, LDPC -> modulation -----------+
"""

from dataclasses import dataclass
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Integer

import phy
from phy import Equalised
from phy.coding import TransportBlock, Transported
from semsim.coding import Decoding, interleaver
from semsim.payload import Line

HEADER_MODULATION = "qpsk"
HEADER_CRC = "16"
HEADER_DECODING = Decoding(50, "sum-product", precision="float32")
"""Headers are short: what the exact rule costs is nothing beside the body, and it gains 0.25 to 0.4 dB
(docs/short_codes.md)."""


@dataclass(frozen=True)
class Part:
    """Static plan of one coded part of a frame."""

    what: str
    block: TransportBlock
    modulation: str
    decoding: Decoding

    @property
    def num_bytes(self) -> int:
        """Payload."""
        return self.block.num_bits // 8

    @property
    def num_symbols(self) -> int:
        return self.block.n // self.block.num_bits_per_symbol


@dataclass(frozen=True)
class Frame:
    """Static plan: the parts in the order in which they are sent. Hashable."""

    parts: tuple[Part, ...]

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)

    @property
    def num_symbols(self) -> int:
        return sum(part.num_symbols for part in self.parts)

    def lines(self) -> tuple[Line, ...]:
        """What the frame costs, for a ledger."""
        return tuple(
            Line(
                part.what, part.num_symbols,
                f"{part.num_bytes} bytes, {part.block.crc_bits} bits of CRC, LDPC {part.block.code.k}/{part.block.n}, "
                f"{part.modulation}, {part.decoding.rule}, {part.decoding.num_iterations} iterations",
            )
            for part in self.parts
        )  # fmt: skip


def frame(
    num_symbols: int,
    modulation: str,
    coderate: Fraction,
    header_bytes: int = 0,
    header_coderate: Fraction | None = None,
    decoding: Decoding = Decoding(),  # noqa: B008 (frozen)
) -> Frame:
    """The frame that fills `num_symbols` channel uses: as many whole bytes as its code rates leave.

    coderate: bits that enter the code, CRC included, per bit sent. header_bytes: the first so many bytes of the payload,
    sent apart at header_coderate on QPSK, and decoded as HEADER_DECODING says. decoding: of the body.
    Errors: ValueError where the channel uses do not hold them.
    """
    parts = []
    left = num_symbols
    if header_bytes:
        if header_coderate is None:
            raise ValueError("a header of its own needs a code rate")
        bits = 8 * header_bytes + 16
        symbols = -(-bits * header_coderate.denominator // (2 * header_coderate.numerator))
        left -= symbols
        block = TransportBlock(8 * header_bytes, 2 * symbols, 2, crc=HEADER_CRC)
        parts.append(Part("header", block, HEADER_MODULATION, HEADER_DECODING))
    width = phy.num_bits(modulation)
    sent = max(0, left) * width
    entering = sent * coderate.numerator // coderate.denominator
    num_bytes = (entering - 16) // 8
    if 8 * num_bytes > 3824:  # then NR's CRC has 24 bits
        num_bytes = (entering - 24) // 8
    if num_bytes < 1:
        raise ValueError(
            f"{num_symbols} channel uses of {modulation} at rate {coderate} leave no byte for the payload: take a higher "
            "rate, a higher modulation or more channel uses"
        )
    parts.append(Part("body", TransportBlock(8 * num_bytes, sent, width), modulation, decoding))
    return Frame(tuple(parts))


def bits_of_bytes(data: Integer[Array, "*b n"]) -> Integer[Array, "*b m"]:
    """Eight bits of each byte, most significant first."""
    place = jnp.arange(7, -1, -1, dtype=jnp.int32).reshape((1,) * data.ndim + (8,))
    return ((data.astype(jnp.int32)[..., None] >> place) & 1).reshape(*data.shape[:-1], -1)


def frame_symbols(plan: Frame, data: Integer[Array, "*b n"]) -> Complex[Array, "*b s"]:
    """What is sent of the bytes of a payload: symbols are interleaved over the whole transmission, so that every code block
    meets all of its fades."""
    symbols, start = [], 0
    for part in plan.parts:
        modulation = phy.modulation(part.modulation)
        coded = part.block.send(bits_of_bytes(data[..., start : start + part.num_bytes]))
        labels = phy.labels_of_bits(coded.reshape(*coded.shape[:-1], -1, modulation.max_bits))
        symbols.append(modulation.modulate(labels))
        start += part.num_bytes
    return jnp.concatenate(symbols, axis=-1)[..., interleaver(plan.num_symbols)]


def receive_frame(plan: Frame, equalised: Equalised) -> tuple[Transported, ...]:
    """The bytes of a payload as they arrive: a result for each part."""
    back = np.argsort(interleaver(plan.num_symbols))
    values, variances = (part[..., back] for part in equalised)
    found, start = [], 0
    for part in plan.parts:
        mine = slice(start, start + part.num_symbols)
        llr = phy.modulation(part.modulation).llr(values[..., mine], variances[..., mine], part.decoding.llr)
        soft = part.block.soft(llr.reshape(*llr.shape[:-2], -1))
        words = int(np.prod(llr.shape[:-2])) * part.block.code.num_blocks
        found.append(part.block.receive(soft, part.decoding.decoder(part.block, (0,), words)))
        start += part.num_symbols
    return tuple(found)
