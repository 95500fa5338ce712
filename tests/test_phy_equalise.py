"""Laws of the one-tap equalisers: the noise variance they hand on is the one that is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phy

COUNT = 1 << 17
NOISE_VAR = 0.1


def link(seed: int, error_var: float = 0.0) -> tuple[jax.Array, jax.Array, jax.Array]:
    """QPSK over four gains, one a row; y, the estimated gain, and the symbols."""
    key_x, key_noise, key_error = jax.random.split(jax.random.key(seed), 3)
    estimate = jnp.array([[1.0], [0.3j], [2.0 - 1.0j], [-0.5 + 0.1j]], jnp.complex64)
    x = phy.qam(2).modulate(jax.random.randint(key_x, (4, COUNT), 0, 4))
    gain = estimate + np.sqrt(error_var) * jax.random.normal(key_error, x.shape, jnp.complex64)
    return gain * x + np.sqrt(NOISE_VAR) * jax.random.normal(key_noise, x.shape, jnp.complex64), estimate, x


@pytest.mark.parametrize("error_var", [0.0, 0.02])
@pytest.mark.parametrize("equalise", [phy.zf, phy.lmmse])
def test_unbiased_with_the_noise_it_says(equalise, error_var: float) -> None:
    y, gain, x = link(0, error_var)
    equalised = equalise(y, gain, NOISE_VAR, error_var)
    assert equalised.symbols.shape == equalised.noise_var.shape == y.shape
    error = np.asarray(equalised.symbols - x)
    said = np.asarray(equalised.noise_var)[:, 0]
    power = np.mean(np.abs(error) ** 2, 1)
    spread = np.std(np.abs(error) ** 2, 1) / np.sqrt(COUNT)
    assert np.all(np.abs(power - said) < 4 * spread)
    slope = np.mean(error * np.conj(x), 1)  # unbiased: the error has no part along the symbol
    assert np.all(np.abs(slope) < 4 * np.sqrt(said / COUNT))


def test_biased_lmmse_has_the_least_error_and_says_it() -> None:
    y, gain, x = link(1)
    biased = phy.lmmse(y, gain, NOISE_VAR, unbiased=False)
    squared = np.abs(np.asarray(biased.symbols - x)) ** 2
    power = squared.mean(1)
    assert np.all(np.abs(power - np.asarray(biased.noise_var)[:, 0]) < 4 * squared.std(1) / np.sqrt(COUNT))
    expected = NOISE_VAR / (np.abs(np.asarray(gain)) ** 2 + NOISE_VAR)
    np.testing.assert_allclose(biased.noise_var[:, :1], expected, rtol=1e-5)
    unbiased = phy.zf(y, gain, NOISE_VAR).symbols
    assert np.all(power < np.mean(np.abs(np.asarray(unbiased - x)) ** 2, 1))
    for scale in (0.98, 1.02):
        assert np.all(power < np.mean(np.abs(scale * np.asarray(biased.symbols) - np.asarray(x)) ** 2, 1))


def test_llrs_after_equalising_are_those_of_the_faded_points() -> None:
    """The right noise variance: demapping y / gain equals demapping y against gain * points, in float64."""
    y, gain, _ = link(2)
    y = y[:, :50]
    equalised = phy.lmmse(y, gain, NOISE_VAR)
    llr = phy.qam(2).llr(equalised.symbols, equalised.noise_var)
    points = np.asarray(phy.qam(2).modulate(jnp.arange(4)), np.complex128)
    faded = np.asarray(gain, np.complex128)[..., None] * points
    metric = -(np.abs(np.asarray(y, np.complex128)[..., None] - faded) ** 2) / NOISE_VAR
    first = np.logaddexp(metric[..., 2], metric[..., 3]) - np.logaddexp(metric[..., 0], metric[..., 1])
    np.testing.assert_allclose(llr[..., 0], first, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise_var", [0.5, 1e-6])
def test_a_vanished_gain_is_an_erasure(noise_var: float) -> None:
    y, gain = jnp.array([1.0 + 1j, -2.0]), jnp.array([0.0, 1e-25j], jnp.complex64)
    for equalised in (phy.zf(y, gain, noise_var), phy.lmmse(y, gain, noise_var)):
        assert np.all(np.isfinite(equalised.symbols)) and np.all(np.isfinite(equalised.noise_var))
        assert np.all(np.asarray(equalised.noise_var) > 1e5)
        assert np.all(np.abs(phy.qam(4).llr(equalised.symbols, equalised.noise_var)) < 1e-4)
    biased = phy.lmmse(y, gain, noise_var, unbiased=False)
    np.testing.assert_allclose(np.abs(biased.symbols), 0.0, atol=1e-5)
    np.testing.assert_allclose(biased.noise_var, 1.0, rtol=1e-5)
    noiseless = phy.lmmse(y, jnp.zeros(2, jnp.complex64), 0.0, unbiased=False)
    np.testing.assert_array_equal(noiseless.noise_var, 1.0)


@pytest.mark.parametrize("unbiased", [True, False])
def test_gradients_are_finite_at_a_vanished_gain(unbiased: bool) -> None:
    def energy(gain: jax.Array) -> jax.Array:
        equalised = phy.lmmse(jnp.array([1.0 + 1j]), gain.astype(jnp.complex64), 0.1, unbiased=unbiased)
        return jnp.sum(jnp.abs(equalised.symbols) ** 2 + equalised.noise_var)

    assert np.all(np.isfinite(jax.grad(energy)(jnp.array([0.0]))))
    assert np.all(np.asarray(jax.grad(energy)(jnp.array([0.7]))) != 0)


def test_vmap_agrees_and_types_stay_single() -> None:
    y, gain, _ = link(3)
    y = y[:, :16]
    whole = phy.zf(y, gain, NOISE_VAR)
    mapped = jax.vmap(lambda a, b: phy.zf(a, b, NOISE_VAR))(y, gain)
    np.testing.assert_allclose(whole.symbols, mapped.symbols, rtol=1e-6)
    np.testing.assert_allclose(whole.noise_var, mapped.noise_var, rtol=1e-6)
    assert whole.symbols.dtype == jnp.complex64 and whole.noise_var.dtype == jnp.float32


def test_ranks_are_never_promoted() -> None:
    with pytest.raises(ValueError, match="gain must be a scalar or have 2 axes like the signal"):
        phy.zf(jnp.ones((2, 3), jnp.complex64), jnp.ones(3, jnp.complex64), 0.1)
    with pytest.raises(ValueError, match="noise_var must be a scalar or have 2 axes"):
        phy.lmmse(jnp.ones((2, 3), jnp.complex64), jnp.complex64(1), jnp.ones(3))
