"""Confidence intervals: exact binomial for counts, t for means, over blocks where errors cluster, paired for differences.

Every function works from what a row of a run stores (counts, or n with sum and sum of squares), on the host in float64.
`confidence` is two-sided; 4 sigma is `FOUR_SIGMA`. Inputs are scalars, as one point of a curve is. What each metric of a run
is an interval over, and how often it covers: docs/statistics.md.
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


class Clusters(NamedTuple):
    """Sums over groups that resemble each other within, such as the tiles of a photograph.

    sizes: values, or trials, in each. totals: their sums, or errors, in the same order.
    """

    sizes: np.ndarray
    totals: np.ndarray


def cluster_mean_interval(clusters: Clusters, confidence: Real = 0.95) -> Interval:
    """t interval of the mean over all values of independent clusters: each is one witness, however many values it has.

    The mean is the ratio of two sums over clusters, whose sizes may differ (Cochran, Sampling Techniques, 3rd ed., 1977,
    sections 6.3 and 9A.1), with as many degrees of freedom as clusters, less one. One cluster alone: -inf and inf.
    """
    count, size = len(clusters.totals), float(clusters.sizes.sum())
    mean = float(clusters.totals.sum()) / size
    # Centred first: as deviations weighted by size they sum to 0.
    apart = (clusters.totals - mean * clusters.sizes) * (count / size)
    spread = mean_interval(count, 0.0, float(apart @ apart), confidence)
    return Interval(mean, mean + spread.low, mean + spread.high)


class Sharing(NamedTuple):
    """What trials of an error rate have in common, in trials.

    together: how many err as one at least where no spread was seen, such as the bits of a symbol. most: among how many
    errors may cluster at all; inf: among all of a block. worst: how many a block that was not met may lose at once, as all
    of them in a fade deeper than any seen; 0 where blocks differ little.
    """

    together: Real = 1
    most: Real = 1
    worst: Real = 0


INDEPENDENT = Sharing()
ALIKE = Sharing(math.inf, math.inf)
"""Trials of a block hang together, by a channel estimate or an image, but no block is much worse than the others."""
FADE = Sharing(math.inf, math.inf, math.inf)
"""All trials of a block share a fade."""

FEW_BURSTS = 10
"""With fewer bursts of errors the deepest fade may still be unseen, and the next one may lose a whole block."""
ROUNDING = 1e-9
"""By how much a design effect of 1 may be off in double precision."""


def ratio_interval(
    blocks: int, total: Real, total_sq: Real, trials_per_block: int, confidence: Real = 0.95
) -> Interval:
    """Interval of an error rate whose errors cluster: the trials of one block share a fade, the blocks are independent.

    blocks: their number. total, total_sq: sum and sum of squares of the *error counts* of the blocks.
    trials_per_block: trials of every block. As `clustered_interval`, which says the method.
    Raises ValueError when the counts are impossible.
    """
    if trials_per_block < 1:
        raise ValueError(f"trials_per_block must be at least 1; got {trials_per_block}")
    if blocks < 1 or not 0 <= total <= blocks * trials_per_block:
        raise ValueError(
            f"errors must be in [0, trials] and blocks at least 1; got {total:g} in {blocks} blocks of {trials_per_block}"
        )
    return clustered_interval(total, total_sq, blocks * trials_per_block, blocks, FADE, confidence)


def clustered_interval(
    errors: Real,
    errors_sq: Real,
    trials: int,
    blocks: int,
    sharing: Sharing = FADE,
    confidence: Real = 0.95,
    clusters: Clusters | None = None,
) -> Interval:
    """Exact binomial interval at the number of trials that are worth as much as independent ones.

    errors_sq: sum of the squared error counts of `blocks` equal blocks. Their design effect, the variance of the counts over
    the binomial one, is the size of a burst of errors: so many errors are one witness, and Clopper and Pearson's interval of
    the bursts is that of the rate. It is measured over the blocks, kept in [1, sharing.most], and widened by Student's t for
    few blocks; `sharing.together` stands in where nothing was measured. Source: Korn and Graubard, Survey Methodology 24(2),
    1998. clusters: of blocks that resemble each other; the effect is then measured over them.
    A bound allows for one burst more than was seen, as the exact interval does. Its size is the burst's, or, while there are
    few, that of the worst one: sharing.worst, times FEW_BURSTS / bursts where that is below 1. So an unseen deep fade is
    within the bound: Fay and Feuer's gamma interval, Statistics in Medicine 16, 1997, whose largest weight is a whole block.
    Laws: independent trials (INDEPENDENT) give Clopper and Pearson's interval; errors and successes may change places; no
    error in blocks that share a fade bounds by the number of blocks; errors in a single block bound nothing: 0 and 1.
    With few bursts the interval is conservative, as exact ones are: 98 to 99 % where 95 % are asked for.
    """
    tail, size = _tail(confidence), trials / blocks
    most, worst = min(sharing.most, size), min(sharing.worst, size)
    units, spread = blocks, errors_sq - errors**2 / blocks
    if clusters is not None:
        units, most = len(clusters.totals), trials
        spread = float(((clusters.totals - errors / trials * clusters.sizes) ** 2).sum())
    rate, wider = errors / trials, 1.0
    if not 0 < errors < trials:
        effect = min(sharing.together, size) if clusters is None else trials / units
    elif units == 1:
        effect = most
        if effect >= size > 1 or clusters is not None:
            return Interval(rate, 0.0, 1.0)
    else:
        binomial = errors * (trials - errors) / trials  # the same for successes, to the last bit
        effect = min(max(spread * units / (units - 1) / binomial, 1.0), most)
        if effect > 1 + ROUNDING:
            wider = float(special.stdtrit(units - 1, tail) / special.ndtri(tail)) ** 2

    def beta(events: float, events_sq: float) -> tuple[float, float]:
        """Parameters of the law whose upper tail bounds the rate of these events."""
        weight = max(effect, worst * FEW_BURSTS / max(FEW_BURSTS, bursts(events, events_sq)))
        burst = (effect * events + weight**2) / (events + weight) * wider
        return (events + weight) / burst, (trials - events) / burst

    low, high = 0.0, 1.0
    if errors:
        more, fewer = beta(trials - errors, trials * size - 2 * size * errors + errors_sq)
        low = float(special.betaincinv(fewer, more, tail))
    if errors < trials:
        high = float(special.betainccinv(*beta(errors, errors_sq), tail))
    return Interval(rate, min(low, rate), max(high, rate))


def bursts(errors: Real, errors_sq: Real) -> float:
    """Errors, those of one block as one: how many equal bursts would spread as much; inf without an error.

    A deep fade makes hundreds of bit errors at once: they tell of one fade, not of hundreds.
    """
    return errors**2 / errors_sq if errors_sq else math.inf


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


def paired_rate_interval(
    differences: Sequence[Real] | np.ndarray, trials: int, worst: Real, confidence: Real = 0.95
) -> Interval:
    """Interval of the mean difference of two error rates that come in bursts, as over fading.

    differences: of the rates of a part, one per part of `trials` trials. worst: trials that one unseen fade may cost either
    side. What one side lost and what the other lost have intervals of their own (`clustered_interval`), which Zou and
    Donner's method of variance estimates recovery, Statistics in Medicine 27, 2008, puts together: with many bursts it is
    the t interval, with few it is as wide as they say. Errors: as `paired_interval`.
    """
    mean = paired_interval(differences, confidence).value
    values = np.asarray(differences, np.float64)
    count = values.size
    if count == 1:
        return Interval(mean, -1.0, 1.0)
    sides = np.maximum(values, 0.0) * trials, np.maximum(-values, 0.0) * trials
    first, second = (
        clustered_interval(
            float(side.sum()),
            float(side @ side),
            count * trials,
            count,
            Sharing(worst, math.inf, worst),
            confidence,
        )
        for side in sides
    )
    spread = float(np.prod([np.std(side, ddof=1) for side in sides])) / trials**2
    # Where one side lost more the other lost nothing, so the two are not independent: their covariance is -m1 m2.
    apart = first.value * second.value * count / (count - 1) / spread if spread else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(one**2 + other**2 + 2 * apart * one * other)

    return Interval(
        mean,
        max(mean - reach(first.value - first.low, second.high - second.value), -1.0),
        min(mean + reach(first.high - first.value, second.value - second.low), 1.0),
    )


def _tail(confidence: Real) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, as 0.95 does; got {confidence}")
    return (1.0 - confidence) / 2.0
