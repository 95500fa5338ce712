"""A payload on its way through NR channel coding and back (3GPP TS 38.212 clause 7.2, TS 38.211 clause 7.3.1.1).

    bits -> CRC -> zeros -> code blocks, LDPC, rate matching -> scrambling -> sent bits
    LLRs -> descrambling -> rate recovery -> (+ LLRs of other transmissions) -> decoder -> CRC -> bits

Soft values of several transmissions of one payload add up: the same redundancy version again is chase combining, other
versions are incremental redundancy.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from phy.coding.base_graph import largest_block, select_base_graph
from phy.coding.crc import Words, crc_attach, crc_check, crc_length, namespace
from phy.coding.ldpc import HIGHEST_RATE, LdpcCode, join, rate_recover
from phy.coding.ldpc_decoder import LdpcDecoder, decode
from phy.coding.ldpc_encoder import encode

_SMALLEST_CODE = 12
_LARGEST_SHORT = 3824
"""Up to so many bits a payload has the shorter CRC (TS 38.212 clause 7.2.1)."""
_BLOCK_CRC_BITS = 24
_DISCARDED = 1600  # of the scrambling sequence, N_C
C_INIT = 2**15 + 1
"""c_init of RNTI 1 in cell 1 (TS 38.211 clause 7.3.1.1). At 0 one of the two sequences is zeros, and the other one begins
with too few ones: a word of zeros would be sent with 11 % too little energy at 64-QAM."""


@dataclass(frozen=True)
class TransportBlock:
    """Static plan of one coded payload: hashable, never traced.

    num_bits: payload; n: bits sent in one transmission, a multiple of num_bits_per_symbol (rows of the bit interleaver;
    1 leaves the order). crc: "auto" is 24A, or 16 for up to 3824 bits; a name of `CRCS`; None sends none, and success
    is then that all parity checks hold. scrambling: initial value c_init of the pseudo-random sequence, None: as they are.
    redundancy_version: of this transmission, 0 to 3.
    Zeros fill the payload where the code's blocks would not be equal. Errors: ValueError, at construction, for a plan that
    cannot exist.
    """

    num_bits: int
    n: int
    num_bits_per_symbol: int = 1
    crc: str | None = "auto"
    scrambling: int | None = C_INIT
    redundancy_version: int = 0

    def __post_init__(self) -> None:
        if self.num_bits < 1 or self.n < 1:
            raise ValueError(
                f"a block has at least one payload bit and sends some; got {self.num_bits} and {self.n}"
            )
        if self.scrambling is not None and not 0 <= self.scrambling < 2**31:
            raise ValueError(f"scrambling must be in [0, 2^31), or None; got {self.scrambling}")
        _ = self.code, self.crc_bits  # checks the rest

    @property
    def crc_name(self) -> str | None:
        if self.crc != "auto":
            return self.crc
        return "16" if self.num_bits <= _LARGEST_SHORT else "24a"

    @property
    def crc_bits(self) -> int:
        return 0 if self.crc_name is None else crc_length(self.crc_name)

    @property
    def coderate(self) -> float:
        """Payload bits per sent bit; CRCs and filling are the code's expense."""
        return self.num_bits / self.n

    @functools.cached_property
    def code(self) -> LdpcCode:
        """The LDPC code that carries payload, CRC and filling."""
        k = max(self.num_bits + self.crc_bits, _SMALLEST_CODE)
        graph = select_base_graph(self.num_bits, self.coderate)  # clauses 6.2.2 and 7.2.2: without the CRC
        largest = largest_block(graph)
        blocks = 1 if k <= largest else -(-k // (largest - _BLOCK_CRC_BITS))
        least = math.ceil(k / HIGHEST_RATE)
        if self.n < least:
            filled = f" ({k} with CRC and filling)" if k > self.num_bits else ""
            raise ValueError(
                f"n must be at least {least} for {self.num_bits} payload bits{filled}, since a code rate above "
                f"{HIGHEST_RATE} cannot be decoded; got {self.n}"
            )
        return LdpcCode(
            -(-k // blocks) * blocks, self.n, self.num_bits_per_symbol, self.redundancy_version, graph
        )

    def version(self, redundancy_version: int) -> "TransportBlock":
        """The same payload in another redundancy version."""
        return replace(self, redundancy_version=redundancy_version)

    def send(self, bits: Integer[Words, "*b k"]) -> Integer[Words, "*b n"]:
        """Sent bits of a payload; NumPy's give NumPy's. Errors: ValueError unless the last axis holds num_bits."""
        if bits.shape[-1] != self.num_bits:
            raise ValueError(f"this block carries {self.num_bits} bits; got {bits.shape[-1]}")
        if self.crc_name is not None:
            bits = crc_attach(bits, self.crc_name)
        filling = self.code.k - bits.shape[-1]
        sent = encode(self.code, namespace(bits).pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, filling)]))
        return sent if self.scrambling is None else sent ^ self._scrambling(sent)

    def soft(self, llr: Float[Array, "*b n"]) -> Float[Array, "*b c w"]:
        """LLRs ln P(1)/P(0) of the words' bits from those of the sent bits; of several transmissions they add up.

        Errors: ValueError unless the last axis holds n.
        """
        if llr.shape[-1] != self.n:
            raise ValueError(f"this block sends {self.n} bits; got {llr.shape[-1]} LLRs")
        if self.scrambling is not None:
            llr = llr * (1 - 2 * self._scrambling(llr))
        return rate_recover(self.code, llr)

    def receive(self, soft: Float[Array, "*b c w"], decoder: LdpcDecoder) -> "Transported":
        """Decides the payload. decoder: of `decoder(...)`, for all versions that `soft` combines."""
        decoded = decode(decoder, soft)
        joined = join(self.code, decoded.bits)
        ok = jnp.all(joined.blocks_ok & decoded.satisfied, axis=-1)
        if self.crc_name is not None:
            ok = ok & crc_check(joined.bits[..., : self.num_bits + self.crc_bits], self.crc_name)
        return Transported(joined.bits[..., : self.num_bits], ok, decoded.iterations)

    def decoder(self, versions: tuple[int, ...] = (), **settings) -> LdpcDecoder:
        """A decoder for what was sent in these redundancy versions (default: this one's). settings: of `LdpcDecoder`."""
        rows = max(self.version(v).code.num_rows for v in versions or (self.redundancy_version,))
        return LdpcDecoder(self.code, num_rows=rows, **settings)

    @property
    def scrambling_bits(self) -> np.ndarray:
        """What is added to the sent bits: the sequence, or zeros. [n] uint8"""
        if self.scrambling is None:
            return np.zeros(self.n, np.uint8)
        return scrambling_sequence(self.scrambling, self.n)

    def _scrambling(self, like: Words) -> Words:
        """The sequence, of the rank and type of `like`."""
        bits = namespace(like).asarray(self.scrambling_bits, like.dtype)
        return bits.reshape((1,) * (like.ndim - 1) + (self.n,))


class Transported(NamedTuple):
    """A payload as it arrived."""

    bits: Array  # [*b, num_bits] int32
    ok: Array  # [*b] bool: every check that the block carries holds; False is a known loss
    iterations: Array  # [*b, C] of the decoder, for each code block


@functools.lru_cache(maxsize=64)
def scrambling_sequence(c_init: int, length: int) -> np.ndarray:
    """The pseudo-random sequence c(n) of TS 38.211 clause 5.2.1: a Gold sequence of length 2^31 - 1. [length] uint8"""
    total = length + _DISCARDED
    first, second = np.zeros(total + 31, np.uint8), np.zeros(total + 31, np.uint8)
    first[0] = 1
    second[:31] = (c_init >> np.arange(31)) & 1
    # Bit n + 31 needs bits up to n + 3: 28 at a time depend on known ones only.
    for start in range(0, total, 28):
        stop = min(start + 28, total)
        new = slice(start + 31, stop + 31)
        first[new] = first[start + 3 : stop + 3] ^ first[start:stop]
        second[new] = (
            second[start + 3 : stop + 3] ^ second[start + 2 : stop + 2] ^ second[start + 1 : stop + 1]
        ) ^ second[start:stop]
    sequence = (first ^ second)[_DISCARDED : _DISCARDED + length]
    sequence.setflags(write=False)
    return sequence
