"""Flat block fading by its statistics: power, envelope, phase, K-factor, block structure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, rayleigh, rice, uniform

import channels

K_DB = (-np.inf, 0.0, 5.0, 10.0, np.inf)


def draw(fading, n, seed=0):
    """n independent gains, one a realisation."""
    return np.asarray(fading.gains(jax.random.key(seed), (n, 1)))[:, 0].astype(np.complex128)


@pytest.mark.parametrize("k_db", K_DB)
def test_mean_power_is_one_and_its_spread_is_rician(k_db):
    """E|h|^2 = 1 and var |h|^2 = (1 + 2K) / (1 + K)^2."""
    n = 100_000
    power = np.abs(draw(channels.rician(k_db, 1), n)) ** 2
    share = 1 / (1 + 10 ** (k_db / 10))  # scattered share 1 / (1 + K)
    variance = share * (2 - share)
    assert abs(power.mean() - 1) <= 4 * np.sqrt(variance / n)
    spread = (power - 1) ** 2
    assert abs(spread.mean() - variance) <= 4 * spread.std() / np.sqrt(n)


@pytest.mark.parametrize("k_db", [0.0, 5.0, 10.0])
def test_k_factor_is_specular_over_scattered_power(k_db):
    n, k = 100_000, 10 ** (k_db / 10)
    h = draw(channels.rician(k_db, 1), n, seed=1)
    scattered = np.abs(h - h.mean()) ** 2
    assert abs(scattered.mean() - 1 / (1 + k)) <= 4 * scattered.std() / np.sqrt(n)
    for part, expected in ((h.real, np.sqrt(k / (1 + k))), (h.imag, 0.0)):
        assert abs(part.mean() - expected) <= 4 * part.std() / np.sqrt(n)


@pytest.mark.parametrize("k_db", [0.0, 10.0])
def test_envelope_is_rician(k_db):
    k = 10 ** (k_db / 10)
    envelope = np.abs(draw(channels.rician(k_db, 1), 50_000, seed=2))
    assert kstest(envelope, rice(np.sqrt(2 * k), scale=np.sqrt(0.5 / (1 + k))).cdf).pvalue > 6e-5


def test_rayleigh_envelope_and_uniform_phase():
    h = draw(channels.rayleigh(1), 50_000, seed=3)
    assert kstest(np.abs(h), rayleigh(scale=np.sqrt(0.5)).cdf).pvalue > 6e-5
    assert kstest(np.angle(h), uniform(-np.pi, 2 * np.pi).cdf).pvalue > 6e-5


@pytest.mark.parametrize("coherence", [0, 1, 4])
def test_no_fading_is_a_gain_of_exactly_one(coherence):
    gain = channels.no_fading(coherence).gains(jax.random.key(4), (7, 16))
    np.testing.assert_array_equal(gain, np.ones_like(gain))


def test_gain_is_constant_inside_a_block_and_independent_across_blocks_and_batch():
    h = np.asarray(channels.rayleigh(5).gains(jax.random.key(5), (300, 40 * 5))).reshape(300, 40, 5)
    np.testing.assert_array_equal(h, np.repeat(h[..., :1], 5, axis=-1))
    h = h[..., 0]
    for product in (h[:, 1:] * h[:, :-1].conj(), h[1:] * h[:-1].conj()):
        for part in (product.real, product.imag):  # variance 1/2 each when independent
            assert abs(part.mean()) <= 4 * np.sqrt(0.5 / part.size)


def test_block_of_the_whole_axis_is_one_gain_a_realisation():
    gain = channels.rayleigh(0).gains(jax.random.key(6), (3, 2, 64))
    assert gain.shape == (3, 2, 1) and len(np.unique(np.asarray(gain))) == 6


def test_each_realisation_may_have_its_own_k_factor():
    k = jnp.asarray([[0.0], [jnp.inf]], jnp.float32)
    gain = channels.Flat(k, 2).gains(jax.random.key(7), (2, 8))
    np.testing.assert_array_equal(gain[1], np.ones(8))
    assert not np.any(np.isclose(gain[0], 1))


def test_one_compilation_serves_every_k_factor():
    traces = []

    @jax.jit
    def gains(fading, key):
        traces.append(fading.coherence)
        return fading.gains(key, (2, 8))

    for k_db in K_DB:
        gains(channels.rician(k_db, 4), jax.random.key(0))
    gains(channels.no_fading(4), jax.random.key(0))
    gains(channels.rayleigh(4), jax.random.key(0))
    assert traces == [4]
    gains(channels.rayleigh(2), jax.random.key(0))  # coherence is structure: a new program
    gains(channels.rayleigh(4), jax.random.key(0))
    assert traces == [4, 2]


def test_fades_are_paired_across_k_factors():
    """Common random numbers: the scattered parts under one key differ by their amplitude only."""
    weak, strong = (channels.rician(k, 1).gains(jax.random.key(8), (1, 64)) for k in (0.0, 10.0))
    scattered = [
        (np.asarray(h) - np.sqrt(k / (1 + k))) * np.sqrt(1 + k) for h, k in ((weak, 1), (strong, 10))
    ]
    np.testing.assert_allclose(scattered[0], scattered[1], atol=1e-5)


def test_user_errors_say_what_would_do():
    with pytest.raises(ValueError, match="150 symbols is not a whole number of blocks of 4: pad the signal"):
        channels.rayleigh(4).gains(jax.random.key(0), (2, 150))
    with pytest.raises(
        ValueError, match="coherence must be >= 1 symbols, or 0 for one block a signal; got -1"
    ):
        channels.rayleigh(-1)
    with pytest.raises(
        ValueError, match="K-factor must be decibels, -inf .Rayleigh. or inf .no fading.; got nan"
    ):
        channels.rician(float("nan"), 1)
