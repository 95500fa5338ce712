"""Channel estimation from pilots: least squares, then linear interpolation in frequency and in time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from phy.ofdm import ResourceGrid
from phy.shapes import broadcastable

_SLICES = 4
"""Up to so many pilot symbols are cut out one by one, which is fastest."""


class ChannelEstimate(NamedTuple):
    """A gain for every resource element and how uncertain it is."""

    gain: Array  # [*b, t, f]
    error_var: (
        Array  # [*#b, t, f] mean square error: of noise, and of interpolation as far as the receiver knows it
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LsFilter:
    """What `ls_estimate` is told of a channel: how far its gains stray from the lines between their pilots.

    Traced, so that one program serves every channel. Build it with `ls_filter`.
    """

    stray: Array  # [T, F] float32, E|line - gain|^2


class _Interpolation(NamedTuple):
    """value[i] = known[low[i]] + weight[i] * (known[high[i]] - known[low[i]]): static."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray  # outside [0, 1] where the line is continued past the outermost known place

    @property
    def noise_gain(self) -> np.ndarray:
        """Variance of an interpolated value when the known ones have independent errors of variance 1."""
        same = self.low == self.high
        return np.where(same, 1.0, (1.0 - self.weight) ** 2 + self.weight**2)

    def line(self, known: Complex[np.ndarray, "*b n"]) -> Complex[np.ndarray, "*b m"]:
        """The interpolation along the last axis, on the host, in float64."""
        return (1.0 - self.weight) * known[..., self.low] + self.weight * known[..., self.high]


def ls_filter(grid: ResourceGrid, waveforms: Iterable[Complex[np.ndarray, "n t f"]]) -> LsFilter:
    """The mean square error that lines between pilots leave without noise, at every resource element.

    waveforms: sum to the gain when each has a weight of its own, uncorrelated with the others and of mean square 1
    (`channels.waveforms`); in portions, on the host. Laws: 0 at the pilots, and everywhere for a gain linear in time and in
    frequency, such as one that is constant over the grid.
    Errors: ValueError without pilots, or for waveforms of another grid.
    """
    check_pilots("LS", grid)
    in_time, in_frequency = _plans(grid)
    symbols = np.sort(np.asarray(grid.pilot_ofdm_symbol_indices))
    stray = np.zeros((grid.num_ofdm_symbols, grid.fft_size))
    for portion in waveforms:
        if portion.shape[-2:] != stray.shape:
            raise ValueError(f"waveforms of this grid are [n, {stray.shape}]; got shape {portion.shape}")
        known = portion[:, symbols][..., grid.pilot_subcarriers]
        lines = np.swapaxes(in_time.line(np.swapaxes(in_frequency.line(known), -1, -2)), -1, -2)
        stray += np.sum(np.abs(lines - portion) ** 2, axis=0)
    return LsFilter(jnp.asarray(stray, jnp.float32))


def ls_estimate(
    grid: ResourceGrid,
    y: Complex[Array, "*b t f"],
    noise_var: Float[Array, "*#b #t #f"] | Float[Array, ""] | float,
    known: LsFilter | None = None,
) -> ChannelEstimate:
    """Least-squares gains at the pilots of a received grid, interpolated over frequency, then over time.

    Beyond the outermost pilots the line through the two nearest ones is continued; a single pilot, or pilot
    symbol, is held constant. Same numbers as Sionna 2.2's LS estimator with linear interpolation, except that
    distances are true subcarrier distances, also across a nulled DC.
    noise_var: N0, scalar or one per frame. known: how far the gain strays from these lines; None: not at all, as Sionna
    takes it, and then what Doppler and delays bend is missing in error_var, and a decoder that believes it fails more
    often the less noise there is.
    error_var is that error plus the exact variance of the interpolated noise, N0 times the sum of squared weights
    (Sionna interpolates the variance itself, which is larger between pilots and smaller beyond them).
    Laws: E|estimate - gain|^2 = error_var for the channel of `known`; exact without noise on a gain linear in time and in
    frequency. Nulled subcarriers get the interpolated line too.
    Errors: ValueError without pilots, for another shape, or for a filter of another grid.
    """
    check_pilots("LS", grid)
    rows, noise_var = pilot_rows(grid, y), frame_noise_var(noise_var, y.ndim)
    in_time, in_frequency = _plans(grid)

    pilots = grid.pilots.reshape(rows.shape[-2], len(grid.pilot_subcarriers)).astype(np.complex128)
    inverse = jnp.asarray(np.conj(pilots) / np.abs(pilots) ** 2, y.dtype).reshape(
        (1,) * (y.ndim - 2) + pilots.shape
    )
    if len(grid.pilot_subcarriers) < grid.fft_size:
        rows = rows[..., grid.pilot_subcarriers]
    gain = _interpolate(_interpolate(rows * inverse, in_frequency, -1), in_time, -2)

    noise_gain = np.outer(in_time.noise_gain, in_frequency.noise_gain)
    over_grid = (1,) * (y.ndim - 2) + noise_gain.shape
    error_var = noise_var * jnp.asarray(noise_gain, noise_var.dtype).reshape(over_grid)
    if known is not None:
        if known.stray.shape != noise_gain.shape:
            raise ValueError(
                f"this estimator was built for {known.stray.shape} (symbol, subcarrier); got {noise_gain.shape}"
            )
        error_var = error_var + known.stray.reshape(over_grid)
    return ChannelEstimate(gain, error_var)


def check_pilots(method: str, grid: ResourceGrid) -> None:
    """ValueError, naming the method, for a grid without pilots."""
    if not grid.num_pilots:
        raise ValueError(
            f"{method} estimation needs pilots: set pilot_ofdm_symbol_indices of the resource grid"
        )


def pilot_rows(grid: ResourceGrid, y: Complex[Array, "*b t f"]) -> Complex[Array, "*b p f"]:
    """The OFDM symbols of a received grid that carry pilots, in the order of time. ValueError for another shape."""
    grid.check(y)
    symbols = sorted(grid.pilot_ofdm_symbol_indices)
    if len(symbols) <= _SLICES:
        return jnp.concatenate([y[..., i : i + 1, :] for i in symbols], axis=-2)
    # A program that names hundreds of slices takes seconds to compile.
    return jax.lax.complex(*(jnp.take(part, np.array(symbols), axis=-2) for part in (y.real, y.imag)))


def frame_noise_var(noise_var: Array | float, ndim: int) -> Array:
    """`noise_var` with `ndim` axes of which the last two have length 1: a scalar, or one number per frame."""
    noise_var = broadcastable("noise_var", noise_var, ndim)
    if noise_var.shape[-2:] != (1, 1):
        raise ValueError(
            f"noise_var must be one number per frame, shape [*b, 1, 1]; got shape {noise_var.shape}"
        )
    return noise_var


def _plans(grid: ResourceGrid) -> tuple[_Interpolation, _Interpolation]:
    """Between pilot symbols, and between pilot subcarriers."""
    symbols = np.sort(np.asarray(grid.pilot_ofdm_symbol_indices))
    return _linear(symbols, grid.num_ofdm_symbols), _linear(grid.pilot_subcarriers, grid.fft_size)


def _linear(known: np.ndarray, size: int) -> _Interpolation:
    """The line through the two known places that surround each place 0 .. size-1, or the two nearest at an
    edge."""
    if len(known) == 1:
        zero = np.zeros(size, int)
        return _Interpolation(zero, zero, np.zeros(size))
    place = np.arange(size)
    low = np.clip(np.searchsorted(known, place, side="right") - 1, 0, len(known) - 2)
    weight = (place - known[low]) / (known[low + 1] - known[low])
    return _Interpolation(low, low + 1, weight)


def _interpolate(known: Array, plan: _Interpolation, axis: int) -> Array:
    """Two weighted gathers: every value has two neighbours, so this beats a matrix product with mostly zero
    weights."""
    if len(plan.weight) == known.shape[axis]:
        return known  # every place is known
    weight = jnp.asarray(plan.weight, known.real.dtype)
    weight = weight.reshape((1,) * (known.ndim + axis) + (-1,) + (1,) * (-axis - 1))
    low, high = (_neighbours(known, index, axis) for index in (plan.low, plan.high))
    return jax.lax.complex(
        *((1.0 - weight) * a + weight * b for a, b in ((low.real, high.real), (low.imag, high.imag)))
    )


def _neighbours(known: Array, index: np.ndarray, axis: int) -> Array:
    """`known` at `index` along an axis, up to broadcasting: two pilot symbols are the neighbours of every other one."""
    if (index == index[0]).all():
        return jax.lax.slice_in_dim(known, int(index[0]), int(index[0]) + 1, axis=axis)
    return jnp.take(known, index, axis=axis)
