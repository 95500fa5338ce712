"""Laws of the QAM bank: 3GPP's labels, exact LLRs, and one compiled program for every order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import ArrayLike

import phy

LARGEST = 10
BITS = range(1, LARGEST + 1)
NAMED = {"bpsk": 1, "qpsk": 2, "qam16": 4, "qam64": 6, "qam256": 8, "qam1024": 10}


def points(bits: int) -> np.ndarray:
    """All points by the nested formulas of TS 38.211 clause 5.1, float64: (1-2a)[2^k - (1-2b)[ .. ]] per side."""

    def side(digits: list[int]) -> int:
        value = 1
        for level, digit in enumerate(reversed(digits)):
            value = (1 - 2 * digit) * (value if level == 0 else 2**level - value)
        return value if digits else 0

    # From the inside out: the last bit of a side decides the innermost bracket, the first one the sign.
    rows = [[label >> (bits - 1 - k) & 1 for k in range(bits)] for label in range(2**bits)]
    values = np.array([side(row[0::2]) + 1j * side(row[1::2]) for row in rows])
    return values / np.sqrt(np.mean(np.abs(values) ** 2))


def brute_force(y: ArrayLike, points: np.ndarray, noise_var: ArrayLike, method: str) -> np.ndarray:
    """LLRs over all points in float64."""
    bits = len(points).bit_length() - 1
    metric = (
        -(np.abs(np.asarray(y, np.complex128)[..., None] - points) ** 2)
        / np.asarray(noise_var, np.float64)[..., None]
    )
    reduce = np.max if method == "maxlog" else np.logaddexp.reduce
    one = (np.arange(len(points))[None, :] >> np.arange(bits - 1, -1, -1)[:, None]) & 1 == 1
    return np.stack([reduce(metric[..., o], axis=-1) - reduce(metric[..., ~o], axis=-1) for o in one], -1)


def received(bits: int, count: int = 256) -> tuple[jax.Array, jax.Array]:
    """Noisy points from 0 to 40 dB, single precision; y and noise_var."""
    rng = np.random.default_rng(bits)
    noise_var = 10 ** -np.linspace(0, 4, count)
    noise = rng.normal(size=(count, 2)) @ [1, 1j] * np.sqrt(noise_var / 2)
    y = points(bits)[rng.integers(0, 2**bits, count)] + noise
    return jnp.asarray(y, jnp.complex64), jnp.asarray(noise_var, jnp.float32)


class Counted:
    """A jitted function that counts its traces."""

    def __init__(self, function) -> None:
        self.traces = 0

        def traced(*arguments):
            self.traces += 1
            return function(*arguments)

        self.call = jax.jit(traced)


APP = Counted(lambda q, y, n: q.llr(y, n, "app"))
MAXLOG = Counted(lambda q, y, n: q.llr(y, n, "maxlog"))
DECIDE = Counted(lambda q, y: q.decide(y))
POSTERIOR = Counted(lambda q, y, n: q.posterior(y, n))
CALIBRATED = jax.jit(lambda q, labels, noise, n: q.llr(q.modulate(labels) + jnp.sqrt(n) * noise, n))


@pytest.mark.parametrize("bits", BITS)
def test_points_energy_and_gray(bits: int) -> None:
    labels = jnp.arange(2**bits)
    symbols = phy.qam(bits, LARGEST).modulate(labels)
    assert symbols.dtype == jnp.complex64
    np.testing.assert_allclose(symbols, points(bits), atol=3e-7)
    assert np.mean(np.abs(np.asarray(symbols, np.complex128)) ** 2) == pytest.approx(1.0, abs=1e-6)
    distance = np.abs(points(bits)[:, None] - points(bits)[None, :])
    nearest = np.isclose(distance, np.min(distance[distance > 1e-9]), rtol=1e-6)
    apart = np.array([[int(a ^ b).bit_count() for b in range(2**bits)] for a in range(2**bits)])
    assert np.all(apart[nearest] == 1)


def test_a_label_by_hand() -> None:
    """0b0000 and 0b1011 of 16-QAM: (1 + j) / sqrt(10) and (1-2)(2-(1-2)) + j(1)(2-(1-2)) = -3 + 3j."""
    np.testing.assert_allclose(
        phy.qam(4).modulate(jnp.array([0, 0b1011])) * np.sqrt(10), [1 + 1j, -3 + 3j], atol=1e-6
    )
    np.testing.assert_allclose(phy.qam(1).modulate(jnp.array([0, 1])), [1, -1], atol=0)


@pytest.mark.parametrize("bits", BITS)
def test_decide_is_the_nearest_point(bits: int) -> None:
    y, _ = received(bits)
    y = jnp.concatenate([jnp.asarray(points(bits), jnp.complex64), y, 50 * y[:20]])
    decided = np.asarray(DECIDE.call(phy.qam(bits, LARGEST), jnp.resize(y, (1300,))))[: len(y)]
    distance = np.abs(np.asarray(y, np.complex128)[:, None] - points(bits))
    chosen = distance[np.arange(len(y)), decided]
    np.testing.assert_allclose(chosen, distance.min(1), atol=1e-5)  # a tie may fall either way
    assert np.array_equal(decided[: 2**bits], np.arange(2**bits))


@pytest.mark.parametrize("method", ["app", "maxlog"])
@pytest.mark.parametrize("bits", BITS)
def test_llr_against_all_points_in_float64(bits: int, method: str) -> None:
    y, noise_var = received(bits)
    llr = np.asarray((APP if method == "app" else MAXLOG).call(phy.qam(bits, LARGEST), y, noise_var))
    assert llr.shape == (256, LARGEST) and llr.dtype == np.float32
    assert not np.any(llr[:, bits:])
    expected = brute_force(y, points(bits), noise_var, method)
    assert np.max(np.abs(llr[:, :bits] - expected) / np.maximum(np.abs(expected), 1.0)) < 1e-4


@pytest.mark.parametrize("bits", BITS)
def test_posterior(bits: int) -> None:
    y, noise_var = received(bits, 64)
    posterior = np.asarray(POSTERIOR.call(phy.qam(bits, LARGEST), y, noise_var))
    assert posterior.shape == (64, 2**LARGEST) and not np.any(posterior[:, 2**bits :])
    squared = np.abs(np.asarray(y, np.complex128)[:, None] - points(bits)) ** 2
    metric = -squared / np.asarray(noise_var, np.float64)[:, None]
    expected = np.exp(metric - np.logaddexp.reduce(metric, axis=1)[:, None])
    np.testing.assert_allclose(posterior[:, : 2**bits], expected, atol=2e-5)
    np.testing.assert_allclose(posterior.sum(1), 1.0, atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 5, 6])
def test_the_bank_equals_a_kernel_of_its_own(bits: int) -> None:
    y, noise_var = received(bits)
    own, bank = phy.qam(bits), phy.qam(bits, LARGEST)
    assert np.array_equal(own.decide(y), DECIDE.call(bank, jnp.resize(y, (1300,)))[:256])
    for counted, method in ((APP, "app"), (MAXLOG, "maxlog")):
        ours = jax.jit(lambda q, y, n, m=method: q.llr(y, n, m))(own, y, noise_var)
        np.testing.assert_allclose(ours, counted.call(bank, y, noise_var)[:, :bits], rtol=1e-6, atol=1e-5)


def test_one_trace_serves_every_order() -> None:
    y, noise_var = received(4)
    for name in NAMED:
        member = phy.modulation(name, LARGEST)
        for counted in (APP, MAXLOG):
            counted.call(member, y, noise_var)
    assert APP.traces == 1 and MAXLOG.traces == 1


def test_order_may_differ_per_realisation() -> None:
    """Orders as a column, against one scalar order per realisation by vmap."""
    orders = jnp.array([[1], [2], [4], [3]])
    mixed = phy.qam(orders, 4)

    def receive(member: phy.Qam, y: jax.Array) -> tuple[jax.Array, ...]:
        return member.decide(y), member.llr(y, 0.0025), member.posterior(y, 0.0025)

    labels = jax.random.randint(jax.random.key(0), (4, 32), 0, 16) % (1 << orders)
    symbols = jax.jit(mixed.modulate)(labels)
    y = symbols + 0.05 * jax.random.normal(jax.random.key(1), labels.shape, jnp.complex64)
    together = jax.jit(receive)(mixed, y)
    alone = jax.jit(jax.vmap(receive))(phy.qam(orders[:, 0], 4), y)
    assert np.array_equal(together[0], alone[0])
    np.testing.assert_allclose(together[1], alone[1], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(together[2], alone[2], atol=1e-5)
    assert np.array_equal(jax.jit(mixed.decide)(symbols), labels)


def test_check_values_of_the_conventions() -> None:
    """BPSK gives -4 Re(y) / N0, Gray QPSK -2 sqrt(2) Re(y) / N0 and Im(y): sign and scale at once."""
    y, noise_var = received(2)
    real, imag, n = (np.asarray(x, np.float64) for x in (y.real, y.imag, noise_var))
    for counted in (APP, MAXLOG):
        bpsk, qpsk = (counted.call(phy.qam(bits, LARGEST), y, noise_var) for bits in (1, 2))
        np.testing.assert_allclose(bpsk[:, 0], -4 * real / n, rtol=1e-5)
        np.testing.assert_allclose(qpsk[:, 0], -2 * np.sqrt(2) * real / n, rtol=1e-5)
        np.testing.assert_allclose(qpsk[:, 1], -2 * np.sqrt(2) * imag / n, rtol=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_llrs_are_calibrated(bits: int) -> None:
    """Among bits with LLR near v the share of ones is sigmoid(v), within 4 sigma, for bins of at least 1,000 bits."""
    count, noise_var = 1 << 15, 2.4 / 2**bits
    key_labels, key_noise = jax.random.split(jax.random.key(bits))
    member = phy.qam(bits, 6)
    labels = jax.random.randint(key_labels, (count,), 0, 2**bits)
    noise = jax.random.normal(key_noise, (count,), jnp.complex64)
    llr = np.asarray(CALIBRATED(member, labels, noise, noise_var), np.float64)[:, :bits].ravel()
    sent = (np.asarray(labels)[:, None] >> np.arange(bits - 1, -1, -1) & 1).ravel()
    checked = 0
    for low in np.arange(-4.0, 4.0, 0.5):
        inside = (llr >= low) & (llr < low + 0.5)
        if inside.sum() >= 1000:
            probability = 1 / (1 + np.exp(-llr[inside]))
            sigma = np.sqrt(np.sum(probability * (1 - probability)))
            assert abs(sent[inside].sum() - probability.sum()) < 4 * sigma
            checked += 1
    assert checked >= 4


def test_hard_decisions_are_the_signs_of_maxlog() -> None:
    y, noise_var = received(6)
    member = phy.qam(6, LARGEST)
    llr = MAXLOG.call(member, y, noise_var)
    assert np.array_equal(phy.decide_llr(member, llr), member.decide(y))


@pytest.mark.parametrize("method", ["app", "maxlog"])
def test_extremes_stay_finite(method: str) -> None:
    """No noise, huge noise, far symbols, and their gradients."""
    y = jnp.array([0.0, 1e6 + 1e6j, -0.3 + 0.9j], jnp.complex64)
    member = phy.qam(4)

    def total(scale: jax.Array, noise_var: jax.Array) -> tuple[jax.Array, jax.Array]:
        llr = member.llr(scale * y, noise_var, method)
        return jnp.sum(llr), llr

    slope = jax.jit(jax.grad(total, has_aux=True))
    for noise_var in (0.0, 1e-9, 1e12):
        gradient, llr = slope(1.0, noise_var)
        assert np.all(np.isfinite(llr)) and np.isfinite(gradient)
    assert np.max(np.abs(slope(1.0, 1e12)[1][::2])) < 1e-9


@pytest.mark.parametrize("method", ["app", "maxlog"])
def test_gradient_agrees_with_differences(method: str) -> None:
    y, n = np.array([0.31 - 0.52j]), np.array([0.2])

    def ours(real: jax.Array) -> jax.Array:
        return phy.qam(4).llr((real - 0.52j).astype(jnp.complex64).reshape(1), 0.2, method)[0, :4]

    slope = jax.jit(jax.jacobian(ours))(jnp.float32(0.31))
    step = 1e-5
    expected = (brute_force(y + step, points(4), n, method) - brute_force(y - step, points(4), n, method))[
        0
    ] / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-3)


def test_single_precision_stays_single_under_x64() -> None:
    def receive(member: phy.Qam, labels: jax.Array) -> tuple[jax.Array, ...]:
        y = member.modulate(labels)
        return y, member.decide(y), member.llr(y, 0.1), member.posterior(y, 0.1), member.llr(y + 0j, 0.1)

    with jax.enable_x64(True):
        shapes = jax.eval_shape(receive, phy.qam(4), jnp.arange(16, dtype=jnp.int64))
    assert [shape.dtype for shape in shapes] == [jnp.complex64, jnp.int32, *[jnp.float32] * 3]


def test_errors() -> None:
    y = jnp.ones((2, 3), jnp.complex64)
    for bits in (0, 17):
        with pytest.raises(ValueError, match=f"a QAM carries 1 to 16 bits per symbol; got {bits}"):
            phy.qam(bits)
    with pytest.raises(ValueError, match=r"num_bits_per_symbol must be in \[1, max_bits = 4\]; got 6"):
        phy.qam(6, 4)
    with pytest.raises(ValueError, match="needs max_bits"):
        phy.qam(jnp.array([2, 4]))
    with pytest.raises(ValueError, match="LLR method must be one of app, maxlog; got 'exact'"):
        phy.qam(2).llr(y, 0.1, "exact")
    with pytest.raises(ValueError, match="noise_var must be a scalar or have 2 axes like the signal"):
        phy.qam(2).llr(y, jnp.ones(3))
    with pytest.raises(ValueError, match="num_bits_per_symbol must be a scalar or have 2 axes"):
        phy.qam(jnp.array([2, 4]), 4).decide(y)
