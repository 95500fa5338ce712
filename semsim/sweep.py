"""Monte Carlo bookkeeping: keys that belong to points, sums that merge, rows with intervals.

A point is what a result is about: a flat mapping such as {"modulation": "qam16", "channel": "tdl-a", "esno_db": 12.0, ...}.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Array, Key
from scipy import special

from semsim.stats import Interval, mean_interval, ratio_interval

Point = Mapping[str, str | float]
Sums = dict[str, dict[str, float]]
"""Per metric the sums that merge: errors, errors_sq, trials, blocks for an error rate; n, sum, sum_sq for a mean."""


def names(values: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several as a tuple, each once: a repeated point would only repeat itself."""
    return (values,) if isinstance(values, str) else tuple(dict.fromkeys(values))


def draw_id(channel: Mapping[str, str | float], esno_db: float) -> int:
    """A stable 64-bit number of the channel and the SNR (to 1e-6 dB), and of nothing else.

    What is sent is left out on purpose: two systems, modulations or receivers at one channel and SNR meet the same fades and
    the same noise, so their differences are paired. 3 and 3.0, 0 and -0.0 are one number.
    """
    identity = {
        name: value if isinstance(value, str) else float(value) + 0.0 for name, value in channel.items()
    }
    text = json.dumps({**identity, "esno_db": round(float(esno_db), 6) + 0.0}, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def check_seed(seed: int) -> int:
    """`seed` if it is one of the 2^32 that give different numbers. Errors: ValueError for another."""
    if not 0 <= seed < 2**32:  # JAX would silently take it modulo 2^32
        raise ValueError(f"seed must be in [0, 2^32); got {seed}")
    return seed


def batch_key(seed: int, draw: int, batch: int) -> Key[Array, ""]:
    """The key of batch `batch` of the draws `draw`: independent of the sweep, its order and the devices."""
    key = jax.random.key(check_seed(seed))
    for word in (draw >> 32, draw & 0xFFFFFFFF, batch):
        key = jax.random.fold_in(key, np.uint32(word))
    return key


def count_sums(errors_per_block: np.ndarray, trials_per_block: int) -> dict[str, float]:
    """Sums of an error rate from the error counts of independent blocks; exact integers."""
    errors = np.asarray(errors_per_block, np.int64)
    return {
        "errors": int(errors.sum()),
        "errors_sq": int((errors**2).sum()),
        "trials": int(errors.size * trials_per_block),
        "blocks": int(errors.size),
    }


def mean_sums(values: np.ndarray) -> dict[str, float]:
    """Sums of a mean over independent values."""
    values = np.asarray(values, np.float64)
    return {"n": int(values.size), "sum": float(values.sum()), "sum_sq": float((values**2).sum())}


def add(left: Sums, right: Sums) -> Sums:
    """Merged sums of two disjoint sets of batches: commutative, and associative up to the rounding of real sums."""
    return {
        metric: {
            name: left.get(metric, {}).get(name, 0) + right.get(metric, {}).get(name, 0)
            for name in {**left.get(metric, {}), **right.get(metric, {})}
        }
        for metric in {**left, **right}
    }


class Totals:
    """Sums per point of batch lines `{"point", "batch", "sums"}`, in order of first appearance.

    A batch is determined by its point and number, so one that two writers both simulated counts once.
    """

    def __init__(self, lines: Iterable[Mapping] = ()):
        self._found: dict[str, tuple[dict, Sums, set[int]]] = {}
        for line in lines:
            self.count(line)

    def count(self, line: Mapping) -> None:
        """Adds a line. Errors: KeyError for one that is not a batch line."""
        point, batch, found = line["point"], line["batch"], line["sums"]
        name = json.dumps(point, sort_keys=True)
        _, sums, batches = self._found.setdefault(name, (dict(point), {}, set()))
        if batch not in batches:
            sums |= add(sums, found)
            batches.add(batch)

    def points(self) -> list[tuple[dict, Sums]]:
        return [(point, sums) for point, sums, _ in self._found.values()]


def result_rows(
    point: Point, sums: Sums, shared: Mapping[str, int], confidence: float = 0.95
) -> list[dict[str, str | float | int]]:
    """One row per metric: the point, the counts, value and interval.

    shared: for an error rate, how many trials share one draw of fading and noise (bits of a symbol); a metric that it does
    not name shares one over the whole block.
    """
    rows = []
    for metric, part in sums.items():
        row: dict[str, str | float | int] = {**point, "metric": metric}
        if "errors" in part:
            errors, trials, blocks = (int(part[name]) for name in ("errors", "trials", "blocks"))
            if metric in shared:
                interval = clustered_interval(
                    errors, part["errors_sq"], trials, blocks, shared[metric], confidence
                )
            else:
                interval = ratio_interval(blocks, errors, part["errors_sq"], trials // blocks, confidence)
            row |= {"errors": errors, "trials": trials, "n": blocks}
        else:
            interval = mean_interval(int(part["n"]), part["sum"], part["sum_sq"], confidence)
            row |= {"n": int(part["n"])}
        rows.append({**row, **interval._asdict()})
    return rows


def clustered_interval(
    errors: int, errors_sq: float, trials: int, blocks: int, shared: int, confidence: float = 0.95
) -> Interval:
    """Exact binomial interval at the number of trials that are worth as much as independent ones.

    errors_sq: sum of the squared error counts of `blocks` equal blocks. Trials fall in groups of `shared` that err together.
    Their design effect, the variance of the counts over the binomial one, is measured over the blocks and kept in
    [1, shared]; without it the bits of one faded symbol would count as so many witnesses. Independent trials (shared = 1)
    give Clopper and Pearson's interval. Source: Korn and Graubard, Survey Methodology 24(2), 1998.
    """
    rate = errors / trials
    if shared > 1 and blocks > 1 and 0 < errors < trials:
        variance = (errors_sq - errors**2 / blocks) / (blocks - 1)
        effect = min(max(variance / (trials / blocks * rate * (1 - rate)), 1.0), float(shared))
    else:
        effect = float(shared)
    hits, misses, tail = errors / effect, (trials - errors) / effect, (1 - confidence) / 2
    low = float(special.betaincinv(hits, misses + 1, tail)) if errors else 0.0
    high = float(special.betainccinv(hits + 1, misses, tail)) if errors < trials else 1.0
    return Interval(rate, min(low, rate), max(high, rate))
