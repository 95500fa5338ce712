"""The sample-spaced path, and what it proves: one gain a subcarrier behind a long prefix, ISI behind a short one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

import channels
from phy.ofdm import ResourceGrid, demodulate, modulate

RATE = 64 * 30e3
ON_GRID = channels.DelayProfile(np.array([0, 1, 4, 9, 16]) / RATE, np.array([0.4, 0.3, 0.15, 0.1, 0.05]), 0.0)


def noise(seed, shape):
    parts = np.random.default_rng(seed).normal(0, np.sqrt(0.5), (2, *shape))
    return jnp.asarray(parts[0] + 1j * parts[1], jnp.complex64)


def grid(prefix, symbols=6):
    return ResourceGrid(num_ofdm_symbols=symbols, fft_size=64, cyclic_prefix_length=prefix)


def steering(plan, delays):
    """[F, taps], from the definition of the frequency response."""
    return np.exp(-2j * np.pi * np.outer(plan.frequencies, delays))


@functools.partial(jax.jit, static_argnames="plan")
def through_taps(plan, x, taps):
    """The grid received when the samples of `x` pass through these taps; what runs over the end is cut."""
    return demodulate(plan, channels.convolve(modulate(plan, x), taps)[..., : plan.num_samples])


def relative_error(y, expected):
    """Energy of the difference over energy expected."""
    y, expected = np.asarray(y), np.asarray(expected)
    return np.sum(np.abs(y - expected) ** 2) / np.sum(np.abs(expected) ** 2)


def test_an_impulse_at_delay_zero_changes_nothing():
    taps = channels.cir_to_taps(jnp.ones((1, 1), jnp.complex64), np.zeros(1), RATE, -3, 3)
    np.testing.assert_allclose(taps[0], [0, 0, 0, 1, 0, 0, 0], atol=1e-7)
    x = noise(0, (1, 50))
    np.testing.assert_allclose(channels.convolve(x, taps)[:, 3:-3], x, atol=1e-6)


def test_a_delay_on_the_sample_grid_is_one_tap():
    gains = jnp.asarray([[0.5 + 0.5j, -1j]], jnp.complex64)
    taps = channels.cir_to_taps(gains, np.array([2, 5]) / RATE, RATE, 0, 6)
    np.testing.assert_allclose(taps[0], [0, 0, 0.5 + 0.5j, 0, 0, -1j, 0], atol=1e-6)


def test_a_fractional_delay_is_a_sinc():
    """sin(pi u) / (pi u), u = l - 2.3, written out."""
    taps = channels.cir_to_taps(jnp.ones(1, jnp.complex64), np.array([2.3]) / RATE, RATE, -4, 9)
    u = np.arange(-4, 10) - 2.3
    np.testing.assert_allclose(taps, np.sin(np.pi * u) / (np.pi * u), atol=1e-6)


def test_a_fractionally_delayed_tone_turns_its_phase():
    """exp(j 2 pi f n) becomes exp(j 2 pi f (n - tau)), up to the cut-off tails of the sinc: about 1 / (pi lags)."""
    n, f, delay = np.arange(1500), 0.11, 3.4
    taps = channels.cir_to_taps(jnp.ones(1, jnp.complex64), np.array([delay / RATE]), RATE, -200, 207)
    tone = jnp.asarray(np.exp(2j * np.pi * f * n), jnp.complex64)
    y = np.asarray(channels.convolve(tone, taps))[200 : 200 + 1500]
    np.testing.assert_allclose(y[400:1100], np.exp(2j * np.pi * f * (n - delay))[400:1100], atol=5e-3)


def test_convolution_against_scipy():
    x, taps = noise(1, (3, 2, 77)), noise(2, (3, 2, 9))
    y = channels.convolve(x, taps)
    assert y.shape == (3, 2, 85) and y.dtype == jnp.complex64
    for i in np.ndindex(3, 2):
        expected = scipy.signal.convolve(np.asarray(x[i], np.complex128), np.asarray(taps[i], np.complex128))
        np.testing.assert_allclose(np.asarray(y)[i], expected, atol=1e-5)
    shared = channels.convolve(x, taps[:1, :1])
    np.testing.assert_allclose(shared[2, 1], channels.convolve(x[2, 1], taps[0, 0]), atol=1e-5)


@pytest.mark.parametrize("prefix", [16, 17, 40])
def test_behind_a_long_prefix_the_channel_is_one_gain_a_subcarrier(prefix):
    """The grid model and the convolution of the same realisation agree; the longest delay is 16 samples."""
    plan = grid(prefix)
    fading = channels.tapped(ON_GRID, max_doppler=0.0, frequencies=plan.frequencies, times=plan.times)
    x = noise(3, (4, 6, 64))
    h = fading.gains(jax.random.key(4), x.shape)
    # The realisation of the grid model gives away its path gains: 64 equations a grid, 5 unknowns.
    paths = np.linalg.lstsq(steering(plan, ON_GRID.delays), np.asarray(h[:, 0]).T, rcond=None)[0].T
    taps = channels.cir_to_taps(jnp.asarray(paths, jnp.complex64), ON_GRID.delays, RATE, 0, 16)
    np.testing.assert_allclose(through_taps(plan, x, taps), h * x, atol=1e-5)


def test_behind_a_short_prefix_symbols_interfere_and_more_the_shorter_it_is():
    paths = noise(5, (4, 5)) * np.sqrt(ON_GRID.scattered).astype(np.float32)[None]
    taps = channels.cir_to_taps(paths, ON_GRID.delays, RATE, 0, 16)
    x = noise(6, (4, 6, 64))
    errors = []
    for prefix in (0, 4, 9, 15, 16):
        plan = grid(prefix)
        h = jnp.asarray(np.asarray(paths) @ steering(plan, ON_GRID.delays).T, jnp.complex64)[:, None]
        errors.append(relative_error(through_taps(plan, x, taps), h * x))
    assert errors[0] > errors[1] > errors[2] > errors[3] > 1e-4 > 1e-9 > errors[4]


def test_interference_follows_the_overlap_of_the_excess_delay():
    """One path d samples beyond the prefix: d of 64 samples come from the wrong symbol, d are missing: 2 d / 64."""
    d, x = 6, noise(7, (200, 5, 64))
    taps = channels.cir_to_taps(jnp.ones((1, 1), jnp.complex64), np.array([d]) / RATE, RATE, 0, d)
    plan = grid(0, symbols=5)
    h = jnp.asarray(steering(plan, np.array([d / RATE]))[:, 0], jnp.complex64)[None, None]
    y, clean = through_taps(plan, x, taps)[:, 1:], (h * x)[:, 1:]  # the first symbol follows silence
    per_realisation = np.asarray(jnp.mean(jnp.abs(y - clean) ** 2, axis=(1, 2)), np.float64)
    assert abs(per_realisation.mean() - 2 * d / 64) <= 4 * per_realisation.std() / np.sqrt(200)


def test_tdl_off_the_sample_grid_is_reached_as_the_lags_widen():
    """Inner half of the band; at its edge, half the sample rate, ideal band limitation is ambiguous and stays so."""
    plan, profile = grid(63), channels.tdl_profile("tdl-a", 300e-9)  # up to 5.6 samples
    fading = channels.tapped(profile, max_doppler=0.0, frequencies=plan.frequencies, times=plan.times)
    draws = noise(8, (50, len(profile.delays)))
    # The response of the grid model to path gains of our choice: the same matrix, without its draw.
    h = jnp.matmul(draws, fading.freq_factor[: len(profile.delays)])[:, None]
    paths = draws * np.sqrt(profile.scattered).astype(np.float32)[None]
    x, errors = noise(9, (50, 6, 64)), []
    for early in (3, 6, 12, 24):
        taps = channels.cir_to_taps(paths, profile.delays, RATE, -early, early + 6)
        # The first entry is sample -early of the transmitter's clock: a rotation of the subcarriers.
        lead = jnp.asarray(steering(plan, np.array([early / RATE]))[:, 0], jnp.complex64)[None, None]
        y = through_taps(plan, x, taps)
        errors.append(relative_error(y[..., 16:48], (h * lead * x)[..., 16:48]))
    assert 2e-3 > errors[0] > 2 * errors[1] > 4 * errors[2] > 8 * errors[3]


def test_gradients_reach_the_path_gains():
    """The energy received is quadratic: its derivative along the gains themselves is twice the energy."""
    x, paths = noise(10, (1, 40)), noise(11, (1, 2))

    def energy(scale):
        taps = channels.cir_to_taps(scale * paths, np.array([0.0, 1.5]) / RATE, RATE, -2, 4)
        return jnp.sum(jnp.abs(channels.convolve(x, taps)) ** 2)

    value, slope = jax.value_and_grad(energy)(1.0)
    np.testing.assert_allclose(slope, 2 * value, rtol=1e-4)


def test_user_errors_say_what_would_do():
    one = jnp.ones((1, 1), jnp.complex64)
    with pytest.raises(ValueError, match="lags l_min..l_max must not be empty; got 3..2"):
        channels.cir_to_taps(one, np.zeros(1), RATE, 3, 2)
    with pytest.raises(ValueError, match="sample_rate must be a finite number of hertz > 0; got 0.0"):
        channels.cir_to_taps(one, np.zeros(1), 0.0, 0, 2)
    with pytest.raises(
        ValueError, match="delays of 3.5 to 3.5 samples leave the lags 0..2: use at least 3..4"
    ):
        channels.cir_to_taps(one, np.array([3.5]) / RATE, RATE, 0, 2)
