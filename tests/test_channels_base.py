"""What every channel promises: y = gain * x + noise, the noise of the declared variance whatever the gain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest, kstest

import channels

QPSK = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j], np.complex64) / np.sqrt(2).astype(np.float32)


transmit, awgn = jax.jit(channels.transmit), jax.jit(channels.awgn)


def qpsk(seed, shape):
    draw = np.random.default_rng(seed).integers(0, 4, shape)
    return jnp.asarray(QPSK[draw])


def close_to(samples, expected, sigmas=4.0):
    """Whether `expected` lies within `sigmas` standard errors of the mean of independent samples."""
    samples = np.asarray(samples, np.float64)
    return abs(samples.mean() - expected) <= sigmas * samples.std() / np.sqrt(samples.size)


def bit_errors(x, y):
    """Errors and bits of QPSK decided by sign on each axis."""
    x, y = np.asarray(x), np.asarray(y)
    wrong = (x.real > 0) != (y.real > 0), (x.imag > 0) != (y.imag > 0)
    return int(np.sum(wrong)), 2 * x.size


def test_noise_has_the_declared_variance_half_per_real_dimension():
    n, noise_var = 200_000, 0.3
    noise = np.asarray(channels.awgn(jax.random.key(1), jnp.zeros(n, jnp.complex64), noise_var))
    assert close_to(noise.real**2, noise_var / 2) and close_to(noise.imag**2, noise_var / 2)
    assert close_to(noise.real, 0) and close_to(noise.imag, 0) and close_to(noise.real * noise.imag, 0)
    assert kstest(noise.real / np.sqrt(noise_var / 2), "norm").pvalue > 6e-5
    assert close_to(noise.real[1:] * noise.real[:-1], 0)


def test_noise_variance_may_differ_between_realisations():
    noise_var = np.array([[0.01], [1.0], [4.0]], np.float32)
    noise = channels.awgn(jax.random.key(2), jnp.zeros((3, 50_000), jnp.complex64), noise_var)
    for row, expected in zip(np.asarray(noise), noise_var[:, 0], strict=True):
        assert close_to(np.abs(row) ** 2, expected)


def test_received_is_gain_times_signal_plus_noise_with_the_documented_keys():
    key, fading = jax.random.key(3), channels.rayleigh(4)
    x = qpsk(4, (5, 32))
    received = transmit(key, fading, x, 0.2)
    key_fading, key_noise = jax.random.split(key)
    gain = fading.gains(key_fading, x.shape)
    np.testing.assert_allclose(received.gain, gain, rtol=1e-6)
    np.testing.assert_allclose(received.y, awgn(key_noise, gain * x, 0.2), atol=1e-6)
    assert received.noise_var == np.float32(0.2)
    silent = transmit(key, fading, x, 0.0)
    np.testing.assert_allclose(silent.y, gain * x, atol=1e-6)


def test_the_gain_does_not_depend_on_what_is_sent_nor_on_the_noise():
    key, fading = jax.random.key(5), channels.rician(3.0, 0)
    quiet = transmit(key, fading, qpsk(6, (8, 16)), 1e-3)
    loud = transmit(key, fading, qpsk(7, (8, 16)), 1.0)
    np.testing.assert_array_equal(quiet.gain, loud.gain)


def test_noise_is_not_derived_from_the_faded_signal():
    """One realisation of one block: a simulator that sets noise from the faded power would fail in every fade."""
    x = qpsk(8, (1, 40_000))
    fading, gains = channels.rayleigh(0), []
    for seed in range(24):
        received = transmit(jax.random.key(seed), fading, x, 0.1)
        gains.append(abs(complex(received.gain[0, 0])))
        assert close_to(np.abs(np.asarray(received.y - received.gain * x)) ** 2, 0.1)
    assert min(gains) < 0.5 < 1.3 < max(gains)  # the law was tried in a fade and in a peak


def test_one_symbol_blocks_meet_rayleigh_theory_and_without_csi_nothing():
    """QPSK at Es/N0 = 10 dB: bits at mean Eb/N0 g = 5 err with (1 - sqrt(g / (1 + g)))/2 in Rayleigh fading."""
    x = qpsk(9, (200_000, 1))
    received = transmit(jax.random.key(10), channels.rayleigh(1), x, 0.1)
    for y, theory in (
        (received.y * jnp.conj(received.gain), (1 - np.sqrt(5 / 6)) / 2),
        (received.y, 0.5),  # the phase of a Rayleigh gain is uniform: without it the bits are lost
    ):
        interval = binomtest(*bit_errors(x, y)).proportion_ci(confidence_level=1 - 6.3e-5)
        assert interval.low <= theory <= interval.high


def test_same_key_same_result_and_other_key_other_result():
    x = qpsk(11, (4, 16))
    first, again = (transmit(jax.random.key(12), channels.rayleigh(2), x, 0.1) for _ in range(2))
    other = transmit(jax.random.key(13), channels.rayleigh(2), x, 0.1)
    np.testing.assert_array_equal(first.y, again.y)
    assert not np.any(np.isclose(first.y, other.y))


def test_keys_are_consumed_once():
    x = qpsk(14, (2, 8))
    with jax.debug_key_reuse(True):
        jax.block_until_ready(channels.transmit(jax.random.key(15), channels.rician(3.0, 4), x, 0.1))


def test_vmap_over_keys_and_signals_equals_a_loop():
    keys, x = jax.random.split(jax.random.key(16), 3), qpsk(17, (3, 2, 8))
    fading = channels.rician(0.0, 2)
    together = jax.vmap(lambda key, x: transmit(key, fading, x, 0.1))(keys, x)
    for i in range(3):
        alone = transmit(keys[i], fading, x[i], 0.1)
        np.testing.assert_allclose(together.y[i], alone.y, rtol=1e-6, atol=1e-6)


def test_the_program_does_not_grow_with_the_batch():
    def size(batch):
        x = jax.ShapeDtypeStruct((batch, 8), jnp.complex64)
        send = jax.make_jaxpr(lambda key, x: channels.transmit(key, channels.rayleigh(2), x, 0.1))
        return len(send(jax.random.key(0), x).eqns)

    assert size(1) == size(1000)


def test_gradients_pass_through_the_channel():
    """d Re<c, y> / dx = conj(c) gain, in JAX's convention for a real function of a complex variable."""
    x, c = qpsk(18, (3, 8)), qpsk(19, (3, 8))
    key, fading = jax.random.key(20), channels.rayleigh(2)
    gradient = jax.grad(lambda x: jnp.sum((jnp.conj(c) * transmit(key, fading, x, 0.1).y).real))(x)
    gain = transmit(key, fading, x, 0.1).gain
    np.testing.assert_allclose(gradient, jnp.conj(c) * gain, rtol=1e-5)
    by_noise = jax.grad(lambda v: jnp.sum(jnp.abs(transmit(key, fading, x, v).y) ** 2))(0.1)
    assert np.isfinite(by_noise) and by_noise != 0


def test_single_precision_stays_single_when_double_is_enabled():
    with jax.enable_x64(True):
        x = jnp.ones((2, 8), jnp.complex64)
        received = transmit(jax.random.key(0), channels.rician(3.0, 4), x, np.float64(0.1))
        assert received.y.dtype == received.gain.dtype == jnp.complex64
        assert received.noise_var.dtype == jnp.float32


def test_real_signals_are_refused():
    # The second form where a test run turns annotations into checks of its own.
    message = "needs complex symbols; got float32: pair real values|Expected type: .*Complex"
    with pytest.raises(TypeError, match=message):
        channels.transmit(jax.random.key(0), channels.rayleigh(1), jnp.ones((2, 4)), 0.1)
    with pytest.raises(TypeError, match=message):
        channels.awgn(jax.random.key(0), jnp.ones((2, 4)), 0.1)
