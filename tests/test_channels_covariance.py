"""Second moments of a grid fading: closed forms, Sionna's matrices, and the draws themselves."""

from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.special import j0

import channels
from channels.covariance import covariance
from channels.doppler import doppler_of_speed

SIONNA: dict[str, np.ndarray] = dict(np.load(Path(__file__).parent / "reference" / "receiver.npz"))
# The grid and the channel of the fixture: make_receiver_fixtures.py.
T, F = 7, 24
TIMES = np.arange(T) * (1 + 4 / F) / 30e3
FREQUENCIES = (np.arange(F) - F // 2) * 30e3
SPEED, CARRIER, DELAY_SPREAD = 60.0, 3.5e9, 300e-9


def tdl(model: str) -> channels.GridFading:
    return channels.tdl(
        model, delay_spread=DELAY_SPREAD, carrier_frequency=CARRIER, speed=SPEED, frequencies=FREQUENCIES, times=TIMES
    )  # fmt: skip


@pytest.mark.parametrize("model", channels.TDL_MODELS)
def test_closed_forms(model: str) -> None:
    """J0 in time, the transform of the profile in frequency, a wave of 0.7 fD for the line of sight."""
    time, frequency, specular = covariance(tdl(model))
    profile, fd = channels.tdl_profile(model, DELAY_SPREAD), doppler_of_speed(SPEED, CARRIER)
    assert time.dtype == np.float64 and frequency.dtype == specular.dtype == np.complex128
    np.testing.assert_allclose(time, j0(2 * np.pi * fd * np.subtract.outer(TIMES, TIMES)), atol=1e-5)
    steering = np.exp(-2j * np.pi * np.outer(FREQUENCIES, profile.delays))
    np.testing.assert_allclose(frequency, steering * profile.scattered @ steering.conj().T, atol=1e-6)
    wave = np.sqrt(profile.specular) * np.exp(1.4j * np.pi * fd * TIMES)
    np.testing.assert_allclose(specular, np.repeat(wave[:, None], F, axis=1), atol=1e-6)
    np.testing.assert_allclose(np.outer(np.diag(time), np.diag(frequency)) + abs(specular) ** 2, 1, atol=1e-6)


@pytest.mark.parametrize("model", ["A", "D"])
def test_sionna_agrees(model: str) -> None:
    """Its matrices hold the line of sight: over one axis of the grid the sum of our two parts says the same."""
    time, frequency, specular = covariance(tdl(f"tdl-{model.lower()}"))
    over_time = time * frequency[0, 0] + np.outer(specular[:, 0], specular[:, 0].conj())
    over_frequency = time[0, 0] * frequency + np.outer(specular[0], specular[0].conj())
    np.testing.assert_allclose(over_time, SIONNA[f"covariance.{model}.time"], atol=1e-5)
    np.testing.assert_allclose(over_frequency, SIONNA[f"covariance.{model}.frequency"], atol=1e-6)


def test_draws_have_these_moments_and_padding_changes_nothing() -> None:
    """TDL-D: two resource elements against every third one, the largest of 224 deviations within 4.5 sigma."""
    n, alone = 20_000, tdl("tdl-d")
    faster = channels.tapped(
        channels.tdl_profile("tdl-a", 0.0), max_doppler=6e3, frequencies=FREQUENCIES, times=TIMES
    )
    padded, _ = channels.pad([alone, faster])
    assert padded.time_factor.shape != alone.time_factor.shape
    for ours, same in zip(covariance(alone), covariance(padded), strict=True):
        np.testing.assert_allclose(ours, same, atol=1e-12)
    time, frequency, specular = covariance(alone)
    expected = np.kron(time, frequency) + np.outer(specular.ravel(), specular.ravel().conj())
    h = np.asarray(jax.jit(lambda key: alone.gains(key, (n, T, F)))(jax.random.key(3)), np.complex128)
    h = h.reshape(n, -1)
    for place in (0, 90):
        pairs = h[:, ::3] * h[:, place : place + 1].conj()
        for ours, theirs in (
            (pairs.real, expected[::3, place].real),
            (pairs.imag, expected[::3, place].imag),
        ):
            assert np.all(np.abs(ours.mean(0) - theirs) < 4.5 * ours.std(0) / np.sqrt(n) + 1e-9)


def test_flat_members() -> None:
    axes = {"frequencies": FREQUENCIES, "times": TIMES}
    for fading, scattered in (
        (channels.grid_awgn(**axes), 0.0),
        (channels.grid_rayleigh(**axes), 1.0),
        (channels.grid_rician(0.0, **axes), 0.5),
    ):
        time, frequency, specular = covariance(fading)
        np.testing.assert_allclose(np.kron(time, frequency), scattered, atol=1e-6)
        np.testing.assert_allclose(specular, np.sqrt(1 - scattered), atol=1e-6)
