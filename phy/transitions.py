"""What nearest-point decisions do to labels in white noise, in closed form: P(decided label | sent label)."""

import math

import numpy as np
from jaxtyping import Float

from phy.bank import every_second_bit
from phy.names import num_bits
from phy.pam import position_of_label
from phy.units import esnodb2no

_SECTOR_NODES = 256

_erfc = np.vectorize(math.erfc, otypes=[float])


def confusion(name: str, esno_db: float) -> Float[np.ndarray, "M M"]:
    """P(decided | sent) of a named modulation at `esno_db` in AWGN with nearest-point decisions.

    float64; rows sum to 1.
    QAM: the product of two PAMs, each entry a difference of Gaussian tails. psk8: the integral of the phase
    density over a sector (Proakis, Digital Communications, section 4.3-2), whose entries below 1e-16 are
    rounding. A QAM's entries keep their relative precision in the tails.
    Errors: ValueError for an unknown name or an `esno_db` that is not a finite number.
    """
    bits = num_bits(name)
    if not math.isfinite(esno_db):
        raise ValueError(f"esno_db must be finite; got {esno_db}")
    noise_var = float(esnodb2no(esno_db))
    labels = np.arange(1 << bits)
    if name == "psk8":
        place = labels ^ (labels >> 1) ^ (labels >> 2)  # Gray to binary
        steps = (place[None, :] - place[:, None]) % 8
        return _sectors(1.0 / noise_var)[steps]
    bits_i, bits_q = (bits + 1) // 2, bits // 2
    half_distance = math.sqrt(3.0 / (4**bits_i + 4**bits_q - 2))
    low, high = every_second_bit(labels), every_second_bit(labels >> 1)
    label_i, label_q = (low, high) if bits & 1 else (high, low)
    step = half_distance / math.sqrt(noise_var)  # noise_var = 2 sigma^2: this is the argument of erfc
    side_i, side_q = _pam(1 << bits_i, step), _pam(1 << bits_q, step)
    place_i, place_q = position_of_label(label_i, bits_i), position_of_label(label_q, bits_q)
    return side_i[np.ix_(place_i, place_i)] * side_q[np.ix_(place_q, place_q)]


def _pam(levels: int, step: float) -> np.ndarray:
    """P(decided place | sent place) of equidistant levels; thresholds lie at odd multiples of `step`."""
    if levels == 1:
        return np.ones((1, 1))
    tail = 0.5 * _erfc(step * (2 * np.arange(1, levels) - 1))  # beyond the 1st, 2nd, .. threshold on one side
    apart = np.abs(np.arange(levels)[:, None] - np.arange(levels)[None, :])
    beyond = np.concatenate([[1.0], tail, [0.0]])
    matrix = beyond[apart] - beyond[apart + 1]
    matrix[:, [0, -1]] = beyond[apart[:, [0, -1]]]  # the outermost decision regions do not end
    own = np.arange(levels)
    matrix[own, own] = 1.0 - np.where((own == 0) | (own == levels - 1), 1.0, 2.0) * tail[0]
    return matrix


def _sectors(esno: float) -> np.ndarray:
    """P(received phase falls into the sector k * 45 degrees from the sent point), k = 0 .. 7, by
    Gauss-Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(_SECTOR_NODES)
    half = np.pi / 8
    angle = (2 * half * np.arange(8))[:, None] + half * nodes[None, :]
    cosine, sine = np.cos(angle), np.sin(angle)
    density = np.exp(-esno) / (2 * np.pi) + (
        0.5 * math.sqrt(esno / np.pi) * cosine * np.exp(-esno * sine**2) * _erfc(-math.sqrt(esno) * cosine)
    )
    probability = half * (np.maximum(density, 0.0) @ weights)
    probability[0] = 1.0 - probability[1:].sum()
    return probability
