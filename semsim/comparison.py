"""Two runs, draw by draw: differences with paired intervals, and what they would have cost without draws in common.

    points of a, points of b --(equal but for what is compared)--> pairs --> batches that both have --> parts --> a - b

Common random numbers: systems that meet the same fades, noise and images err together, and since
Var(a - b) = Var(a) + Var(b) - 2 Cov(a, b), what they have in common leaves the difference, and few draws tell them apart.
The interval is Student's t over the differences of independent parts, the paired-t interval: Owen, Monte Carlo theory,
methods and examples, section 8.6; Law and Kelton, Simulation Modeling and Analysis, chapters 10 and 11. Parts of one
photograph count as one. Of error rates over fading it is the one that allows for bursts (`stats.paired_rate_interval`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from semsim.conventions import Pair, check_comparable, compared_fields, labels, mismatch, name_of, pairs
from semsim.energy import check_energy, energy_fields
from semsim.names import check_kind
from semsim.resume import differences
from semsim.runs import Run, sharing_of
from semsim.stats import (
    Clusters,
    Interval,
    cluster_mean_interval,
    paired_interval,
    paired_rate_interval,
    proportion_interval,
)
from semsim.sweep import Batch, clusters_of, point_name, total

BETTER = {"psnr": "higher", "ssim": "higher"} | dict.fromkeys(
    ("ber", "ser", "bler", "undetected", "iterations", "outage", "unfit", "header_lost", "body_lost"), "lower"
)
"""Which direction of a metric is good; of one that is not here a verdict says only which is higher."""

TOLD_ELSEWHERE = ("stop", "ledger", "propagation", "schemes")
"""Entries of a config that `differing` leaves out: how far a run went, what `row` sums up, what points say."""


def compare(left: Run, right: Run, confidence: float = 0.95) -> list[dict]:
    """One row for every point and metric that both runs have, a (left) minus b (right), over the draws they share.

    A row: the fields of the point that both sides share, "metric", and
    - "value_a", "value_b", "difference" with its paired interval "low", "high": means over the common draws, not the runs'
      own results; in the unit of the metric, an error rate as a rate. Each interval holds by itself, not a table at once.
    - "draws": parts in common, images or blocks of transmissions; "photographs": that the images are tiles of, if they are,
      over which the interval is then. One alone bounds nothing: -inf and inf, or -1 and 1 of error rates.
    - "unpaired_draws": how many draws a side would need if the other met other images and fades, for the same width,
      draws (Var a + Var b) / Var(a - b), rounded up; "gain": that ratio. inf if only the difference never varies, NaN if
      nothing varies or there is one draw.
    - "verdict": "a better" or "b better" if the interval excludes 0 ("a higher", "b higher" where `BETTER` does not say
      what is good), "undecided" if not, "identical" if every part agrees exactly. That says that on these draws the two
      did the same; what would differ in fewer than about 3 of `draws` parts may not have been met.
    Where neither side made an error, or both made nothing else, nothing was seen: "undecided", with the bounds of "a part
    shows a difference", which the difference of the rates cannot exceed.
    Points that only one run has, or that share no batch, have no row: `skipped` names them.
    Errors: ValueError if the runs have no draws in common (`check_comparable`), no point or no batch, were not sent at one
    energy (`energy.APART_DB`), or are damaged.
    """
    check_kind("left", left, Run, "load_run('runs/demo')")
    check_kind("right", right, Run, "load_run('runs/demo')")
    check_comparable(left, right)
    found = pairs(labels(left), labels(right))
    if not found:
        raise ValueError(f"{_names(left, right)} have no point in common: {mismatch(left, right)}")
    for pair in found:
        ours, theirs = (
            (name_of(run), energy_fields(total(run.batches(label))))
            for run, label in ((left, pair.left), (right, pair.right))
        )
        check_energy(ours, theirs, f"{_point(pair)} cannot be compared")
    rows = [row for pair in found for row in _rows(pair, left, right, confidence)]
    if not rows:
        reasons = {entry["reason"] for entry in skipped(left, right)}
        raise ValueError(f"{_names(left, right)} share no draws: {'; '.join(sorted(reasons))}")
    return rows


def skipped(left: Run, right: Run) -> list[dict]:
    """Points that `compare` has no row for: their label and a "reason"."""
    ours, theirs = labels(left), labels(right)
    common = pairs(ours, theirs)
    found = []
    for run, points, paired in (
        (left, ours, {point_name(pair.left) for pair in common}),
        (right, theirs, {point_name(pair.right) for pair in common}),
    ):
        reason = f"only in {name_of(run)}"
        found += [{**label, "reason": reason} for label in points if point_name(label) not in paired]
    for pair in common:
        a, b = left.batches(pair.left), right.batches(pair.right)
        if not a.keys() & b.keys():
            found.append({**pair.label, "reason": "no batch is in both runs"})
        elif not _metrics(a, b):
            found.append({**pair.label, "reason": "no draws were kept one by one, as in importance sampling"})
    return found


def differing(left: Run, right: Run) -> dict[str, tuple]:
    """What is being compared: name -> (of a, of b), for fields of points and settings ("weights.sha256") that differ.

    Empty if the runs say the same of themselves. Which points they visited and how far they went does not count.
    """
    ours, theirs = labels(left), labels(right)
    of_points = {name for label in (*ours, *theirs) for name in label}
    settings = {
        name: pair
        for name, pair in differences(left.config, right.config).items()
        if name not in of_points and name.partition(".")[0] not in TOLD_ELSEWHERE
    }
    return compared_fields(ours, theirs) | settings


def _rows(pair: Pair, left: Run, right: Run, confidence: float) -> Iterator[dict]:
    ours, theirs = left.batches(pair.left), right.batches(pair.right)
    for metric in _metrics(ours, theirs):
        shared = sorted(
            number for number in ours.keys() & theirs.keys() if _has(metric, ours, theirs, number)
        )
        for number in shared:
            counts = [len(batches[number].parts[metric]) for batches in (ours, theirs)]
            if counts[0] != counts[1]:
                raise ValueError(
                    f"{_names(left, right)}: batch {number} of {pair.label} has {counts[0]} parts of {metric} against "
                    f"{counts[1]}, so one of them is damaged: simulate it again"
                )
        a, b = (
            np.concatenate([_values(batches[number], metric) for number in shared])
            for batches in (ours, theirs)
        )
        sums = [total({number: batches[number] for number in shared})[metric] for batches in (ours, theirs)]
        clusters = _cluster_differences(*sums)
        interval = _interval(a - b, sums, sharing_of(pair.left, metric).worst > 0, clusters, confidence)
        found = _difference(a, b, BETTER.get(metric), "errors" in sums[0], interval, confidence)
        many = {} if clusters is None else {"photographs": len(clusters.totals)}
        yield {**pair.label, "metric": metric, **found, **many}


def _interval(
    differences: Float[np.ndarray, "n"],
    sums: Sequence[Mapping],
    bursty: bool,
    clusters: Clusters | None,
    confidence: float,
) -> Interval:
    """Of the mean difference: over photographs where parts are tiles, and as wide as few bursts of errors make it."""
    found = [] if clusters is None else [cluster_mean_interval(clusters, confidence)]
    if "errors" in sums[0] and bursty:
        trials = max(int(part["trials"]) for part in sums) // differences.size
        worst = trials * differences.size / sums[0]["blocks"]
        found.append(paired_rate_interval(differences, trials, worst, confidence))
    elif not found:
        found.append(paired_interval(differences, confidence))
    return Interval(found[0].value, min(one.low for one in found), max(one.high for one in found))


def _cluster_differences(left: Mapping, right: Mapping) -> Clusters | None:
    """Of each photograph its images and the sum of their differences, in the unit of the metric."""
    if clusters_of(left) is None or clusters_of(right) is None:
        return None
    a, b = (
        {name: (count, value / (part.get("trials", 1) / part.get("blocks", 1)))
         for name, (count, value) in part["clusters"].items()}
        for part in (left, right)
    )  # fmt: skip
    return Clusters(np.array([a[name][0] for name in a]), np.array([a[name][1] - b[name][1] for name in a]))


def _metrics(ours: Mapping[int, Batch], theirs: Mapping[int, Batch]) -> list[str]:
    """Metrics of which both runs kept the parts of at least one batch."""
    return list(
        dict.fromkeys(
            metric
            for number in sorted(ours.keys() & theirs.keys())
            for metric in ours[number].parts
            if _has(metric, ours, theirs, number)
        )
    )


def _has(metric: str, ours: Mapping[int, Batch], theirs: Mapping[int, Batch], number: int) -> bool:
    return metric in ours[number].parts and metric in theirs[number].parts


def _values(batch: Batch, metric: str) -> Float[np.ndarray, "n"]:
    """The parts of a batch in the unit of the metric: error counts of equal blocks as rates."""
    parts = np.asarray(batch.parts[metric], np.float64)
    trials = batch.sums[metric].get("trials")
    return parts if trials is None else parts / (trials / parts.size)


def _difference(
    a: Float[np.ndarray, "n"],
    b: Float[np.ndarray, "n"],
    good: str | None,
    is_rate: bool,
    interval: Interval,
    confidence: float,
) -> dict[str, float | int | str]:
    """The numbers of a row from paired values and the interval of their mean difference."""
    agree = bool((a == b).all())
    blind = agree and is_rate and bool((a == 0).all() or (a == 1).all())
    if agree:
        bound = proportion_interval(0, a.size, confidence).high if blind else 0.0
        interval = Interval(0.0, 0.0 - bound, bound)  # no -0.0
    gain = _gain(a, b)
    needed = a.size * gain
    return {
        "value_a": float(a.mean()), "value_b": float(b.mean()), "difference": interval.value,
        "low": interval.low, "high": interval.high, "draws": int(a.size),
        "unpaired_draws": math.ceil(needed) if math.isfinite(needed) else needed, "gain": gain,
        "verdict": "identical" if agree and not blind else _verdict(interval, good),
    }  # fmt: skip


def _gain(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"]) -> float:
    """(Var a + Var b) / Var(a - b): widths shrink with the root of the draws, so this is a ratio of draws."""
    apart, together = float(a.var() + b.var()), float((a - b).var())
    if together == 0.0:
        return math.inf if apart > 0.0 else math.nan
    return apart / together


def _verdict(interval: Interval, good: str | None) -> str:
    if interval.low <= 0.0 <= interval.high:
        return "undecided"
    a_higher = interval.value > 0.0
    if good is None:
        return "a higher" if a_higher else "b higher"
    return "a better" if a_higher == (good == "higher") else "b better"


def _point(pair: Pair) -> str:
    return " ".join(str(pair.label[name]) for name in ("modulation", "channel") if name in pair.label) + (
        f" {pair.label['esno_db']:g} dB"
    )


def _names(left: Run, right: Run) -> str:
    return f"{name_of(left)} and {name_of(right)}"
