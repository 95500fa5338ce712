"""Changes of weights over the link itself: numbers -> bits -> LDPC words -> symbols -> air -> words -> numbers.

A word whose checks fail is a known loss: the server counts its numbers as unchanged. The scale of each array is priced as
the numbers are, and taken to arrive.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

import phy
from channels import no_fading
from phy.coding import TransportBlock
from semsim.coding import Decoding, send_words
from semsim.link import Link
from semsim.mcs import fraction

WORD = 128
"""Numbers in a word."""


@dataclass(frozen=True)
class Uplink:
    """AWGN from every client to the server. Errors: ValueError for unknown modulations and impossible rates."""

    modulation: str = "qpsk"
    coderate: str = "1/2"
    esno_db: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"the coderate of an uplink lies between 0 and 1; got {self.coderate}")
        if not math.isfinite(self.esno_db):
            raise ValueError(f"esno_db of the uplink must be finite; got {self.esno_db}")
        self.block(8)

    @property
    def rate(self) -> Fraction:
        return fraction("coderate", self.coderate)

    def block(self, bits: int) -> TransportBlock:
        """A word of `WORD` numbers of so many bits, with its CRC."""
        width = phy.num_bits(self.modulation)
        sent = math.ceil(WORD * bits / self.rate / width) * width
        return TransportBlock(WORD * bits, sent, width)

    def channel_uses(self, numbers: int, bits: int) -> int:
        """Symbols that so many numbers of a client take; the last word is filled with zeros."""
        return math.ceil(numbers / WORD) * self.block(bits).n // phy.num_bits(self.modulation)

    def deliver(
        self, key: Key[Array, ""], numbers: Sequence[Int[Array, "k *s"]], bits: int
    ) -> list[Int[Array, "k *s"]]:
        """What the server receives of the clients' signed numbers, those of lost words zero."""
        clients = len(numbers[0])
        flat = jnp.concatenate([each.reshape(clients, -1) for each in numbers], axis=1)
        count = flat.shape[1]
        filled = jnp.pad(flat, ((0, 0), (0, -count % WORD))).reshape(clients, -1, WORD)
        keys = jax.random.split(key, clients)
        arrived = jax.lax.map(lambda one: _send(self, bits, *one), (keys, filled))
        received = arrived.reshape(clients, -1)[:, :count]
        ends = [sum(each[0].size for each in numbers[: place + 1]) for place in range(len(numbers) - 1)]
        parts = jnp.split(received, ends, axis=1)
        return [part.reshape(each.shape) for part, each in zip(parts, numbers, strict=True)]


def _send(uplink: Uplink, bits: int, key: Key[Array, ""], words: Int[Array, "w n"]) -> Int[Array, "w n"]:
    """The words of one client."""
    block = uplink.block(bits)
    offset = 2 ** (bits - 1)
    payload = phy.label_bits(words + offset, bits, bits).reshape(len(words), -1)
    modulation = phy.modulation(uplink.modulation)
    noise_var = jnp.asarray(phy.esnodb2no(uplink.esno_db))
    symbols = len(words) * block.n // modulation.max_bits
    gain = no_fading().gains(key, (1, symbols))
    soft = send_words(key, Link(), block, payload[None], modulation, gain, noise_var)
    found = block.receive(soft, Decoding().decoder(block, (0,), len(words)))
    decided = phy.labels_of_bits(found.bits[0].reshape(*words.shape, bits)) - offset
    return jnp.where(found.ok[0][:, None], decided, 0)
