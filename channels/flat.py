"""Flat block fading of a symbol stream: AWGN, Rayleigh and Rician are one law with three K-factors."""

import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, PRNGKeyArray

from channels.base import Fading
from channels.random import complex_normal


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Flat(Fading):
    """One Rician gain per block of `coherence` symbols of the last axis, independent across blocks and batch.

    gain = sqrt(K / (K + 1)) + CN(0, 1 / (K + 1)): the specular part has phase 0, so a receiver without
    channel knowledge may lean on it. E|gain|^2 = 1 for every K; K = 0 is Rayleigh; K = inf is a gain of
    exactly 1. The K-factor is traced: one program serves all of them, and common random numbers keep their
    fades paired. Coherence is static: one trace per value. On a resource grid the last axis is the
    subcarrier: use `grid_rayleigh` and its like there.
    """

    k_factor: Array  # LINEAR ratio specular / scattered power, [0, inf]; [] or broadcastable to [*b, blocks]
    # Symbols per block; 0: the whole last axis is one block.
    coherence: int = field(metadata={"static": True})

    def __post_init__(self) -> None:
        if self.coherence < 0:
            raise ValueError(
                f"coherence must be >= 1 symbols, or 0 for one block a signal; got {self.coherence}"
            )

    def gains(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Complex[Array, "..."]:
        """[*b, s], or [*b, 1] if the last axis is one block. ValueError if s is no whole number of blocks."""
        *batch, symbols = shape
        blocks = symbols // self.coherence if self.coherence else 1
        if self.coherence and blocks * self.coherence != symbols:
            raise ValueError(
                f"{symbols} symbols is not a whole number of blocks of {self.coherence}:"
                " pad the signal or change coherence"
            )
        scattered_power = 1 / (1 + jnp.asarray(self.k_factor, jnp.float32))
        # 1 - 1/(1 + K), not K/(1 + K): the latter is NaN at K = inf.
        specular = jnp.sqrt(1 - scattered_power)
        gain = specular + jnp.sqrt(scattered_power) * complex_normal(key, (*batch, blocks))
        if not self.coherence or self.coherence == 1:
            return gain
        return _repeat(gain, self.coherence)


def no_fading(coherence: int = 0) -> Flat:
    """Gain exactly 1: plain AWGN. With the coherence of its neighbours in a sweep it shares their program."""
    return Flat(jnp.asarray(jnp.inf, jnp.float32), coherence)


def rayleigh(coherence: int) -> Flat:
    """CN(0, 1) gain per block of `coherence` symbols (1: one a symbol; 0: one for the whole last axis)."""
    return Flat(jnp.asarray(0.0, jnp.float32), coherence)


def rician(k_db: float, coherence: int) -> Flat:
    """Rician gain with K-factor `k_db` in decibels (-inf: Rayleigh, inf: no fading). ValueError for NaN."""
    return Flat(jnp.asarray(linear_k_factor(k_db), jnp.float32), coherence)


def linear_k_factor(k_db: float) -> float:
    """Linear K-factor of one in decibels, both infinities included. ValueError for NaN."""
    if math.isnan(k_db):
        raise ValueError("the Rician K-factor must be decibels, -inf (Rayleigh) or inf (no fading); got nan")
    # Above 380 dB float32 overflows; the scattered part has been below the last bit of the gain since 150 dB.
    return math.inf if k_db > 380 else 10.0 ** (k_db / 10)


def _repeat(gain: Complex[Array, "*b blocks"], coherence: int) -> Complex[Array, "*b s"]:
    """Each block's gain `coherence` times; a broadcast, not a gather."""
    *batch, blocks = gain.shape
    return jnp.broadcast_to(gain[..., None], (*gain.shape, coherence)).reshape(*batch, blocks * coherence)
