"""Complex Gaussian draws: the law against SciPy, the tail by counts, the words against JAX's own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.stats import chisquare, expon, kstest, norm

from channels.random import box_muller, complex_normal, uniform_words
from phy import qam
from semsim.stats import FOUR_SIGMA, proportion_interval

FALSE_ALARM = 6e-5
SAMPLES = 1 << 20
EXTREME = np.array(
    [0, 1, 2, 2**29, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 129, 2**32 - 128, 2**32 - 1],
    np.uint32,
)


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    found = jax.jit(complex_normal, static_argnums=1)(jax.random.key(1), (SAMPLES,))
    assert found.dtype == jnp.complex64
    return np.asarray(found, np.complex128)


def within(samples: np.ndarray, expected: float) -> bool:
    return abs(samples.mean() - expected) < 4 * samples.std() / np.sqrt(samples.size)


def test_moments(draws: np.ndarray) -> None:
    """Of each part N(0, 1/2): E x^2 = 1/2, E x^4 = 3/4, E x^6 = 15/8, odd moments 0."""
    for part in (draws.real, draws.imag):
        for power, expected in ((1, 0), (2, 0.5), (3, 0), (4, 0.75), (5, 0), (6, 1.875)):
            assert within(part**power, expected), power


def test_the_parts_are_normal_the_power_exponential_and_the_phase_uniform(draws: np.ndarray) -> None:
    few = draws[:200_000]
    for part in (few.real, few.imag):
        assert kstest(part, norm(scale=np.sqrt(0.5)).cdf).pvalue > FALSE_ALARM
    assert kstest(np.abs(few) ** 2, expon.cdf).pvalue > FALSE_ALARM
    bins = np.bincount(np.int64((np.angle(draws) / (2 * np.pi) + 0.5) * 4096) % 4096, minlength=4096)
    assert chisquare(bins).pvalue > FALSE_ALARM
    cells = np.bincount(np.int64(norm(scale=np.sqrt(0.5)).cdf(draws.real) * 1024), minlength=1024)
    assert chisquare(cells).pvalue > FALSE_ALARM


def test_real_and_imaginary_part_are_independent(draws: np.ndarray) -> None:
    """Equal counts in the 32 x 32 cells of their ranks, and no correlation of values, squares or neighbours."""
    rank = norm(scale=np.sqrt(0.5)).cdf
    cell = np.int64(rank(draws.real) * 32) * 32 + np.int64(rank(draws.imag) * 32)
    assert chisquare(np.bincount(cell, minlength=1024)).pvalue > FALSE_ALARM
    x, y = draws.real, draws.imag
    for product in (x * y, (x**2 - 0.5) * (y**2 - 0.5), x[1:] * x[:-1], x[1:] * y[:-1]):
        assert within(product, 0.0)
    power = np.abs(draws) ** 2 - 1
    assert within(power[1:] * power[:-1], 0.0)


def test_tails() -> None:
    """P(|z|^2 > t) = exp(-t) and P(Re z > q) to 1e-6, by counts over 2^25 draws."""
    count, blocks = 1 << 22, 8
    limits = -np.log([1e-3, 1e-5, 1e-6])
    edges = norm(scale=np.sqrt(0.5)).isf([1e-3, 1e-5, 1e-6])

    @jax.jit
    def beyond(key: jax.Array) -> tuple[jax.Array, ...]:
        z = complex_normal(key, (count,))
        power = z.real**2 + z.imag**2
        return (
            jnp.stack([jnp.sum(power > t) for t in limits]),
            *(jnp.stack([jnp.sum(part > q) for q in edges]) for part in (z.real, -z.real, z.imag, -z.imag)),
        )

    rows = [beyond(jax.random.fold_in(jax.random.key(2), i)) for i in range(blocks)]
    for counts in np.sum(np.asarray(rows), axis=0):
        for found, expected in zip(counts, (1e-3, 1e-5, 1e-6), strict=True):
            interval = proportion_interval(int(found), count * blocks, FOUR_SIGMA)
            assert interval.low < expected < interval.high


def test_extreme_words_stay_finite() -> None:
    radius, angle = (jnp.asarray(x.ravel()) for x in np.meshgrid(EXTREME, EXTREME))
    z = np.asarray(jax.jit(box_muller)(radius, angle), np.complex128)
    assert np.all(np.isfinite(z))
    expected = -np.log((np.asarray(radius, np.float64) + 0.5) / 2**32)
    np.testing.assert_allclose(np.abs(z) ** 2, expected, rtol=1e-6, atol=1e-7)
    assert np.max(np.abs(z) ** 2) > -np.log(1e-9)


def test_the_angle_is_exact_in_every_quadrant() -> None:
    """Against sine and cosine in float64: two sign bits, then 30 bits of the angle from the middle of a quadrant."""
    angle = np.random.default_rng(3).integers(0, 2**32, 20_000, dtype=np.uint32)
    z = np.asarray(
        jax.jit(box_muller)(jnp.full(angle.shape, 2**30, jnp.uint32), jnp.asarray(angle)), np.complex128
    )
    z /= np.sqrt(-np.log((2**30 + 0.5) / 2**32))
    turn = np.pi / 4 + (angle << np.uint32(2)).view(np.int32) * (np.pi / 4 / 2**31)
    real, imag = (np.where(angle >> np.uint32(bit) & 1, -1, 1) for bit in (31, 30))
    np.testing.assert_allclose(z, real * np.cos(turn) + 1j * imag * np.sin(turn), atol=3e-7)


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5), (2049,), (3, 1001)])
def test_the_words_are_those_of_jax(shape: tuple[int, ...]) -> None:
    """Bit by bit, also where the pieces do not divide the size."""
    key = jax.random.key(4)
    assert np.array_equal(uniform_words(key, shape), jax.random.bits(key, shape))
    pairs = jax.random.key_data(jax.random.split(key, shape))
    np.testing.assert_array_equal(
        complex_normal(key, shape), jax.jit(box_muller)(pairs[..., 0], pairs[..., 1])
    )


def test_a_draw_does_not_depend_on_how_many_are_drawn() -> None:
    key = jax.random.key(5)
    np.testing.assert_array_equal(complex_normal(key, (5000,))[:100], complex_normal(key, (100,)))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a defect of XLA's CPU compiler")
@pytest.mark.parametrize("size", [32, 4096])
def test_what_is_read_often_is_made_once(size: int) -> None:
    """XLA 0.12 copied Threefry into every reader of a small draw, which took minutes to compile."""

    def rounds(function: Callable[[Array], Array]) -> int:
        return jax.jit(function).lower(jax.random.key(5)).compile().as_text().count(" xor(")

    def noise(key: Array) -> Array:
        return complex_normal(key, (size,))

    assert rounds(noise) == rounds(lambda key: qam(jnp.int32(2), 4).llr(noise(key), 0.1))


def test_other_generators_and_old_keys_work() -> None:
    for key in (jax.random.key(6, impl="rbg"), jax.random.PRNGKey(6)):
        z = np.asarray(complex_normal(key, (20_000,)), np.complex128)
        assert within(np.abs(z) ** 2, 1.0) and within(z.real, 0.0) and within(z.real * z.imag, 0.0)
    np.testing.assert_array_equal(
        complex_normal(jax.random.PRNGKey(6), (9,)), complex_normal(jax.random.key(6), (9,))
    )


def test_vmap_over_keys_equals_a_loop() -> None:
    keys = jax.random.split(jax.random.key(7), 3)
    for size in (10, 3000):
        together = jax.vmap(lambda key, size=size: complex_normal(key, (size,)))(keys)
        for key, row in zip(keys, together, strict=True):
            np.testing.assert_array_equal(row, complex_normal(key, (size,)))


def test_keys_are_consumed_once() -> None:
    with jax.debug_key_reuse(True):
        key = jax.random.key(8)
        jax.block_until_ready(complex_normal(key, (4,)))
        with pytest.raises(jax.errors.KeyReuseError, match="consumed key"):
            jax.block_until_ready(complex_normal(key, (4,)))


def test_single_precision_stays_single_when_double_is_enabled() -> None:
    with jax.enable_x64(True):
        for size in (4, 4000):
            assert complex_normal(jax.random.key(9), (size,)).dtype == jnp.complex64
            assert uniform_words(jax.random.key(9), (size,)).dtype == jnp.uint32
