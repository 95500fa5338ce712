"""Soft demapping with priors: Bayes' rule over all points in float64, and Sionna's numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import ArrayLike

import phy

SIONNA: dict[str, np.ndarray] = dict(np.load(Path(__file__).parent / "reference" / "receiver.npz"))
NAMES = tuple(name.split(".")[1] for name in SIONNA if name.endswith(".prior"))
WIDTH = 8
COUNT = 1024
METHODS = pytest.mark.parametrize("method", ["app", "maxlog"])

INFORMED = {m: jax.jit(lambda q, y, n, p, m=m: q.llr(y, n, m, p)) for m in ("app", "maxlog")}
PLAIN = {m: jax.jit(lambda q, y, n, m=m: q.llr(y, n, m)) for m in ("app", "maxlog")}


def by_bayes(
    points: ArrayLike, y: ArrayLike, noise_var: ArrayLike, prior: ArrayLike, method: str
) -> np.ndarray:
    """ln P(bit = 1 | y, prior) / P(bit = 0 | y, prior) over all points in float64."""
    points = np.asarray(points, np.complex128)
    bits = len(points).bit_length() - 1
    rows = (np.arange(len(points))[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    squared = np.abs(np.asarray(y, np.complex128)[..., None] - points) ** 2
    metric = (
        -squared / np.asarray(noise_var, np.float64)[..., None]
        + np.asarray(prior, np.float64)[..., :bits] @ rows.T
    )
    reduce = np.max if method == "maxlog" else np.logaddexp.reduce
    one = rows.T == 1
    return np.stack([reduce(metric[..., o], axis=-1) - reduce(metric[..., ~o], axis=-1) for o in one], -1)


def received(member: phy.Modulation, seed: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Noisy points from 0 to 40 dB, and priors from none to near certainty, often wrong: y, noise_var, prior."""
    rng, bits = np.random.default_rng(seed), int(member.num_bits_per_symbol)
    noise_var = 10 ** -np.linspace(0, 4, COUNT)
    points = np.asarray(member.modulate(jnp.arange(2**bits)))
    noise = rng.normal(size=(COUNT, 2)) @ [1, 1j] * np.sqrt(noise_var / 2)
    y = points[rng.integers(0, 2**bits, COUNT)] + noise
    prior = rng.normal(size=(COUNT, member.max_bits)) * rng.choice([0.1, 3.0, 40.0], (COUNT, 1))
    prior[::7] = 0.0
    prior[3::7, : member.max_bits // 2] = 0.0
    return (
        jnp.asarray(y, jnp.complex64),
        jnp.asarray(noise_var, jnp.float32),
        jnp.asarray(prior, jnp.float32),
    )


def error(ours: jax.Array, theirs: np.ndarray, prior: ArrayLike) -> float:
    """Largest error relative to the numbers that went into the ratio: it may be a small difference of large ones."""
    size = np.maximum(np.abs(theirs), 1.0 + np.abs(np.asarray(prior)).sum(-1, keepdims=True))
    return float(np.max(np.abs(np.asarray(ours, np.float64) - theirs) / size))


@METHODS
@pytest.mark.parametrize("bits", [1, 2, 3, 5, 6, 8])
def test_qam_against_all_points_in_float64(bits: int, method: str) -> None:
    """One program for every order; priors beyond the member's own bits are ignored."""
    member = phy.qam(bits, WIDTH)
    y, noise_var, prior = received(member, bits)
    llr = INFORMED[method](member, y, noise_var, prior)
    assert llr.shape == (COUNT, WIDTH) and llr.dtype == jnp.float32 and not np.any(llr[:, bits:])
    points = np.asarray(phy.qam(bits).modulate(jnp.arange(2**bits)), np.complex128)
    expected = by_bayes(points, y, noise_var, prior, method)
    assert error(llr[:, :bits], expected, prior[:, :bits]) < 1e-4


@METHODS
def test_any_points_against_all_points_in_float64(method: str) -> None:
    member = phy.psk(8)
    y, noise_var, prior = received(member, 0)
    expected = by_bayes(member.points, y, noise_var, prior, method)
    assert error(INFORMED[method](member, y, noise_var, prior), expected, prior) < 1e-4


@METHODS
@pytest.mark.parametrize("name", NAMES)
def test_sionna_agrees_and_includes_the_prior(name: str, method: str) -> None:
    y, noise_var, prior, theirs = (
        SIONNA[f"prior.{name}.{part}"] for part in ("y", "noise_var", "prior", method)
    )
    member, bits = phy.modulation(name, None if name == "psk8" else WIDTH), phy.num_bits(name)
    widened = np.pad(prior, ((0, COUNT - len(y)), (0, member.max_bits - bits)))
    resized = (jnp.resize(jnp.asarray(x), (COUNT,)) for x in (y, noise_var))
    llr = INFORMED[method](member, *resized, jnp.asarray(widened))[: len(y), :bits]
    assert error(llr, theirs, prior) < 1e-4


@METHODS
@pytest.mark.parametrize(
    "member", [phy.qam(5, WIDTH), phy.qam(2, WIDTH), phy.psk(8)], ids=["32", "4", "psk8"]
)
def test_a_prior_of_zero_is_no_prior_bit_for_bit(member: phy.Modulation, method: str) -> None:
    """Also next to symbols that have one: what a symbol's bits are worth is no matter of its neighbours."""
    y, noise_var, prior = received(member, 1)
    plain, informed = PLAIN[method](member, y, noise_var), INFORMED[method](member, y, noise_var, prior)
    assert np.array_equal(plain[::7], informed[::7]) and not np.array_equal(plain, informed)
    assert np.array_equal(plain, INFORMED[method](member, y, noise_var, jnp.zeros_like(prior)))


def test_bits_of_the_other_side_do_not_matter() -> None:
    """I and Q are independent whatever is known of either: a prior on the even bits leaves the odd ones alone."""
    member = phy.qam(6, WIDTH)
    y, noise_var, prior = received(member, 2)
    only_even = prior.at[:, 1::2].set(0.0)
    llr = INFORMED["app"](member, y, noise_var, only_even)
    np.testing.assert_allclose(
        llr[:, 1::2], PLAIN["app"](member, y, noise_var)[:, 1::2], rtol=1e-5, atol=1e-5
    )


def test_ratios_are_calibrated() -> None:
    """Bits drawn from their priors: among those with LLR near v the share of ones is sigmoid(v), within 4 sigma."""
    count, bits, noise_var = 16 * COUNT, 4, 0.3
    key_prior, key_bits, key_noise = jax.random.split(jax.random.key(5), 3)
    prior = 2.0 * jax.random.normal(key_prior, (count, WIDTH))
    sent = jax.random.bernoulli(key_bits, jax.nn.sigmoid(prior[:, :bits])).astype(jnp.int32)
    member = phy.qam(bits, WIDTH)
    points = np.asarray(phy.qam(bits).modulate(jnp.arange(2**bits)))
    labels = np.asarray(sent) @ (1 << np.arange(bits)[::-1])
    y = points[labels] + np.sqrt(noise_var) * np.asarray(
        jax.random.normal(key_noise, (count,), jnp.complex64)
    )
    level = jnp.asarray(np.full(COUNT, noise_var), jnp.float32)
    blocks = [
        INFORMED["app"](member, jnp.asarray(y[i : i + COUNT]), level, prior[i : i + COUNT])
        for i in range(0, count, COUNT)
    ]
    llr = np.concatenate(blocks)[:, :bits].astype(np.float64).ravel()
    ones, checked = np.asarray(sent).ravel(), 0
    for low in np.arange(-5.0, 5.0, 0.5):
        inside = (llr >= low) & (llr < low + 0.5)
        if inside.sum() >= 500:
            probability = 1 / (1 + np.exp(-llr[inside]))
            sigma = np.sqrt(np.sum(probability * (1 - probability)))
            assert abs(ones[inside].sum() - probability.sum()) < 4 * sigma
            checked += 1
    assert checked >= 15


@METHODS
def test_extremes_and_slopes_stay_finite(method: str) -> None:
    """No noise, huge noise, certain priors for and against what was received; slopes also at priors of 0."""
    member = phy.qam(4)
    y = jnp.array([0.0, 1e3 + 1e3j, -0.3 + 0.9j], jnp.complex64)

    def total(scale: jax.Array, prior: jax.Array, noise_var: jax.Array) -> tuple[jax.Array, jax.Array]:
        llr = member.llr(scale * y, noise_var, method, prior)
        return jnp.sum(llr), llr

    slope = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    for noise_var in (0.0, 1e-9, 1e12):
        for known in (0.0, 1e4, -1e4):
            gradients, llr = slope(jnp.float32(1.0), jnp.full((3, 4), known), noise_var)
            assert np.all(np.isfinite(llr)) and all(np.all(np.isfinite(g)) for g in gradients)
    # Pure noise: nothing but the prior is left, and its slope is 1, at 0 as elsewhere.
    for known in (0.0, 0.7):
        gradients, llr = slope(jnp.float32(1.0), jnp.full((3, 4), known), 1e12)
        np.testing.assert_allclose(llr, known, atol=1e-5)
        if method == "app":
            np.testing.assert_allclose(gradients[1], 1.0, atol=1e-5)


def test_one_row_serves_all_symbols() -> None:
    """In banks of an odd width, too, where Q carries a bit less."""
    y = jax.random.normal(jax.random.key(3), (2, 5), jnp.complex64)
    row = jnp.array([1.0, -2.0, 0.5])
    for member in (phy.qam(3), phy.psk(8)):
        points = jax.jit(member.modulate)(jnp.arange(8))
        expected = by_bayes(points, y, np.full((2, 5), 0.2), np.broadcast_to(row, (2, 5, 3)), "maxlog")
        demap = jax.jit(lambda prior, member=member: member.llr(y, 0.2, "maxlog", prior))
        for prior in (row, row.reshape(1, 1, 3), jnp.broadcast_to(row, (2, 5, 3))):
            np.testing.assert_allclose(demap(prior), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("member", [phy.qam(2), phy.psk(4)], ids=["qam", "psk"])
def test_errors(member: phy.Modulation) -> None:
    y = jnp.ones((2, 3), jnp.complex64)
    for wrong in (jnp.zeros(3), jnp.zeros((3, 2)), jnp.zeros((2, 3, 3))):
        with pytest.raises(
            ValueError, match="prior must be one LLR for each of the 2 bits, alone or after the 2 axes"
        ):
            member.llr(y, 0.1, "app", wrong)
