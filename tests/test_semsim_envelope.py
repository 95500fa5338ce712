"""The best of each SNR, and where two systems cross."""

import numpy as np
import pytest

from semsim.envelope import best_of_each_snr, crossovers


def test_best_refuses_unequal_channel_uses():
    row = {
        "metric": "psnr",
        "value": 20.0,
        "system": "a",
        "channel": "awgn",
        "esno_db": 0.0,
        "modulation": "qpsk",
    }
    with pytest.raises(ValueError, match=r"0\.1000 to 0\.1020 per source sample"):
        best_of_each_snr([{**row, "cbr": 0.1}, {**row, "cbr": 0.102}])
    worse = {**row, "modulation": "qam16", "value": 19.0}
    (best,) = best_of_each_snr([{**row, "cbr": 0.1}, {**worse, "cbr": 0.1009}])
    assert (best["value"], best["choice"]) == (20.0, "qpsk")


def test_best_keeps_runs_and_channels_apart():
    row = {
        "metric": "psnr", "value": 20.0, "system": "a", "channel": "tdl-a", "delay_spread": 1e-7, "esno_db": 0.0,
        "modulation": "qpsk", "cbr": 0.1, "run": "one",
    }  # fmt: skip
    other = {**row, "delay_spread": 3e-7, "value": 17.0}
    again = {**row, "run": "two", "value": 21.0}
    assert [found["value"] for found in best_of_each_snr([row, other, again])] == [21.0, 17.0]
    with pytest.raises(ValueError, match="is there twice"):
        best_of_each_snr([row, {**row, "value": 19.0}])


def curve(system, snr, psnr, half=0.2, **more):
    return [
        {
            "system": system, "channel": "awgn", "csi": "perfect", "metric": "psnr", "esno_db": float(x), "value": y,
            "low": y - half, "high": y + half, **more,
        }
        for x, y in zip(snr, psnr, strict=True)
    ]  # fmt: skip


def test_lines_cross_where_algebra_says():
    """y = x against y = 6: at 6, and open while they are less than the root of 0.2^2 + 0.2^2 apart."""
    snr = np.arange(0, 13, 2)
    (found,) = crossovers([*curve("digital", snr, 1.0 * snr), *curve("learned", snr, np.full(7, 6.0))])
    assert (found.channel, found.below, found.above) == ("awgn", "learned", "digital")
    assert found.esno_db == pytest.approx(6, abs=0.02)
    apart = np.hypot(0.2, 0.2)
    assert (found.low, found.high) == pytest.approx((6 - apart, 6 + apart), abs=0.02)
    assert str(found) == "awgn: digital overtakes learned at 6.0 dB Es/N0 (5.7 to 6.3)"


def test_a_crossing_that_the_intervals_never_decide_spans_the_curves():
    snr = [0.0, 10.0]
    (found,) = crossovers([*curve("a", snr, [10, 11], 5), *curve("b", snr, [11, 10], 5)])
    assert found.esno_db == pytest.approx(5, abs=0.02) and found.low is None and found.high is None
    assert str(found) == "awgn: a overtakes b at 5.0 dB Es/N0 (open below to open above)"


def test_only_what_met_the_same_channel_crosses():
    rows = [*curve("a", [0, 10], [10, 20]), *curve("b", [0, 10], [20, 10], channel="tdl-a")]
    assert not crossovers(rows)
    assert not crossovers([*curve("a", [0, 10], [10, 20]), *curve("b", [0, 10], [11, 21])])
    assert not crossovers([*curve("a", [0, 5], [10, 20]), *curve("b", [10, 15], [20, 10])])
    twice = [*curve("a", [0, 5, 10], [0, 2, 0]), *curve("b", [0, 5, 10], [1, 1, 1])]
    assert [(found.below, found.above) for found in crossovers(twice)] == [("b", "a"), ("a", "b")]


@pytest.mark.parametrize(
    ("lead", "half", "expected"),
    [
        ([1, 0, 1], 0.0, 0),  # they touch
        ([0, 0, 1], 0.0, 0),
        ([1, 0, -1], 0.0, 1),
        ([2, -0.1, 0.1, -0.1, 2], 0.5, 0),  # noise
        ([2, -0.1, 0.1, -2], 0.5, 1),  # one crossing, not three
        ([0.1, -0.1, 2], 0.5, 0),
        ([0.1, -0.1, -2], 0.5, 1),
    ],
)
def test_noise_overtakes_nobody(lead, half, expected):
    """And the order of the runs does not matter."""
    snr = np.arange(len(lead))
    a, b = curve("a", snr, lead, half), curve("b", snr, np.zeros(len(lead)), 0.0)
    found, turned = crossovers([*a, *b]), crossovers([*b, *a])
    assert found == turned and len(found) == expected


def test_channels_of_one_name_are_told_apart():
    rows = [
        row
        for spread in (1e-7, 3e-7)
        for row in (
            *curve("a", [0, 9], [0, 9], channel="tdl-a", delay_spread=spread),
            *curve("b", [0, 9], [9, 0], channel="tdl-a", delay_spread=spread),
        )
    ]
    assert [found.channel for found in crossovers(rows)] == ["tdl-a 1e-07", "tdl-a 3e-07"]
