"""Any set of points: user-supplied constellations and PSK, by full search over the points."""

import math
from dataclasses import dataclass, field
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int
from numpy.typing import ArrayLike

from phy.base import Modulation, check_method, prior_rows
from phy.shapes import broadcastable

_ENERGY_TOLERANCE = 1e-4
_SMALLEST_NOISE = 1e-30


@final
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Constellation(Modulation):
    """`points[label]` carries the bits of `label`, most significant first; mean |points|^2 is 1.

    Costs O(M) distances per symbol: use `Qam` where the points are a QAM. Build with `constellation` or
    `psk`.
    """

    points: Array  # [M], complex
    num_bits_per_symbol: Array  # [], log2 M
    max_bits: int = field(metadata=dict(static=True))  # log2 M

    def modulate(self, labels: Int[Array, "*b s"]) -> Complex[Array, "*b s"]:
        return self.points[labels]

    def decide(self, y: Complex[Array, "*b s"]) -> Int[Array, "*b s"]:
        return jnp.argmin(self._distances(y), axis=-1).astype(jnp.int32)

    def llr(
        self,
        y: Complex[Array, "*b s"],
        noise_var: Float[Array, "*#b #s"] | Float[Array, ""] | float,
        method: str = "app",
        prior: Float[Array, "*#b #s m"] | Float[Array, " m"] | None = None,
    ) -> Float[Array, "*b s m"]:
        check_method(method)
        metric = self._metric(y, noise_var)
        label = np.arange(1 << self.max_bits)
        if prior is not None:
            prior = prior_rows(prior, y.ndim, self.max_bits).astype(metric.dtype)
            # ln P(label) up to a constant: the sum of the prior LLRs of its ones.
            for j in range(self.max_bits):
                one = ((label >> (self.max_bits - 1 - j)) & 1).reshape((1,) * y.ndim + (-1,))
                metric = metric + jnp.where(one == 1, prior[..., j : j + 1], 0.0)
        reduce = jnp.max if method == "maxlog" else jax.nn.logsumexp
        bits = []
        for shift in range(self.max_bits - 1, -1, -1):
            one = (label >> shift) & 1 == 1
            bits.append(reduce(metric[..., one], axis=-1) - reduce(metric[..., ~one], axis=-1))
        return jnp.stack(bits, axis=-1)

    def posterior(
        self, y: Complex[Array, "*b s"], noise_var: Float[Array, "*#b #s"] | Float[Array, ""] | float
    ) -> Float[Array, "*b s M"]:
        return jax.nn.softmax(self._metric(y, noise_var), axis=-1)

    def _distances(self, y: Array) -> Array:
        """Squared distance of each symbol to each point, [*b, s, M]."""
        difference = y[..., None] - self.points.reshape((1,) * y.ndim + (-1,))
        return difference.real**2 + difference.imag**2

    def _metric(self, y: Array, noise_var: Array | float) -> Array:
        """ln P(y | point) - ln P(y | nearest point): the common part is removed before it is scaled, for
        precision."""
        distances = self._distances(y)
        noise_var = broadcastable("noise_var", noise_var, y.ndim).astype(distances.dtype)
        excess = distances - jax.lax.stop_gradient(jnp.min(distances, axis=-1, keepdims=True))
        return -excess / jnp.maximum(noise_var, _SMALLEST_NOISE)[..., None]


def constellation(points: ArrayLike) -> Constellation:
    """A constellation from its points in the order of their labels.

    Errors: ValueError unless `points` is one row of 2, 4, 8, .. finite, distinct values whose mean energy is
    1 within 1e-4;
    the message says the factor that would make it so (nothing is rescaled silently).
    """
    values = np.asarray(points, np.complex128)
    if values.ndim != 1 or values.size < 2 or values.size & (values.size - 1):
        raise ValueError(f"a constellation is one row of 2, 4, 8, 16, ... points; got shape {values.shape}")
    if not np.all(np.isfinite(values)):
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"constellation points must be finite; point {bad} is {values[bad]}")
    if np.unique(values.astype(np.complex64)).size != values.size:
        raise ValueError(
            f"constellation points must be distinct in single precision; got {values.size} points with repeats"
        )
    energy = float(np.mean(np.abs(values) ** 2))
    if abs(energy - 1.0) > _ENERGY_TOLERANCE:
        raise ValueError(
            f"mean |points|^2 must be 1; got {energy:.6g}. Multiply the points by {1.0 / math.sqrt(energy):.6g}"
        )
    bits = values.size.bit_length() - 1
    return Constellation(jnp.asarray(values, jnp.complex64), jnp.asarray(bits, jnp.int32), bits)


def psk(order: int) -> Constellation:
    """Gray phase-shift keying: the point at angle 2 pi p / order carries the label p xor (p >> 1).

    Errors: ValueError unless order is 2, 4, 8, ... (for order 2 and 4 `qam` is cheaper; its QPSK is turned by
    45 degrees).
    """
    if not isinstance(order, int) or order < 2 or order & (order - 1):
        raise ValueError(f"PSK needs an order in 2, 4, 8, 16, ...; got {order}")
    place = np.arange(order)
    points = np.empty(order, np.complex128)
    points[place ^ (place >> 1)] = np.exp(2j * np.pi * place / order)
    return constellation(points)
