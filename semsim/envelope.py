"""The envelope of a system's curves, and where the envelopes of two systems cross."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from semsim.energy import apart, check_energy
from semsim.scenario import Propagation

FOUND = (
    "metric", "value", "low", "high", "errors", "trials", "n", "photographs", "stopped", "cbr", "cbr_payload",
    "es_db", "es_low_db", "es_high_db", "papr_db", "peak_db", "ici_sir_db", "cbr_largest", "left_out",
)  # fmt: skip
"""Fields of a row that are results."""

CHANNEL = ("channel", *(field.name for field in fields(Propagation)), "dialect")
MET = ("system", *CHANNEL, "csi", "esno_db")
"""Fields that say which system met what; the others are its choice."""


def best_of_each_snr(rows: Sequence[Mapping]) -> list[dict]:
    """For each system, channel and Es/N0 the rows of the `choice` with the best PSNR: the envelope of its curves.

    A choice is everything else that tells points apart: modulation, code, codec, and `run`, if the rows have it. It is made
    on the draws that are shown: where two are equal within their intervals, the better of two estimates is shown, which is a
    little better than either.
    Errors: ValueError if channel uses differ by more than a hundredth, if what was sent differs in energy
    (`energy.APART_DB`), or where two rows are the same metric of one point.
    """
    rates = sorted({row["cbr"] for row in rows})
    if rates and rates[-1] > 1.01 * rates[0]:
        raise ValueError(
            f"the best of each SNR is a comparison at equal channel uses; these runs have {rates[0]:.4f} to {rates[-1]:.4f} "
            "per source sample: simulate them with one cbr"
        )
    if pair := apart(rows):
        least, most = (
            (" ".join(str(row[name]) for name in ("run", "system", "modulation") if name in row), row)
            for row in pair
        )
        check_energy(least, most, "the best of each SNR is a comparison at equal energy")
    curves: dict[tuple, dict[tuple, dict[str, Mapping]]] = {}
    for row in rows:
        place = tuple(row.get(name) for name in MET)
        choice = tuple(sorted((name, str(x)) for name, x in row.items() if name not in (*FOUND, *MET)))
        metrics = curves.setdefault(place, {}).setdefault(choice, {})
        if metrics.setdefault(row["metric"], row) is not row:
            raise ValueError(
                f"{row['metric']} of {row['system']} at {row['esno_db']:g} dB is there twice: draw each run once"
            )
    chose = {place[0] for place, choices in curves.items() if len(choices) > 1}
    found = []
    for place, choices in curves.items():
        best = max(
            choices.values(), key=lambda metrics: metrics["psnr"]["value"] if "psnr" in metrics else -np.inf
        )
        any_row = next(iter(best.values()))
        choice = " ".join(
            str(any_row[name]) for name in ("codec", "modulation", "coderate") if name in any_row
        )
        text = {"modulation": "best of each SNR" if place[0] in chose else choice, "choice": choice}
        found += [
            {**{key: x for key, x in row.items() if key in (*FOUND, *MET)}, **text} for row in best.values()
        ]
    return found


class Crossover(NamedTuple):
    """Where one system overtakes another.

    channel: its name, with what else tells it from another of the same name. below, above: systems that lead at lower and at
    higher Es/N0. esno_db: where their mean PSNRs are equal, on straight lines between points. low, high: between which their
    95 % intervals leave open who leads; taken as independent, although systems meet the same draws, so that a paired
    comparison would be narrower. None: open to the end of the curves.
    """

    channel: str
    below: str
    above: str
    esno_db: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        low = "open below" if self.low is None else f"{self.low:.1f}"
        high = "open above" if self.high is None else f"{self.high:.1f}"
        return f"{self.channel}: {self.above} overtakes {self.below} at {self.esno_db:.1f} dB Es/N0 ({low} to {high})"


STEP_DB = 0.01


def crossovers(rows: Sequence[Mapping]) -> list[Crossover]:
    """Where the PSNR of two systems crosses, channel by channel, by Es/N0; rows of `best_of_each_snr`.

    Curves are compared at the Es/N0 that both have. Where lines cross several times before the intervals tell the systems
    apart again, that is one crossing, the middle one, or none if the same system leads as before.
    """
    curves: dict[tuple, dict[str, dict[float, Mapping]]] = {}
    for row in rows:
        if row["metric"] == "psnr":
            place = tuple(row.get(name) for name in CHANNEL)
            csi = row.get("csi", "perfect")
            label = row["system"] if csi == "perfect" else f"{row['system']} {csi}"
            curves.setdefault(place, {}).setdefault(label, {})[row["esno_db"]] = row
    several = {place[0] for place in curves if sum(other[0] == place[0] for other in curves) > 1}
    found = []
    for place, systems in curves.items():
        name = " ".join(str(x) for x in place if x is not None) if place[0] in several else str(place[0])
        here = [
            one
            for pair in itertools.combinations(systems, 2)
            for one in _crossings(name, pair, [systems[label] for label in pair])
        ]
        found += sorted(here, key=lambda one: one.esno_db)
    return found


def _crossings(channel: str, names: tuple[str, str], curves: Sequence[Mapping]) -> list[Crossover]:
    shared = sorted(set(curves[0]) & set(curves[1]))
    if len(shared) < 2:
        return []
    snr = np.linspace(shared[0], shared[-1], round((shared[-1] - shared[0]) / STEP_DB) + 1)
    pairs = [tuple(curve[value] for curve in curves) for value in shared]
    lead = np.interp(snr, shared, [first["value"] - second["value"] for first, second in pairs])
    half = [np.hypot(*((row["high"] - row["low"]) / 2 for row in pair)) for pair in pairs]
    half = np.interp(snr, shared, half)
    told, clear = np.flatnonzero(lead).tolist(), np.flatnonzero(np.abs(lead) > half)
    open_ranges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for left, right in itertools.pairwise(told):
        if np.sign(lead[left]) != np.sign(lead[right]):
            ends = (np.searchsorted(clear, left, "right"), np.searchsorted(clear, right))
            open_ranges.setdefault((int(ends[0]), int(ends[1])), []).append((left, right))
    found = []
    for (before, after), changes in open_ranges.items():
        if len(changes) % 2 == 0:  # the same system leads on both sides
            continue
        left, right = changes[len(changes) // 2]
        below, above = names if lead[changes[0][0]] > 0 else names[::-1]
        found.append(
            Crossover(
                channel, below, above, float(snr[left] + snr[right]) / 2,
                float(snr[clear[before - 1]]) if before else None,
                float(snr[clear[after]]) if after < len(clear) else None,
            )
        )  # fmt: skip
    return found
