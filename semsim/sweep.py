"""Monte Carlo bookkeeping: keys that belong to points, sums that merge, rows with intervals.

A point is what a result is about: a flat mapping such as {"modulation": "qam16", "channel": "tdl-a", "esno_db": 12.0,
...}.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, UInt32

from channels import GENERATORS, random_key
from semsim.metrics import PSNR_CAP_DB
from semsim.stats import (
    FADE,
    INDEPENDENT,
    Clusters,
    Interval,
    Sharing,
    cluster_mean_interval,
    clustered_interval,
    mean_interval,
)

DEFAULT_GENERATOR = GENERATORS[0]
Point = Mapping[str, str | float]
Sums = dict[str, dict[str, Any]]
"""Per metric the sums that merge: errors, errors_sq, trials, blocks for an error rate; n, sum, sum_sq for a mean; `max`,
which merges to the larger one.

Of images that were cut from photographs also "clusters": number of the photograph -> [its images, their errors or sum].
"""
Parts = dict[str, list]
"""Per metric a number for each independent part of a batch, for paired comparison: the same parts for every system."""


def names(values: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several as a tuple, each once: a repeated point would only repeat itself. Errors: ValueError for none."""
    if not np.iterable(values):
        raise ValueError(f"modulations and channels are names, such as 'qam16' and 'awgn'; got {values!r}")
    return (values,) if isinstance(values, str) else tuple(dict.fromkeys(values))


def draw_id(channel: Mapping[str, str | float], esno_db: float) -> int:
    """A stable 64-bit number of the channel and the SNR (to 1e-6 dB), and of nothing else.

    What is sent is left out on purpose: two systems, modulations or receivers at one channel and SNR meet the same
    fades and the same noise, so their differences are paired. 3 and 3.0, 0 and -0.0 are one number.
    """
    identity = {
        name: value if isinstance(value, str) else float(value) + 0.0 for name, value in channel.items()
    }
    text = json.dumps({**identity, "esno_db": round(float(esno_db), 6) + 0.0}, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def check_seed(seed: int) -> int:
    """`seed` if it is one of the 2^32 that give different numbers. Errors: ValueError for another."""
    if not (
        isinstance(seed, int | np.integer) and 0 <= seed < 2**32
    ):  # JAX would silently take it modulo 2^32
        raise ValueError(f"seed must be in [0, 2^32) and whole; got {seed}")
    return seed


def draw_words(seed: int, draw: int) -> UInt32[np.ndarray, "3"]:
    """Seed and draw number as data: the words from which a program makes the keys of a point."""
    return np.asarray((check_seed(seed), draw >> 32, draw & 0xFFFFFFFF), np.uint32)


def batch_key(seed: int, draw: int, batch: int, generator: str = DEFAULT_GENERATOR) -> Key[Array, ""]:
    """The key of batch `batch` of the draws `draw`: independent of the sweep, its order and the devices.

    generator: one of `channels.GENERATORS`.
    """
    return key_of_words(jnp.asarray(draw_words(seed, draw)), jnp.uint32(batch), generator)


def key_of_words(
    words: UInt32[Array, "3"], batch: UInt32[Array, ""], generator: str = DEFAULT_GENERATOR
) -> Key[Array, ""]:
    """`batch_key` inside a program."""
    key = random_key(words[0], generator)
    for word in (words[1], words[2], batch):
        key = jax.random.fold_in(key, word)
    return key


def count_sums(
    errors_per_block: np.ndarray, trials_per_block: int, groups: np.ndarray | None = None
) -> dict[str, Any]:
    """Sums of an error rate from the error counts of independent blocks; exact integers.

    groups: numbers of the clusters that the blocks belong to; None: each is one of its own.
    """
    errors = np.asarray(errors_per_block, np.int64)
    return {
        "errors": int(errors.sum()),
        "errors_sq": int((errors**2).sum()),
        "trials": int(errors.size * trials_per_block),
        "blocks": int(errors.size),
        **_cluster_sums(errors, groups),
    }


def mean_sums(values: np.ndarray, groups: np.ndarray | None = None) -> dict[str, Any]:
    """Sums of a mean over independent values; groups: as `count_sums`."""
    values = np.asarray(values, np.float64)
    return {
        "n": int(values.size),
        "sum": float(values.sum()),
        "sum_sq": float((values**2).sum()),
        **_cluster_sums(values, groups),
    }


def _cluster_sums(values: np.ndarray, groups: np.ndarray | None) -> dict[str, dict[str, list]]:
    if groups is None:
        return {}
    return {
        "clusters": {
            str(name): [int((groups == name).sum()), values[groups == name].sum().item()]
            for name in np.unique(groups)
        }
    }


def add(left: Sums, right: Sums) -> Sums:
    """Merged sums of two disjoint sets of batches: commutative, and associative up to the rounding of real sums."""
    return {
        metric: {
            name: _merged(name, left.get(metric, {}).get(name, 0), right.get(metric, {}).get(name, 0))
            for name in {**left.get(metric, {}), **right.get(metric, {})}
        }
        for metric in {**left, **right}
    }


def _merged(name: str, left: Any, right: Any) -> Any:
    """A sum, or the sums of each cluster; `max`, of what is never negative, is the larger one."""
    if name == "max":
        return max(left, right)
    if not isinstance(left or right, dict):
        return left + right
    nothing = [0, 0]
    return {
        name: [
            a + b
            for a, b in zip((left or {}).get(name, nothing), (right or {}).get(name, nothing), strict=True)
        ]
        for name in {**(left or {}), **(right or {})}
    }


class Batch(NamedTuple):
    """One finished batch of a point."""

    sums: Sums
    parts: dict[str, np.ndarray]


class Totals:
    """Batches per point of lines `{"point", "batch", "sums", "parts"}`, points in order of first appearance.

    A batch is determined by its point and number, so one that two writers both simulated counts once. Totals add the
    batches up in the order of their numbers: they do not depend on the order in which lines came, not even in the last
    bit.
    """

    def __init__(self, lines: Iterable[Mapping] = ()):
        self._found: dict[str, tuple[dict, dict[int, Batch]]] = {}
        for line in lines:
            self.count(line)

    def count(self, line: Mapping) -> None:
        """Adds a line. Errors: KeyError for one that is not a batch line; ValueError for a batch known with other
        counts."""
        point, number, sums = line["point"], line["batch"], line["sums"]
        _, batches = self._found.setdefault(point_name(point), (dict(point), {}))
        if number not in batches:  # arrays take a tenth of the memory of lists
            parts = {metric: np.asarray(values) for metric, values in line.get("parts", {}).items()}
            batches[number] = Batch(sums, parts)
        known = batches[number]
        if not _agree(known.sums, sums, coded="code" in point or "codec" in point):
            raise ValueError(
                f"batch {number} of {dict(point)} is there twice, with different results: "
                "remove one of the rows files that have it"
            )

    def batches(self, point: Point) -> dict[int, Batch]:
        """What is known of a point, by batch number; empty for one never simulated."""
        return self._found.get(point_name(point), ({}, {}))[1]

    def points(self) -> list[tuple[dict, Sums]]:
        return [(point, total(batches)) for point, batches in self._found.values()]


def point_name(point: Point) -> str:
    """A point as text, the same however its fields are ordered."""
    return json.dumps(point, sort_keys=True)


def total(batches: Mapping[int, Batch]) -> Sums:
    """Sums over batches, in the order of their numbers."""
    sums: Sums = {}
    for number in sorted(batches):
        sums = add(sums, batches[number].sums)
    return sums


def _agree(left: Sums, right: Sums, *, coded: bool) -> bool:
    """Equal but for what another kind of device rounds differently: a decision or two, the last digits of a mean.

    coded: a decision is one about a whole word, with all its bits. It moves the means, by no more than the two largest
    values that are in them, each at most the root of the sum of squares.
    """
    if left.keys() != right.keys():
        return False
    words = min((part["trials"] for part in left.values() if "trials" in part), default=1)
    for metric, part in left.items():
        other = right[metric]
        counts = [name for name in ("trials", "blocks", "n") if name in part]
        if part.keys() != other.keys() or any(part[name] != other[name] for name in counts):
            return False
        if "errors" in part:
            decided = part["trials"] / words if coded else 1
            if abs(part["errors"] - other["errors"]) > 2 * decided:
                return False
        if "sum" in part:
            moved = 2 * math.sqrt(max(part["sum_sq"], other["sum_sq"])) if coded else 0.0
            if metric.endswith("_db"):  # zero but for rounding is 0 dB, as the peak of QPSK over its mean
                moved = max(moved, 1e-4 * part["n"])
            if not math.isclose(part["sum"], other["sum"], rel_tol=1e-3, abs_tol=moved):
                return False
    return True


def result_rows(
    point: Point, sums: Sums, sharing: Callable[[str], Sharing], confidence: float = 0.95
) -> list[dict[str, str | float | int]]:
    """One row per metric: the point, the counts, value and interval.

    sharing: what the trials of an error rate have in common. n: images or blocks, the independent parts, unless the row has
    "photographs": so many the images were cut from. Errors: ValueError for a point with a field of the results' names.
    """
    if clash := {"metric", "errors", "trials", "n", "photographs", *Interval._fields} & point.keys():
        raise ValueError(f"a point's fields {sorted(clash)} are those of its results: give them other names")
    rows = []
    for metric, part in sums.items():
        row: dict[str, str | float | int] = {**point, "metric": metric}
        if "errors" in part:
            row |= {"errors": int(part["errors"]), "trials": int(part["trials"]), "n": int(part["blocks"])}
        else:
            row |= {"n": int(part["n"])}
        if "clusters" in part:
            row["photographs"] = len(part["clusters"])
        interval = metric_interval(part, sharing(metric), confidence)
        rows.append({**row, **within(metric, interval)._asdict()})
    return rows


RANGES = {
    "psnr": (0.0, PSNR_CAP_DB), "ssim": (0.0, 1.0), "iterations": (0.0, math.inf),
    **dict.fromkeys(("ber", "ser", "bler"), (0.0, 1.0)),
}  # fmt: skip
"""Where a mean can lie. Pixels are clamped to [0, 1], so a PSNR is not negative; a structural similarity is only where light
and dark have changed places, and then keeps its own bounds."""


def within(metric: str, interval: Interval) -> Interval:
    """The interval within the range of its metric; infinite bounds, which say that nothing is known, stay."""
    if metric not in RANGES or not math.isfinite(interval.low):
        return interval
    least, most = RANGES[metric]
    value, low, high = interval
    return Interval(value, max(low, min(least, value)), min(high, max(most, value)))


def metric_interval(part: Mapping[str, Any], sharing: Sharing = FADE, confidence: float = 0.95) -> Interval:
    """Value and interval of one metric from its sums; `sharing` as in `result_rows`.

    Errors: ValueError for sums whose clusters are not all of them, as of lines by two versions in one folder.
    """
    clusters = clusters_of(part)
    if "errors" not in part:
        if clusters is not None:
            return cluster_mean_interval(clusters, confidence)
        return mean_interval(int(part["n"]), part["sum"], part["sum_sq"], confidence)
    errors, trials, blocks = (int(part[name]) for name in ("errors", "trials", "blocks"))
    if trials == blocks and clusters is None:  # one trial in each: they are as independent as the blocks
        sharing = INDEPENDENT
    return clustered_interval(errors, part["errors_sq"], trials, blocks, sharing, confidence, clusters)


def clusters_of(part: Mapping[str, Any]) -> Clusters | None:
    """Trials and errors, or values and sums, of each photograph; None where every image is one of its own."""
    found = part.get("clusters")
    if not found:
        return None
    sizes, totals = np.array(list(found.values()), np.float64).T
    count = part["n" if "n" in part else "blocks"]
    if sizes.sum() != count:
        raise ValueError(
            f"{count:g} images, but {sizes.sum():g} of known photographs: some lines are of another version of the program"
        )
    return Clusters(sizes * (part["trials"] / count if "trials" in part else 1), totals)
