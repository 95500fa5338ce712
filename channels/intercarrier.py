"""Interference between the subcarriers of an OFDM symbol, which a gain per resource element cannot show.

A path with a Doppler shift nu leaves sinc^2(nu T) of its power on its subcarrier, T being the symbol without its prefix; the
rest falls on the others, which under full load take as much from one another as they lose.
"""

import math

import numpy as np

from channels.doppler import LOS_DOPPLER
from channels.recording import Recording

_PHASES = np.linspace(0.0, 3.831706, 20_001)
"""Up to the first minimum of J0: up to there a correlation tells the Doppler shift."""


def ici_power(max_doppler: float, symbol_duration: float, specular: float = 0.0) -> float:
    """Share of the power that a fading of a grid turns into interference between subcarriers, in [0, 1].

    max_doppler: fD in hertz, of scattered taps with the Jakes spectrum and a line of sight at 0.7 fD that has the share
    `specular` of the power; symbol_duration: 1 / subcarrier spacing, s. Laws: 0 without Doppler; about (2 pi fD T)^2 / 24 of
    the scattered part while that is small; rises with fD T. All subcarriers in use, many of them: fewer interfere less.
    Source: Li and Cimini, "Bounds on the interchannel interference of OFDM in time-varying impairments", IEEE Trans. Commun.
    49(3), 2001: 1 - int (1 - |x|) J0(2 pi fD T x) dx over [-1, 1], here as its mean over arrival angles.
    """
    turns = max_doppler * symbol_duration
    angles = np.pi * (np.arange(math.ceil(2 * np.pi * turns) + 64) + 0.5)
    angles /= len(angles)
    scattered = float(np.mean(1 - np.sinc(turns * np.cos(angles)) ** 2))
    return (1 - specular) * scattered + specular * float(1 - np.sinc(LOS_DOPPLER * turns) ** 2)


def recorded_ici_power(recording: Recording, symbol_duration: float) -> float:
    """`ici_power` of a recording: that of the Jakes spectrum with its correlation between neighbouring snapshots.

    To second order in the Doppler shift every spectrum with that correlation has this interference. One snapshot is at rest.
    Snapshots so far apart that they have little in common tell only that it is at least so much.
    """
    gains = recording.gains
    if gains.shape[-2] == 1:
        return 0.0
    before, after = gains[..., :-1, :], gains[..., 1:, :]
    power = np.sum(np.abs(before) ** 2 + np.abs(after) ** 2, dtype=np.float64) / 2
    correlation = np.real(np.sum(before.conj() * after, dtype=np.complex128)) / power if power else 1.0
    if correlation >= 1.0:
        return 0.0
    angles = np.pi * (np.arange(32) + 0.5) / 32  # the mean over them is J0, to rounding
    falling = np.mean(np.cos(np.outer(_PHASES, np.cos(angles))), axis=1)
    phase = float(np.interp(-correlation, -falling, _PHASES))  # the last one where no smaller one has it
    return ici_power(phase / (2 * np.pi * recording.time_step), symbol_duration)
