"""Exact bit and symbol error rates of uncoded nearest-point decisions, in AWGN and in fading with perfect CSI.

Every rate is a sum of Craig integrals (J. W. Craig, MILCOM 1991), w / pi int_0^limit exp(-b gamma / sin^2 t) dt, where
gamma = Es/N0: limit pi/2 is Q(sqrt(2 b gamma)), pi/4 its square, pi - psi a phase beyond psi. Fading with ideal
coherent detection replaces the exponential by the moment generating function of gamma (Simon and Alouini, "Digital
Communication over Fading Channels", 2nd ed., ch. 5 and 8). The Q sums of Gray PAM are those of Cho and Yoon, IEEE Trans.
Commun. 50(7), 2002, here counted from the labels. float64 on the host; no symbol of `phy` is used, so it can be an oracle.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

Decibels = float | int | Sequence[float | int] | np.ndarray

# Levels on the real and on the imaginary axis; 8-PSK has none.
_LEVELS = {
    "bpsk": (2, 1),
    "qpsk": (2, 2),
    "qam16": (4, 4),
    "qam64": (8, 8),
    "qam256": (16, 16),
    "qam1024": (32, 32),
}
MODULATIONS = (*_LEVELS, "psk8")
CHANNELS = ("awgn", "rayleigh", "rician")

# Gauss-Legendre nodes of each integral. Against 1200 nodes, all modulations, -20 to 60 dB: relative error below 1e-10,
# except towards AWGN in disguise, K = 20 dB, where it reaches 3e-9.
_NODES = 256


class _Term(NamedTuple):
    weight: float
    b: float
    limit: float


def ber(
    modulation: str, esno_db: Decibels, channel: str = "awgn", k_db: float | int | None = None
) -> np.ndarray:
    """Bit error rate with Gray labels (3GPP TS 38.211 sec. 5.1; reflected Gray for 8-PSK), same shape as `esno_db`.

    esno_db: mean Es/N0 in dB, E|h|^2 = 1. channel: `"awgn"`, `"rayleigh"` or `"rician"` with the factor `k_db` in dB;
    the rate is the mean over fades, whatever their coherence. Nearest-point decisions: bitwise-optimal (app) ones err
    slightly less at low SNR. Raises ValueError for an unknown name, or for `k_db` without Rician fading.
    """
    return _rate(_bit_terms(_known(modulation)), esno_db, channel, k_db)


def ser(
    modulation: str, esno_db: Decibels, channel: str = "awgn", k_db: float | int | None = None
) -> np.ndarray:
    """Symbol error rate of nearest-point decisions; arguments and errors as in `ber`."""
    return _rate(_symbol_terms(_known(modulation)), esno_db, channel, k_db)


@functools.cache
def _bit_terms(modulation: str) -> tuple[_Term, ...]:
    if modulation == "psk8":
        # P(the decision is k sectors away) is F(2k - 1) - F(2k + 1) on each side, F(j) = P(phase beyond j pi / 8).
        flips = [sum(_flips(i, (i + k) % 8) for i in range(8)) / 24 for k in range(5)]
        return tuple(_beyond((2 * k - 1) * math.pi / 8, 2 * (flips[k] - flips[k - 1])) for k in range(1, 5))
    sides = _LEVELS[modulation]
    bits = sum(side.bit_length() - 1 for side in sides)
    terms = []
    for side in sides:
        for n, weight in enumerate(_pam_bit_weights(side), start=1):
            terms.append(_Term(weight / bits, (2 * n - 1) ** 2 * _half_distance_sq(sides), math.pi / 2))
    return tuple(terms)


@functools.cache
def _symbol_terms(modulation: str) -> tuple[_Term, ...]:
    if modulation == "psk8":
        return (_beyond(math.pi / 8, 2.0),)
    sides = _LEVELS[modulation]
    b = _half_distance_sq(sides)
    first, second = (2.0 * (1.0 - 1.0 / side) for side in sides)
    # 1 - (1 - p)(1 - q) with p = first Q and q = second Q; Q^2 is the integral to pi / 4.
    return _Term(first + second, b, math.pi / 2), _Term(-first * second, b, math.pi / 4)


def _pam_bit_weights(side: int) -> list[float]:
    """Weights w_n: Gray PAM has sum_n w_n Q((2n - 1) a) wrong bits on average, a = half distance / sigma."""
    weights = np.zeros(side)
    for sent in range(side):
        for step in (1, -1):
            # Passing the n-th boundary in one direction, (2n - 1) a away, changes the count of wrong bits by the difference.
            beyond = range(sent + step, side if step > 0 else -1, step)
            for n, level in enumerate(beyond, start=1):
                weights[n] += _flips(sent, level) - _flips(sent, level - step)
    return list(weights[1:] / side)


def _flips(a: int, b: int) -> int:
    """Bits in which the reflected Gray codes of two neighbouring-numbered positions differ."""
    return ((a ^ (a >> 1)) ^ (b ^ (b >> 1))).bit_count()


def _half_distance_sq(sides: tuple[int, int]) -> float:
    """Half the distance between neighbours, squared, at mean symbol energy 1."""
    return 3.0 / (sides[0] ** 2 + sides[1] ** 2 - 2)


def _beyond(psi: float, weight: float) -> _Term:
    """The probability that noise turns the phase by more than psi to one side; half a Craig integral (Pawula, 1982)."""
    return _Term(weight / 2, math.sin(psi) ** 2, math.pi - psi)


def _rate(terms: tuple[_Term, ...], esno_db: Decibels, channel: str, k_db: float | int | None) -> np.ndarray:
    if channel not in CHANNELS:
        raise ValueError(
            f"no closed form for the channel {channel!r}; {_nearest(channel, CHANNELS)}the choices are "
            f"{', '.join(CHANNELS)}"
        )
    if (k_db is None) != (channel != "rician") or (k_db is not None and not math.isfinite(k_db)):
        raise ValueError(
            f"k_db is the finite K-factor in dB of channel='rician' and of no other; got {k_db} with {channel!r}"
        )
    esno = np.asarray(esno_db, np.float64)
    if not np.isfinite(esno).all():
        raise ValueError("esno_db must be finite")
    gamma = 10.0 ** (np.atleast_1d(esno) / 10.0)
    total = np.zeros_like(gamma)
    for term in terms:
        total += term.weight * _craig(term.b * gamma, term.limit, channel, k_db)
    return total.reshape(esno.shape)


def _craig(c: np.ndarray, limit: float, channel: str, k_db: float | int | None) -> np.ndarray:
    """1 / pi int_0^limit of the MGF of the fading power at -c / sin^2 t; c = b gamma, any shape."""
    if channel == "awgn" and limit == math.pi / 2:
        return special.ndtr(-np.sqrt(2.0 * c))  # exact deep in the tail
    if channel == "awgn" and limit == math.pi / 4:
        return special.ndtr(-np.sqrt(2.0 * c)) ** 2
    nodes, weights = _legendre()
    angles = limit * (nodes + 1.0) / 2.0
    s = c[..., None] / np.sin(angles) ** 2
    if channel == "awgn":
        mgf = np.exp(-s)
    else:
        k = 0.0 if k_db is None else 10.0 ** (k_db / 10.0)
        mgf = (1.0 + k) / (1.0 + k + s) * np.exp(-k * s / (1.0 + k + s))
    return mgf @ weights * limit / (2.0 * math.pi)


@functools.cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(_NODES)


def _known(modulation: str) -> str:
    if modulation not in MODULATIONS:
        raise ValueError(
            f"no closed form for the modulation {modulation!r}; {_nearest(modulation, MODULATIONS)}the choices are "
            f"{', '.join(MODULATIONS)}"
        )
    return modulation


def _nearest(name: str, choices: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""
