"""What every modulation can do, and the arithmetic of its labels.

A label is the integer whose binary digits, most significant first, are the bits a symbol carries. Letters:
`*b` free batch axes, `s` symbols, `m` = max_bits bit positions, `M` = 2^max_bits labels.
"""

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

from phy.shapes import broadcastable

LLR_METHODS = ("app", "maxlog")


class Modulation(abc.ABC):
    """Labels to complex symbols of unit mean energy, and back; deterministic.

    Every implementation is a pytree with two attributes in common: `num_bits_per_symbol`, bits carried by a
    symbol, and the static `max_bits` >= num_bits_per_symbol that fixes the width of bit and label axes.
    Positions beyond a member's own bits or labels are padding.
    """

    num_bits_per_symbol: Array
    max_bits: int

    @abc.abstractmethod
    def modulate(self, labels: Int[Array, "*b s"]) -> Complex[Array, "*b s"]:
        """Symbols that carry `labels`, each in [0, 2^num_bits_per_symbol)."""

    @abc.abstractmethod
    def decide(self, y: Complex[Array, "*b s"]) -> Int[Array, "*b s"]:
        """Label of the point nearest to `y` (equalised to unit gain): the likeliest in white noise."""

    @abc.abstractmethod
    def llr(
        self,
        y: Complex[Array, "*b s"],
        noise_var: Float[Array, "*#b #s"] | Float[Array, ""] | float,
        method: str = "app",
        prior: Float[Array, "*#b #s m"] | Float[Array, " m"] | None = None,
    ) -> Float[Array, "*b s m"]:
        """Log-likelihood ratios ln P(bit = 1) / P(bit = 0) for equally likely labels; positive means 1.

        y: equalised to unit gain. noise_var: variance N0 > 0 of a complex noise sample *after* equalisation.
        method: `app` exact a-posteriori ratios; `maxlog` nearest one against nearest zero, whose signs equal
        the bits of `decide`. Most significant bit first, 0 beyond the member's bits.
        prior: what is known of the bits beforehand, finite ln P(1) / P(0) of independent bits, one row for
        all symbols or broadcasting against the result; a prior of 0 changes no bit of the result. The ratios
        are a posteriori: they include the prior, as in Sionna; a turbo receiver passes on `llr - prior`.
        `maxlog` then compares the likeliest one with the likeliest zero.
        Errors: ValueError for another method or a prior of another shape.
        """

    @abc.abstractmethod
    def posterior(
        self, y: Complex[Array, "*b s"], noise_var: Float[Array, "*#b #s"] | Float[Array, ""] | float
    ) -> Float[Array, "*b s M"]:
        """P(label | y) for equally likely labels: sums to 1 over the last axis, 0 for padding."""


def label_bits(
    labels: Int[Array, "..."], num_bits: Int[Array, "..."] | int, max_bits: int
) -> Int[Array, "... m"]:
    """Bits of each label, most significant first: the first `num_bits` of `max_bits` count, the rest are 0.

    num_bits: scalar or of the rank of `labels` and broadcasting against it; may be traced.
    """
    position = jnp.arange(max_bits, dtype=jnp.int32).reshape((1,) * labels.ndim + (max_bits,))
    shift = _bits_left(num_bits, labels.ndim, max_bits) - 1 - position
    return jnp.where(shift >= 0, (labels[..., None] >> jnp.maximum(shift, 0)) & 1, 0)


def labels_of_bits(bits: Int[Array, "... m"]) -> Int[Array, "..."]:
    """Labels of full rows of bits, most significant first: `label_bits` undone where every position counts."""
    return jnp.sum(bits.astype(jnp.int32) << _descending(bits), axis=-1, dtype=jnp.int32)


def count_bit_errors(sent: Int[Array, "*b s"], decided: Int[Array, "*b s"]) -> Int[Array, "*b s"]:
    """Number of differing bits between two labels, per symbol."""
    return jax.lax.population_count(jnp.bitwise_xor(sent, decided))


def decide_llr(modulation: Modulation, llr: Float[Array, "*b s m"]) -> Int[Array, "*b s"]:
    """Labels from bitwise decisions, bit = 1 where its LLR is positive; padding positions are ignored.

    With exact LLRs each bit is its own most likely value, which is not always the nearest point (slightly
    fewer bit errors at low SNR, more symbol errors).
    """
    left = _bits_left(modulation.num_bits_per_symbol, llr.ndim - 1, modulation.max_bits)[..., 0]
    label = jnp.zeros(llr.shape[:-1], jnp.int32)
    # Bit by bit: a reduction over the bit axis makes XLA compute every LLR again for each bit (13 times slower on CPU).
    for j in range(modulation.max_bits):
        shift = left - 1 - j
        label |= jnp.where((shift >= 0) & (llr[..., j] > 0), 1 << jnp.maximum(shift, 0), 0)
    return label


def prior_rows(prior: Array, ndim: int, max_bits: int) -> Float[Array, "*#b #s m"]:
    """Prior LLRs with the axes of the LLRs of a signal of `ndim` axes. ValueError for another width or rank."""
    prior = jnp.asarray(prior)
    if prior.ndim not in (1, ndim + 1) or prior.shape[-1] != max_bits:
        raise ValueError(
            f"prior must be one LLR for each of the {max_bits} bits, alone or after the {ndim} axes of the signal;"
            f" got shape {prior.shape}"
        )
    return prior.reshape((1,) * ndim + (max_bits,)) if prior.ndim == 1 else prior


def check_method(method: str) -> None:
    """ValueError unless `method` names a way to compute LLRs."""
    if method not in LLR_METHODS:
        raise ValueError(f"LLR method must be one of {', '.join(LLR_METHODS)}; got {method!r}")


def _descending(rows: Array) -> Array:
    """Shifts m-1 .. 0 along the last axis of `rows`, with as many axes as `rows`."""
    width = rows.shape[-1]
    return jnp.arange(width - 1, -1, -1, dtype=jnp.int32).reshape((1,) * (rows.ndim - 1) + (width,))


def _bits_left(num_bits: Array | int, ndim: int, max_bits: int) -> Array:
    """Number of bits with a trailing bit axis; a static count is checked against the width."""
    if isinstance(num_bits, int) and not 0 < num_bits <= max_bits:
        raise ValueError(f"num_bits must be in [1, max_bits = {max_bits}]; got {num_bits}")
    return broadcastable("num_bits", num_bits, ndim)[..., None]
