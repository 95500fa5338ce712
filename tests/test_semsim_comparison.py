"""Paired comparison of runs: SciPy's paired test, simulated coverage and cost, matching, refusals, two near-equal codecs."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import semsim
from semsim.comparison import compare, differing, skipped
from semsim.conventions import check_comparable, check_overlay
from semsim.energy import Sent, energy_sums
from semsim.runs import Run
from semsim.sweep import Totals, count_sums, mean_sums
from semsim.systems import ujscc

BER = {
    "command": "ber", "seed": 0, "conventions": {"snr": "Es/N0", "normalisation": "E|h|^2 = 1"},
    "draws": {"blocks": 32, "transmissions": 64, "generator": "threefry"}, "grid": {"fft_size": 72},
    "stop": {"metric": "ber", "min_errors": 200},
}  # fmt: skip
IMAGES = {
    "command": "run", "seed": 0, "conventions": {"snr": "Es/N0", "normalisation": "E|h|^2 = 1", "psnr": "mean of images"},
    "data": {"name": "embedded", "images": 64, "crc32": 7, "note": "toy data"},
    "draws": {"blocks": 8, "images": 16, "realizations": 1, "generator": "threefry"}, "grid": {"fft_size": 64},
    "weights": {"sha256": "abc"}, "row": {"cbr": 0.1},
}  # fmt: skip
TRIALS = 1000  # of a part


def ber_label(modulation="qam16", channel="awgn", esno_db=10.0, **fields):
    return {
        "modulation": modulation, "channel": channel, "csi": "perfect", "demap": "nearest", "ebno_db": esno_db - 4.0,
        "esno_db": esno_db, **fields,
    }  # fmt: skip


def image_label(esno_db=10.0, **fields):
    return {"system": "ujscc", "modulation": "qam16", "channel": "awgn", "esno_db": esno_db, **fields}


def a_run(name, batches, config=BER, **changes):
    """A run of [(label, number, {metric: parts})]; whole numbers are error counts of TRIALS each."""
    lines = []
    for label, number, parts in batches:
        arrays = {metric: np.asarray(values) for metric, values in parts.items()}
        sums = {
            metric: count_sums(values, TRIALS) if values.dtype.kind == "i" else mean_sums(values)
            for metric, values in arrays.items()
        }
        lines.append({"point": label, "batch": number, "sums": sums, "parts": parts})
    return Run(Path(name), {**config, **changes}, Totals(lines))


def one_point(name, parts, label=None, **changes):
    """A run of one point and one batch."""
    config = IMAGES if "psnr" in parts else BER
    return a_run(
        name, [(label or (image_label() if "psnr" in parts else ber_label()), 0, parts)], config, **changes
    )


def correlated(rng, count, correlation, spread=(2.0, 3.0), mean=(25.0, 24.9)):
    normal = rng.standard_normal((2, count))
    other = correlation * normal[0] + math.sqrt(1 - correlation**2) * normal[1]
    return mean[0] + spread[0] * normal[0], mean[1] + spread[1] * other


# ---- numbers


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_the_interval_of_a_mean_is_that_of_scipys_paired_test(confidence):
    a, b = correlated(np.random.default_rng(1), 40, 0.97)
    (row,) = compare(one_point("a", {"psnr": a}), one_point("b", {"psnr": b}), confidence)
    expected = stats.ttest_rel(a, b).confidence_interval(confidence)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (row["value_a"], row["value_b"]) == pytest.approx((a.mean(), b.mean()), rel=1e-12)
    assert row["difference"] == pytest.approx(a.mean() - b.mean(), rel=1e-9)
    assert row["draws"] == 40 and row["metric"] == "psnr"


def test_error_counts_are_compared_as_rates():
    rng = np.random.default_rng(2)
    a = rng.binomial(TRIALS, 0.1, 64)
    b = a + rng.binomial(TRIALS, 0.01, 64)
    (row,) = compare(one_point("a", {"ber": a}), one_point("b", {"ber": b}))
    expected = stats.ttest_rel(a / TRIALS, b / TRIALS).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (row["value_a"], row["value_b"]) == pytest.approx((a.sum() / 64e3, b.sum() / 64e3))
    assert row["high"] < 0 and row["verdict"] == "a better"


def test_sides_may_have_blocks_of_different_lengths():
    """Modulations put different numbers of bits into the symbols of one block."""
    counts = np.array([3, 0, 5, 1])
    long, short = one_point("a", {"ber": counts * 2}), one_point("b", {"ber": counts})
    batch = long.batches(ber_label())[0]
    batch.sums["ber"]["trials"] *= 2
    (row,) = compare(long, short)
    assert (row["difference"], row["verdict"]) == (0.0, "identical")


def test_the_interval_covers_the_true_difference():
    """1,000 experiments; 95 % +- 2 % is three standard deviations of such a count."""
    rng, covered = np.random.default_rng(3), 0
    for _ in range(1000):
        a, b = correlated(rng, 24, 0.98, mean=(25.0, 24.5))
        (row,) = compare(one_point("a", {"psnr": a}), one_point("b", {"psnr": b}))
        covered += row["low"] <= 0.5 <= row["high"]
    assert 930 <= covered <= 970


def test_the_interval_covers_also_when_each_run_stopped_at_its_errors():
    """Fading makes the error counts of a block heavy-tailed, and each run ends at the first batch with 200 errors."""
    rng, covered = np.random.default_rng(4), 0
    rates = (0.004, 0.005)
    for _ in range(1000):
        batches = [[], []]
        errors = [0, 0]
        for number in range(100):
            fade = rng.exponential(size=32)
            for side, rate in enumerate(rates):
                counts = rng.binomial(TRIALS, np.minimum(rate * fade, 1.0))
                if errors[side] < 200:
                    batches[side].append((ber_label(), number, {"ber": counts}))
                    errors[side] += counts.sum()
        (row,) = compare(*(a_run(name, each) for name, each in zip("ab", batches, strict=True)))
        covered += row["low"] <= rates[0] - rates[1] <= row["high"]
    assert 930 <= covered <= 970


def test_tiles_are_compared_by_their_photographs():
    """SciPy's paired test over the means of six photographs; over their 60 tiles it would be twice as narrow or more."""
    rng, groups = np.random.default_rng(8), np.repeat(np.arange(6), 10)
    a = rng.normal(25.0, 3.0, 6)[groups] + rng.normal(0.0, 1.0, 60)
    b = a + rng.normal(0.5, 0.6, 6)[groups] + rng.normal(0.0, 0.2, 60)
    order = rng.permutation(60)
    halves = order[:25], order[25:]

    def tiled(name, values):
        lines = [
            {"point": image_label(), "batch": number, "sums": {"psnr": mean_sums(values[half], groups[half])},
             "parts": {"psnr": values[half].tolist()}}
            for number, half in enumerate(halves)
        ]  # fmt: skip
        return Run(Path(name), IMAGES, Totals(lines))

    (row,) = compare(tiled("a", a), tiled("b", b))
    means = [values.reshape(6, 10).mean(axis=1) for values in (a, b)]
    expected = stats.ttest_rel(*means).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (row["draws"], row["photographs"]) == (60, 6)
    naive = stats.ttest_rel(a, b).confidence_interval()
    assert row["high"] - row["low"] > 2 * (naive.high - naive.low)


def test_one_lost_fade_tells_no_difference():
    """Of 128 parts in block fading one has errors, of one side: Student's t is narrow and allows for no second one."""
    errors = np.zeros(128, int)
    errors[7] = 300
    label = ber_label(channel="rayleigh-block")
    a, b = one_point("a", {"ber": errors}, label), one_point("b", {"ber": np.zeros(128, int)}, label)
    (row,) = compare(a, b)
    assert row["verdict"] == "undecided" and row["low"] < -0.02
    assert (
        0.028 < row["high"] < stats.binomtest(1, 128).proportion_ci().high
    )  # as if its one error were all of a part
    assert row["difference"] == pytest.approx(300 / 128_000)


def test_unpaired_draws_are_what_unpaired_runs_would_need():
    """Their formula against a simulation: with so many draws a side, an unpaired difference varies as much as the paired."""
    rng, count = np.random.default_rng(5), 50
    a, b = correlated(rng, 100_000, 0.95)
    (row,) = compare(one_point("a", {"psnr": a}), one_point("b", {"psnr": b}))
    assert row["gain"] == pytest.approx((4 + 9) / (4 + 9 - 2 * 0.95 * 2 * 3), rel=0.02)
    assert row["unpaired_draws"] == math.ceil(row["gain"] * row["draws"])
    paired = [np.mean(np.subtract(*correlated(rng, count, 0.95))) for _ in range(4000)]
    needed = round(row["gain"] * count)
    unpaired = [
        np.mean(correlated(rng, needed, 0.95)[0]) - np.mean(correlated(rng, needed, 0.95)[1])
        for _ in range(4000)
    ]
    # The standard deviation of 4,000 normal values is known to 1 / sqrt(8000), each side; 4 sigma of their ratio.
    assert np.std(unpaired) / np.std(paired) == pytest.approx(1, abs=4 * math.sqrt(2 / 8000))


# ---- verdicts


@pytest.mark.parametrize(
    ("metric", "shift", "verdict"),
    [
        ("psnr", 1.0, "a better"), ("psnr", -1.0, "b better"), ("ssim", 1.0, "a better"), ("psnr", 0.0, "undecided"),
        ("latency", 1.0, "a higher"), ("latency", -1.0, "b higher"),
    ],
)  # fmt: skip
def test_verdicts_of_means(metric, shift, verdict):
    rng = np.random.default_rng(6)
    base, noise = rng.normal(size=30), 0.1 * rng.normal(size=30)
    noise -= noise.mean()
    config = {"config": IMAGES}
    (row,) = compare(
        a_run("a", [(image_label(), 0, {metric: base + shift + noise})], **config),
        a_run("b", [(image_label(), 0, {metric: base})], **config),
    )
    assert row["verdict"] == verdict


@pytest.mark.parametrize("metric", ["ber", "ser", "bler"])
def test_of_error_rates_the_lower_is_better(metric):
    low, high = np.arange(1, 21), np.arange(1, 21) * 3
    assert compare(one_point("a", {metric: low}), one_point("b", {metric: high}))[0]["verdict"] == "a better"
    assert compare(one_point("a", {metric: high}), one_point("b", {metric: low}))[0]["verdict"] == "b better"


def test_a_run_is_identical_to_itself():
    values = np.random.default_rng(7).normal(25, 2, 16)
    found = one_point("a", {"psnr": values, "ser": np.arange(16)})
    for row in compare(found, found):
        assert (row["difference"], row["low"], row["high"], row["verdict"]) == (0.0, 0.0, 0.0, "identical")
        assert row["unpaired_draws"] == row["gain"] == math.inf
    assert differing(found, found) == {} and skipped(found, found) == []


@pytest.mark.parametrize("count", [0, TRIALS])
def test_where_nothing_went_wrong_or_right_nothing_is_decided(count):
    """Two systems without an error may differ: by no more than blocks of which 64 showed none, Clopper and Pearson say."""
    parts = {"ser": np.full(64, count)}
    (row,) = compare(one_point("a", parts), one_point("b", parts))
    bound = stats.binomtest(0, 64).proportion_ci().high
    assert (row["low"], row["high"]) == pytest.approx((-bound, bound))
    assert (row["difference"], row["verdict"]) == (0.0, "undecided")
    assert math.isnan(row["gain"]) and math.isnan(row["unpaired_draws"])


def test_runs_sent_at_different_energies_are_not_compared():
    """By 3 dB: equal Es/N0 is not one SNR."""

    def run_of(name, energy):
        label, values = image_label(), np.linspace(20.0, 25.0, 12)
        sent = energy_sums(Sent(np.full(12, energy), np.zeros(12), np.full(12, energy)))
        lines = [
            {
                "point": label,
                "batch": 0,
                "sums": {"psnr": mean_sums(values), **sent},
                "parts": {"psnr": values.tolist()},
            }
        ]
        return Run(Path(name), dict(IMAGES), Totals(lines))

    with pytest.raises(
        ValueError, match=r"qam16 awgn 10 dB cannot be compared: a sent symbols of \+0.00 dB, b of -3.01"
    ):
        compare(run_of("a", 1.0), run_of("b", 0.5))
    assert compare(run_of("a", 1.0), run_of("b", 1.01))[0]["verdict"] == "identical"


def test_one_draw_bounds_nothing():
    (row,) = compare(one_point("a", {"psnr": [25.0]}), one_point("b", {"psnr": [24.0]}))
    assert (row["difference"], row["low"], row["high"]) == (1.0, -math.inf, math.inf)
    assert row["verdict"] == "undecided" and math.isnan(row["gain"])


# ---- which draws


def batches_of(numbers, seed, label=None):
    """Batches whose parts depend on their number and the seed alone."""
    return [
        (
            label or ber_label(),
            number,
            {"ber": np.random.default_rng((seed, number)).binomial(TRIALS, 0.1, 8)},
        )
        for number in numbers
    ]


def test_only_batches_that_both_have_are_used():
    early, late = a_run("a", batches_of(range(3), 1)), a_run("b", batches_of([7, 2, 1, 9], 2))
    (row,) = compare(early, late)
    common = [
        np.concatenate([parts["ber"] for _, _, parts in batches_of([1, 2], seed)]) / TRIALS for seed in (1, 2)
    ]
    expected = stats.ttest_rel(*common).confidence_interval()
    assert row["draws"] == 16
    assert (row["value_a"], row["value_b"]) == pytest.approx([side.mean() for side in common])
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))


def test_the_order_of_batches_points_and_sides_does_not_matter():
    labels = [ber_label(esno_db=value) for value in (4.0, 8.0, 12.0)]
    a, b = ([line for label in labels for line in batches_of(range(4), seed, label)] for seed in (1, 2))
    rows = compare(a_run("a", a), a_run("b", b))
    shuffled = compare(a_run("a", a[::-1]), a_run("b", b[5:] + b[:5]))
    assert sorted(shuffled, key=lambda row: row["esno_db"]) == rows
    for row, turned in zip(rows, compare(a_run("b", b), a_run("a", a)), strict=True):
        assert turned["difference"] == pytest.approx(-row["difference"])
        assert (turned["low"], turned["high"]) == pytest.approx((-row["high"], -row["low"]))
        assert turned["gain"] == pytest.approx(row["gain"])


def test_metrics_that_one_side_lacks_are_left_out():
    a = one_point("a", {"psnr": [20.0, 21.0], "ser": [1, 2]})
    b = one_point("b", {"psnr": [22.0, 25.0], "ssim": [0.5, 0.6]})
    assert [row["metric"] for row in compare(a, b)] == ["psnr"]


def test_points_without_common_draws_are_named_and_have_no_row():
    def points(numbers):
        return [
            line
            for esno_db, found in numbers.items()
            for line in batches_of(found, 1, ber_label(esno_db=esno_db))
        ]

    a, b = (
        a_run("a", points({4.0: [0], 8.0: [0, 1], 12.0: [0]})),
        a_run("b", points({4.0: [0], 8.0: [2], 16.0: [0]})),
    )
    assert [row["esno_db"] for row in compare(a, b)] == [4.0]
    assert [(entry["esno_db"], entry["reason"]) for entry in skipped(a, b)] == [
        (12.0, "only in a"),
        (16.0, "only in b"),
        (8.0, "no batch is in both runs"),
    ]


def test_importance_sampling_is_named_and_has_no_row():
    rare = [(ber_label(esno_db=20.0), 0, {"ber": [1, 2, 0]})]
    found = a_run("a", [*batches_of([0], 1), *rare]), a_run("b", [*batches_of([0], 2), *rare])
    for run in found:
        run.batches(rare[0][0])[0].parts.clear()
    assert [row["esno_db"] for row in compare(*found)] == [10.0]
    assert [entry["reason"] for entry in skipped(*found)] == [
        "no draws were kept one by one, as in importance sampling"
    ]


def test_a_batch_with_missing_parts_is_damage():
    a, b = one_point("a", {"ber": [1, 2, 3]}), one_point("b", {"ber": [1, 2]})
    with pytest.raises(
        ValueError, match="a and b: batch 0 of .* has 3 parts of ber against 2, so one of them is damaged"
    ):
        compare(a, b)


# ---- which points


def test_what_differs_between_the_sides_is_what_is_compared():
    parts = {"ber": [1, 2, 3]}
    a = a_run("a", [(ber_label("qam16", csi="ls", ebno_db=6.0), 0, parts)], weights={"sha256": "abc"})
    b = a_run("b", [(ber_label("qam64", ebno_db=4.2), 0, parts)], weights={"sha256": "def"})
    (row,) = compare(a, b)
    assert {name: row[name] for name in ("channel", "demap", "esno_db")} == {
        "channel": "awgn", "demap": "nearest", "esno_db": 10.0,
    }  # fmt: skip
    assert not {"modulation", "csi", "ebno_db"} & row.keys()
    assert differing(a, b) == {
        "modulation": ("qam16", "qam64"), "csi": ("ls", "perfect"), "weights.sha256": ("abc", "def"),
    }  # fmt: skip


def test_what_varies_on_a_side_must_agree():
    """Only qam16 is in both; where one side has several, the other's one is no counterpart of all of them."""
    a = a_run("a", [(ber_label(name), 0, {"ber": [1, 2]}) for name in ("qam16", "qam64")])
    b = a_run("b", [(ber_label(name), 0, {"ber": [2, 2]}) for name in ("bpsk", "qam16")])
    (row,) = compare(a, b)
    assert row["modulation"] == "qam16" and row["ebno_db"] == 6.0
    with pytest.raises(
        ValueError, match="modulation qam16, qam64 against bpsk: simulate the same ones, or one against one"
    ):
        compare(a, a_run("b", [(ber_label("bpsk"), 0, {"ber": [2, 2]})]))


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ({"channel": "awgn"}, {"channel": "rayleigh"}, "channel awgn against rayleigh"),
        ({"channel": "tdl-a", "speed": 3.0}, {"channel": "tdl-a", "speed": 30.0}, "speed 3 against 30"),
        ({"esno_db": 10.02}, {"esno_db": 11.78}, r"esno_db 10.02 against 11.78: the draws are common at equal Es/N0"),
    ],
)  # fmt: skip
def test_points_of_other_draws_are_never_matched(left, right, message):
    """A channel or an SNR is not what is compared, even where nothing else differs: its fades and noise are others."""
    runs = [
        one_point(name, {"ber": [1, 2]}, ber_label(**fields)) for name, fields in (("a", left), ("b", right))
    ]
    with pytest.raises(ValueError, match=f"a and b have no point in common: {message}"):
        compare(*runs)


def test_equal_numbers_match_however_they_are_written():
    parts = {"ber": [1, 2]}
    runs = [one_point(name, parts, ber_label(esno_db=value)) for name, value in (("a", 0), ("b", -1e-9))]
    (row,) = compare(*runs)
    assert row["esno_db"] == 0


def test_settings_that_only_say_how_far_a_run_went_do_not_differ():
    a = a_run("a", batches_of([0], 1), title="one", arguments=["ber"], ebno_db=[6.0], ledger={"uses": 1})
    b = a_run(
        "b", batches_of([0], 1), title="two", stop={"metric": "ber", "min_errors": 50}, ebno_db=[6.0, 8.0]
    )
    assert differing(a, b) == {}


def test_crossed_points_and_runs_without_draws_say_so():
    def corners(name, places):
        return a_run(
            name, [(ber_label(modulation, channel), 0, {"ber": [1, 2]}) for modulation, channel in places]
        )

    a = corners("a", [("bpsk", "awgn"), ("qpsk", "rayleigh")])
    with pytest.raises(
        ValueError, match="each value is in both, but no combination: simulate the same points"
    ):
        compare(a, corners("b", [("qpsk", "awgn"), ("bpsk", "rayleigh")]))
    with pytest.raises(
        ValueError, match="a and b have no point in common: b has no finished one: let it run longer"
    ):
        compare(a, a_run("b", []))
    with pytest.raises(ValueError, match="a and b share no draws: no batch is in both runs"):
        compare(a_run("a", batches_of([0], 1)), a_run("b", batches_of([1], 1)))


# ---- refusals


def nested(config, path, value):
    name, _, rest = path.partition(".")
    return {**config, name: nested(config.get(name, {}), rest, value) if rest else value}


QUESTION = [
    ("command", "ber", "the command differs, 'run' against 'ber': take two runs of one command"),
    (
        "conventions.snr",
        "Eb/N0",
        "the definition of SNR differs, 'Es/N0' against 'Eb/N0': simulate both by one definition",
    ),
    ("conventions.normalisation", "peak 1", "the normalisation differs, .* against 'peak 1'"),
    (
        "conventions.psnr",
        "of the mean error",
        "the definition of PSNR differs, .* against 'of the mean error'",
    ),
    ("conventions", {}, "b does not state its conventions: simulate it again with this version"),
    (
        "data.name",
        "cifar10",
        "the data set differs, 'embedded' against 'cifar10': simulate both on the same images",
    ),
    ("data.images", 32, "the number of images differs, 64 against 32"),
    ("data.crc32", 8, "the checksum of the pixels differs, 7 against 8"),
]
DRAWS = [
    ("seed", 1, "seed differs, 0 against 1: simulate both with one seed"),
    ("draws.blocks", 16, "draws.blocks differs, 8 against 16: simulate both with the same"),
    ("draws.realizations", 2, "draws.realizations differs, 1 against 2"),
    ("draws.generator", "rbg", "draws.generator differs, 'threefry' against 'rbg'"),
    ("grid.fft_size", 72, "grid.fft_size differs, 64 against 72"),
]


def three(path, value):
    parts = {"psnr": [20.0, 21.0]}
    same, other = nested(IMAGES, path, value), IMAGES
    return (one_point("a", parts), one_point("c", parts, **other), one_point("b", parts, **same))


@pytest.mark.parametrize(("path", "value", "message"), QUESTION)
def test_runs_that_answer_different_questions_neither_compare_nor_overlay(path, value, message):
    a, c, b = three(path, value)
    check_overlay([a, c])
    with pytest.raises(ValueError, match=f"^a and b cannot be compared: {message}"):
        compare(a, b)
    with pytest.raises(ValueError, match=f"^a and b do not share a figure: {message}"):
        check_overlay([a, c, b])


@pytest.mark.parametrize(("path", "value", "message"), DRAWS)
def test_runs_of_different_draws_overlay_but_do_not_compare(path, value, message):
    a, c, b = three(path, value)
    check_overlay([a, c, b])
    with pytest.raises(ValueError, match=f"^a and b cannot be compared: {message}"):
        check_comparable(a, b)


def test_every_reason_is_said_at_once_on_one_line():
    parts = {"psnr": [20.0, 21.0]}
    other = nested(nested(IMAGES, "data.images", 32), "conventions.snr", "Eb/N0")
    with pytest.raises(ValueError) as caught:
        compare(one_point("a", parts), one_point("b", parts, **{**other, "seed": 3}))
    said = str(caught.value)
    assert "SNR" in said and "images" in said and "seed" in said and "\n" not in said


def test_what_does_not_matter_is_not_refused():
    parts = {"psnr": [20.0, 21.0]}
    other = nested(IMAGES, "data.note", "the same photographs")
    assert compare(one_point("a", parts), one_point("b", parts, **other, title="mine"))
    check_overlay([])
    check_overlay([one_point("a", parts)])


# ---- end to end


def test_two_near_equal_codecs_need_a_fraction_of_the_draws():
    """The shipped weights against the same and 2 % of noise, in fading: 5 times fewer draws with pairing."""
    exact, near = ujscc.load(), ujscc.load()
    rng = np.random.default_rng(0)
    weights = nnx.state(near, nnx.Param)
    nnx.update(
        near, jax.tree.map(lambda leaf: leaf + 0.02 * jnp.std(leaf) * rng.normal(size=leaf.shape), weights)
    )
    photographs = semsim.data.load("embedded", limit=128)
    a, b = (
        semsim.run("ujscc", photographs, "qam16", "rayleigh-block", [12.0], codec=codec)
        for codec in (exact, near)
    )
    rows = {row["metric"]: row for row in compare(a, b)}
    assert differing(a, b).keys() == {"weights.sha256"}
    for metric in ("psnr", "ssim"):
        assert rows[metric]["draws"] == 128
        assert rows[metric]["unpaired_draws"] >= 5 * 128
    own = {row["metric"]: row["value"] for row in a.rows()}
    assert all(row["value_a"] == pytest.approx(own[metric], rel=1e-6) for metric, row in rows.items())


def test_receivers_of_a_sweep_meet_the_same_draws():
    """Bit errors with and without knowing the channel: one set of fades and noise, so what is lost shows at once."""
    a, b = (
        semsim.ber(
            "qam16", "tdl-a", [10.0], csi=csi, min_errors=200, propagation=semsim.Propagation(speed=3.0)
        )
        for csi in ("perfect", "ls")
    )
    rows = {row["metric"]: row for row in compare(a, b)}
    assert differing(a, b) == {"csi": ("perfect", "ls")}
    assert rows["ber"]["verdict"] == rows["ser"]["verdict"] == "a better"
    assert rows["ber"]["gain"] > 2
