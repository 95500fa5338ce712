"""What a check node answers to its bits: min-sum and its corrections, and the exact sum-product rule.

Messages are [degree, .., batch], here as ln P(0)/P(1), since the sign of a check is then the product of signs. Each
rule works in two steps, so that what all answers of a check share is computed once: `summarise` reduces the
incoming messages over the first axis, `answer` forms the extrinsic message of every edge.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Shaped

RULES = ("min-sum", "offset-min-sum", "normalised-min-sum", "sum-product")
LARGEST_LLR = 20.0
"""Answers are clipped here, as in Sionna, so that a wrong certainty can still be outvoted."""
STEPS_PER_UNIT = 8
"""Resolution of int8 messages: an LLR of 1 is 8 steps, the largest is 127 / 8."""
OFFSET, FACTOR = 0.5, 0.75
_LARGEST_STEP = 127
_SIGN = np.int32(-(2**31))
_SMALLEST, _LARGEST_PRODUCT = 1e-12, 1.0 - 1e-7
Summary = tuple[Array, ...]


def summarise(rule: str, incoming: Shaped[Array, "d *c"]) -> Summary:
    """What every answer of a check depends on: the two smallest magnitudes and the sign, or the product of tanh."""
    if rule == "sum-product":
        product = _tanh(incoming[0])
        for message in incoming[1:]:
            product = product * _tanh(message)
        return (product,)
    signs = _signs(incoming)
    sign, least = signs[0], jnp.abs(incoming[0])
    second = jnp.full_like(least, np.inf if _is_float(incoming) else jnp.iinfo(incoming.dtype).max)
    for j in range(1, len(incoming)):
        magnitude = jnp.abs(incoming[j])
        second = jnp.minimum(second, jnp.maximum(least, magnitude))
        least = jnp.minimum(least, magnitude)
        sign = sign ^ signs[j]
    return least, second, sign


def answer(rule: str, incoming: Shaped[Array, "d *c"], summary: Summary) -> Shaped[Array, "d *c"]:
    """The message back along each edge, from all the others': float32, or int8 where the incoming ones are integers."""
    if rule == "sum-product":
        others = summary[0][None] / _tanh(incoming)
        others = jnp.clip(others, -_LARGEST_PRODUCT, _LARGEST_PRODUCT)
        return jnp.log((1.0 + others) / (1.0 - others))  # 2 artanh
    least, second, sign = (part[None] for part in summary)
    smallest = jnp.where(jnp.abs(incoming) == least, second, least)
    if _is_float(incoming):
        smallest = jnp.clip(
            _correct(rule, smallest, OFFSET, lambda x: x * np.float32(FACTOR)), 0.0, LARGEST_LLR
        )
        flipped = lax.bitcast_convert_type(smallest, jnp.int32) | ((sign ^ _signs(incoming)) & _SIGN)
        return lax.bitcast_convert_type(flipped, jnp.float32)
    smallest = jnp.minimum(smallest, 2 * _LARGEST_STEP)  # so that the product below stays small
    steps = np.array(OFFSET * STEPS_PER_UNIT, incoming.dtype)
    smallest = _correct(rule, smallest, steps, lambda x: (x * np.array(FACTOR * 16, x.dtype)) >> 4)
    smallest = jnp.clip(smallest, 0, _LARGEST_STEP)
    return jnp.where((sign ^ incoming) < 0, -smallest, smallest).astype(jnp.int8)


def quantise(llr: Shaped[Array, "*b"]) -> Shaped[Array, "*b"]:
    """LLRs as int8 steps, clipped to +-127."""
    return jnp.clip(jnp.round(llr * STEPS_PER_UNIT), -_LARGEST_STEP, _LARGEST_STEP).astype(jnp.int8)


def _correct(rule: str, smallest: Array, offset: float | np.ndarray, shrink) -> Array:
    if rule == "offset-min-sum":
        return smallest - offset
    return shrink(smallest) if rule == "normalised-min-sum" else smallest


def _tanh(message: Array) -> Array:
    """tanh(x / 2), never zero: the product over the others is the product over all divided by it."""
    value = jnp.tanh(message * np.float32(0.5))
    return jnp.where(value == 0, np.float32(_SMALLEST), value)


def _signs(messages: Array) -> Array:
    """Integers whose sign bit is the sign of the message."""
    return lax.bitcast_convert_type(messages, jnp.int32) if _is_float(messages) else messages


def _is_float(messages: Array) -> bool:
    return jnp.issubdtype(messages.dtype, jnp.floating)
