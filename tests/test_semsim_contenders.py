"""Bounds on what arrives: known capacities, the code itself between bound and margin, and no best scheme left out."""

import numpy as np
import pytest

import phy
import semsim.contenders
from channels import rayleigh
from semsim import separation
from semsim.coding import Coding, Decoding
from semsim.contenders import _GRID_DB, EVERYTHING, MARGIN_DB, Fades, arrival, contenders, information
from semsim.data import load
from semsim.envelope import best_of_each_snr
from semsim.error_rates import ber
from semsim.link import Link
from semsim.mcs import MCS, frames
from semsim.separation import DECODING, Separation, run
from semsim.stats import FOUR_SIGMA, proportion_interval
from semsim.systems.ujscc import GRID

PLANS = frames(MCS, 256, None, Decoding(), automatic=True)


@pytest.mark.parametrize(
    ("modulation", "bits", "esno_db"),
    # Published: BPSK at rate 1/2 needs Eb/N0 0.187 dB; 16-QAM with Gray bits in parallel needs 5.28 dB for 2 bits.
    [("qpsk", 1.0, 0.187), ("qam16", 2.0, 5.28)],
)
def test_capacity_of_gray_bits(modulation, bits, esno_db):
    mean, _ = information(modulation)
    assert np.interp(bits, mean, _GRID_DB) == pytest.approx(esno_db, abs=0.01)


@pytest.mark.parametrize("modulation", ["qpsk", "qam16", "qam64", "qam256"])
def test_information_is_that_of_the_soft_bits_of_the_demapper(modulation):
    """Mean and variance of sum(1 - log2(1 + exp(-s L))) over a simulated channel, to 4 sigma."""
    rng = np.random.default_rng(0)
    chosen, count, esno_db = phy.modulation(modulation), 40_000, 9.0
    width = phy.num_bits(modulation)
    labels = rng.integers(0, 1 << width, count).astype(np.int32)
    noise = rng.normal(size=(2, count)) * np.sqrt(10 ** (-esno_db / 10) / 2)
    received = np.asarray(chosen.modulate(labels)) + (noise[0] + 1j * noise[1]).astype(np.complex64)
    llr = np.asarray(chosen.llr(received, np.full(count, 10 ** (-esno_db / 10), np.float32), "app"), float)
    bits = (labels[:, None] >> np.arange(width - 1, -1, -1)) & 1  # the first is the highest
    density = np.sum(1 - np.logaddexp(0, -llr * (2 * bits - 1)) / np.log(2), axis=-1)
    mean, variance = (np.interp(esno_db, _GRID_DB, curve) for curve in information(modulation))
    assert abs(density.mean() - mean) < 4 * density.std() / np.sqrt(count)
    spread = np.std((density - density.mean()) ** 2) / np.sqrt(count)
    assert abs(density.var() - variance) < 4 * spread


def test_arrival_rises_with_the_snr_and_falls_with_the_rate():
    qpsk = [plan for (name, _), plan in PLANS.items() if name == "qpsk"]
    over_snr = [arrival(qpsk[5], value) for value in np.arange(-10, 10, 0.5)]
    assert over_snr[0] < 1e-6 and over_snr[-1] > 1 - 1e-6 and np.all(np.diff(over_snr) >= 0)
    assert np.all(np.diff([arrival(plan, 0.0) for plan in qpsk]) <= 0)
    rng = np.random.default_rng(0)
    power = np.broadcast_to(rng.exponential(size=(4000, 1)), (4000, 4))
    faded = arrival(
        qpsk[5], 10.0, Fades(power)
    )  # block fading: about the chance of a fade that leaves the rate
    threshold = next(value for value in np.arange(-10, 10, 0.01) if arrival(qpsk[5], value) > 0.5)
    assert faded == pytest.approx(np.exp(-(10 ** ((threshold - 10) / 10))), abs=0.02)


def test_those_left_out_are_worse_than_one_that_stays():
    """By the bound itself: nothing of them arrives, or another carries as much and loses nothing even with a margin."""
    for value, kept in contenders(
        PLANS, Link(GRID), "awgn", rayleigh(0), [-3.0, 0.0, 5.0, 11.0, 17.0, 30.0]
    ).items():
        assert kept and kept == [name for name in PLANS if name in kept]
        for name, plan in PLANS.items():
            if name in kept:
                continue
            hopeless = arrival(plan, value) < 0.01
            beaten = any(
                PLANS[other].num_bytes > plan.num_bytes and arrival(PLANS[other], value - MARGIN_DB) > 0.999
                for other in kept
            )
            assert hopeless or beaten, (value, name)


def test_with_an_estimated_channel_only_the_hopeless_are_left_out():
    kept = contenders(PLANS, Link(GRID, csi="ls"), "awgn", rayleigh(0), [30.0])[30.0]
    assert kept == list(PLANS)


def test_a_decoder_that_may_stay_far_from_the_bound_leaves_out_the_hopeless_only():
    near, far = (
        contenders(PLANS, Link(GRID), "awgn", rayleigh(0), [30.0], near_bound=value)[30.0]
        for value in (True, False)
    )
    assert near == [("qam256", "948/1024")] and far == list(PLANS)


def test_fades_that_were_not_drawn_are_allowed_for(monkeypatch):
    """Of 100 draws no share below 3 % or above 97 % is sure: nothing is hopeless, and nothing safe."""
    fading = rayleigh(0)
    assert len(contenders(PLANS, Link(), "rayleigh-block", fading, [-10.0, 60.0])[-10.0]) < len(PLANS)
    monkeypatch.setattr(semsim.contenders, "MOST_DRAWS", 100)
    for value, kept in contenders(PLANS, Link(), "rayleigh-block", fading, [-30.0, 60.0]).items():
        assert kept == list(PLANS), value


def test_what_is_left_out_changes_no_envelope(monkeypatch):
    """17 schemes of 128 channel uses and those that stay, at one Es/N0: the best of them is the same, number by number."""
    images = load("embedded", limit=8)

    def best():
        found = run(images, ("qpsk", "qam16"), "awgn", [4.0], Separation(cbr="1/24"))
        rows = best_of_each_snr(found.rows())
        return len(found.rows()), [(row["choice"], row["metric"], row["value"]) for row in rows]

    few, short = best()
    monkeypatch.setattr(separation, "contenders", lambda plans, *_, **__: dict.fromkeys([4.0], list(plans)))
    many, whole = best()
    assert few < many / 2 and short == whole


@pytest.mark.parametrize("scheme", [("qpsk", "120/1024"), ("qam256", "948/1024")])
def test_the_code_loses_more_than_the_bound_and_less_than_the_margin_allows(scheme):
    """The shortest and the longest frame of NR at 256 symbols: what the choice of contenders rests on."""
    plan = PLANS[scheme]
    block = plan.parts[0].block
    grid = np.arange(-15.0, 35.0, 0.05)
    share = np.array([arrival(plan, value) for value in grid])
    half = float(grid[np.argmax(share > 0.5)])
    safe = float(grid[np.argmax(share > EVERYTHING)]) + MARGIN_DB
    per_bit = 10 * np.log10(phy.num_bits(scheme[0]) * block.num_bits / block.n)
    coding = Coding("ldpc", block.num_bits, block.n, crc="16", decoding=DECODING)
    rows = ber(
        scheme[0], "awgn", [half - per_bit, safe - per_bit], coding=coding, min_errors=10**6, max_bits=1e3
    ).rows()
    near, far = (row for row in rows if row["metric"] == "bler")
    assert near["n"] >= 1000 and far["n"] >= 1000
    assert near["value"] > 0.5 - 4 * np.sqrt(0.25 / near["trials"])
    assert proportion_interval(far["errors"], far["trials"], FOUR_SIGMA)[1] <= 1 - EVERYTHING
