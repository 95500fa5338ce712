"""Channel coding on the link: payload bits -> coded symbols -> air -> soft bits -> payload bits."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Complex, Float, Integer, Key

import channels
import phy
from phy import Modulation, PilotFilter
from phy.coding import CRCS, LdpcDecoder, TransportBlock
from semsim.link import Link, carry
from semsim.names import check_name

CHASE, INCREMENTAL = (0,), (0, 2, 3, 1)
"""Redundancy versions of the transmissions of a word, over and over; the second is the order of NR."""
LARGEST_PAYLOAD = 1_277_992
"""Bits of the largest transport block of NR (TS 38.214 clause 5.1.3.2): 273 resource blocks, 256-QAM, four layers."""
MOST_SENT = 8 * LARGEST_PAYLOAD
"""Bits sent of a block at most: below rate 1/8 the mother code of rate 1/5 only repeats itself."""


@dataclass(frozen=True)
class Decoding:
    """How coded words are received.

    num_iterations: most iterations of the decoder; a word is finished when its checks hold. rule, schedule, precision: of
    `phy.coding.LdpcDecoder`. llr: exact ("app") or "maxlog".
    Errors: ValueError for settings that the decoder does not have, or not together.
    """

    num_iterations: int = 20
    rule: Literal["offset-min-sum", "normalised-min-sum", "min-sum", "sum-product"] = "offset-min-sum"
    schedule: Literal["layered", "flooding"] = "layered"
    precision: Literal["int8", "float32"] = "int8"
    llr: Literal["app", "maxlog"] = "app"

    def __post_init__(self) -> None:
        check_name("llr", self.llr, ("app", "maxlog"))
        self._decoder(TransportBlock(12, 24, crc=None), (0,), None)  # which checks the rest

    def decoder(self, block: TransportBlock, versions: tuple[int, ...], words: int) -> LdpcDecoder:
        """The decoder of payloads sent in these redundancy versions, of so many words in a call.

        A CPU decodes them in four chunks, so that early termination pays; other devices as many as fit. No result
        depends on it.
        """
        return self._decoder(block, versions, max(16, words // 4) if jax.default_backend() == "cpu" else None)

    def _decoder(self, block: TransportBlock, versions: tuple[int, ...], chunk: int | None) -> LdpcDecoder:
        return block.decoder(
            versions, num_iterations=self.num_iterations, rule=self.rule, schedule=self.schedule,
            precision=self.precision, chunk=chunk,
        )  # fmt: skip


@dataclass(frozen=True)
class Coding:
    """Channel code of a BER sweep; "none" reads nothing else of it.

    k: payload bits of a word; n: bits sent of it in a transmission. crc: what tells a lost word from a good one; "auto" has
    the length that NR gives. transmissions: of every word, each number a point of its own. combining: repeat the same bits,
    or send the next redundancy version. interleave: spread each word over the whole transmission.
    Errors: ValueError for settings of a code where there is none, and for a code without its lengths.
    """

    code: Literal["none", "ldpc"] = "none"
    k: int | None = None
    n: int | None = None
    crc: Literal["none", "auto", "24a", "24b", "24c", "16", "11", "6"] = "none"
    transmissions: tuple[int, ...] = (1,)
    combining: Literal["chase", "incremental"] = "chase"
    interleave: bool = False
    decoding: Annotated[Decoding, tyro.conf.arg(name="")] = Decoding()

    def __post_init__(self) -> None:
        if self.code == "none":
            if any(getattr(self, name) != getattr(Coding, name) for name in self.__dataclass_fields__):
                raise ValueError(
                    "k, n, crc, transmissions, ... are settings of a channel code: add code ldpc"
                )
            return
        check_name("code", self.code, ("none", "ldpc"))
        check_name("crc", self.crc, ("none", "auto", *CRCS))
        check_name("combining", self.combining, ("chase", "incremental"))
        if self.k is None or self.n is None:
            raise ValueError("a code needs k, payload bits of a word, and n, bits sent: 512 and 1024, say")
        for name, value, most in (("k", self.k, LARGEST_PAYLOAD), ("n", self.n, MOST_SENT)):
            if not 1 <= value <= most:
                raise ValueError(
                    f"{name} must be in [1, {most:,}]; got {value}: NR carries at most {LARGEST_PAYLOAD:,} bits in one block"
                )
        if not self.transmissions or min(self.transmissions) < 1:
            raise ValueError(f"transmissions are numbers from 1 on; got {self.transmissions}")

    def block(self, num_bits_per_symbol: int) -> TransportBlock:
        """A word for a modulation. Errors: ValueError for lengths that make no code."""
        if self.k is None or self.n is None:
            raise ValueError("there is no channel code")
        if self.n % num_bits_per_symbol:
            whole = -(-self.n // num_bits_per_symbol) * num_bits_per_symbol
            raise ValueError(
                f"n must be a multiple of {num_bits_per_symbol}, the bits of a symbol; got {self.n}: take {whole}"
            )
        return TransportBlock(
            self.k, self.n, num_bits_per_symbol, crc=None if self.crc == "none" else self.crc
        )

    def versions(self, transmissions: int) -> tuple[int, ...]:
        """Redundancy version of each of so many transmissions."""
        order = CHASE if self.combining == "chase" else INCREMENTAL
        return tuple(order[number % len(order)] for number in range(transmissions))


def send_words(
    key: Key[Array, ""],
    link: Link,
    block: TransportBlock,
    payload: Integer[Array, "*b w k"],
    modulation: Modulation,
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    *,
    llr: str = "app",
    interleaved: bool = False,
    pilot_filter: PilotFilter | None = None,
) -> Float[Array, "*b w c v"]:
    """One transmission of some words, laid end to end, in the block's redundancy version; soft values of their bits.

    What several transmissions of the same words return adds up; `block.receive` decides. modulation: of its own width.
    """
    symbols = word_symbols(block, payload, modulation, interleaved=interleaved)
    return soft_words(
        key, link, block, symbols, modulation, gain, noise_var, llr=llr, interleaved=interleaved,
        pilot_filter=pilot_filter,
    )  # fmt: skip


def word_symbols(
    block: TransportBlock,
    payload: Integer[Array, "*b w k"],
    modulation: Modulation,
    *,
    interleaved: bool = False,
) -> Complex[Array, "*b s"]:
    """What is sent of some words, laid end to end."""
    coded = block.send(payload)
    labels = phy.labels_of_bits(coded.reshape(*coded.shape[:-2], -1, modulation.max_bits))
    return modulation.modulate(labels[..., interleaver(labels.shape[-1])] if interleaved else labels)


def soft_words(
    key: Key[Array, ""],
    link: Link,
    block: TransportBlock,
    symbols: Complex[Array, "*b s"],
    modulation: Modulation,
    gain: Complex[Array, "..."],
    noise_var: Float[Array, "*#b"],
    *,
    llr: str = "app",
    interleaved: bool = False,
    pilot_filter: PilotFilter | None = None,
) -> Float[Array, "*b w c v"]:
    """The symbols of `word_symbols` through the air, as soft values of the words' bits."""
    equalised = carry(key, link, symbols, gain, noise_var, pilot_filter=pilot_filter)
    soft = modulation.llr(equalised.symbols, equalised.noise_var, llr)
    if interleaved:
        soft = soft[..., np.argsort(interleaver(symbols.shape[-1])), :]
    return block.soft(soft.reshape(*symbols.shape[:-1], -1, block.n))


def interleaver(num_symbols: int) -> np.ndarray:
    """Order in which symbols are sent: symbol i takes place i * stride modulo num_symbols, in golden steps.

    Laws: a permutation; neighbours are a third of the transmission apart; and since the stride has no factor in common with
    num_symbols, neighbours on a grid meet other subcarriers each time, whatever the width of the grid divides.
    """
    golden = round(num_symbols * (math.sqrt(5) - 1) / 2)
    near = (golden + step * sign for step in range(num_symbols + 1) for sign in (1, -1))
    stride = next(value for value in near if value > 0 and math.gcd(value, num_symbols) == 1)
    place = np.arange(num_symbols) * stride % num_symbols
    return np.argsort(place)


def random_bits(key: Key[Array, ""], shape: tuple[int, ...]) -> Integer[Array, "..."]:
    """Uniform bits, 32 of every word drawn."""
    *batch, count = shape
    words = channels.uniform_words(key, (*batch, -(-count // 32)))
    place = jnp.arange(32, dtype=jnp.uint32).reshape((1,) * words.ndim + (32,))
    bits = (words[..., None] >> place) & 1
    return bits.reshape(*batch, -1)[..., :count].astype(jnp.int32)
