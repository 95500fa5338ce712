"""One side of a QAM: Gray PAM whose size is traced, in units of half the distance between levels.

Levels L-1, L-3, .., 1-L carry the labels of 3GPP TS 38.211 clause 5.1; L = 2^bits. Letters as in `phy.base`; `rate` is half
distance^2 / N0.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Whole = TypeVar("Whole", Array, np.ndarray)
_NEVER = -1e38  # log-likelihood of a padded level: finite, so that differences and gradients stay finite
_SMALLEST_SUM = 1e-30  # of likelihoods relative to the nearest level: below, float32 has lost the others


def _flip(bits: Array | int) -> Array | int:
    """38.211's labels of a side, from the most positive level down, are the reflected Gray code xor 011..1."""
    return ((1 << bits) - 1) >> 1


def position_of_label(label: Whole, bits: Array | int) -> Whole:
    """Place 0 .. L-1 of a level among those of its side, counted from the most positive one.

    Gray to binary by prefix xor; NumPy or JAX. bits: of that side.
    """
    x = label ^ _flip(bits)
    x = x ^ (x >> 4)
    x = x ^ (x >> 2)
    return x ^ (x >> 1)


def label_of_position(position: Array, bits: Array) -> Array:
    return position ^ (position >> 1) ^ _flip(bits)


def amplitude(label: Array, bits: Array) -> Array:
    """Level L-1, L-3, .., 1-L of a side label; 0 for a side of no bits."""
    return ((1 << bits) - 1 - 2 * position_of_label(label, bits)).astype(jnp.float32)


def nearest_position(t: Array, bits: Array) -> Array:
    """Place of the level nearest to `t` (in half distances): no search, a rounded and clipped division."""
    top = ((1 << bits) - 1).astype(t.dtype)
    return jnp.clip(jnp.round((top - t) * 0.5), 0.0, top).astype(jnp.int32)


def _metric(t: Array, rate: Array, bits: Array, nearest: Array, position: Array) -> Array:
    """ln P(t | level) - ln P(t | nearest level) <= 0: their step times the distance of t to their midpoint.

    The factored difference of squares keeps full relative precision in float32 near a decision boundary and
    at high SNR.
    """
    middle = ((1 << bits) - 1 - nearest - position).astype(t.dtype)
    return (4.0 * rate) * (nearest - position).astype(t.dtype) * (t - middle)


def side_llrs(t: Array, rate: Array, bits: Array, width: int, method: str) -> list[Array]:
    """LLRs of the bits of one side, most significant first; 0 from the place `bits` on.

    The side is folded at 0: levels 1, 3, 5, .. are numbered 0, 1, 2, .. from the inside, and their images at
    -1, -3, .. are less likely by q, q^3, .. with q = exp(-4 rate |t|). The first bit is the sign of the level;
    another one, counted as `place` from the last, is a Gray bit of its number: static, although the number of
    levels is traced.
    """
    half = 1 << (width - 1)
    last = ((1 << bits) >> 1) - 1  # number of the outermost level
    t_abs = jnp.abs(t)
    nearest = jnp.clip(jnp.floor(0.5 * t_abs), 0.0, jnp.maximum(last, 0).astype(t.dtype))
    metrics = [_folded_metric(t_abs, rate, nearest, i) for i in range(half)]
    metrics = metrics[:1] + [jnp.where(i <= last, metrics[i], _NEVER) for i in range(1, half)]
    towards = -4.0 * rate * t_abs  # ln q
    if method == "maxlog":
        sign = towards + metrics[0]
        inner = [_inner_maxlog(metrics, place) for place in range(width - 1)]
    else:
        weights = [jnp.exp(metric) for metric in metrics]
        # Never above 1: the minimum keeps XLA from turning every product of exponentials into one exponential more.
        q = jnp.minimum(jnp.exp(towards), 1.0)
        images = [q]
        for _ in range(1, half):
            images.append(images[-1] * (q * q))
        sign = towards + _sign_app(metrics[0], weights, images)
        if width == 2:  # a single level and its image in either set: (1 + q^3) / (1 + q) = 1 - q + q^2
            inner = [metrics[1] - metrics[0] + jnp.log(1.0 - q + q * q)]
        else:
            both = [weight * (1.0 + image) for weight, image in zip(weights, images, strict=True)]
            inner = [_inner_app(metrics, both, towards, place) for place in range(width - 1)]
    return _in_order(jnp.where(t < 0, -sign, sign), inner, t, bits)


def _folded_metric(t_abs: Array, rate: Array, nearest: Array, i: int) -> Array:
    """`_metric` of the level numbered i from the inside; `nearest` is a number from the inside, too."""
    return (4.0 * rate) * (i - nearest) * (t_abs - (1.0 + i + nearest))


def _gray(i: int, place: int) -> int:
    return (i ^ (i >> 1)) >> place & 1


def _inner_maxlog(metrics: list[Array], place: int) -> Array:
    """Best level whose Gray bit is 1 against the best one where it is 0; images are never better."""
    best = [
        _fold(_larger, [m for i, m in enumerate(metrics) if _gray(i, place) == value]) for value in (0, 1)
    ]
    return best[1] - best[0]


def _sign_app(innermost: Array, weights: list[Array], images: list[Array]) -> Array:
    """ln P(wrong side) - ln P(right side) - ln q, which is 0 for a side of one bit."""
    wrong = weights[-1]
    # sum of weight_i q^(2 i), by Horner's rule; q^2 = images_1 / images_0 where there are several levels
    square = images[0] * images[0]
    for weight in reversed(weights[:-1]):
        wrong = weight + square * wrong
    representable = wrong > _SMALLEST_SUM
    # Beyond float32's exponents, one level of the wrong side outweighs all others: the innermost.
    return jnp.where(representable, 0.0, innermost) + jnp.log(
        jnp.where(representable, wrong, 1.0) / _fold(jnp.add, weights)
    )


def _inner_app(metrics: list[Array], both: list[Array], towards: Array, place: int) -> Array:
    """ln of all levels with Gray bit 1 over all levels with Gray bit 0; `both`: weight of a level and its image.

    The smaller sum may leave float32's exponents. Then two levels can matter in it: the nearest of the run of
    equal bits on either side of t. Runs of one value alternate between the two sides, so their maxima over
    every other run are found without asking where t is.
    """
    run = 1 << place
    sums, sides = [], []
    for value in (0, 1):
        members = [i for i in range(len(both)) if _gray(i, place) == value]
        sums.append(_fold(jnp.add, [both[i] for i in members]))
        turns = ([], [])
        for i in members:
            turns[((i + run) // (2 * run) >> 1) & 1].append(metrics[i])
        if value == 1:  # left of the innermost run lies the image of the first run with bit 1
            turns[1].append(metrics[run] + (2 * run + 1) * towards)
        sides.append([_fold(_larger, turn) if turn else jnp.full_like(towards, _NEVER) for turn in turns])
    best = [_fold(_larger, pair) for pair in sides]
    second = [_fold(_smaller, pair) for pair in sides]
    fewer = sums[1] < sums[0]
    low, high = _smaller(*sums), _larger(*sums)
    representable = low > _SMALLEST_SUM
    top = jnp.where(fewer, best[1], best[0])
    pair = 1.0 + jnp.exp(jnp.where(fewer, second[1], second[0]) - top)
    llr = jnp.where(representable, 0.0, top) + jnp.log(jnp.where(representable, low, pair) / high)
    return jnp.where(fewer, llr, -llr)


def informed_side_llrs(t: Array, rate: Array, bits: Array, prior: list[Array], method: str) -> list[Array]:
    """A-posteriori LLRs of the bits of one side, most significant first, from prior ones: 0 from the place `bits` on,
    as the priors must be.

    The side is folded at 0 as in `side_llrs`. Priors reorder the levels, so nothing is left of the short cuts
    there: every set is summed relative to its own largest member.
    """
    width = len(prior)
    half = 1 << (width - 1)
    last = ((1 << bits) >> 1) - 1
    t_abs = jnp.abs(t)
    nearest = jnp.clip(jnp.floor(0.5 * t_abs), 0.0, jnp.maximum(last, 0).astype(t.dtype))
    towards = -4.0 * rate * t_abs

    # Prior LLRs of the Gray bits by their place from the last: `_in_order` undone.
    gray = []
    for place in range(width - 1):
        known = jnp.zeros_like(t)
        for j in range(1, width - place):
            known = jnp.where(bits - 1 - j == place, prior[j] if j == 1 else -prior[j], known)
        gray.append(known)
    wrong_sign = jnp.where(t < 0, -prior[0], prior[0])
    right, wrong = [], []
    for i in range(half):
        metric = _folded_metric(t_abs, rate, nearest, i)
        for place in range(width - 1):
            metric = metric + gray[place] if _gray(i, place) else metric
        right.append(metric if i == 0 else jnp.where(i <= last, metric, _NEVER))
        wrong.append(right[i] + ((2 * i + 1) * towards + wrong_sign))

    total = _log_sum if method == "app" else _largest
    sign = total(wrong) - total(right)
    either = [total([*pair]) for pair in zip(right, wrong, strict=True)] if width > 1 else []
    inner = []
    for place in range(width - 1):
        ones, zeros = (
            total([level for i, level in enumerate(either) if _gray(i, place) == value]) for value in (1, 0)
        )
        inner.append(ones - zeros)
    return _in_order(jnp.where(t < 0, -sign, sign), inner, t, bits)


def _in_order(sign: Array, inner: list[Array], t: Array, bits: Array) -> list[Array]:
    """LLRs from that of the sign of the level and those of its Gray bits by their place from the last."""
    llrs = [jnp.where(bits > 0, sign, 0.0)]
    for j in range(1, len(inner) + 1):
        # 38.211's second bit is 1 on the outer half of the levels, the Gray bits after it are inverted.
        llr = jnp.zeros_like(t)
        for place in range(len(inner) + 1 - j):
            llr = jnp.where(bits - 1 - j == place, inner[place] if j == 1 else -inner[place], llr)
        llrs.append(llr)
    return llrs


def _largest(values: list[Array]) -> Array:
    return _fold(_larger, values)


def _log_sum(values: list[Array]) -> Array:
    """ln of a sum of exponentials."""
    top = jax.lax.stop_gradient(_largest(values))
    return top + jnp.log(_fold(jnp.add, [jnp.exp(value - top) for value in values]))


def side_posterior(t: Array, rate: Array, bits: Array, width: int) -> Array:
    """P(side label | t) over 2^width labels, 0 for those that do not exist."""
    label = jnp.arange(1 << width, dtype=jnp.int32).reshape((1,) * t.ndim + (1 << width,))
    t, rate, bits = t[..., None], rate[..., None], bits[..., None]
    metric = _metric(t, rate, bits, nearest_position(t, bits), position_of_label(label, bits))
    return jax.nn.softmax(jnp.where((label >> bits) == 0, metric, _NEVER), axis=-1)


def _fold(operation: Callable[[Array, Array], Array], values: list[Array]) -> Array:
    """Elementwise reduction over a short list; inside one fused loop no level is written to memory."""
    result = values[0]
    for value in values[1:]:
        result = operation(result, value)
    return result


def all_of(conditions: list[Array]) -> Array:
    return _fold(jnp.logical_and, conditions)


def _larger(a: Array, b: Array) -> Array:
    """Maximum without the rules for NaN, which triple its cost on CPU."""
    return jnp.where(a > b, a, b)


def _smaller(a: Array, b: Array) -> Array:
    return jnp.where(a < b, a, b)
