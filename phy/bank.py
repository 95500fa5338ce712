"""The modulation bank: BPSK and Gray QAM of every size in one compiled program.

A QAM is the product of two Gray PAMs, so everything costs O(sqrt M). Side lengths are traced numbers:
modulation order is data, like the SNR, and may even differ from one realisation to the next.
"""

from dataclasses import dataclass, field
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from phy.base import Modulation, check_method, prior_rows
from phy.pam import (
    Whole,
    all_of,
    amplitude,
    informed_side_llrs,
    label_of_position,
    nearest_position,
    side_llrs,
    side_posterior,
)
from phy.shapes import broadcastable

LARGEST_BITS = 16
"""The bit tricks below hold labels of up to 16 bits."""
_SMALLEST_NOISE = 1e-30


@final
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Qam(Modulation):
    """Gray QAM whose order is traced: of the bits b0 b1 b2 .. of a label, even ones choose I, odd ones Q.

    Labels of QPSK, 16, 64, 256 and 1024-QAM as in 3GPP TS 38.211 clause 5.1 (a first bit 0 is the positive
    half plane). Odd sizes are rectangles 2^ceil(k/2) x 2^floor(k/2) by the same law; BPSK lies on the real
    axis, 0 -> +1 (38.211 turns it by 45 degrees, which changes nothing in a coherent link).
    num_bits_per_symbol: in [1, max_bits], scalar or with the rank of the labels ([b, 1]: one order per
    realisation). Build with `qam` or `modulation`.
    """

    num_bits_per_symbol: Array  # [] or [*#b, #s], integer
    max_bits: int = field(metadata=dict(static=True))

    def modulate(self, labels: Int[Array, "*b s"]) -> Complex[Array, "*b s"]:
        bits_i, bits_q = self._side_bits(labels.ndim)
        odd = self._odd(labels.ndim)
        low, high = every_second_bit(labels), every_second_bit(labels >> 1)
        scale = _scale(bits_i, bits_q, np.dtype(np.float32))
        i = amplitude(jnp.where(odd, low, high), bits_i) * scale
        q = amplitude(jnp.where(odd, high, low), bits_q) * scale
        return jax.lax.complex(i, q)

    def decide(self, y: Complex[Array, "*b s"]) -> Int[Array, "*b s"]:
        bits_i, bits_q = self._side_bits(y.ndim)
        odd = self._odd(y.ndim)
        unit = 1.0 / _scale(bits_i, bits_q, y.real.dtype)
        label_i = label_of_position(nearest_position(y.real * unit, bits_i), bits_i)
        label_q = label_of_position(nearest_position(y.imag * unit, bits_q), bits_q)
        low, high = jnp.where(odd, label_i, label_q), jnp.where(odd, label_q, label_i)
        return _spread_bits(low) | (_spread_bits(high) << 1)

    def llr(
        self,
        y: Complex[Array, "*b s"],
        noise_var: Float[Array, "*#b #s"] | Float[Array, ""] | float,
        method: str = "app",
        prior: Float[Array, "*#b #s m"] | Float[Array, " m"] | None = None,
    ) -> Float[Array, "*b s m"]:
        check_method(method)
        width = (self.max_bits + 1) // 2
        if prior is None:
            return self._alternating([side_llrs(*side, width, method) for side in self._sides(y, noise_var)])

        prior = prior_rows(prior, y.ndim, self.max_bits).astype(y.real.dtype)
        bits = broadcastable("num_bits_per_symbol", self.num_bits_per_symbol, y.ndim)
        known = [jnp.where(bits > j, prior[..., j], 0.0) for j in range(self.max_bits)]
        known.append(jnp.zeros((1,) * y.ndim, prior.dtype))  # of an odd width, Q has a bit less
        informed = self._alternating(
            [
                informed_side_llrs(*side, known[turn : 2 * width : 2], method)
                for turn, side in enumerate(self._sides(y, noise_var))
            ]
        )
        # Where nothing is known the plain LLR stands, in its own arithmetic: the barriers keep XLA from merging the two.
        # It stands with the slope of the other one, for priors that are learnt from 0.
        plain = jax.lax.stop_gradient(
            self.llr(*jax.lax.optimization_barrier((y, jnp.asarray(noise_var))), method)
        )
        plain = jax.lax.optimization_barrier(plain) + (informed - jax.lax.stop_gradient(informed))
        return jnp.where(all_of([x == 0 for x in known])[..., None], plain, informed)

    def posterior(
        self, y: Complex[Array, "*b s"], noise_var: Float[Array, "*#b #s"] | Float[Array, ""] | float
    ) -> Float[Array, "*b s M"]:
        width = (self.max_bits + 1) // 2
        i, q = (side_posterior(*side, width) for side in self._sides(y, noise_var))
        odd = self._odd(y.ndim)[..., None]
        low, high = jnp.where(odd, i, q), jnp.where(odd, q, i)
        # A label interleaves the bits of its two sides: an outer product over axes of length 2, flattened.
        low = low.reshape(low.shape[:-1] + (1, 2) * width)
        high = high.reshape(high.shape[:-1] + (2, 1) * width)
        return (low * high).reshape(y.shape + (1 << 2 * width,))[..., : 1 << self.max_bits]

    def _alternating(self, sides: list[list[Array]]) -> Array:
        """LLRs of the I and of the Q side on one last axis, in the order of the label's bits."""
        both = jnp.stack([llr for pair in zip(*sides, strict=True) for llr in pair], axis=-1)
        return both[..., : self.max_bits]

    def _odd(self, ndim: int) -> Array:
        return (broadcastable("num_bits_per_symbol", self.num_bits_per_symbol, ndim) & 1) == 1

    def _side_bits(self, ndim: int) -> tuple[Array, Array]:
        """Bits of the I side and of the Q side."""
        bits = broadcastable("num_bits_per_symbol", self.num_bits_per_symbol, ndim).astype(jnp.int32)
        return (bits + 1) >> 1, bits >> 1

    def _sides(self, y: Array, noise_var: Array | float) -> list[tuple[Array, Array, Array]]:
        """Coordinate in half level distances, half distance^2 / N0 and bits, of the I and of the Q side.

        The two are kept apart on purpose: stacked on one axis their sizes would be small arrays instead of
        scalars, and XLA's CPU loops become ten times slower (measured).
        """
        bits_i, bits_q = self._side_bits(y.ndim)
        scale = _scale(bits_i, bits_q, y.real.dtype)
        noise_var = broadcastable("noise_var", noise_var, y.ndim).astype(y.real.dtype)
        rate = scale**2 / jnp.maximum(noise_var, _SMALLEST_NOISE)
        unit = 1.0 / scale
        return [(y.real * unit, rate, bits_i), (y.imag * unit, rate, bits_q)]


def qam(num_bits_per_symbol: Array | int, max_bits: int | None = None) -> Qam:
    """The QAM that carries `num_bits_per_symbol` bits, in a bank of width `max_bits` (default: its own).

    A traced or array-valued number of bits needs `max_bits`, and is the caller's to keep within it.
    Errors: ValueError if bits or width are out of range.
    """
    if max_bits is None and not isinstance(num_bits_per_symbol, int):
        raise ValueError(
            "a traced or array-valued num_bits_per_symbol needs max_bits: the static width of the bank"
        )
    width = num_bits_per_symbol if max_bits is None else max_bits
    if not isinstance(width, int) or not 1 <= width <= LARGEST_BITS:
        raise ValueError(f"a QAM carries 1 to {LARGEST_BITS} bits per symbol; got {width}")
    if isinstance(num_bits_per_symbol, int) and not 1 <= num_bits_per_symbol <= width:
        raise ValueError(f"num_bits_per_symbol must be in [1, max_bits = {width}]; got {num_bits_per_symbol}")
    return Qam(jnp.asarray(num_bits_per_symbol, jnp.int32), width)


def _scale(bits_i: Array, bits_q: Array, dtype: np.dtype) -> Array:
    """Half the distance between levels that makes mean |point|^2 = 1: the energy of L unit levels is (L^2 -
    1) / 3."""
    total = (1 << 2 * bits_i) + (1 << 2 * bits_q) - 2
    return jnp.sqrt(3.0 / total.astype(dtype))


def every_second_bit(x: Whole) -> Whole:
    """Bits 0, 2, 4, .. of a 16-bit integer, packed. NumPy or JAX."""
    x = x & 0x5555
    x = (x | (x >> 1)) & 0x3333
    x = (x | (x >> 2)) & 0x0F0F
    return (x | (x >> 4)) & 0x00FF


def _spread_bits(x: Array) -> Array:
    """The inverse: an 8-bit integer onto bits 0, 2, 4, .."""
    x = (x | (x << 4)) & 0x0F0F
    x = (x | (x << 2)) & 0x3333
    return (x | (x << 1)) & 0x5555
