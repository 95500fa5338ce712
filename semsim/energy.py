"""What a system sends, in energy: the convention, how it is kept, and what the rows of a run say of it.

Es/N0 is the ratio of two numbers that both ends know before an image is seen: N0, and a mean energy of 1 for a data symbol,
the mean over the images of a source. Analogue values are normalised image by image, coded bits are scrambled, and an index
system, whose codewords are not used equally, sends each of its orders with a gain that makes the mean 1
(`index_amplitude`). What was sent is measured all the same: docs/conventions.md.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from semsim.sweep import Sums, mean_sums, metric_interval

CONVENTION = "a data symbol has mean energy 1 over the images of a source; rows say what was sent (es_db)"
"""For a run's config."""
APART_DB = 0.1
"""Energies that are further apart than this, beyond their intervals, are not the same SNR."""


class Sent(NamedTuple):
    """Energy of the data symbols of each image, without pilots and the filling of the grid.

    The border that fits an image to a codec (`semsim.padding`) is sent, and counts.
    """

    energy: Array  # [b] mean
    papr_db: Array  # [b] largest over mean, dB
    peak: Array  # [b] largest


def sent(symbols: Complex[Array, "b s"]) -> Sent:
    """What goes on the air for each image."""
    energy = symbols.real**2 + symbols.imag**2
    mean, peak = jnp.mean(energy, axis=-1), jnp.max(energy, axis=-1)
    return Sent(mean, 10 * jnp.log10(peak / mean), peak)


def over_draws(each: Sent, axis: int) -> Sent:
    """Of several transmissions of an image, along `axis`, its mean energy and ratio, and the largest symbol of all."""
    return Sent(each.energy.mean(axis=axis), each.papr_db.mean(axis=axis), each.peak.max(axis=axis))


def index_amplitude(usage: Float[Array, "*r k"], points: Complex[Array, "*r k"]) -> Float[Array, "*r"]:
    """Factor of the symbols of an order: (sum_i p_i |s_i|^2)^(-1/2), by which their mean energy is 1.

    usage: how often each index is sent, to scale (`VectorQuantizer.count`: it is stored with the weights, so both ends know
    it); 0 where an order has no such index. points: what each index is sent as.
    """
    energy = points.real**2 + points.imag**2
    return jnp.sqrt(jnp.sum(usage, axis=-1) / jnp.sum(usage * energy, axis=-1))


def energy_sums(of_images: Sent, groups: np.ndarray | None = None) -> Sums:
    """Sums of the images of a batch that were sent; nothing for none. groups: their photographs, as `mean_sums`."""
    energy, papr_db, peak = (np.asarray(values, np.float64) for values in of_images)
    if not energy.size:
        return {}
    largest = {"n": int(peak.size), "max": float(peak.max())}
    return {"energy": mean_sums(energy, groups), "papr_db": mean_sums(papr_db), "peak": largest}


def metrics_of(sums: Sums) -> Sums:
    """The sums of a point without those of its energy, which are fields of its rows."""
    return {name: part for name, part in sums.items() if name not in Sent._fields}


def energy_fields(sums: Sums) -> dict[str, float]:
    """What the rows of a point say of its energy; nothing for runs of versions that did not measure it.

    es_db: mean energy of a data symbol, dB; es_low_db, es_high_db: its 95 % interval over the images, where there is one.
    papr_db: mean over the images of the ratio of peak to mean of each. peak_db: the largest energy of a symbol.
    """
    if "energy" not in sums:
        return {}
    energy, papr = sums["energy"], sums["papr_db"]
    interval = metric_interval(energy)
    ends = {"es_db": interval.value, "es_low_db": interval.low, "es_high_db": interval.high}
    known = {name: 10 * math.log10(x) for name, x in ends.items() if x > 0 and math.isfinite(x)}
    return {name: round(x, 4) + 0.0 for name, x in known.items()} | {
        "papr_db": round(papr["sum"] / papr["n"], 4) + 0.0,
        "peak_db": round(10 * math.log10(sums["peak"]["max"]), 4) + 0.0,
    }


def apart(rows: Iterable[Mapping]) -> tuple[Mapping, Mapping] | None:
    """Of rows those of least and of most energy, if more than APART_DB lies between their intervals; None if not.

    Rows that do not say what was sent are left out: they are of versions that did not measure it.
    """
    known = [row for row in rows if "es_db" in row]
    if not known:
        return None
    least = min(known, key=lambda row: row.get("es_high_db", math.inf))
    most = max(known, key=lambda row: row.get("es_low_db", -math.inf))
    between = most.get("es_low_db", -math.inf) - least.get("es_high_db", math.inf)
    return (least, most) if between > APART_DB else None


def check_energy(least: tuple[str, Mapping], most: tuple[str, Mapping], what: str) -> None:
    """Refuses two rows, each with its name, that were not sent at one energy. Errors: ValueError with the remedy."""
    if apart((least[1], most[1])):
        (one, a), (other, b) = least, most
        raise ValueError(
            f"{what}: {one} sent symbols of {a['es_db']:+.2f} dB, {other} of {b['es_db']:+.2f} dB in the mean (es_db), so "
            "equal esno_db is not one SNR. Measure the usage of codewords on images of this kind, and simulate again with "
            "the weights that it writes: semsim calibrate WEIGHTS --data IMAGES --out NEW_WEIGHTS"
        )
