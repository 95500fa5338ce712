"""The envelope of a system's curves, and where the envelopes of two systems cross."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import combinations
from typing import NamedTuple

import numpy as np

from semsim.scenario import Propagation

FOUND = ("metric", "value", "low", "high", "errors", "trials", "n", "stopped", "cbr", "cbr_payload")
"""Fields of a row that are results."""

CHANNEL = ("channel", *(field.name for field in fields(Propagation)), "dialect")
MET = ("system", *CHANNEL, "csi", "esno_db")
"""Fields that say which system met what; the others are its choice."""


def best_of_each_snr(rows: Sequence[Mapping]) -> list[dict]:
    """For each system, channel and Es/N0 the rows of the `choice` with the best PSNR: the envelope of its curves.

    A choice is everything else that tells points apart: modulation, code, codec, and `run`, if the rows have it. It is made
    on the draws that are shown: where two are equal within their intervals, the better of two estimates is shown, which is a
    little better than either.
    Errors: ValueError if channel uses differ by more than a hundredth, or where two rows are the same metric of one point.
    """
    rates = sorted({row["cbr"] for row in rows})
    if rates and rates[-1] > 1.01 * rates[0]:
        raise ValueError(
            f"the best of each SNR is a comparison at equal channel uses; these runs have {rates[0]:.4f} to {rates[-1]:.4f} "
            "per source sample: simulate them with one cbr"
        )
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

    channel: name. below, above: systems that lead at lower and at higher Es/N0. esno_db: where their mean PSNRs are equal,
    on straight lines between points. low, high: where their 95 % intervals leave open which leads, taken as independent
    (they overlap less than they seem to where the systems met the same draws); the ends of the curves where they never part.
    """

    channel: str
    below: str
    above: str
    esno_db: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.channel}: {self.above} overtakes {self.below} at {self.esno_db:.1f} dB Es/N0 "
            f"({self.low:.1f} to {self.high:.1f})"
        )


STEP_DB = 0.01


def crossovers(rows: Sequence[Mapping]) -> list[Crossover]:
    """Every crossing of the PSNR of two systems over one channel, by channel and Es/N0; rows of `best_of_each_snr`."""
    curves: dict[tuple, dict[str, dict[float, Mapping]]] = {}
    for row in rows:
        if row["metric"] == "psnr":
            place = tuple(row.get(name) for name in CHANNEL)
            label = row["system"] if row["csi"] == "perfect" else f"{row['system']} {row['csi']}"
            curves.setdefault(place, {}).setdefault(label, {})[row["esno_db"]] = row
    return [
        found
        for place, systems in curves.items()
        for pair in combinations(systems, 2)
        for found in _crossings(str(place[0]), pair, [systems[name] for name in pair])
    ]


def _crossings(channel: str, names: tuple[str, str], curves: Sequence[Mapping]) -> list[Crossover]:
    shared = sorted(set(curves[0]) & set(curves[1]))
    if len(shared) < 2:
        return []
    snr = np.linspace(shared[0], shared[-1], round((shared[-1] - shared[0]) / STEP_DB) + 1)
    first, second = ([curve[value] for value in shared] for curve in curves)
    lead = np.array([a["value"] - b["value"] for a, b in zip(first, second, strict=True)])
    half = np.array([
        np.hypot(*((row["high"] - row["low"]) / 2 for row in pair)) for pair in zip(first, second, strict=True)
    ])  # fmt: skip
    lead, half = np.interp(snr, shared, lead), np.interp(snr, shared, half)
    clear, found = np.abs(lead) > half, []
    for at in np.flatnonzero((lead[1:] > 0) != (lead[:-1] > 0)):
        before, after = np.flatnonzero(clear[: at + 1]), np.flatnonzero(clear[at + 1 :])
        below, above = names if lead[at] > 0 else names[::-1]
        found.append(
            Crossover(
                channel, below, above, float(snr[at]),
                float(snr[before[-1]] if len(before) else snr[0]),
                float(snr[at + 1 + after[0]] if len(after) else snr[-1]),
            )
        )  # fmt: skip
    return found
