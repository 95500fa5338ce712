"""Laws of detection with several antennas, against float64 NumPy and against Sionna's equaliser."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phy
from phy.mimo import alamouti_detect, alamouti_encode, lmmse_detect

SIONNA: dict[str, np.ndarray] = dict(np.load(Path(__file__).parent / "reference" / "mimo.npz"))
"""Written by tests/reference/make_mimo_fixtures.py: 16 matrices at each of 0 .. 40 dB."""
CASES = ("2x2", "4x8")

detect = jax.jit(lmmse_detect, static_argnames="unbiased")


def complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal((*shape, 2)) @ np.array([1, 1j]) / np.sqrt(2), np.complex64)


def fixture(case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y [snr, rx, s], gain [snr, rx, streams, s], noise_var [snr, 1]."""
    y, gain, noise_var = (SIONNA[f"{case}.{name}"] for name in ("y", "gain", "noise_var"))
    return y, gain, noise_var[:, None]


def oracle(
    y: np.ndarray, gain: np.ndarray, noise_var: np.ndarray, unbiased: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(H^H H + N I)^-1 H^H y matrix by matrix in double precision; noise_var broadcasts against [b, s]."""
    h, seen = np.moveaxis(gain.astype(np.complex128), -1, 1), np.moveaxis(y.astype(np.complex128), -1, 1)
    noise = np.broadcast_to(noise_var.astype(np.float64), h.shape[:2])[..., None, None]
    matched = np.conj(np.swapaxes(h, -1, -2))
    inverse = np.linalg.inv(matched @ h + noise * np.eye(h.shape[-1]))
    x = (inverse @ matched @ seen[..., None])[..., 0]
    error = noise[..., 0] * np.einsum("...kk->...k", inverse).real
    share = np.einsum("...kk->...k", inverse @ matched @ h).real
    found = (x / share, error / share) if unbiased else (x, error)
    return np.moveaxis(found[0], 1, -1), np.moveaxis(found[1], 1, -1)


def assert_agree(found: phy.Equalised, symbols: np.ndarray, noise_var: np.ndarray) -> None:
    """Symbols to a thousandth of their own noise at every SNR, noise variances to a thousandth."""
    assert found.symbols.dtype == jnp.complex64 and found.noise_var.dtype == jnp.float32
    assert found.symbols.shape == found.noise_var.shape == symbols.shape
    assert np.max(np.abs(np.asarray(found.symbols) - symbols) / np.sqrt(noise_var)) < 1e-3
    np.testing.assert_allclose(found.noise_var, noise_var, rtol=1e-3)


@pytest.mark.parametrize(("case", "unbiased"), [("2x2", True), ("2x2", False), ("4x8", True)])
def test_lmmse_equals_double_precision(case: str, unbiased: bool) -> None:
    y, gain, noise_var = fixture(case)
    assert_agree(detect(y, gain, noise_var, unbiased=unbiased), *oracle(y, gain, noise_var, unbiased))


@pytest.mark.parametrize("case", CASES)
def test_lmmse_equals_sionna(case: str) -> None:
    found = detect(*fixture(case), unbiased=True)
    assert_agree(found, SIONNA[f"{case}.symbols"], SIONNA[f"{case}.effective"])


def test_streams_may_come_in_any_order() -> None:
    """The factorisation takes the streams one after the other; the result must not show it."""
    y, gain, noise_var = fixture("4x8")
    straight = detect(y, gain, noise_var, unbiased=True)
    turned = detect(y, gain[:, :, ::-1], noise_var, unbiased=True)
    assert_agree(turned, np.asarray(straight.symbols)[:, ::-1], np.asarray(straight.noise_var)[:, ::-1])


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_error_has_the_variance_it_says(unbiased: bool) -> None:
    """Over symbols and noise, for each of six matrices from 0 to 25 dB; unbiased errors have no part along the symbol."""
    count = 1 << 14
    rng = np.random.default_rng(5)
    gain, noise = complex_normal(rng, 6, 3, 2, 1), complex_normal(rng, 6, 3, count)
    noise_var = np.float32(10 ** (-np.arange(0.0, 30.0, 5.0) / 10))[:, None]
    x = np.asarray(phy.qam(4).modulate(jnp.asarray(rng.integers(0, 16, (6, 2, count)), jnp.int32)))
    y = np.sum(gain * x[:, None], axis=2) + np.sqrt(noise_var)[:, None] * noise
    found = detect(y, gain, noise_var, unbiased=unbiased)
    error = np.asarray(found.symbols - x)
    said = np.asarray(found.noise_var)
    assert np.all(said == said[..., :1])
    squared = np.abs(error) ** 2
    assert np.all(np.abs(squared.mean(-1) - said[..., 0]) < 4 * squared.std(-1) / np.sqrt(count))
    along = np.abs(np.mean(error * np.conj(x), -1))
    if unbiased:
        assert np.all(along < 4 * np.sqrt(said[..., 0] / count))
    else:  # the least error shrinks the symbol by exactly that error
        assert np.all(np.abs(along - said[..., 0]) < 4 * np.sqrt(said[..., 0] / count))


@pytest.mark.parametrize("unbiased", [True, False])
def test_one_stream_is_maximum_ratio_combining(unbiased: bool) -> None:
    """The sum of conj(gain) y over that of |gain|^2; with one antenna what the one-tap equaliser gives."""
    y, gain, noise_var = fixture("4x8")
    gain = gain[:, :, :1]
    power = np.sum(np.abs(gain.astype(np.complex128)) ** 2, axis=1)
    matched = np.sum(np.conj(gain[:, :, 0].astype(np.complex128)) * y, axis=1)[:, None]
    lost = 0.0 if unbiased else noise_var[..., None]
    found = detect(y, gain, noise_var, unbiased=unbiased)
    np.testing.assert_allclose(found.symbols, matched / (power + lost), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        found.noise_var, noise_var[..., None] / (power + lost) * np.ones_like(power), rtol=1e-5
    )
    alone = detect(y[:, :1], gain[:, :1], noise_var, unbiased=unbiased)
    one_tap = phy.lmmse(
        *(jnp.asarray(part) for part in (y[:, 0], gain[:, 0, 0], noise_var)), unbiased=unbiased
    )
    np.testing.assert_allclose(alone.symbols[:, 0], one_tap.symbols, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alone.noise_var[:, 0], one_tap.noise_var, rtol=1e-5)


@pytest.mark.parametrize("noise_var", [1e-3, 1e-7, 0.0])
def test_a_stream_that_is_not_sent_is_an_erasure(noise_var: float) -> None:
    y, gain, _ = fixture("2x2")
    dead = np.array(gain)
    dead[:, :, 1] = 0.0
    found = detect(y, dead, np.full((5, 1), noise_var, np.float32), unbiased=True)
    assert np.all(np.isfinite(found.symbols)) and np.all(np.isfinite(found.noise_var))
    assert np.max(np.abs(phy.qam(4).llr(found.symbols[:, 1], found.noise_var[:, 1]))) < 1e-4
    power = np.sum(np.abs(dead[:, :, 0]) ** 2, axis=1)
    # The other one is heard as if it were alone; noise of nothing is float32's rounding, at most -65 dB of the streams.
    said = np.asarray(found.noise_var)[:, 0] * power
    np.testing.assert_allclose(said, np.maximum(noise_var, 1.5e-7 * power), rtol=1e-4)


@pytest.mark.parametrize("noise_var", [1e-3, 1e-7, 0.0])
def test_streams_that_arrive_alike_are_noise_to_each_other(noise_var: float) -> None:
    """The matrix has no inverse: what is found is finite and claims no more than it can know."""
    y, gain, _ = fixture("2x2")
    alike = np.repeat(gain[:, :, :1], 2, axis=2)
    found = detect(y, alike, np.full((5, 1), noise_var, np.float32), unbiased=True)
    assert np.all(np.isfinite(found.symbols))
    if noise_var == 1e-3:
        power = np.sum(np.abs(alike[:, :, :1]) ** 2, axis=1)
        np.testing.assert_allclose(found.noise_var, np.repeat(1.0 + noise_var / power, 2, axis=1), rtol=2e-3)
    else:  # below float32's rounding of the matrix: 0 dB give or take 3
        assert 0.5 < np.min(found.noise_var) and np.max(found.noise_var) < 2.0


def test_gradients_are_finite_even_for_dead_antennas() -> None:
    def energy(gain: jax.Array) -> jax.Array:
        found = lmmse_detect(jnp.ones((2, 1), jnp.complex64), gain, 0.1)
        return jnp.sum(jnp.abs(found.symbols) ** 2 + found.noise_var)

    slope = jax.jit(jax.grad(energy))
    assert np.all(np.isfinite(slope(jnp.zeros((2, 2, 1), jnp.complex64))))
    gain = jnp.asarray([[1.0, 0.5j], [-0.3, 1.0]], jnp.complex64)[..., None]
    assert np.all(np.isfinite(slope(gain))) and np.all(np.abs(slope(gain)) > 0)


def test_alamouti_over_gains_that_do_not_change_is_two_orthogonal_streams() -> None:
    """Without noise the pair itself; the noise variance is that of combining 2 x 2 branches, N / sum |gain|^2."""
    y, gain, _ = fixture("2x2")
    pairs = jnp.asarray(y)  # any numbers [b, 2, p] will do for symbols
    through = np.repeat(gain[:, :, :, None], 2, axis=3)  # [b, rx, antenna, use, p]
    received = np.einsum("bratp,batp->brtp", through, np.asarray(alamouti_encode(pairs)))
    found = jax.jit(alamouti_detect)(received, through, 1e-3)
    np.testing.assert_allclose(found.symbols, pairs, rtol=1e-4, atol=1e-4)
    power = np.sum(np.abs(gain) ** 2, axis=(1, 2))[:, None]
    np.testing.assert_allclose(found.noise_var, 1e-3 / power * np.ones((1, 2, 1)), rtol=1e-5)


def test_alamouti_over_changing_gains_is_the_lmmse_estimate() -> None:
    """What was sent, written as a matrix on the pair and its conjugate: nothing of the receiver's algebra is used."""
    rng = np.random.default_rng(3)
    through = complex_normal(rng, 5, 1, 2, 2, 16)
    pair = complex_normal(rng, 5, 2, 16)
    noise_var = np.full((5, 1), 0.1)
    encode = jax.jit(alamouti_encode)

    def seen(pair: np.ndarray) -> np.ndarray:
        received = np.einsum("bratp,batp->brtp", through, np.asarray(encode(np.complex64(pair))))[:, 0]
        return np.stack([received[:, 0], np.conj(received[:, 1])], axis=1)

    # The code is linear in the pair once the second use is conjugated: its columns are its answers to unit pairs.
    unit = [np.zeros((5, 2, 16)) for _ in range(2)]
    unit[0][:, 0], unit[1][:, 1] = 1.0, 1.0
    columns = np.stack([seen(unit[0]), seen(unit[1])], axis=2)
    y = seen(pair)
    received = np.stack([y[:, 0], np.conj(y[:, 1])], axis=1)[:, None]
    found = jax.jit(alamouti_detect)(np.complex64(received), through, np.float32(noise_var))
    assert_agree(found, *oracle(y, columns, noise_var, True))


def test_shapes_that_do_not_fit_are_refused() -> None:
    y, gain = jnp.ones((2, 3, 4), jnp.complex64), jnp.ones((2, 3, 2, 4), jnp.complex64)
    with pytest.raises(ValueError, match=r"is \[\*b, rx, streams, s\]; got y of shape \(2, 4\)"):
        lmmse_detect(y[:, 0], gain, 0.1)
    with pytest.raises(ValueError, match=r"and a gain of shape \(2, 2, 2, 4\)"):
        lmmse_detect(y, gain[:, :2], 0.1)
    with pytest.raises(ValueError, match="noise_var must be a scalar or have 2 axes"):
        lmmse_detect(y, gain, jnp.ones((2, 3, 1)))
    with pytest.raises(ValueError, match=r"a gain \[\*b, rx, 2 antennas, 2 uses, p\]; got \(2, 3, 4\)"):
        alamouti_detect(y, gain, 0.1)
