"""The Jakes process in a few Gaussian coefficients: its Karhunen-Loeve factor over a handful of instants.

A Rayleigh tap under isotropic scattering (Clarke 1968, Jakes 1974) is a complex Gaussian process with time
correlation J0(2 pi fD (t - t')). Over the symbols of one grid this covariance has a tiny numerical rank, so
drawing its few coefficients is exactly Gaussian (a sum of sinusoids is not) and an order of magnitude
cheaper.
"""

import math

import numpy as np
from jaxtyping import Float

SPEED_OF_LIGHT = 299_792_458.0  # metres per second

LOS_DOPPLER = 0.7
"""Of the maximum: where the Doppler peak of the line of sight of TDL-D and TDL-E lies (TR 38.901 clause 7.7.2)."""


def doppler_of_speed(speed: float, carrier_frequency: float) -> float:
    """Maximum Doppler shift fD = v fc / c in hertz; `speed` in m/s, `carrier_frequency` in hertz.

    ValueError for a speed that is negative or not finite, or a carrier that is not finite and positive.
    """
    if not (math.isfinite(speed) and speed >= 0):
        raise ValueError(f"speed must be a finite number of metres per second >= 0; got {speed}")
    if not (math.isfinite(carrier_frequency) and carrier_frequency > 0):
        raise ValueError(
            f"carrier_frequency must be a finite number of hertz > 0 (e.g. 3.5e9); got {carrier_frequency}"
        )
    return speed * carrier_frequency / SPEED_OF_LIGHT


def jakes_factor(
    max_doppler: float, times: Float[np.ndarray, " t"], tolerance: float
) -> Float[np.ndarray, "t rank"]:
    """A with A A^T = J0(2 pi fD (t - t')) up to a share `tolerance` of the power; strongest column first.

    `max_doppler`: fD in hertz; `times`: seconds. The rank is the smallest that leaves at most `tolerance` of
    the trace out; then every row is scaled to unit norm, so that E|gain|^2 = 1 at every instant whatever the
    tolerance. float64, on the host. ValueError for a tolerance outside [1e-12, 1), or a shift that is
    negative or not finite.
    """
    if not (math.isfinite(max_doppler) and max_doppler >= 0):
        raise ValueError(f"max_doppler must be a finite number of hertz >= 0; got {max_doppler}")
    if not 1e-12 <= tolerance < 1:
        raise ValueError(f"tolerance must be a share of the power in [1e-12, 1); got {tolerance}")
    # Gauss-Chebyshev: J0(x) = mean of cos(x cos theta) over n midpoints of (0, pi), error 2 J_{2n}(x). The
    # cosines and sines of these n arrival angles are themselves a factor of the covariance: their SVD needs
    # no Bessel function and keeps small singular values that an eigendecomposition of the covariance would
    # drown.
    phase = 2 * np.pi * max_doppler * (times - times[0])
    nodes = math.ceil(np.abs(phase).max()) + 32
    angles = np.pi * (np.arange(nodes) + 0.5) / nodes
    waves = np.outer(phase, np.cos(angles))
    left, singular, _ = np.linalg.svd(
        np.hstack([np.cos(waves), np.sin(waves)]) / math.sqrt(nodes), full_matrices=False
    )
    power = np.cumsum(singular**2) / np.sum(singular**2)
    rank = 1 + int(np.sum(1 - power > tolerance))
    factor = left[:, :rank] * singular[:rank]
    return _signed(factor / np.linalg.norm(factor, axis=1, keepdims=True))


def _signed(factor: Float[np.ndarray, "t rank"]) -> Float[np.ndarray, "t rank"]:
    """Fix the sign that a singular vector leaves open: every LAPACK then gives the same realisations."""
    large = np.abs(factor) >= 0.5 * np.abs(factor).max(axis=0)
    first = np.take_along_axis(factor, large.argmax(axis=0)[None], axis=0)
    return factor * np.sign(first)
