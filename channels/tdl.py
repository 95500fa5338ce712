"""Tapped-delay-line profiles TDL-A to TDL-E: 3GPP TR 38.901 clause 7.7.2 (V16.1 and V19.2 agree).

A profile is a list of delays and mean powers. In tables 7.7.2-1 to 7.7.2-5 the delays are normalised to a
root-mean-square delay spread of 1 and the powers are relative (dB); here powers are linear and, together with
the specular one, sum to 1.
"""

import difflib
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class DelayProfile(NamedTuple):
    """Mean power over delay; `sum(scattered) + specular == 1`."""

    delays: Float[np.ndarray, " taps"]  # seconds, of the scattered taps; not sorted (nor is the standard)
    scattered: Float[np.ndarray, " taps"]  # mean power of each Rayleigh tap
    specular: float  # power of the line of sight, at delay 0; 0 if there is none


TDL_MODELS = ("tdl-a", "tdl-b", "tdl-c", "tdl-d", "tdl-e")

# (normalised delay, power in dB) of the Rayleigh-fading taps, in the order of the standard.
_SCATTERED = {
    "tdl-a": (  # table 7.7.2-1
        (0.0000, -13.4), (0.3819, 0.0), (0.4025, -2.2), (0.5868, -4.0), (0.4610, -6.0), (0.5375, -8.2),
        (0.6708, -9.9), (0.5750, -10.5), (0.7618, -7.5), (1.5375, -15.9), (1.8978, -6.6), (2.2242, -16.7),
        (2.1718, -12.4), (2.4942, -15.2), (2.5119, -10.8), (3.0582, -11.3), (4.0810, -12.7), (4.4579, -16.2),
        (4.5695, -18.3), (4.7966, -18.9), (5.0066, -16.6), (5.3043, -19.9), (9.6586, -29.7),
    ),
    "tdl-b": (  # table 7.7.2-2
        (0.0000, 0.0), (0.1072, -2.2), (0.2155, -4.0), (0.2095, -3.2), (0.2870, -9.8), (0.2986, -1.2),
        (0.3752, -3.4), (0.5055, -5.2), (0.3681, -7.6), (0.3697, -3.0), (0.5700, -8.9), (0.5283, -9.0),
        (1.1021, -4.8), (1.2756, -5.7), (1.5474, -7.5), (1.7842, -1.9), (2.0169, -7.6), (2.8294, -12.2),
        (3.0219, -9.8), (3.6187, -11.4), (4.1067, -14.9), (4.2790, -9.2), (4.7834, -11.3),
    ),
    "tdl-c": (  # table 7.7.2-3
        (0.0000, -4.4), (0.2099, -1.2), (0.2219, -3.5), (0.2329, -5.2), (0.2176, -2.5), (0.6366, 0.0),
        (0.6448, -2.2), (0.6560, -3.9), (0.6584, -7.4), (0.7935, -7.1), (0.8213, -10.7), (0.9336, -11.1),
        (1.2285, -5.1), (1.3083, -6.8), (2.1704, -8.7), (2.7105, -13.2), (4.2589, -13.9), (4.6003, -13.9),
        (5.4902, -15.8), (5.6077, -17.1), (6.3065, -16.0), (6.6374, -15.7), (7.0427, -21.6), (8.6523, -22.8),
    ),
    "tdl-d": (  # table 7.7.2-4
        (0.0000, -13.5), (0.0350, -18.8), (0.6120, -21.0), (1.3630, -22.8), (1.4050, -17.9), (1.8040, -20.1),
        (2.5960, -21.9), (1.7750, -22.9), (4.0420, -27.8), (7.9370, -23.6), (9.4240, -24.8), (9.7080, -30.0),
        (12.5250, -27.7),
    ),
    "tdl-e": (  # table 7.7.2-5
        (0.0000, -22.03), (0.5133, -15.8), (0.5440, -18.1), (0.5630, -19.8), (0.5440, -22.9), (0.7112, -22.4),
        (1.9092, -18.6), (1.9293, -20.8), (1.9589, -22.6), (2.6426, -22.3), (3.7136, -25.6), (5.4524, -20.2),
        (12.0034, -29.8), (20.6519, -29.2),
    ),
}  # fmt: skip

# Power in dB of the specular path, at delay 0. Over the first Rayleigh tap: K_1 = 13.3 dB (D), 22 dB (E).
_SPECULAR_DB = {"tdl-d": -0.2, "tdl-e": -0.03}


def tdl_profile(model: str, delay_spread: float) -> DelayProfile:
    """Profile `model` ("tdl-a" to "tdl-e") with its delays scaled to an rms spread of `delay_spread` seconds.

    Scaling: TR 38.901 clause 7.7.3, equation 7.7-1 (customary values 10 to 1000 ns, table 7.7.3-1). 0 puts
    all taps at delay 0. ValueError for an unknown model, or a spread that is negative or not finite.
    """
    if model not in TDL_MODELS:
        nearest = difflib.get_close_matches(model.lower(), TDL_MODELS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"unknown TDL model {model!r}: did you mean {nearest!r}? Choices: {', '.join(TDL_MODELS)}"
        )
    if not (math.isfinite(delay_spread) and delay_spread >= 0):
        raise ValueError(
            f"delay_spread must be a finite number of seconds >= 0 (100 ns is 100e-9); got {delay_spread}"
        )
    delays, powers_db = np.array(_SCATTERED[model], np.float64).T
    scattered = 10 ** (powers_db / 10)
    specular = 10 ** (_SPECULAR_DB.get(model, -math.inf) / 10)
    total = scattered.sum() + specular
    return DelayProfile(delays * delay_spread, scattered / total, specular / total)
