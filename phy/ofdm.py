"""The resource grid and the OFDM waveform.

Grid arrays are [*b, t, f]: OFDM symbol, subcarrier, with subcarrier 0 the lowest frequency. The DFT is
unitary, so noise variance and signal power are the same on both sides.

    data -> place -> [grid] -> modulate -> samples ~~ channel ~~ samples -> demodulate -> [grid] -> take -> data
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Shaped

from phy.pilots import qpsk_sequence

_MOST_SLICES = 16


@dataclass(frozen=True)
class ResourceGrid:
    """Static plan of an OFDM frame: hashable, never traced; every index array is cached, read-only NumPy.

    num_ofdm_symbols: T; fft_size: F subcarriers, nulled ones included; cyclic_prefix_length: samples, in [0,
    F);
    subcarrier_spacing: Hz; num_guard_carriers: nulled subcarriers at the low and high edge; dc_null: null
    subcarrier F // 2;
    pilot_ofdm_symbol_indices: OFDM symbols that carry pilots, on every `pilot_subcarrier_stride`-th effective
    subcarrier from the lowest one; the subcarriers between them carry data.
    Errors: ValueError, at construction, for a plan that cannot exist.
    """

    num_ofdm_symbols: int
    fft_size: int
    cyclic_prefix_length: int = 0
    subcarrier_spacing: float = 30e3
    num_guard_carriers: Sequence[int] = (0, 0)
    dc_null: bool = False
    pilot_ofdm_symbol_indices: Sequence[int] = ()
    pilot_subcarrier_stride: int = 1

    def __post_init__(self) -> None:
        # Lists are a natural way to write the two sequences; tuples keep the plan hashable.
        object.__setattr__(self, "num_guard_carriers", tuple(self.num_guard_carriers))
        object.__setattr__(self, "pilot_ofdm_symbol_indices", tuple(self.pilot_ofdm_symbol_indices))
        if self.num_ofdm_symbols < 1 or self.fft_size < 1:
            raise ValueError(
                f"a grid needs at least one OFDM symbol and one subcarrier; got {self.num_ofdm_symbols} x {self.fft_size}"
            )
        if not 0 <= self.cyclic_prefix_length < self.fft_size:
            raise ValueError(
                f"cyclic_prefix_length must be in [0, {self.fft_size}); got {self.cyclic_prefix_length}"
            )
        if not (math.isfinite(self.subcarrier_spacing) and self.subcarrier_spacing > 0):
            raise ValueError(f"subcarrier_spacing must be positive, in Hz; got {self.subcarrier_spacing}")
        if len(self.num_guard_carriers) != 2 or min(self.num_guard_carriers) < 0:
            raise ValueError(
                f"num_guard_carriers must be two numbers >= 0 (low, high); got {self.num_guard_carriers}"
            )
        if self.num_effective_subcarriers < 1:
            raise ValueError(
                f"guards {self.num_guard_carriers} and dc_null={self.dc_null} leave none of {self.fft_size} subcarriers; "
                "use fewer guards or a larger fft_size"
            )
        self._check_pilots()

    def _check_pilots(self) -> None:
        symbols = self.pilot_ofdm_symbol_indices
        outside = [i for i in symbols if not 0 <= i < self.num_ofdm_symbols]
        if outside:
            raise ValueError(
                f"pilot_ofdm_symbol_indices must be in [0, {self.num_ofdm_symbols}); got {outside[0]}"
            )
        if len(set(symbols)) != len(symbols):
            raise ValueError(f"pilot_ofdm_symbol_indices must differ from each other; got {symbols}")
        if not 1 <= self.pilot_subcarrier_stride <= self.num_effective_subcarriers:
            raise ValueError(
                f"pilot_subcarrier_stride must be in [1, {self.num_effective_subcarriers}], the effective subcarriers; "
                f"got {self.pilot_subcarrier_stride}"
            )
        if self.num_data_symbols < 1:
            raise ValueError(
                f"pilots on {len(symbols)} of {self.num_ofdm_symbols} OFDM symbols leave no room for data; "
                "use fewer pilot symbols or a larger pilot_subcarrier_stride"
            )

    @functools.cached_property
    def effective_subcarriers(self) -> np.ndarray:
        """Indices of the subcarriers that carry energy: neither guard nor nulled DC. [E], ascending."""
        low, high = self.num_guard_carriers
        indices = np.arange(low, self.fft_size - high)
        return _frozen(indices[indices != self.fft_size // 2] if self.dc_null else indices)

    @functools.cached_property
    def pilot_subcarriers(self) -> np.ndarray:
        """Indices of the subcarriers that carry a pilot on pilot symbols, ascending."""
        return _frozen(self.effective_subcarriers[:: self.pilot_subcarrier_stride])

    @functools.cached_property
    def pilot_mask(self) -> np.ndarray:
        """True where a pilot stands. [T, F]"""
        mask = np.zeros((self.num_ofdm_symbols, self.fft_size), bool)
        symbols = np.asarray(self.pilot_ofdm_symbol_indices, int)
        mask[symbols[:, None], self.pilot_subcarriers[None, :]] = True
        return _frozen(mask)

    @functools.cached_property
    def data_mask(self) -> np.ndarray:
        """True where data stand. [T, F]"""
        mask = np.zeros((self.num_ofdm_symbols, self.fft_size), bool)
        mask[:, self.effective_subcarriers] = True
        return _frozen(mask & ~self.pilot_mask)

    @functools.cached_property
    def pilots(self) -> np.ndarray:
        """Known unit-energy QPSK pilots in the order of the grid (symbol by symbol, rising frequency).
        [num_pilots]"""
        return _frozen(qpsk_sequence(self.num_pilots))

    @functools.cached_property
    def frequencies(self) -> np.ndarray:
        """Baseband frequency of each subcarrier, Hz; subcarrier F // 2 is 0. [F]"""
        return _frozen((np.arange(self.fft_size) - self.fft_size // 2) * float(self.subcarrier_spacing))

    @functools.cached_property
    def times(self) -> np.ndarray:
        """Start of each OFDM symbol, s, from the first; they follow each other by (1 + prefix / F) / spacing.
        [T]"""
        duration = (1.0 + self.cyclic_prefix_length / self.fft_size) / self.subcarrier_spacing
        return _frozen(np.arange(self.num_ofdm_symbols) * duration)

    @property
    def num_effective_subcarriers(self) -> int:
        return len(self.effective_subcarriers)

    @property
    def num_pilots(self) -> int:
        return len(self.pilot_ofdm_symbol_indices) * len(self.pilot_subcarriers)

    @property
    def num_data_symbols(self) -> int:
        return self.num_ofdm_symbols * self.num_effective_subcarriers - self.num_pilots

    @property
    def sample_rate(self) -> float:
        """Samples per second of the waveform: fft_size * subcarrier_spacing."""
        return self.fft_size * float(self.subcarrier_spacing)

    @property
    def num_samples(self) -> int:
        """Length of the waveform, prefixes included."""
        return self.num_ofdm_symbols * (self.fft_size + self.cyclic_prefix_length)

    @property
    def energy_per_data_symbol(self) -> float:
        """Transmitted energy, pilots and prefixes included, per unit-energy data symbol; >= 1."""
        prefix = self.cyclic_prefix_length / self.fft_size
        return self.num_ofdm_symbols * (1.0 + prefix) * self.num_effective_subcarriers / self.num_data_symbols

    def check(self, x: Array) -> None:
        """ValueError unless the last two axes of `x` are those of this grid."""
        shape = (self.num_ofdm_symbols, self.fft_size)
        if x.shape[-2:] != shape:
            raise ValueError(
                f"the last two axes must be {shape} (OFDM symbol, subcarrier); got shape {x.shape}"
            )


def repeated(grid: ResourceGrid, num_symbols: int) -> ResourceGrid:
    """The grid over and over in time, until it has room for so many data symbols. Errors: ValueError for none."""
    if num_symbols < 1:
        raise ValueError("there are no data symbols to make room for")
    times = -(-num_symbols // grid.num_data_symbols)
    pilots = tuple(
        slot * grid.num_ofdm_symbols + index
        for slot in range(times)
        for index in grid.pilot_ofdm_symbol_indices
    )
    return replace(grid, num_ofdm_symbols=times * grid.num_ofdm_symbols, pilot_ofdm_symbol_indices=pilots)


def place(grid: ResourceGrid, data: Complex[Array, "*b n"]) -> Complex[Array, "*b t f"]:
    """Grid with `data` on its data positions (symbol by symbol, rising frequency), its pilots, and zeros
    elsewhere.

    Errors: ValueError unless the last axis holds num_data_symbols values.
    """
    if data.shape[-1] != grid.num_data_symbols:
        raise ValueError(
            f"the grid holds {grid.num_data_symbols} data symbols; got {data.shape[-1]}: pad or cut the payload"
        )
    batch = data.shape[:-1]
    fixed = np.zeros(grid.num_pilots + 1, np.complex64)  # the pilots, and one zero for every null
    fixed[:-1] = grid.pilots
    known = jnp.broadcast_to(
        jnp.asarray(fixed, data.dtype).reshape((1,) * len(batch) + (-1,)), (*batch, fixed.size)
    )
    source = np.full(grid.data_mask.shape, grid.num_data_symbols + grid.num_pilots, np.int32)
    source[grid.data_mask] = np.arange(grid.num_data_symbols)
    source[grid.pilot_mask] = grid.num_data_symbols + np.arange(grid.num_pilots)
    placed = _select(jnp.concatenate([data, known], axis=-1), source.ravel())
    return placed.reshape(*batch, *source.shape)


def take(grid: ResourceGrid, x: Shaped[Array, "*b t f"]) -> Shaped[Array, "*b n"]:
    """Values on the data positions of a grid array of any type: the inverse of `place` on its data."""
    grid.check(x)
    return _select(x.reshape(*x.shape[:-2], -1), np.flatnonzero(grid.data_mask))


def _select(x: Shaped[Array, "*b n"], index: np.ndarray) -> Shaped[Array, "*b k"]:
    """`x[..., index]`, by slices where `index` is a few runs of neighbours: a gather is many times slower on CPU."""
    starts = np.flatnonzero(np.diff(index, prepend=-2) != 1)
    if len(starts) > _MOST_SLICES:
        return x[..., index]
    runs = [x[..., run[0] : run[-1] + 1] for run in np.split(index, starts[1:])]
    return runs[0] if len(runs) == 1 else jnp.concatenate(runs, axis=-1)


def modulate(grid: ResourceGrid, x: Complex[Array, "*b t f"]) -> Complex[Array, "*b samples"]:
    """Time-domain samples of a grid: unitary inverse DFT of each OFDM symbol behind its cyclic prefix.

    Law: without a prefix the energy of the samples is that of the grid.
    """
    grid.check(x)
    body = jnp.fft.ifft(jnp.fft.ifftshift(x, axes=-1), axis=-1, norm="ortho")
    whole = jnp.concatenate([body[..., grid.fft_size - grid.cyclic_prefix_length :], body], axis=-1)
    return whole.reshape(*x.shape[:-2], grid.num_samples)


def demodulate(grid: ResourceGrid, samples: Complex[Array, "*b samples"]) -> Complex[Array, "*b t f"]:
    """Grid of received samples: drops each prefix and takes the unitary DFT.

    Laws: inverse of `modulate`; a linear channel no longer than the prefix becomes one gain per subcarrier;
    white noise stays white with the same variance. Errors: ValueError unless the last axis holds num_samples
    samples.
    """
    if samples.shape[-1] != grid.num_samples:
        raise ValueError(
            f"the frame has {grid.num_samples} samples; got {samples.shape[-1]}: cut what the channel appended"
        )
    symbols = samples.reshape(*samples.shape[:-1], grid.num_ofdm_symbols, -1)[
        ..., grid.cyclic_prefix_length :
    ]
    return jnp.fft.fftshift(jnp.fft.fft(symbols, axis=-1, norm="ortho"), axes=-1)


def _frozen(x: np.ndarray) -> np.ndarray:
    x.setflags(write=False)
    return x
