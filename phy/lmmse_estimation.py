"""Channel estimation from pilots by the least mean square error: the gain's correlation is known or assumed.

    pilots -> eigenmodes of their correlation -> x sqrt(power) / (power + N0) -> modes over the whole grid -> gain

The modes are worked out beforehand (`phy.pilot_filter`), noise_var stays data, and a frame costs four thin
matrix products. Letters: `T` OFDM symbols, `F` subcarriers, `p` pilot symbols, `m` time modes, `r` frequency
modes, `*b` batch.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Shaped

from phy.estimation import ChannelEstimate, check_pilots, frame_noise_var, pilot_rows
from phy.ofdm import ResourceGrid
from phy.pilot_filter import LmmseFilter

_SMALLEST_NOISE = 1e-9
"""N0 is floored at -90 dB: below, the rounding of float32 would be weighted up as if it were signal."""
_FUSED_TERMS = 4
"""Up to so many symbols or modes, each is a term of the program, which is fastest; it must not grow with a long grid."""


def lmmse_estimate(
    grid: ResourceGrid,
    pilot_filter: LmmseFilter,
    y: Complex[Array, "*b t f"],
    noise_var: Float[Array, "*#b #t #f"] | Float[Array, ""] | float,
) -> ChannelEstimate:
    """Gains of least mean square error over the whole grid, from the pilots of a received grid.

    noise_var: N0, scalar or one per frame; below 1e-9 it counts as 1e-9. error_var is the exact mean of
    |estimate - gain|^2 over gains and noise where the filter's correlation is the true one: interpolation
    included. Laws: E|gain|^2 = E|estimate|^2 + error_var, so the estimate
    shrinks towards 0 as N0 grows; error_var is never above that of any other linear estimate; without noise
    the estimate meets the LS estimate at the pilots, for gains that the correlation admits.
    Errors: ValueError without pilots, for another shape, or for a filter of another grid.
    """
    check_pilots("LMMSE", grid)
    rows, noise = pilot_rows(grid, y), frame_noise_var(noise_var, y.ndim)
    built_for, number = pilot_filter.specular.shape, pilot_filter.time_modes.shape[0]
    if built_for != y.shape[-2:] or number != rows.shape[-2]:
        raise ValueError(
            f"this estimator was built for {built_for} (symbol, subcarrier) with {number} pilot symbols;"
            f" got {tuple(y.shape[-2:])} with {rows.shape[-2]}"
        )
    batch = (1,) * (y.ndim - 2)
    noise = jnp.maximum(noise, _SMALLEST_NOISE).astype(y.real.dtype)
    power = pilot_filter.power.reshape(batch + pilot_filter.power.shape)
    specular = pilot_filter.specular_modes.reshape(batch + pilot_filter.specular_modes.shape)
    weight = 1.0 / (power + noise)  # [#b, m, r]
    spread = jnp.sqrt(power) * weight

    modes = _to_modes(pilot_filter, rows * jnp.conj(_pilots_in_rows(grid, y)))
    scattered = _over_grid(pilot_filter, spread * modes)
    # The line of sight is one more unknown, its complex amplitude of mean power 1 (Sherman-Morrison): `left` is what
    # of its waveform the scattered modes do not take for their own. Both are 0 where there is none.
    left = pilot_filter.specular.reshape(batch + built_for) - _over_grid(pilot_filter, spread * specular)
    certainty = 1.0 + _sum(_squared(specular) * weight)
    amplitude = _sum(jnp.conj(specular) * modes * weight) / certainty

    share = noise * weight  # of each mode's power that stays unknown
    unknown = jnp.matmul(share, _squared(pilot_filter.freq_factor).T, precision=jax.lax.Precision.HIGHEST)
    error_var = pilot_filter.residual.reshape(batch + built_for) + _over_time(
        pilot_filter.time_factor**2, unknown
    )
    return ChannelEstimate(scattered + amplitude * left, error_var + _squared(left) / certainty)


def _pilots_in_rows(grid: ResourceGrid, y: Array) -> Array:
    """The pilots at their places in the pilot symbols, 0 elsewhere: [.., p, F], as many axes as `y`."""
    known = np.zeros((grid.num_ofdm_symbols, grid.fft_size), np.complex64)
    known[grid.pilot_mask] = grid.pilots
    rows = known[grid.pilot_mask.any(axis=1)]
    return jnp.asarray(rows, y.dtype).reshape((1,) * (y.ndim - 2) + rows.shape)


def _to_modes(pilot_filter: LmmseFilter, at_pilots: Complex[Array, "*b p f"]) -> Complex[Array, "*b m r"]:
    """Coefficients of the modes; data between the pilots meet zeros, which is cheaper than a gather."""
    modes = pilot_filter.freq_modes
    in_frequency = _complex_matmul(at_pilots, jnp.conj(modes))
    return _over_time(pilot_filter.time_modes.T, in_frequency)


def _over_grid(pilot_filter: LmmseFilter, modes: Complex[Array, "*b m r"]) -> Complex[Array, "*b t f"]:
    """The gains of coefficients of unit mean power. Frequency first: it costs the time modes, not all symbols."""
    return _over_time(pilot_filter.time_factor, _complex_matmul(modes, pilot_filter.freq_factor.T))


def _complex_matmul(x: Complex[Array, "*b p k"], w: Complex[Array, "k n"]) -> Complex[Array, "*b p n"]:
    """Two real products on [real | imaginary] halves, faster than a complex one on CPU; no rounding to tensor cores."""
    halves, highest = jnp.concatenate([x.real, x.imag], axis=-1), jax.lax.Precision.HIGHEST
    real = jnp.matmul(halves, jnp.concatenate([w.real, -w.imag]), precision=highest)
    imag = jnp.matmul(halves, jnp.concatenate([w.imag, w.real]), precision=highest)
    return jax.lax.complex(real, imag)


def _over_time(factor: Float[Array, "n k"], x: Shaped[Array, "*b k f"]) -> Shaped[Array, "*b n f"]:
    """`factor` applied along the axis of time: a matrix product, or so few terms that they fuse into one pass."""
    if factor.shape[1] <= _FUSED_TERMS:
        shape = (1,) * (x.ndim - 2) + (-1, 1)
        terms = [factor[:, i].reshape(shape) * x[..., i : i + 1, :] for i in range(factor.shape[1])]
        return sum(terms[1:], start=terms[0])
    highest = jax.lax.Precision.HIGHEST
    if not jnp.iscomplexobj(x):
        return jnp.matmul(factor, x, precision=highest)
    halves = jnp.matmul(factor, jnp.concatenate([x.real, x.imag], axis=-1), precision=highest)
    return jax.lax.complex(*jnp.split(halves, 2, axis=-1))


def _squared(x: Array) -> Array:
    return x.real**2 + x.imag**2


def _sum(x: Array) -> Array:
    return jnp.sum(x, axis=(-2, -1), keepdims=True)
