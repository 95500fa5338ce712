"""Weighted estimates of rare errors against Q functions, closed forms and SciPy quadrature over the fade."""

import math
from dataclasses import dataclass, field
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

import channels
import phy
from channels.flat import linear_k_factor
from phy import Modulation
from semsim import rare, theory
from semsim.link import Link, fade, send_labels, split_keys
from semsim.rare import RareKernel, half_distance
from semsim.stats import FOUR_SIGMA, Interval, mean_interval

BANK = 10  # bits of the widest member: one program for all but psk8
SYMBOLS = 32
K_DB = {"rayleigh": -math.inf, "rician 5 dB": 5.0, "rician 20 dB": 20.0, "awgn": math.inf}
compilations = []


@partial(jax.jit, static_argnames="kernel")
def weighted(kernel, key, shared):
    compilations.append(kernel)
    return kernel(key, None, shared)


def mapper(name: str) -> Modulation:
    return phy.modulation(name, None if name == "psk8" else BANK)


def draw(name, k_db, esno_db, *, batch=4096, num_symbols=SYMBOLS, seed=0) -> rare.Weighted:
    values = (linear_k_factor(k_db), phy.esnodb2no(esno_db), half_distance(name))
    shared = (mapper(name), *(jnp.float32(value) for value in values))
    return jax.device_get(weighted(RareKernel(batch, num_symbols), jax.random.key(seed), shared))


def interval(values, confidence=FOUR_SIGMA) -> Interval:
    values = np.asarray(values, np.float64)
    return mean_interval(values.size, float(values.sum()), float(values @ values), confidence)


def check(values, truth, half_width):
    """The truth lies within 4 sigma, and 1.96 sigma are at most `half_width` of it."""
    found = interval(values)
    assert found.low < truth < found.high, (found, truth)
    narrow = interval(values, 0.95)
    assert narrow.high - narrow.low < 2 * half_width * truth


def solve(rate, target) -> float:
    """Es/N0 in dB at which a falling `rate` meets the target."""
    return float(
        optimize.brentq(lambda x: math.log(max(float(rate(x)), 1e-300) / target), -10, 125, xtol=1e-11)
    )


def q(x):
    return special.ndtr(-x)


@cache
def pam_sums(name: str) -> tuple[tuple[float, ...], float]:
    """Weights w_n of BER = sum_n w_n Q((2n - 1) x) of square Gray QAM, counted over all pairs of levels, and d^2."""
    bits = phy.num_bits(name) // 2
    side = 1 << bits
    gray = np.arange(side) ^ (np.arange(side) >> 1)
    weights = np.zeros(side)
    for sent in range(side):
        for got in range(side):
            if (
                got != sent
            ):  # P(decided got) = Q((2 |got - sent| - 1) x) - Q((2 |got - sent| + 1) x), no second term at the edge
                n, wrong = abs(got - sent), int(gray[sent] ^ gray[got]).bit_count()
                weights[n] += wrong
                if got not in (0, side - 1):
                    weights[n + 1] -= wrong
    return tuple(weights[1:] / (side * bits)), 1.5 / (side**2 - 1)


def rates_in_awgn(name: str, esno: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """(BER, SER) at linear Es/N0, written out without `theory`: BPSK and square QAM; float64."""
    if name == "bpsk":
        rate = q(np.sqrt(2 * np.asarray(esno)))
        return rate, rate
    weights, b = pam_sums(name)
    x = np.sqrt(2 * b * np.asarray(esno))
    ber = np.asarray(sum(w * q((2 * n - 1) * x) for n, w in enumerate(weights, start=1)))
    side = 1 << phy.num_bits(name) // 2
    one = 2 * (1 - 1 / side) * q(x)
    return ber, one * (2 - one)


def over_fades(rate, k_db: float, esno_db: float) -> float:
    """Mean of rate(Es/N0 |h|^2) by quadrature in ln |h|^2: |h|^2 is exponential or noncentral chi-square, E|h|^2 = 1."""
    k, esno = 10 ** (k_db / 10), 10 ** (esno_db / 10)

    def integrand(log_power):
        power = math.exp(log_power)
        root = 2 * math.sqrt(k * (k + 1) * power)
        density = (1 + k) * math.exp(-k - (k + 1) * power + root) * special.i0e(root)
        return power * density * float(rate(esno * power))

    edges = np.concatenate([np.arange(-36.0, -2.0, 2.0), np.arange(-2.0, 3.0, 0.25)])
    pieces = zip(edges[:-1], edges[1:], strict=True)
    return math.fsum(integrate.quad(integrand, *piece, epsabs=0, epsrel=1e-8)[0] for piece in pieces)


@pytest.mark.parametrize("name", phy.MODULATIONS)
def test_half_distance(name):
    size = 1 << phy.num_bits(name)
    by_name = {"bpsk": 1.0, "psk8": math.sin(math.pi / 8)}
    expected = by_name.get(name, math.sqrt(1.5 / (size - 1)))
    assert half_distance(name) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("target", [1e-6, 1e-9, 1e-15])
def test_q_function(target):
    """BPSK and QPSK: BER = Q(sqrt(2 Eb/N0)), from SciPy's inverse."""
    ebno = stats.norm.isf(target) ** 2 / 2
    for name, bits in (("bpsk", 1), ("qpsk", 2)):
        values = draw(name, math.inf, 10 * math.log10(bits * ebno))
        check(values.ber, target, 0.03)
        check(values.ser, -math.expm1(bits * math.log1p(-target)), 0.03)
        check(values.bler, -math.expm1(bits * SYMBOLS * math.log1p(-target)), 0.03)


@pytest.mark.parametrize("target", [1e-6, 1e-9])
@pytest.mark.parametrize("name", ["qam16", "qam64", "qam256", "qam1024", "psk8"])
def test_awgn(name, target):
    esno_db = solve(lambda x: theory.ber(name, x), target)
    values = draw(name, math.inf, esno_db)
    check(values.ber, target, 0.02)
    symbol = float(theory.ser(name, esno_db))
    check(values.ser, symbol, 0.02)
    check(values.bler, -math.expm1(SYMBOLS * math.log1p(-symbol)), 0.02)
    if name != "psk8":
        written_out = rates_in_awgn(name, 10 ** (esno_db / 10))
        assert written_out == pytest.approx((target, symbol), rel=1e-8)


@pytest.mark.parametrize("target", [1e-6, 1e-9])
def test_rayleigh_bpsk(target):
    """BER = (1 - sqrt(g / (1 + g))) / 2, solved for the mean Es/N0 g."""
    g = (1 - 2 * target) ** 2 / (1 - (1 - 2 * target) ** 2)
    check(draw("bpsk", -math.inf, 10 * math.log10(g)).ber, target, 0.03)


@pytest.mark.parametrize("target", [1e-1, 1e-6, 1e-9])
@pytest.mark.parametrize("k_db", [-math.inf, 0.0, 10.0, 20.0])
def test_block_fading_against_closed_forms(k_db, target):
    where = ("rayleigh",) if k_db == -math.inf else ("rician", k_db)
    for name in ("qpsk", "qam16", "qam256", "psk8"):
        esno_db = solve(lambda x, name=name: theory.ber(name, x, *where), target)
        values = draw(name, k_db, esno_db)
        check(values.ber, target, 0.05)
        check(values.ser, float(theory.ser(name, esno_db, *where)), 0.05)


@pytest.mark.parametrize("target", [1e-1, 1e-6, 1e-9])
@pytest.mark.parametrize("k_db", [-math.inf, 5.0, 20.0])
@pytest.mark.parametrize("name", ["bpsk", "qam16", "qam256"])
def test_block_fading_against_quadrature(name, k_db, target):
    """BER, SER and BLER: the symbols of a block are independent given its fade."""
    where = ("rayleigh",) if k_db == -math.inf else ("rician", k_db)
    esno_db = solve(lambda x: theory.ber(name, x, *where), target)
    values = draw(name, k_db, esno_db)
    check(values.ber, over_fades(lambda e: rates_in_awgn(name, e)[0], k_db, esno_db), 0.05)
    check(values.ser, over_fades(lambda e: rates_in_awgn(name, e)[1], k_db, esno_db), 0.05)
    wrong = over_fades(lambda e: -np.expm1(SYMBOLS * np.log1p(-rates_in_awgn(name, e)[1])), k_db, esno_db)
    check(values.bler, wrong, 0.05)


@pytest.mark.parametrize("num_symbols", [1, 512])
@pytest.mark.parametrize("k_db", [-math.inf, 10.0, math.inf])
def test_block_error_rate_of_short_and_long_blocks(k_db, num_symbols):
    """At symbol error rates of 1e-9 and 1e-3, where a long block is nearly sure to be in error only in some fades."""

    def symbol(e):
        return rates_in_awgn("qpsk", e)[1]

    def block(e):
        return -np.expm1(num_symbols * np.log1p(-symbol(e)))

    for esno_db in (12.0, 16.0) if k_db == math.inf else (30.0, 60.0):
        values = draw(
            "qpsk", k_db, esno_db, batch=2048 if num_symbols > 1 else 16384, num_symbols=num_symbols
        )
        if k_db == math.inf:
            truth = float(block(10 ** (esno_db / 10)))
        else:
            truth = over_fades(block, k_db, esno_db)
        check(values.bler, truth, 0.1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AlwaysWrong(Modulation):
    """Decides for no label: what is left of an estimate is its weight."""

    num_bits_per_symbol: jax.Array
    max_bits: int = field(metadata=dict(static=True))

    def modulate(self, labels):
        return jnp.zeros(labels.shape, jnp.complex64)

    def decide(self, y):
        return jnp.full(y.shape, -1, jnp.int32)

    def llr(self, y, noise_var, method="app", prior=None):
        raise NotImplementedError

    def posterior(self, y, noise_var):
        raise NotImplementedError


def weights(k_db: float, sharpness: float) -> rare.Weighted:
    values = (linear_k_factor(k_db), 1.0, math.sqrt(sharpness))
    shared = (AlwaysWrong(jnp.int32(1), 1), *(jnp.float32(value) for value in values))
    return jax.device_get(weighted(RareKernel(20_000, SYMBOLS), jax.random.key(3), shared))


def any_outside(power):
    return -np.expm1(SYMBOLS * np.log1p(-np.exp(-power)))


@pytest.mark.parametrize("sharpness", [0.3, 4.0, 1e2, 1e5, 1e9])
@pytest.mark.parametrize("k_db", [-math.inf, 5.0, 13.0])
def test_weights_have_the_mean_of_their_event(k_db, sharpness):
    """With an error whenever |n| >= d |h|: SER = P(A) = E exp(-b |h|^2), BLER = E[1 - (1 - exp(-b |h|^2))^s]."""
    values = weights(k_db, sharpness)
    bound = over_fades(lambda e: math.exp(-e), k_db, 10 * math.log10(sharpness))
    check(values.ser, bound, 0.03)
    check(values.bler, over_fades(any_outside, k_db, 10 * math.log10(sharpness)), 0.05)
    assert values.ser.max() <= 2.0001 * bound
    assert values.bler.max() <= 2.0001 * bound * SYMBOLS


@pytest.mark.parametrize("sharpness", [0.3, 4.0, 20.0])
def test_weights_without_fading(sharpness):
    """Every transmission has the weight P(A) = exp(-b) then."""
    values = weights(math.inf, sharpness)
    np.testing.assert_allclose(values.ser, math.exp(-sharpness), rtol=1e-5)
    assert values.bler.mean() == pytest.approx(float(any_outside(sharpness)), rel=0.01)


@pytest.mark.parametrize("k_db", K_DB.values(), ids=K_DB)
def test_plain_monte_carlo_has_unit_weights(k_db):
    """Half distance 0: A always holds, and an estimate of the certain event is 1."""
    values = weights(k_db, 0.0)
    np.testing.assert_allclose(values.ser, 1.0, rtol=1e-5)
    np.testing.assert_allclose(values.bler, 1.0, rtol=1e-5)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_any_smaller_half_distance_is_unbiased(share):
    esno_db = solve(lambda x: theory.ber("qam16", x, "rician", 5.0), 1e-3)
    values = (linear_k_factor(5.0), phy.esnodb2no(esno_db), share * half_distance("qam16"))
    shared = (mapper("qam16"), *(jnp.float32(value) for value in values))
    check(weighted(RareKernel(4096, SYMBOLS), jax.random.key(1), shared).ber, 1e-3, 0.2)


@partial(jax.jit, static_argnames=("batch", "num_symbols"))
def plain(key, modulation, k_factor, noise_var, *, batch, num_symbols) -> rare.Weighted:
    """The same three rates by the link as it is: symbols, fade and noise drawn from their own laws."""
    key_source, key_fading, key_noise = split_keys(key)
    labels = jax.random.randint(key_source, (batch, num_symbols), 0, 1 << modulation.num_bits_per_symbol)
    gain = fade(key_fading, Link(), channels.Flat(k_factor, 0), (batch,), num_symbols)
    decided = send_labels(key_noise, Link(), labels, modulation, gain, noise_var)
    bits = phy.count_bit_errors(labels, decided) / modulation.num_bits_per_symbol
    wrong = labels != decided
    return rare.Weighted(jnp.mean(bits, -1), jnp.mean(wrong, -1), jnp.any(wrong, -1))


@pytest.mark.parametrize("name", ["qam16", "psk8"])
@pytest.mark.parametrize("k_db", K_DB.values(), ids=K_DB)
def test_agrees_with_plain_monte_carlo_over_the_link(name, k_db):
    """At a bit error rate of about 0.1."""
    esno_db, sizes = {"qam16": 9.0, "psk8": 5.0}[name], {"batch": 8192, "num_symbols": 4}
    values = jnp.float32(linear_k_factor(k_db)), jnp.float32(phy.esnodb2no(esno_db))
    expected = jax.device_get(plain(jax.random.key(8), mapper(name), *values, **sizes))
    for one, other in zip(expected, draw(name, k_db, esno_db, **sizes), strict=True):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        error = math.sqrt((one.var() + other.var()) / one.size)
        assert 0.03 < one.mean() and abs(one.mean() - other.mean()) < 4 * error
        assert other.var() < 1.3 * one.var()  # made for rare events, and hardly worse at common ones


COVERED = {
    "awgn 1e-9": ("qpsk", math.inf, 1e-9),
    "rayleigh 1e-9": ("qam16", -math.inf, 1e-9),
    "rician 10 dB 1e-6": ("qam16", 10.0, 1e-6),
}


@pytest.mark.parametrize("case", COVERED)
def test_intervals_cover_as_often_as_they_say(case):
    """2,000 experiments of 128 transmissions: 95 % intervals hold BER, SER and BLER in 93 to 97 % of them (4 sigma)."""
    name, k_db, target = COVERED[case]
    experiments, batch, num_symbols = 2000, 128, 8
    where = {-math.inf: ("rayleigh",), math.inf: ("awgn",)}.get(k_db, ("rician", k_db))
    esno_db = solve(lambda x: theory.ber(name, x, *where), target)
    values = draw(name, k_db, esno_db, batch=experiments * batch, num_symbols=num_symbols)
    symbol = float(theory.ser(name, esno_db, *where))
    if k_db == math.inf:
        block = -math.expm1(num_symbols * math.log1p(-symbol))
    else:
        block = over_fades(
            lambda e: -np.expm1(num_symbols * np.log1p(-rates_in_awgn(name, e)[1])), k_db, esno_db
        )
    for part, truth in zip(values, (target, symbol, block), strict=True):
        found = [interval(row, 0.95) for row in part.reshape(experiments, batch)]
        covered = sum(one.low <= truth <= one.high for one in found) / experiments
        print(f"{case}: {covered:.4f}")
        assert 0.93 < covered < 0.97


def test_a_sweep_compiles_once():
    before = len(compilations)
    for name in ("bpsk", "qam64", "qam1024"):
        for k_db in (-math.inf, 7.0, math.inf):
            for esno_db in (5.0, 30.0):
                values = draw(name, k_db, esno_db, batch=17)
                assert all(part.shape == (17,) and part.dtype == np.float32 for part in values)
    assert len(compilations) == before + 1


def test_limits_of_the_k_factor():
    """-90 dB is Rayleigh and 150 dB is AWGN, and nothing is NaN on the way."""
    for esno_db in (10.0, 17.0):
        limits = draw("qam16", -math.inf, esno_db), draw("qam16", math.inf, esno_db)
        for near, limit in zip((-90.0, 150.0), limits, strict=True):
            for one, other in zip(draw("qam16", near, esno_db), limit, strict=True):
                assert one.mean() == pytest.approx(other.mean(), rel=1e-3)
    for k_db in np.arange(-30.0, 100.0, 10.0):
        for esno_db in (-20.0, 20.0, 90.0):
            assert all(np.isfinite(part).all() for part in draw("qam16", k_db, esno_db))


def test_error_bound():
    for name in ("qpsk", "qam16", "psk8"):
        for esno_db in (0.0, 10.0, 17.0):
            b = half_distance(name) ** 2 * 10 ** (esno_db / 10)
            assert rare.error_bound(name, math.inf, esno_db) == pytest.approx(math.exp(-b), rel=1e-9)
            assert rare.error_bound(name, 0.0, esno_db) == pytest.approx(1 / (1 + b), rel=1e-9)
            expected = over_fades(lambda e: math.exp(-e), 5.0, 10 * math.log10(b))
            bound = rare.error_bound(name, 10**0.5, esno_db)
            assert bound == pytest.approx(expected, rel=1e-6)
            assert bound >= theory.ser(name, esno_db, "rician", 5.0)


def test_errors():
    with pytest.raises(ValueError, match="qam16 at Es/N0 = 40 dB .* lower the SNR"):
        rare.error_bound("qam16", math.inf, 40.0)
    with pytest.raises(ValueError, match="did you mean qam16"):
        half_distance("qam-16")
    with pytest.raises(ValueError, match="at least 1; got 0 and 8"):
        RareKernel(0, 8)
