"""Second moments of a grid fading: what a receiver may be told to know of its channel.

E[h(t, f) h*(t', f')] = time(t, t') frequency(f, f') + specular(t, f) specular*(t', f')
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from channels.grid_fading import GridFading


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
