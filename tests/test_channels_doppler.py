"""The Karhunen-Loeve factor of the Jakes process against SciPy's Bessel function in float64."""

import numpy as np
import pytest
from scipy.special import j0

from channels.doppler import doppler_of_speed, jakes_factor

TIMES = np.arange(14) * (1 + 6 / 72) / 30e3  # one slot at 30 kHz


@pytest.mark.parametrize(("speed", "rank"), [(0.0, 1), (3.0, 2), (30.0, 4), (150.0, 6), (400.0, 10)])
def test_factor_reproduces_j0_with_the_small_rank_expected(speed, rank):
    """Ranks at 3.5 GHz and tolerance 1e-7 from the eigenvalues of the float64 covariance."""
    fd = doppler_of_speed(speed, 3.5e9)
    factor = jakes_factor(fd, TIMES, 1e-7)
    covariance = j0(2 * np.pi * fd * (TIMES[:, None] - TIMES[None, :]))
    assert factor.shape == (14, rank)
    # The discarded power is at most 1e-7 of the trace, 14.
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=14 * 1e-7)
    powers = np.sum(factor**2, axis=0)
    assert np.all(np.diff(powers) <= 0)


@pytest.mark.parametrize("tolerance", [1e-12, 1e-3, 0.5])
def test_power_is_one_at_every_instant_whatever_the_tolerance(tolerance):
    factor = jakes_factor(1000.0, TIMES, tolerance)
    np.testing.assert_allclose(np.sum(factor**2, axis=1), 1, rtol=1e-12)


def test_instants_may_be_irregular_and_far_apart():
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(-0.3, 0.7, 40))
    factor = jakes_factor(500.0, times, 1e-9)  # up to 500 Doppler periods: arguments up to 3000
    expected = j0(2 * np.pi * 500.0 * (times[:, None] - times[None, :]))
    np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-7)


def test_one_instant_is_one_coefficient():
    np.testing.assert_allclose(jakes_factor(100.0, np.array([0.25]), 1e-7), [[1.0]])


def test_signs_are_settled():
    """Singular vectors are unique up to sign; the first large entry of each column is positive."""
    factor = jakes_factor(2000.0, TIMES, 1e-7)
    for column in factor.T:
        assert column[np.abs(column) >= 0.5 * np.abs(column).max()][0] > 0


def test_doppler_shift_of_a_speed():
    assert doppler_of_speed(299_792_458.0 / 1e6, 3.5e9) == pytest.approx(3500.0)
    assert doppler_of_speed(0.0, 3.5e9) == 0


def test_user_errors_say_what_would_do():
    with pytest.raises(ValueError, match="speed must be a finite number of metres per second >= 0; got -1.0"):
        doppler_of_speed(-1.0, 3.5e9)
    with pytest.raises(ValueError, match="carrier_frequency must be a finite number of hertz > 0.*got 0.0"):
        doppler_of_speed(3.0, 0.0)
    with pytest.raises(ValueError, match="max_doppler must be a finite number of hertz >= 0; got nan"):
        jakes_factor(float("nan"), TIMES, 1e-7)
    for bad in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=f"tolerance must be a share of the power.*got {bad}"):
            jakes_factor(10.0, TIMES, bad)
