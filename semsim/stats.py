"""Confidence intervals: exact binomial for counts, t for means, over blocks where errors cluster, paired for differences.

Every function works from what a row of a run stores (counts, or n with sum and sum of squares), on the host in float64.
`confidence` is two-sided; 4 sigma is `FOUR_SIGMA`. Inputs are scalars, as one point of a curve is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

# The two-sided confidence of 4 standard deviations: the tests' Monte-Carlo criterion (false alarm 6.3e-5 a check).
FOUR_SIGMA = math.erf(4.0 / math.sqrt(2.0))

# Counts are exact as integers and sums of scores are not; a run-time check of types does not take one for the other.
Real = int | float


class Interval(NamedTuple):
    """An estimate and its two-sided confidence bounds, in the unit of the estimate. Law: low <= value <= high."""

    value: float
    low: float
    high: float


def proportion_interval(errors: int, trials: int, confidence: Real = 0.95) -> Interval:
    """Exact interval of a probability from `errors` in `trials` independent trials (Clopper and Pearson, 1934).

    Never narrower than asked. Zero errors give a lower bound of exactly 0 and a positive upper bound.
    Raises ValueError unless 0 <= errors <= trials and trials >= 1.
    """
    if trials < 1 or not 0 <= errors <= trials:
        raise ValueError(f"errors must be in [0, trials] and trials at least 1; got {errors} in {trials}")
    tail = _tail(confidence)
    low = 0.0 if errors == 0 else float(special.betaincinv(errors, trials - errors + 1, tail))
    high = 1.0 if errors == trials else float(special.betainccinv(errors + 1, trials - errors, tail))
    return Interval(errors / trials, low, high)


def mean_interval(n: int, total: Real, total_sq: Real, confidence: Real = 0.95) -> Interval:
    """Student t interval of a mean from `n` independent values, their sum and their sum of squares.

    One value alone says nothing about the spread: the bounds are then -inf and inf.
    Raises ValueError when n < 1, or when the sums are not those of real numbers.
    """
    if n < 1:
        raise ValueError(f"a mean needs at least one value; got n = {n}")
    if not (math.isfinite(total) and math.isfinite(total_sq)):
        raise ValueError(f"the sums must be finite; got {total} and {total_sq}")
    tail = _tail(confidence)
    mean = total / n
    if n == 1:
        return Interval(mean, -math.inf, math.inf)
    # n mean^2 rounds to either side of total_sq when the values agree; a deficit beyond rounding is a bookkeeping error.
    squares = total_sq - total * mean
    if squares < -1e-6 * max(total_sq, 1e-300):
        raise ValueError(
            f"a sum of squares of {total_sq:g} is too small for {n} values with the sum {total:g}"
        )
    half = -float(special.stdtrit(n - 1, tail)) * math.sqrt(max(squares, 0.0) / (n - 1) / n)
    return Interval(mean, mean - half, mean + half)


def ratio_interval(
    blocks: int, total: Real, total_sq: Real, trials_per_block: int, confidence: Real = 0.95
) -> Interval:
    """Interval of an error rate whose errors cluster: the trials of one block share a fade, the blocks are independent.

    blocks: their number. total, total_sq: sum and sum of squares of the *error counts* of the blocks.
    trials_per_block: trials of every block. A t interval over the blocks, cut to [0, 1]. With no error at all the
    upper bound is the exact one for "a block has an error", which the error rate cannot exceed; likewise for no success.
    Raises ValueError when the counts are impossible.
    """
    if trials_per_block < 1:
        raise ValueError(f"trials_per_block must be at least 1; got {trials_per_block}")
    if blocks < 1 or not 0 <= total <= blocks * trials_per_block:
        raise ValueError(
            f"errors must be in [0, trials] and blocks at least 1; got {total:g} in {blocks} blocks of {trials_per_block}"
        )
    if total == 0:
        return proportion_interval(0, blocks, confidence)
    if total == blocks * trials_per_block:
        return proportion_interval(blocks, blocks, confidence)
    mean = mean_interval(blocks, total, total_sq, confidence)
    low, high = (min(max(bound / trials_per_block, 0.0), 1.0) for bound in mean[1:])
    return Interval(mean.value / trials_per_block, low, high)


def paired_interval(differences: Sequence[Real] | np.ndarray, confidence: Real = 0.95) -> Interval:
    """t interval of the mean difference of two systems seen on the same draws; it excludes 0 when one is better.

    differences: one per independent draw (an image with its own fade), a flat array. Sums that were kept instead of the
    values go to `mean_interval` as they are. Raises ValueError when empty, not flat or not finite.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(
            f"differences must be a flat array of finite numbers, not empty; got shape {values.shape}"
        )
    mean = float(values.mean())
    centred = (
        values - mean
    )  # the spread of a difference can be far below its mean, so no sums of squares here
    spread = mean_interval(values.size, 0.0, float(centred @ centred), confidence)
    return Interval(mean, mean + spread.low, mean + spread.high)


def _tail(confidence: Real) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, as 0.95 does; got {confidence}")
    return (1.0 - confidence) / 2.0
