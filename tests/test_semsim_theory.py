"""Closed forms against published values, SciPy quadrature over the physics, and counting over all pairs of points."""

import math

import numpy as np
import pytest
from scipy import integrate, special

from semsim import stats, theory

SQUARE = {"qpsk": 2, "qam16": 4, "qam64": 6, "qam256": 8, "qam1024": 10}


def points_and_labels(num_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """3GPP TS 38.211 sec. 5.1.3 to 5.1.7 spelled out: nested (1 - 2b) factors, even bits I, odd bits Q."""
    labels = np.arange(2**num_bits)
    bits = (labels[:, None] >> np.arange(num_bits - 1, -1, -1)) & 1
    axes = []
    for own in (bits[:, 0::2], bits[:, 1::2]):
        level = 1 - 2 * own[:, -1]
        for i in range(own.shape[1] - 2, -1, -1):
            level = (1 - 2 * own[:, i]) * (2 ** (own.shape[1] - 1 - i) - level)
        axes.append(level)
    points = axes[0] + 1j * axes[1]
    return points / np.sqrt(np.mean(np.abs(points) ** 2)), labels


def brute_force(num_bits: int, esno_db: float) -> tuple[float, float]:
    """BER and SER by the probability of every (sent, decided) pair of points: rectangles under a Gaussian."""
    points, labels = points_and_labels(num_bits)
    sigma = math.sqrt(10 ** (-esno_db / 10) / 2)

    def axis(values):
        levels = np.unique(np.round(values, 12))
        edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        cdf = special.ndtr((edges[None, :] - values[:, None]) / sigma)
        index = np.searchsorted(levels, np.round(values, 12))
        return np.diff(cdf, axis=1)[:, index]  # [sent, decided]

    chance = axis(points.real) * axis(points.imag)
    np.testing.assert_allclose(chance.sum(1), 1.0, rtol=1e-12)
    flips = np.bitwise_count(labels[:, None] ^ labels[None, :])
    return float((chance * flips).sum(1).mean() / num_bits), float(1 - np.diag(chance).mean())


@pytest.mark.parametrize("modulation", SQUARE)
@pytest.mark.parametrize("esno_db", [-5.0, 4.0, 13.0])
def test_awgn_equals_counting_over_all_pairs(modulation, esno_db):
    bits, symbols = brute_force(SQUARE[modulation], esno_db)
    assert theory.ber(modulation, esno_db) == pytest.approx(bits, rel=1e-10, abs=1e-14)
    assert theory.ser(modulation, esno_db) == pytest.approx(symbols, rel=1e-10, abs=1e-14)


# Es/N0 in dB, SER in AWGN, and iid-Rayleigh SER at the lower edge of each order's interval.
LOWER = {"bpsk": (0, 0.0786496, 0.14645), "qpsk": (5, 0.0739383, 0.19322), "qam16": (12, 0.109353, 0.27132)}
LOWER |= {"qam64": (20, 0.0502704, 0.22966), "qam256": (26, 0.0562818, 0.24509)}
UPPER = {"bpsk": (5, 5.95387e-3), "qpsk": (12, 6.86041e-5), "qam16": (20, 1.16163e-5)}
UPPER |= {"qam64": (26, 2.33910e-5), "qam256": (30, 1.13151e-3)}


@pytest.mark.parametrize("modulation", LOWER)
def test_symbol_error_table(modulation):
    low, high = LOWER[modulation], UPPER[modulation]
    assert theory.ser(modulation, low[0]) == pytest.approx(low[1], rel=1e-5)
    assert theory.ser(modulation, high[0]) == pytest.approx(high[1], rel=1e-5)
    assert theory.ser(modulation, low[0], "rayleigh") == pytest.approx(low[2], rel=4e-5)


# Errors and trials measured with Sionna 2.2.0, whose app decisions equal nearest-point ones within the counts here.
@pytest.mark.parametrize(
    ("modulation", "channel", "ebno_db", "errors", "trials"),
    [
        ("qam16", "awgn", 8, 55_438, 6_000_000),
        ("qam16", "awgn", 12, 815, 6_000_000),
        ("qam64", "awgn", 10, 95_326, 3_600_000),
        ("qam64", "awgn", 14, 7_701, 3_600_000),
        ("qam16", "rayleigh", 10, 76_003, 1_800_000),
        ("qam16", "rayleigh", 20, 8_652, 1_800_000),
    ],
)
def test_sionna_counts_contain_theory(modulation, channel, ebno_db, errors, trials):
    esno_db = ebno_db + 10 * math.log10(SQUARE[modulation])
    found = stats.proportion_interval(errors, trials, stats.FOUR_SIGMA)
    assert found.low < theory.ber(modulation, esno_db, channel) < found.high


def test_textbook_values():
    assert theory.ber("bpsk", 9.6) == pytest.approx(special.erfc(math.sqrt(10**0.96)) / 2, rel=1e-14)
    assert theory.ber("qpsk", 10.0, "rayleigh") == pytest.approx(
        (1 - math.sqrt(5 / 6)) / 2, rel=1e-12
    )  # 0.04356
    assert theory.ber("bpsk", 10.0, "rayleigh") == pytest.approx((1 - math.sqrt(10 / 11)) / 2, rel=1e-12)
    assert theory.ber("qam16", 10.0) == pytest.approx(0.0590, abs=5e-5)
    assert theory.ber("qam16", 14.0) == pytest.approx(0.0094, abs=5e-5)


@pytest.mark.parametrize("modulation", theory.MODULATIONS)
@pytest.mark.parametrize(
    ("channel", "k_db"), [("rayleigh", None), ("rician", 0.0), ("rician", 5.0), ("rician", 10.0)]
)
def test_fading_is_the_mean_of_awgn_over_the_fading_power(modulation, channel, k_db):
    k = 0.0 if k_db is None else 10 ** (k_db / 10)

    def density(x):  # of |h|^2: a scaled non-central chi-square; i0e carries the exponential
        root = 2 * np.sqrt(k * (1 + k) * x)
        return (1 + k) * np.exp(-k - (1 + k) * x + root) * special.i0e(root)

    def integrand(u):  # u = log power: the low powers that matter are resolved
        x = np.exp(u)
        rates = [rate(modulation, e + 10 * np.log10(x)) for rate in (theory.ber, theory.ser) for e in esno_db]
        return np.array(rates) * density(x) * x

    esno_db = np.array([-3.0, 12.0, 24.0])
    u = np.linspace(
        -30.0, 4.0, 1201
    )  # the integrand vanishes at both ends: the trapezoid rule converges geometrically
    expected = integrate.trapezoid(integrand(u), u)
    found = [*theory.ber(modulation, esno_db, channel, k_db), *theory.ser(modulation, esno_db, channel, k_db)]
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("esno_db", [-10.0, 3.0, 15.0])
def test_psk8_equals_integrals_of_the_phase_density(esno_db):
    gamma = 10 ** (esno_db / 10)

    def density(phase):
        tail = special.ndtr(math.sqrt(2 * gamma) * math.cos(phase))
        wave = math.sqrt(gamma / math.pi) * math.cos(phase) * math.exp(-gamma * math.sin(phase) ** 2)
        return math.exp(-gamma) / (2 * math.pi) + wave * tail

    sectors = [
        integrate.quad(density, (2 * k - 1) * math.pi / 8, (2 * k + 1) * math.pi / 8, epsabs=1e-14)[0]
        for k in range(8)
    ]
    gray = [0, 1, 3, 2, 6, 7, 5, 4]
    flips = [np.mean([(gray[i] ^ gray[(i + k) % 8]).bit_count() for i in range(8)]) / 3 for k in range(8)]
    assert theory.ser("psk8", esno_db) == pytest.approx(1 - sectors[0], rel=1e-9, abs=1e-12)
    assert theory.ber("psk8", esno_db) == pytest.approx(np.dot(sectors, flips), rel=1e-9, abs=1e-12)


def test_limits_hold_for_every_modulation():
    for modulation in theory.MODULATIONS:
        bits = 1 if modulation == "bpsk" else 3 if modulation == "psk8" else SQUARE[modulation]
        assert theory.ser(modulation, -90.0) == pytest.approx(1 - 2.0**-bits, rel=1e-3)
        for channel, k_db in (("awgn", None), ("rayleigh", None), ("rician", 5.0)):
            esno_db = np.linspace(-20.0, 25.0, 51)  # BPSK underflows at 30 dB
            b, s = (
                theory.ber(modulation, esno_db, channel, k_db),
                theory.ser(modulation, esno_db, channel, k_db),
            )
            assert b.shape == s.shape == (51,) and b.dtype == np.float64
            assert (np.diff(b) < 0).all() and (np.diff(s) < 0).all()
            assert (b <= s * (1 + 1e-12)).all() and (s <= bits * b * (1 + 1e-12)).all()
        # Rician fading runs from Rayleigh to AWGN.
        np.testing.assert_allclose(
            theory.ber(modulation, 10.0, "rician", -60.0), theory.ber(modulation, 10.0, "rayleigh"), rtol=1e-4
        )
        np.testing.assert_allclose(
            theory.ber(modulation, 10.0, "rician", 60.0), theory.ber(modulation, 10.0), rtol=1e-3
        )


@pytest.mark.parametrize("esno_db", [-20.0, 5.0, 60.0])
@pytest.mark.parametrize("modulation", ["bpsk", "qam1024"])
def test_quadrature_equals_the_rayleigh_closed_form(modulation, esno_db):
    gamma = 10 ** (esno_db / 10)
    b, side = (1.0, 2) if modulation == "bpsk" else (3 / (2 * 1023), 32)
    mu = math.sqrt(b * gamma / (1 + b * gamma))
    mean_q = 1 / (1 + b * gamma) / (1 + mu) / 2
    mean_q_sq = 0.25 - mu / math.pi * math.atan2(1, mu)
    p = 2 * (1 - 1 / side)
    expected = p * mean_q if modulation == "bpsk" else 2 * p * mean_q - p * p * mean_q_sq
    assert theory.ser(modulation, esno_db, "rayleigh") == pytest.approx(expected, rel=1e-9)


def test_8psk_measured_by_simulation():
    rng = np.random.default_rng(0)
    sent = rng.integers(0, 8, 400_000)
    noise = rng.normal(scale=math.sqrt(10**-1.0 / 2), size=(2, sent.size))
    y = np.exp(1j * math.pi / 4 * sent) + noise[0] + 1j * noise[1]
    decided = np.round(np.angle(y) / (math.pi / 4)).astype(int) % 8
    found = stats.proportion_interval(int((decided != sent).sum()), sent.size, stats.FOUR_SIGMA)
    assert found.low < theory.ser("psk8", 10.0) < found.high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("qam15", 10.0), r"the modulation 'qam15'; did you mean 'qam16'\? the choices are bpsk, qpsk"),
        (("qpsk", 10.0, "rayleih"), r"the channel 'rayleih'; did you mean 'rayleigh'\? the choices are awgn"),
        (
            ("qpsk", 10.0, "rician"),
            "K-factor in dB of channel='rician' and of no other; got None with 'rician'",
        ),
        (("qpsk", 10.0, "awgn", 3.0), "got 3.0 with 'awgn'"),
        (("qpsk", 10.0, "rician", math.nan), "k_db is the finite K-factor"),
        (("qpsk", math.nan), "esno_db must be finite"),
    ],
)
def test_unknown_names_are_refused(arguments, message):
    for rate in (theory.ber, theory.ser):
        with pytest.raises(ValueError, match=message):
            rate(*arguments)
