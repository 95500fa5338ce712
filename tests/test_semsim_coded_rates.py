"""Coded words over the link: Sionna's block error rates, the law of chase combining, what Eb/N0 counts."""

import math

import jax
import numpy as np
import pytest

from phy import ResourceGrid
from phy.coding import TransportBlock
from semsim import coded_rates, devices
from semsim.antennas import Antennas
from semsim.coding import Coding, Decoding, interleaver, random_bits
from semsim.error_rates import ber
from semsim.runs import sharing_of
from semsim.stats import FOUR_SIGMA, INDEPENDENT, Sharing, clustered_interval, proportion_interval
from semsim.sweep import count_sums, metric_interval

SHORT = Coding("ldpc", 100, 200)
GRID = ResourceGrid(6, 60, 8, subcarrier_spacing=60e3, pilot_ofdm_symbol_indices=(1, 4))  # 240 data symbols


@pytest.fixture(autouse=True)
def few_words(monkeypatch):
    monkeypatch.setattr(coded_rates, "MOST_WORDS", 128)


def of_metric(run, metric="bler"):
    return [row for row in run.rows() if row["metric"] == metric]


def counts(row):
    return row["errors"], row["trials"]


def agree(one, other):
    """Two counts of one rate: each inside the other's 4-sigma interval would be too strict, so their difference."""
    (a, n), (b, m) = one, other
    rate = (a + b) / (n + m)
    return abs(a / n - b / m) < 4 * math.sqrt(rate * (1 - rate) * (1 / n + 1 / m))


def test_block_error_rates_are_sionnas():
    """331 of 2,304 words lost at 1.5 dB by Sionna 2.2 (20 flooding iterations, offset min-sum)."""
    sionna = Decoding(schedule="flooding", precision="float32")
    coding = Coding("ldpc", 512, 1024, decoding=sionna)
    run = ber("qpsk", "awgn", [1.5], coding=coding, min_errors=10_000, max_bits=512 * 2048)
    (row,) = of_metric(run)
    assert row["n"] == row["trials"] >= 2048 and row["words"] == 1
    assert agree(counts(row), (331, 2304))


def test_chase_combining_gains_what_theory_says():
    """T equal transmissions are one with T times the energy: 3.01 dB for two, another 1.76 dB for three."""
    gains = {times: 10 * math.log10(times) for times in (1, 2, 3)}
    reference = 2.0
    for times, gain in gains.items():
        coding = Coding("ldpc", 100, 200, transmissions=(times,))
        run = ber(
            "qpsk",
            "awgn",
            [reference - gain],
            coding=coding,
            min_errors=1000,
            max_bits=100 * 8192,
            seed=times,
        )
        (row,) = of_metric(run)
        assert row["transmissions"] == times and row.get("combining", "chase") == "chase"
        gains[times] = counts(row)
        assert row["errors"] > 200
    assert agree(gains[1], gains[2]) and agree(gains[1], gains[3])


def test_other_redundancy_gains_more_than_repetition():
    """At a high rate, new parity bits are worth more than the same bits again."""
    found = {}
    for combining in ("chase", "incremental"):
        coding = Coding("ldpc", 160, 200, transmissions=(2,), combining=combining)
        found[combining] = counts(
            of_metric(ber("qpsk", "awgn", [1.0], coding=coding, max_bits=160 * 2048))[0]
        )
    chase, incremental = (proportion_interval(*found[name], FOUR_SIGMA) for name in ("chase", "incremental"))
    assert incremental.high < chase.low


def test_energy_is_counted_for_payload_bits():
    """Rate 1/2 QPSK has 0 dB; on the grid pilots, prefix and unused places cost as well."""
    on_grid = ber(
        "qpsk", ("awgn", "tdl-a"), [7.0], coding=Coding("ldpc", 90, 200), max_bits=1, grid=GRID
    ).rows()
    esno = {row["channel"]: row["esno_db"] for row in on_grid}
    assert esno["awgn"] == pytest.approx(7 + 10 * math.log10(2 * 90 / 200), abs=1e-5)
    # Two words of 100 symbols on 240 places, and (6 symbols) x (60 + 8 / 60 x 60) energy for 240 data symbols.
    energy = 6 * 60 * (1 + 8 / 60) / 240
    expected = 7 + 10 * math.log10(2 * 2 * 90 / (240 * 2)) + 10 * math.log10(2) - 10 * math.log10(energy)
    assert esno["tdl-a"] == pytest.approx(expected - 10 * math.log10(2), abs=1e-5)
    assert {row["words"] for row in on_grid if row["channel"] == "tdl-a"} == {2}


def test_a_sweep_compiles_once_per_word(monkeypatch):
    seen, original = [], coded_rates.random_bits
    monkeypatch.setattr(coded_rates, "random_bits", lambda *a: seen.append(a) or original(*a))
    devices.evaluate.clear_cache()
    run = ber("qpsk", ("awgn", "rayleigh-block", "rician-block"), [0.0, 3.0], coding=SHORT, max_bits=1)
    assert len(run.points) == 6 and len(seen) == 1


def test_what_cannot_be_seen_is_counted():
    """A 6-bit CRC and parity checks: words that fail mostly show it; those that do not are `undetected`."""
    found = {}
    for crc in ("none", "6"):
        run = ber(
            "qpsk",
            "awgn",
            [-1.0],
            coding=Coding("ldpc", 12, 24, crc=crc),
            min_errors=10_000,
            max_bits=12 * 4096,
        )
        found[crc] = [of_metric(run, name)[0]["errors"] for name in ("bler", "undetected")]
    # Six bits let one wrong word in 64 pass.
    assert 20 < found["none"][1] < found["none"][0] and found["6"][1] < found["none"][1] / 4


def test_the_interleaver_spreads():
    for size in (1, 2, 7, 64, 100, 243, 4096, 65536, 98304):
        order = interleaver(size)
        assert sorted(order) == list(range(size))
        if size < 64:
            continue
        place = np.argsort(order)
        assert min(abs(np.diff(place))) > size / 4
        # On a grid of 64 subcarriers, 64 neighbours meet all of them where they fill it, and all of the time.
        assert len(set(place[:64] % 64)) == 64 or size % 64
        assert np.ptp(place[:64]) > 0.9 * size
    spread = Coding("ldpc", 100, 200, interleave=True)
    run = ber("qpsk", "awgn", [2.0], coding=spread, max_bits=100 * 2048)
    plain = ber("qpsk", "awgn", [2.0], coding=SHORT, max_bits=100 * 2048)
    assert agree(
        counts(of_metric(run)[0]), counts(of_metric(plain)[0])
    )  # over AWGN the order does not matter


def test_random_bits_are_fair():
    bits = np.asarray(random_bits(jax.random.key(0), (1000, 77)))
    assert bits.shape == (1000, 77) and set(np.unique(bits)) == {0, 1}
    assert abs(bits.mean() - 0.5) < 4 * 0.5 / math.sqrt(bits.size)
    assert abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / math.sqrt(1000)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Coding(k=512), "add code ldpc"),
        (lambda: Coding("ldpc"), "needs k"),
        (lambda: Coding("ldpc", 512, 1024, transmissions=(0,)), "from 1 on"),
        (lambda: Decoding(num_iterations=0), "num_iterations"),
        (lambda: Decoding(rule="sum-product"), 'needs precision="float32"'),
        (lambda: Decoding(llr="hard"), "unknown llr 'hard'"),
        (lambda: ber("qpsk", "dialect:fed-semcom", [3.0], coding=SHORT), "leave the code out"),
        (lambda: Coding("turbo", 512, 1024), "code must be one of|no code is called|turbo"),
        (
            lambda: ber("qam64", "awgn", [3.0], coding=Coding("ldpc", 512, 1024)),
            "n must be a multiple of 6, .* got 1024: take 1026",
        ),
        (lambda: ber("qpsk", "awgn", [3.0], coding=Coding("ldpc", 512, 500)), "code rate above"),
        (
            lambda: ber("qpsk", "tdl-a", [3.0], coding=Coding("ldpc", 512, 2048)),
            "does not fit on a grid with 864",
        ),
        (lambda: ber("qpsk", "awgn", [3.0], coding=SHORT, demap="app"), "leave demap out"),
        (lambda: ber("qpsk", "awgn", [3.0], coding=SHORT, importance=True), "no code"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_the_chunk_follows_the_device(monkeypatch):
    """Four on a CPU, none smaller than 16 words; elsewhere the decoder takes what fits."""
    block = SHORT.block(2)
    assert [Decoding().decoder(block, (0,), words).chunk for words in (1, 64, 640)] == [16, 16, 160]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert Decoding().decoder(block, (0,), 640).chunk is None


def test_a_word_is_a_plan():
    assert SHORT.block(2) == TransportBlock(100, 200, 2, crc=None)
    assert Coding("ldpc", 100, 200, combining="incremental").versions(5) == (0, 2, 3, 1, 0)


def test_equal_words_in_a_transmission_are_one_witness():
    """Intervals of a point with few lost words are exact, and its bits are lost together."""
    point = {"channel": "awgn", "words": 1, "k": 100}
    assert sharing_of(point, "bler") == INDEPENDENT
    part = count_sums(np.array([1, *[0] * 23]), 1)
    exact = proportion_interval(1, 24)
    assert metric_interval(part)[1:] == pytest.approx((exact.low, exact.high))


def test_alamouti_needs_a_gain_that_lasts_for_a_pair():
    """Two antennas to one over Rayleigh fading of each pair: two branches of half the power (Alamouti, 1998)."""
    run = ber("qpsk", "rayleigh", [8.0], antennas=Antennas(2, 1, "alamouti"), min_errors=2000)
    (row,) = of_metric(run, "ber")
    branch = 10**0.8 / 2
    p = (1 - math.sqrt(branch / (1 + branch))) / 2
    pair = sharing_of(run.points[0][0], "ber")
    low, high = clustered_interval(row["errors"], 0, row["trials"], row["n"], pair, FOUR_SIGMA)[1:]
    assert low < p**2 * (3 - 2 * p) < high
    with pytest.raises(ValueError, match="no receiver could separate"):
        ber("qpsk", "awgn", [8.0], antennas=Antennas(2, 2, "multiplexing"))
    assert pair == Sharing(4, 4)
