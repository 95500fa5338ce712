"""One-tap equalisers: divide by the gain and say how noisy the result is.

Model per resource element: y = (gain + error) x + noise with E|x|^2 = 1, so that an estimation error of
variance `error_var` acts as more noise. Arguments broadcast against `y`: scalars, or arrays with as many
axes.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from phy.shapes import broadcastable

_SMALLEST_POWER = 1e-12
"""Gains are floored at -120 dB: the outputs, and their gradients, stay finite in float32 when a gain
vanishes."""


class Equalised(NamedTuple):
    """Symbols and the variance of their complex error, both of the shape of the received signal."""

    symbols: Array  # [*b, ..]
    noise_var: Array  # [*b, ..]


def zf(
    y: Complex[Array, "*b"],
    gain: Complex[Array, "*#b"] | Complex[Array, ""],
    noise_var: Float[Array, "*#b"] | Float[Array, ""] | float,
    error_var: Float[Array, "*#b"] | Float[Array, ""] | float = 0.0,
) -> Equalised:
    """Zero forcing: symbols = y / gain, of unit gain, with noise variance (noise_var + error_var) / |gain|^2.

    A vanished gain gives symbols near 0 and a huge noise variance, hence LLRs of 0: an erasure, not a
    division by zero.
    """
    gain, noise, power = _prepare(y, gain, noise_var, error_var)
    inverse = 1.0 / jnp.maximum(power, _SMALLEST_POWER)
    return Equalised(y * (jnp.conj(gain) * inverse), jnp.broadcast_to(noise * inverse, y.shape))


def lmmse(
    y: Complex[Array, "*b"],
    gain: Complex[Array, "*#b"] | Complex[Array, ""],
    noise_var: Float[Array, "*#b"] | Float[Array, ""] | float,
    error_var: Float[Array, "*#b"] | Float[Array, ""] | float = 0.0,
    unbiased: bool = True,
) -> Equalised:
    """Linear minimum mean square error.

    unbiased (for demapping): the estimate scaled to unit gain, and the noise variance after scaling, which
    makes LLRs right.
    With one tap that *is* zero forcing (only several antennas or users tell them apart).
    biased (for analogue payloads): symbols = conj(gain) y / (|gain|^2 + N), the estimate of least mean square
    error, and that error N / (|gain|^2 + N) in place of the noise variance, N = noise_var + error_var. It
    shrinks towards 0 as the gain vanishes; do not demap it.
    """
    if unbiased:
        return zf(y, gain, noise_var, error_var)
    gain, noise, power = _prepare(y, gain, noise_var, error_var)
    inverse = 1.0 / jnp.maximum(power + noise, _SMALLEST_POWER)
    # 1 - power / (power + noise) would cancel at high SNR; noise 0 with gain 0 has error 1, the energy of the
    # lost symbol.
    error = jnp.where(power + noise > _SMALLEST_POWER, noise * inverse, 1.0)
    return Equalised(y * (jnp.conj(gain) * inverse), jnp.broadcast_to(error, y.shape))


def _prepare(
    y: Array, gain: Array, noise_var: Array | float, error_var: Array | float
) -> tuple[Array, Array, Array]:
    """Gain, total noise variance and |gain|^2, each with the axes of `y`."""
    gain = broadcastable("gain", gain, y.ndim)
    noise = broadcastable("noise_var", noise_var, y.ndim) + broadcastable("error_var", error_var, y.ndim)
    return gain, noise.astype(y.real.dtype), gain.real**2 + gain.imag**2
