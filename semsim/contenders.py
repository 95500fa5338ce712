"""Which schemes can be the best of a channel and an Es/N0: bounds that come before any simulation, and compile no receiver.

A frame of N symbols that carry k bits is lost with a probability that no code beats by much, and that the code of a link
stays near: the normal approximation of bit-interleaved coded modulation, with N times the mean information of a symbol
against k. Averaged over fades of the channel it says which schemes lose everything, and which lose nothing while another
that loses nothing either carries more. Both are left out; all others are simulated.

Source: Polyanskiy, Poor, Verdu, "Channel coding rate in the finite blocklength regime", IEEE Trans. Inf. Theory 56(5), 2010.
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from scipy import special

import phy
from channels import Fading
from semsim.frame import Frame, Part
from semsim.link import Link, fade
from semsim.mcs import Scheme

MARGIN_DB = 1.0
"""What the decoder may need more than the bound. Measured for ten of the 37 schemes at 256 channel uses, from the shortest
to the longest (benchmarks/contenders.py --every 4): so far beyond the Es/N0 where the bound loses 0.1 %, 640 frames of each,
they lose at most 4.8 % (0.3 dB), 0.5 % (0.6 dB) and 0.2 % (0.9 dB)."""
NOTHING, EVERYTHING = 0.01, 0.999
"""Shares of frames: with less than the first arriving, even over the bound, a scheme shows little but losses; with more than
the second, even MARGIN_DB below the bound, it shows no loss that an interval could tell."""
MOST_DRAWS, MOST_GAINS = 4096, 2**21
UNSEEN = 3.0
"""Draws that may be otherwise where none was seen, with 95 % confidence."""
_GRID_DB = np.arange(-30.0, 50.5, 0.5)
_NODES = 40


def contenders(
    frames: Mapping[Scheme, Frame],
    link: Link,
    channel: str,
    fading: Fading,
    esno_db: Sequence[float],
    *,
    near_bound: bool = True,
) -> dict[float, list[Scheme]]:
    """At every Es/N0 the schemes that may be the best one, at least one; in the order of `frames`.

    With an estimated channel nothing is known of what is lost, and only hopeless schemes are left out; the same where the
    decoder is not one that stays within MARGIN_DB of the bound (near_bound). A dialect keeps all.
    """
    if link.dialect is not None:
        return {value: list(frames) for value in esno_db}
    num_symbols = next(iter(frames.values())).num_symbols
    fades = None if channel == "awgn" else Fades(_power(link, fading, num_symbols))
    doubt = 0.0 if fades is None else UNSEEN / len(fades.gains_db)
    found = {}
    for value in esno_db:
        most = {name: arrival(plan, value, fades) + doubt for name, plan in frames.items()}
        sure = [
            plan.num_bytes for plan in frames.values()
            if near_bound and link.csi == "perfect" and arrival(plan, value - MARGIN_DB, fades) - doubt > EVERYTHING
        ]  # fmt: skip
        kept = [
            name for name, plan in frames.items()
            if most[name] >= NOTHING and plan.num_bytes >= max(sure, default=0)
        ]  # fmt: skip
        found[value] = kept or [max(most, key=lambda name: most[name])]
    return found


class Fades:
    """Gains of transmissions, and what soft bits tell over them: all schemes of a modulation ask for the same.

    power: |h|^2 of every symbol, [draws, symbols].
    """

    def __init__(self, power: np.ndarray):
        self.gains_db = 10 * np.log10(np.maximum(power, 1e-9))
        self._known: dict[tuple[str, float], list[np.ndarray]] = {}

    def of_a_symbol(self, modulation: str, esno_db: float) -> list[np.ndarray]:
        """As `information`, at a mean Es/N0, over the symbols of each draw. [draws] twice"""
        name = (modulation, esno_db)
        if name not in self._known:
            curves = information(modulation)
            self._known[name] = [
                np.interp(esno_db + self.gains_db, _GRID_DB, curve).mean(axis=-1) for curve in curves
            ]
        return self._known[name]


def arrival(plan: Frame, esno_db: float, fades: Fades | None = None) -> float:
    """The share of frames that arrive whole over the bound, at a mean Es/N0. fades: None for a gain of 1."""
    known = Fades(np.ones((1, 1))) if fades is None else fades
    arrives = [
        special.ndtr(_surplus(part, *known.of_a_symbol(part.modulation, esno_db))) for part in plan.parts
    ]
    return float(np.mean(np.prod(arrives, axis=0)))


def _surplus(part: Part, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """By how many standard deviations the information of a transmission exceeds what a part needs. [draws]

    mean, variance: of a symbol, bits and bits^2.
    """
    mean, variance = part.num_symbols * mean, part.num_symbols * variance
    needed = part.block.num_bits + part.block.crc_bits - 0.5 * np.log2(part.num_symbols)
    return (mean - needed) / np.sqrt(np.maximum(variance, 1e-9))


@functools.cache
def information(modulation: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance, in bits and bits^2, of what the soft bits of one symbol tell of it, at the Es/N0 of _GRID_DB.

    Square Gray QAM: the sum over two PAMs. The bits of a symbol are taken as sent each through a channel of its own.
    """
    width = phy.num_bits(modulation) // 2
    labels = np.arange(1 << width) ^ (np.arange(1 << width) >> 1)  # Gray, level by level
    levels = 2.0 * np.arange(1 << width) - ((1 << width) - 1)
    levels /= np.sqrt(np.mean(levels**2))
    bits = (labels[:, None] >> np.arange(width)) & 1  # [level, bit]
    same = bits[:, :, None] == bits.T[None]  # [level, bit, level]
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights /= weights.sum()
    means, variances = [], []
    for sigma in 10 ** (-_GRID_DB / 20):
        received = levels[:, None] + sigma * nodes  # [level, node]
        likelihood = np.exp(-0.5 * ((received[..., None] - levels) / sigma) ** 2)  # [level, node, level]
        shares = np.matmul(likelihood, np.moveaxis(same, 2, 1).astype(float))  # [level, node, bit]
        density = np.sum(1 + np.log2(shares / likelihood.sum(axis=-1, keepdims=True)), axis=-1)
        mean = np.mean(density @ weights)
        means.append(2 * mean)
        variances.append(2 * np.mean((density - mean) ** 2 @ weights))
    return np.array(means), np.array(variances)


def _power(link: Link, fading: Fading, num_symbols: int) -> np.ndarray:
    """|h|^2 of independent fades, at symbols spread over a transmission. [draws, symbols]"""
    size = int(np.prod(link.signal_shape(num_symbols)))
    draws = min(MOST_DRAWS, max(1, MOST_GAINS // size))
    gain = jax.jit(lambda key: fade(key, link, fading, (draws,), num_symbols))(jax.random.key(0))
    gain = np.asarray(gain).reshape(draws, -1)
    return np.abs(gain[:, :: -(-gain.shape[1] // 256)]) ** 2
