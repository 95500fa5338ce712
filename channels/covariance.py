"""Second moments of a fading on a grid: what a receiver may be told to know of its channel.

E[h(t, f) h*(t', f')] = time(t, t') frequency(f, f') + specular(t, f) specular*(t', f')
                      = sum over waveforms of w(t, f) w*(t', f')
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from channels.grid_fading import GridFading
from channels.recorded import Recorded

_PORTION = 1 << 20  # complex numbers of waveforms that are held at a time: 16 MB


class GridCovariance(NamedTuple):
    """Plain float64 arrays, on the host; trace(time) = T, and the mean power of a resource element is 1."""

    time: Float[np.ndarray, "t t"]  # real: J0(2 pi fD (t - t')), 1 on the diagonal
    frequency: Complex[np.ndarray, "f f"]  # sum over the scattered taps of power exp(-j 2 pi (f - f') tau)
    specular: Complex[np.ndarray, "t f"]  # line of sight with its Doppler; its phase is not in second moments


def covariance(fading: GridFading) -> GridCovariance:
    """The exact second moments of the gains that `fading` draws, from the factors it draws them with.

    Every scattered tap has the same time correlation, so that of the scattered part is a product; the line of
    sight moves with a Doppler shift of its own and stands apart. A specular part of fixed phase (Rician,
    AWGN) counts with its power like one of random phase. Padding changes nothing. `fading` must not be traced:
    call this where the fading is built.
    """
    time, taps = np.asarray(fading.time_factor, np.float64), np.asarray(fading.freq_factor, np.complex128)
    return GridCovariance(time @ time.T, taps.T @ taps.conj(), np.asarray(fading.los, np.complex128))


def waveforms(fading: GridFading | Recorded) -> Iterator[Complex[np.ndarray, "n t f"]]:
    """The second moments as waveforms, whose squares add up; in portions, complex128, on the host.

    Of a model: every scattered tap in every component of time, and the line of sight. Of a recording: its records, all
    antenna pairs together, over the root of their number. Laws: sum |w(t, f)|^2 is the mean power of each resource element;
    any linear estimate of the gain errs in the mean square by the sum of its squared errors on the waveforms. `fading` must
    not be traced.
    """
    if isinstance(fading, Recorded):
        yield from _of_records(fading)
        return
    taps = np.asarray(fading.freq_factor, np.complex128)
    taps = taps[np.any(taps, axis=1)]  # the others are padding, or scatter nothing
    for component in np.asarray(fading.time_factor, np.float64).T:
        if taps.size and np.any(component):
            yield component[:, None] * taps[:, None, :]
    yield np.asarray(fading.los, np.complex128)[None]


def _of_records(fading: Recorded) -> Iterator[Complex[np.ndarray, "n t f"]]:
    in_time, in_frequency = np.asarray(fading.time_factor, np.float64), np.asarray(fading.freq_factor)
    halves = np.asarray(fading.coefficients, np.float64).reshape(-1, *fading.coefficients.shape[-2:])
    rank = len(in_frequency)
    records = halves[..., :rank] + 1j * halves[..., rank:]
    step = max(1, _PORTION // (len(in_time) * in_frequency.shape[1]))
    for start in range(0, len(records), step):
        yield in_time @ records[start : start + step] @ in_frequency / math.sqrt(len(records))
