"""Intervals: published values, SciPy's own answers, and how often they cover the truth."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from semsim import stats


def test_clopper_pearson_published_values():
    found = stats.proportion_interval(100, 10**6)
    assert found.value == 1e-4
    assert found.low == pytest.approx(8.136e-5, rel=1e-3) and found.high == pytest.approx(1.2163e-4, rel=1e-4)
    assert stats.proportion_interval(0, 10**6).low == 0.0
    assert stats.proportion_interval(0, 10**6).high == pytest.approx(3.69e-6, rel=1e-3)


@pytest.mark.parametrize("trials", [1, 7, 1000, 10**7])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("confidence", [0.95, stats.FOUR_SIGMA])
def test_proportion_equals_scipy(trials, share, confidence):
    errors = round(share * trials)
    low, high = scipy_stats.binomtest(errors, trials).proportion_ci(confidence, "exact")
    found = stats.proportion_interval(errors, trials, confidence)
    np.testing.assert_allclose(
        [found.low, found.high], [low, high], rtol=1e-9, atol=5e-12
    )  # SciPy's root finder stops there
    assert found.low <= found.value <= found.high


def test_zero_errors_have_a_closed_form():
    assert stats.proportion_interval(0, 10**12).high == pytest.approx(-math.log(0.025) / 10**12, rel=1e-9)


def test_proportion_covers_the_truth_at_least_as_often_as_asked():
    trials, truth = 40, 0.07
    chances = scipy_stats.binom.pmf(np.arange(trials + 1), trials, truth)
    intervals = [stats.proportion_interval(k, trials) for k in range(trials + 1)]
    covers = np.array([i.low <= truth <= i.high for i in intervals])
    assert 0.95 <= chances @ covers < 1.0


def test_four_sigma_is_four_standard_deviations():
    assert scipy_stats.norm.isf((1 - stats.FOUR_SIGMA) / 2) == pytest.approx(4.0, rel=1e-9)


def test_mean_interval_equals_scipy_and_scales():
    values = np.random.default_rng(0).normal(3.0, 2.0, 12)
    found = stats.mean_interval(12, float(values.sum()), float(values @ values))
    low, high = scipy_stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(found, [values.mean(), low, high], rtol=1e-10)
    scaled = stats.mean_interval(12, 5 * float(values.sum()), 25 * float(values @ values))
    np.testing.assert_allclose(scaled, 5 * np.array(found), rtol=1e-10)


def test_mean_interval_of_agreeing_values_and_of_one():
    value = 27.123456789
    agreeing = stats.mean_interval(10**6, value * 10**6, value**2 * 10**6)
    assert agreeing.low <= agreeing.value <= agreeing.high and agreeing.high - agreeing.low < 1e-5
    assert stats.mean_interval(1, 3.0, 9.0) == (3.0, -math.inf, math.inf)


def test_ratio_interval_is_wider_than_binomial_when_errors_cluster():
    rng = np.random.default_rng(1)
    blocks, per_block = 500, 200
    rates = rng.exponential(0.05, blocks).clip(0, 1)  # the fades
    errors = rng.binomial(per_block, rates)
    found = stats.ratio_interval(blocks, int(errors.sum()), float(errors @ errors), per_block)
    naive = stats.proportion_interval(int(errors.sum()), blocks * per_block)
    assert found.value == pytest.approx(naive.value)
    assert found.high - found.low > 3 * (naive.high - naive.low)
    assert found.low < 0.05 < found.high


def test_ratio_interval_covers_as_often_as_asked():
    rng = np.random.default_rng(2)
    runs, blocks, per_block, truth = 4000, 100, 50, 0.1
    rates = rng.beta(2.0, 18.0, (runs, blocks))
    errors = rng.binomial(per_block, rates).astype(np.int64)
    found = [stats.ratio_interval(blocks, int(e.sum()), int(e @ e), per_block) for e in errors]
    hits = sum(i.low <= truth <= i.high for i in found)
    # t over skewed ratios covers a little less than it says; 93 to 97 % is the claim made here.
    assert 0.93 < hits / runs < 0.97


def test_ratio_interval_without_errors_bounds_by_blocks():
    found = stats.ratio_interval(1000, 0, 0, 64)
    assert found.value == found.low == 0.0
    assert found.high == pytest.approx(
        -math.log(0.025) / 1000, rel=3e-3
    )  # 3.69 / n, the two-sided rule of three
    assert stats.ratio_interval(1000, 64_000, 64_000 * 64, 64).low == pytest.approx(1 - found.high)
    assert stats.ratio_interval(1, 3, 9, 64) == (3 / 64, 0.0, 1.0)


@settings(deadline=None, max_examples=60)
@given(errors=st.integers(0, 1000), blocks=st.sampled_from([10, 1000]))
def test_independent_trials_have_the_exact_interval(errors, blocks):
    """Whether they are known to be independent, or found to be, each being a block."""
    sharing = stats.INDEPENDENT if blocks == 10 else stats.FADE
    errors_sq = errors**2 if blocks == 10 else errors
    found = stats.clustered_interval(errors, errors_sq, 1000, blocks, sharing)
    np.testing.assert_allclose(found, stats.proportion_interval(errors, 1000), rtol=1e-9)


def test_no_error_counts_symbols_and_not_their_bits():
    """Bits of one symbol err together: 10^6 error-free bits of 16-QAM are 250,000 witnesses."""
    found = stats.clustered_interval(0, 0, 10**6, 100, stats.Sharing(4, 4))
    np.testing.assert_allclose(found, stats.proportion_interval(0, 250_000), rtol=1e-12)


@pytest.mark.parametrize("shared", [1, 4, 10])
def test_intervals_of_clustered_errors_cover_the_truth_as_often_as_they_say(shared):
    """Groups of `shared` trials err all or none, the worst case; 2,000 experiments of 95 % intervals, 4 sigma."""
    draws = np.random.default_rng(shared)
    groups = draws.binomial(50, 0.03, size=(2000, 40)) * shared  # errors of each of 40 blocks of 50 groups
    hits = 0
    for blocks in groups:
        counts = int(blocks.sum()), float((blocks**2).sum()), 2000 * shared, 40
        found = stats.clustered_interval(*counts, stats.Sharing(shared, shared))
        hits += found.low <= 0.03 <= found.high
    coverage = stats.proportion_interval(hits, 2000, stats.FOUR_SIGMA)
    assert coverage.high > 0.95
    if shared > 1:  # and the plain binomial one would not
        plain = [stats.proportion_interval(int(b.sum()), 2000 * shared) for b in groups[:300]]
        assert np.mean([one.low <= 0.03 <= one.high for one in plain]) < 0.8


@settings(deadline=None, max_examples=60)
@given(errors=st.lists(st.integers(0, 50), min_size=1, max_size=30))
@example(errors=[38, 42])  # exactly as much spread as independent trials have
def test_errors_and_successes_may_change_places(errors):
    blocks, right = np.array(errors), 50 - np.array(errors)
    found, other = (stats.ratio_interval(b.size, int(b.sum()), int(b @ b), 50) for b in (blocks, right))
    np.testing.assert_allclose((1 - found.high, 1 - found.low), (other.low, other.high), atol=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


def bursts_of(rng, runs, blocks, per_block, snr):
    """Sum and sum of squares of the errors of QPSK symbols over as many Rayleigh fades, for each run."""
    sums = []
    for _ in range(runs):
        errors = rng.binomial(per_block, special.ndtr(-np.sqrt(snr * rng.exponential(size=blocks))))
        sums.append((int(errors.sum()), int(errors @ errors)))
    return sums


@pytest.mark.parametrize(("blocks", "most"), [(512, 1.0), (2048, 1.0), (8192, 1.0), (32_768, 0.975)])
def test_intervals_cover_where_errors_come_in_few_bursts(blocks, most):
    """QPSK in Rayleigh block fading at 30 dB Es/N0, from 2 bursts to 100: 93 % or more, about 97 where there are many.

    Student's t covers 69 % at 512 blocks and 87 % at 2,048.
    """
    rng, snr, runs = np.random.default_rng(blocks), 1000.0, 1000 if blocks < 32_768 else 500
    truth = (1 - math.sqrt(snr / (2 + snr))) / 2
    found = [stats.ratio_interval(blocks, *sums, 512) for sums in bursts_of(rng, runs, blocks, 512, snr)]
    above = np.mean([one.high < truth for one in found])
    below = np.mean([one.low > truth for one in found])
    assert above <= 0.04 and below <= 0.04 and 0.93 <= 1 - above - below <= most


def test_where_no_deep_fade_was_met_the_bound_allows_for_one():
    """One bit of 512 wrong in one of 1,000 blocks: the next block may be lost, as 3.69 / n of them may."""
    found = stats.ratio_interval(1000, 1, 1, 512)
    assert found.high == pytest.approx(-math.log(0.025) / 1000, rel=0.02)
    mild = stats.clustered_interval(1, 1, 512_000, 1000, stats.Sharing(math.inf, math.inf))
    assert mild.high == pytest.approx(stats.proportion_interval(1, 512_000).high, rel=2e-3)


def test_where_many_fades_were_met_the_worst_one_is_nothing_new():
    """2,000 bursts of 16 errors in 10,000 blocks of 512: as wide as if no block could lose all."""
    counts = 32_000, 2000 * 16**2, 10_000 * 512, 10_000
    assert stats.clustered_interval(*counts, stats.FADE) == stats.clustered_interval(*counts, stats.ALIKE)
    few = 32, 2 * 16**2, 10_000 * 512, 10_000
    assert (
        stats.clustered_interval(*few, stats.FADE).high > 2 * stats.clustered_interval(*few, stats.ALIKE).high
    )


def test_images_that_err_alike_have_a_t_interval():
    """Error counts of 8 images that share nothing but differ little: as wide as Student's t over them."""
    errors = np.array([50, 54, 47, 52, 49, 55, 46, 51])
    found = stats.clustered_interval(
        int(errors.sum()), int(errors @ errors), 8 * 100, 8, stats.Sharing(1, math.inf)
    )
    low, high = scipy_stats.ttest_1samp(errors / 100, 0.0).confidence_interval(0.95)
    # The spread is below the binomial one, which is not undercut.
    assert found.high - found.low > high - low
    errors = np.array([20, 80, 35, 60, 55, 30, 70, 50])
    found = stats.clustered_interval(
        int(errors.sum()), int(errors @ errors), 8 * 100, 8, stats.Sharing(1, math.inf)
    )
    low, high = scipy_stats.ttest_1samp(errors / 100, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_a_mean_over_clusters_is_students_t_over_their_means():
    means = np.array([20.0, 24.0, 31.0, 22.0, 27.0])
    found = stats.cluster_mean_interval(stats.Clusters(np.full(5, 64.0), 64 * means))
    low, high = scipy_stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(found, (means.mean(), low, high), rtol=1e-12)
    assert stats.cluster_mean_interval(stats.Clusters(np.array([64.0]), np.array([640.0]))) == (
        10.0,
        -math.inf,
        math.inf,
    )


def test_a_mean_over_clusters_of_unequal_size_is_cochrans_ratio_of_sums():
    """Residuals total - mean x size, each of the weight of its size: section 6.3, by hand."""
    sizes, totals = np.array([2.0, 3.0, 10.0, 5.0]), np.array([9.0, 10.0, 55.0, 21.0])
    mean = 95 / 20
    residuals = totals - mean * sizes
    error = math.sqrt(4 / 3 * float(residuals @ residuals)) / 20
    half = float(scipy_stats.t.ppf(0.975, 3)) * error
    found = stats.cluster_mean_interval(stats.Clusters(sizes, totals))
    np.testing.assert_allclose(found, (mean, mean - half, mean + half), rtol=1e-12)


def test_a_mean_over_clusters_of_unequal_size_covers_as_often_as_asked():
    """2,000 sets of 8 photographs with 10 to 100 tiles; over tiles 95 % would be 25 %."""
    rng, covered, over_tiles = np.random.default_rng(5), 0, 0
    for _ in range(2000):
        sizes = rng.integers(10, 101, 8)
        tiles = np.repeat(rng.normal(25.0, 3.0, 8), sizes) + rng.normal(0.0, 2.0, sizes.sum())
        totals = np.add.reduceat(tiles, np.concatenate([[0], np.cumsum(sizes)[:-1]]))
        found = stats.cluster_mean_interval(stats.Clusters(sizes.astype(float), totals))
        covered += found.low <= 25.0 <= found.high
        naive = stats.mean_interval(tiles.size, float(tiles.sum()), float(tiles @ tiles))
        over_tiles += naive.low <= 25.0 <= naive.high
    assert 0.93 <= covered / 2000 <= 0.97 and over_tiles / 2000 < 0.4


def test_paired_rates_with_many_bursts_have_the_t_interval():
    rng = np.random.default_rng(6)
    fades = rng.exponential(size=(2, 4000, 16))
    a, b = (rng.binomial(512, special.ndtr(-np.sqrt(4 * gain))).sum(axis=1) / (16 * 512) for gain in fades)
    found = stats.paired_rate_interval(a - b, 16 * 512, 512)
    low, high = scipy_stats.ttest_rel(a, b).confidence_interval(0.95)
    np.testing.assert_allclose((found.low, found.high), (low, high), atol=0.01 * (high - low))


def test_paired_rates_allow_for_what_one_side_was_not_seen_to_lose():
    """The other lost 3 fades in 100 parts: downwards reaches what the first, of whom nothing was seen, may have lost."""
    differences = np.zeros(100)
    differences[:3] = 0.25
    found = stats.paired_rate_interval(differences, 512, 512)
    lost = stats.clustered_interval(3 * 128, 3 * 128**2, 51_200, 100)
    unseen = stats.clustered_interval(0, 0, 51_200, 100)
    assert unseen.high > 0.03 and unseen.low == unseen.value == 0
    assert found.low == pytest.approx(lost.value - math.hypot(lost.value - lost.low, unseen.high), rel=1e-9)
    assert found.high == pytest.approx(lost.high, rel=1e-9)
    mirrored = stats.paired_rate_interval(-differences, 512, 512)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), rel=1e-9)


@pytest.mark.parametrize("parts", [32, 128, 1024])
def test_paired_rates_cover_where_few_fades_tell_the_systems_apart(parts):
    """Two receivers, 3 dB apart, meet the same fades at 30 dB Es/N0: Student's t covers 87 % over 32 parts."""
    rng, hits, by_t, snr = np.random.default_rng(parts), 0, 0, 1000.0
    truth = (math.sqrt(snr / (2 + snr)) - math.sqrt(snr / 2 / (2 + snr / 2))) / 2
    for _ in range(400):
        gain = rng.exponential(size=(parts, 16))
        a, b = (
            rng.binomial(512, special.ndtr(-np.sqrt(snr * part * gain))).sum(axis=1) / (16 * 512)
            for part in (0.5, 1.0)
        )
        found = stats.paired_rate_interval(a - b, 16 * 512, 512)
        hits += found.low <= truth <= found.high
        t = stats.paired_interval(a - b)
        by_t += t.low <= truth <= t.high
    assert hits / 400 >= 0.93
    if parts == 32:
        assert by_t / 400 < 0.9


def test_paired_interval_equals_scipy_and_beats_the_unpaired():
    rng = np.random.default_rng(3)
    fade = rng.normal(25.0, 5.0, 200)
    ours, theirs = fade + rng.normal(0.3, 0.5, 200), fade + rng.normal(0.0, 0.5, 200)
    found = stats.paired_interval(ours - theirs)
    low, high = scipy_stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    np.testing.assert_allclose(found, [(ours - theirs).mean(), low, high], rtol=1e-10)
    assert found.low > 0.0  # the unpaired interval, ten times wider, includes 0
    difference = ours - theirs
    np.testing.assert_allclose(
        found, stats.mean_interval(200, float(difference.sum()), float(difference @ difference)), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.proportion_interval(3, 2), r"errors must be in \[0, trials\].*got 3 in 2"),
        (lambda: stats.proportion_interval(0, 0), "trials at least 1; got 0 in 0"),
        (
            lambda: stats.proportion_interval(1, 2, 95),
            "confidence must lie between 0 and 1, as 0.95 does; got 95",
        ),
        (lambda: stats.mean_interval(0, 0.0, 0.0), "at least one value; got n = 0"),
        (lambda: stats.mean_interval(2, math.nan, 1.0), "must be finite; got nan"),
        (
            lambda: stats.mean_interval(2, 10.0, 1.0),
            "sum of squares of 1 is too small for 2 values with the sum 10",
        ),
        (lambda: stats.ratio_interval(2, 9, 81, 4), "got 9 in 2 blocks of 4"),
        (lambda: stats.ratio_interval(2, 1, 1, 0), "trials_per_block must be at least 1; got 0"),
        (lambda: stats.paired_interval([]), r"not empty; got shape \(0,\)"),
        (lambda: stats.paired_interval([1.0, math.nan]), "finite numbers"),
    ],
)
def test_impossible_counts_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
