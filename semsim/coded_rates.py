"""Bit and block error rates of coded words over the link, with one transmission or several that are combined."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from channels import Fading
from phy import Modulation, PilotFilter
from phy.coding import TransportBlock
from semsim.coding import Coding, random_bits, send_words
from semsim.devices import Kernel
from semsim.link import Link, fade, split_keys
from semsim.sweep import Parts, Sums, count_sums, mean_sums

BLOCK_BITS = 2**19
"""Bits sent in a block of work, about: enough words for the decoder to go on while the slowest ones finish."""
MOST_WORDS = 512
BLOCKS = 4
"""Blocks of work in a batch."""


class CodedErrors(NamedTuple):
    """What happened to each transmission of a block of work."""

    bits: Array  # [b] wrong payload bits
    words: Array  # [b] words with a wrong bit
    unseen: Array  # [b] such words whose checks hold all the same
    iterations: Array  # [b] of the decoder, summed over code blocks


@dataclass(frozen=True)
class CodedErrorCount(Kernel):
    """Kernel: random payloads, `words` in a transmission, each transmission repeated as `versions` say.

    Every repetition meets a fade and noise of its own.
    """

    link: Link
    block: TransportBlock
    coding: Coding
    versions: tuple[int, ...]
    words: int
    realizations: int

    def __call__(
        self,
        key: Key[Array, ""],
        mapped: tuple[()],
        shared: tuple[Modulation, Fading, Float[Array, ""], PilotFilter | None],
    ) -> CodedErrors:
        modulation, fading, noise_var, pilot_filter = shared
        key_source, key_fading, key_noise = split_keys(key)
        payload = random_bits(key_source, (self.realizations, self.words, self.block.num_bits))
        symbols = self.num_symbols
        soft = 0.0
        for number, version in enumerate(self.versions):
            gain = fade(_of_repetition(key_fading, number), self.link, fading, (self.realizations,), symbols)
            soft = soft + send_words(
                _of_repetition(key_noise, number), self.link, self.block.version(version), payload, modulation,
                gain, noise_var, llr=self.coding.decoding.llr, interleaved=self.coding.interleave, pilot_filter=pilot_filter,
            )  # fmt: skip
        decoder = self.coding.decoding.decoder(self.block, self.versions, self.realizations * self.words)
        found = self.block.receive(jnp.asarray(soft), decoder)
        wrong = jnp.sum(found.bits != payload, axis=-1, dtype=jnp.int32)  # [b, w]
        return CodedErrors(
            jnp.sum(wrong, axis=-1),
            jnp.sum(wrong > 0, axis=-1),
            jnp.sum((wrong > 0) & found.ok, axis=-1),
            jnp.sum(found.iterations, axis=(-2, -1)),
        )

    @property
    def label(self) -> dict[str, str | int]:
        """What it adds to the name of a point."""
        how, decoding = self.coding, self.coding.decoding
        combined = {"combining": how.combining} if len(self.versions) > 1 else {}
        return {
            "demap": decoding.llr, "code": how.code, "k": self.block.num_bits,
            "num_coded_bits": self.block.n, "crc": how.crc, "interleave": "yes" if how.interleave else "no",
            "decoder": f"{decoding.schedule} {decoding.rule} {decoding.precision} {decoding.num_iterations}",
            "words": self.words, "transmissions": len(self.versions), **combined,
        }  # fmt: skip

    @property
    def blocks(self) -> int:
        """Blocks of work in a batch."""
        return BLOCKS

    @property
    def coderate(self) -> float:
        """Payload bits per bit that a transmission has room for."""
        width = self.block.num_bits_per_symbol
        return self.payload_bits(width) / (self.link.capacity(self.num_symbols) * width)

    @property
    def num_symbols(self) -> int:
        """Of a transmission."""
        return self.words * self.block.n // self.block.num_bits_per_symbol

    def payload_bits(self, num_bits_per_symbol: int) -> int:
        """Of a transmission."""
        return self.words * self.block.num_bits

    def sums(self, batch: int, found: CodedErrors, num_bits_per_symbol: int) -> tuple[Sums, Parts]:
        """Sums of a batch: `ber` of payload bits, `bler` of words, `undetected` of words that are wrong and look right,
        and `iterations`, the mean over the code blocks of a transmission."""
        counts = {"ber": found.bits, "bler": found.words, "undetected": found.unseen}
        trials = {"ber": self.payload_bits(num_bits_per_symbol), "bler": self.words, "undetected": self.words}
        sums = {name: count_sums(np.ravel(values), trials[name]) for name, values in counts.items()}
        blocks = self.words * self.block.code.num_blocks
        sums["iterations"] = mean_sums(np.ravel(found.iterations) / blocks)
        return sums, {name: np.sum(values, axis=1).tolist() for name, values in counts.items()}


def _of_repetition(key: Key[Array, ""], number: int) -> Key[Array, ""]:
    """The first transmission meets what every system meets at its point."""
    return key if number == 0 else jax.random.fold_in(key, number)


def coded_kernel(link: Link, block: TransportBlock, coding: Coding, transmissions: int) -> CodedErrorCount:
    """The kernel for words on this link. Errors: ValueError where not even one fits on the grid."""
    symbols, words = block.n // block.num_bits_per_symbol, 1
    if link.grid is not None:
        words = link.capacity(symbols) // symbols
        if not words:
            raise ValueError(
                f"a word of {symbols} symbols does not fit on a grid with {link.capacity(symbols)} data symbols: "
                "take a larger grid, a smaller n or a higher modulation"
            )
    realizations = max(4, min(MOST_WORDS, BLOCK_BITS // block.n) // words)
    return CodedErrorCount(link, block, coding, coding.versions(transmissions), words, realizations)
