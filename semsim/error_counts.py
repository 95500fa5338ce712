"""Uncoded bit and symbol errors of random labels over the link: the kernel of `semsim.error_rates`."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

import phy
from channels import Fading
from phy import Modulation, PilotFilter, ResourceGrid
from semsim.antennas import Antennas
from semsim.devices import Kernel
from semsim.link import Link, fade, random_labels, send_labels, split_keys
from semsim.sweep import Parts, Sums, count_sums

FLAT_BLOCK, FLAT_SYMBOLS = 64, 256
"""Transmissions in a block, and symbols in each: what fits the cache of a core."""
GRID_BLOCK, GRID_ELEMENTS = 16, 16384
"""Grids in a block at most, and resource elements in it: fewer grids where they are large."""
BLOCKS = 32
"""Blocks in a batch: half a million symbols, or 512 grids."""


class Errors(NamedTuple):
    """Error counts of each transmission of a block."""

    bits: Array  # [b]
    symbols: Array  # [b]


@dataclass(frozen=True)
class ErrorCount(Kernel):
    """Kernel: a block of random labels through the link. Modulation, fading and noise are data."""

    link: Link
    realizations: int
    num_symbols: int

    def __call__(
        self,
        key: Key[Array, ""],
        mapped: tuple[()],
        shared: tuple[Modulation, Fading, Float[Array, ""], PilotFilter | None],
    ) -> Errors:
        modulation, fading, noise_var, pilot_filter = shared
        key_source, key_fading, key_noise = split_keys(key)
        labels = random_labels(key_source, modulation, (self.realizations, self.num_symbols))
        gain = fade(key_fading, self.link, fading, (self.realizations,), self.num_symbols)
        decided = send_labels(key_noise, self.link, labels, modulation, gain, noise_var, pilot_filter)
        bits = phy.count_bit_errors(labels, decided)
        # One reduction for both counts: with two, XLA fuses the whole receiver into each of them (6 times slower on
        # CPU).
        zero = jnp.int32(0)
        return Errors(*jax.lax.reduce((bits, (bits > 0).astype(jnp.int32)), (zero, zero), _both, (1,)))

    coderate = 1.0

    @property
    def label(self) -> dict[str, str | int]:
        """What it adds to the name of a point."""
        return {"demap": self.link.demap}

    @property
    def blocks(self) -> int:
        """Blocks of work in a batch."""
        return BLOCKS

    def payload_bits(self, num_bits_per_symbol: int) -> int:
        """Of a transmission."""
        return self.num_symbols * num_bits_per_symbol

    def sums(self, batch: int, found: Errors, num_bits_per_symbol: int) -> tuple[Sums, Parts]:
        """Sums of a batch: `ber` and `ser`."""
        counts = {"ber": np.asarray(found.bits), "ser": np.asarray(found.symbols)}  # [blocks, transmissions]
        trials = {"ber": self.payload_bits(num_bits_per_symbol), "ser": self.num_symbols}
        sums = {name: count_sums(values.ravel(), trials[name]) for name, values in counts.items()}
        return sums, {name: values.sum(axis=1).tolist() for name, values in counts.items()}


def _both(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
    return left[0] + right[0], left[1] + right[1]


def error_count(link: Link) -> ErrorCount:
    """The kernel of a link: as many symbols as its grid holds, or FLAT_SYMBOLS."""
    if link.grid is None:
        return ErrorCount(link, FLAT_BLOCK, FLAT_SYMBOLS)
    return ErrorCount(link, grids_in_block(link.grid, link.antennas), link.capacity(0))


def grids_in_block(grid: ResourceGrid, antennas: Antennas = Antennas()) -> int:  # noqa: B008 (frozen)
    """How many grids a core works on at once."""
    pairs = max(8, antennas.num_rx * antennas.num_tx)
    return max(1, 8 * min(GRID_BLOCK, GRID_ELEMENTS // (grid.num_ofdm_symbols * grid.fft_size)) // pairs)
