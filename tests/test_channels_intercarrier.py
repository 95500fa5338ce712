"""Interference between subcarriers: the integral of the literature, the waveform sample by sample, recordings."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from scipy.special import j0

import channels
from channels.recording import Recording
from phy.ofdm import ResourceGrid, demodulate, modulate

W3 = 139 * 5.9e9 / 299_792_458, 1 / 15e3
"""139 m/s at 5.9 GHz in subcarriers of 15 kHz: a train on the ITS band."""


@pytest.mark.parametrize("turns", [0.01, 0.1, 0.1824, 0.5, 2.0, 30.0])
def test_the_integral_of_li_and_cimini(turns):
    lost, _ = scipy.integrate.quad(lambda x: 2 * (1 - x) * (1 - j0(2 * np.pi * turns * x)), 0, 1, limit=500)
    assert channels.ici_power(turns / 7e-5, 7e-5) == pytest.approx(lost, rel=1e-6)


def test_known_values():
    assert channels.ici_power(*W3) == pytest.approx(0.053, abs=5e-4)
    assert channels.ici_power(0.0, 1e-3) == channels.ici_power(0.0, 1e-3, 0.9) == 0.0
    assert channels.ici_power(1.0, 1e-3) == pytest.approx((2 * np.pi * 1e-3) ** 2 / 24, rel=1e-4)
    # A tone at 0.7 fD alone: 1 - sinc^2.
    assert channels.ici_power(500.0, 1e-3, 1.0) == pytest.approx(
        1 - (np.sin(0.35 * np.pi) / (0.35 * np.pi)) ** 2
    )


@pytest.mark.parametrize("specular", [0.0, 0.6])
@pytest.mark.parametrize("turns", [0.08, 0.1824, 0.4])
def test_the_waveform_sample_by_sample(turns, specular):
    """OFDM symbols through taps that move with every sample (Jakes by a Cholesky factor of J0, a line of sight at 0.7 fD):
    what arrives less the mean gain times what was sent. The mean over realisations within 4 sigma of the formula."""
    prefix, size, draws = 16, 64, 3000
    grid, rng = (
        ResourceGrid(1, size, prefix, subcarrier_spacing=15e3),
        np.random.default_rng(round(100 * turns)),
    )
    delays, powers = np.array([0, 1, 4, 9, 16]), np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    instants = np.arange(prefix + size) / size  # in useful symbols
    jakes = j0(2 * np.pi * turns * np.subtract.outer(instants, instants)) + 1e-9 * np.eye(len(instants))
    white = rng.normal(size=(draws, 5, len(instants), 2)) @ [1, 1j] / np.sqrt(2)
    taps = white @ np.linalg.cholesky(jakes).T * np.sqrt((1 - specular) * powers)[:, None]
    phase = np.exp(2j * np.pi * (0.7 * turns * instants + rng.random((draws, 1))))
    taps[:, 0] += np.sqrt(specular) * phase
    sent = (1 - 2 * rng.integers(0, 2, (draws, 1, size, 2))) @ [1, 1j] / np.sqrt(2)
    samples = np.asarray(modulate(grid, jnp.asarray(sent, jnp.complex64)))
    arrived = np.zeros((draws, prefix + size), complex)
    for tap, delay in enumerate(delays):
        arrived[:, delay:] += taps[:, tap, delay:] * samples[:, : prefix + size - delay]
    received = np.asarray(demodulate(grid, jnp.asarray(arrived, jnp.complex64)))[:, 0]
    steering = np.exp(-2j * np.pi * np.outer(delays, grid.frequencies) / grid.sample_rate)
    own = taps[..., prefix:].mean(-1) @ steering * sent[:, 0]
    lost = np.mean(np.abs(received - own) ** 2, axis=-1)
    expected = channels.ici_power(turns * 15e3, 1 / 15e3, specular)
    assert abs(lost.mean() - expected) < 4 * lost.std() / np.sqrt(draws)
    assert 8 * lost.std() / np.sqrt(draws) < 0.25 * expected


def test_a_recording_tells_it_by_the_correlation_of_its_snapshots():
    """Two snapshots of correlation J0(2 pi fD step), and none at rest or beyond what a correlation can tell."""
    step = 7e-5
    for doppler in (50.0, 1000.0, 2735.0):
        along = j0(2 * np.pi * doppler * step)
        gains = np.array([[[1, 0], [along, np.sqrt(1 - along**2)]]], complex)
        found = channels.recorded_ici_power(Recording(gains, np.array([0, 1e-6]), step), 1 / 15e3)
        assert found == pytest.approx(channels.ici_power(doppler, 1 / 15e3), rel=1e-3)
    flat, opposite = np.ones((3, 4, 2), complex), np.array([[[1.0], [-1.0]]], complex)
    assert channels.recorded_ici_power(Recording(flat, np.zeros(2), step), 1 / 15e3) == 0.0
    assert channels.recorded_ici_power(Recording(flat[:, :1], np.zeros(2)), 1 / 15e3) == 0.0
    assert channels.recorded_ici_power(Recording(opposite, np.zeros(1), step), 1 / 15e3) > 0.4
