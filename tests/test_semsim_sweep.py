"""Keys belong to points, sums merge like sets, and intervals know what errs together."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semsim.stats import FOUR_SIGMA, proportion_interval
from semsim.sweep import (
    Totals,
    add,
    batch_key,
    check_seed,
    clustered_interval,
    count_sums,
    draw_id,
    mean_sums,
    names,
    result_rows,
)

AWGN = {"channel": "awgn"}


def test_draw_identity_is_pinned():
    """A change of these numbers changes every result: the first 16 digits that `sha256sum` prints for the sorted JSON."""
    assert draw_id(AWGN, 10.0) == 5739778313214574320
    tdl = {"channel": "tdl-a", "delay_spread": 1e-7, "carrier_frequency": 3.5e9, "speed": 3.0}
    assert draw_id(tdl, -1.5) == 7701755087650123815


def test_draw_identity_is_the_value_and_not_its_spelling():
    tdl = {"channel": "tdl-a", "speed": 3.0, "delay_spread": 1e-7}
    same = {"delay_spread": np.float64(1e-7), "speed": 3, "channel": "tdl-a"}
    assert draw_id(tdl, 0.0) == draw_id(same, -0.0) == draw_id(same, np.float32(1e-9))
    assert draw_id(AWGN, 4) == draw_id(AWGN, 4.0)
    assert (
        len({draw_id(AWGN, 4.0), draw_id(AWGN, 4.001), draw_id(tdl, 4.0), draw_id({**tdl, "speed": 4}, 4.0)})
        == 4
    )


def test_keys_are_stable_and_distinct():
    def words(*arguments):
        return tuple(np.asarray(jax.random.key_data(batch_key(*arguments))))

    draw = draw_id(AWGN, 10.0)
    assert words(0, draw, 3) == words(0, draw, 3)
    others = [(0, draw, 4), (1, draw, 3), (0, draw ^ 1, 3), (0, draw ^ (1 << 63), 3)]
    assert len({words(*one) for one in [(0, draw, 3), *others]}) == 5


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_would_wrap_is_refused(seed):
    with pytest.raises(ValueError, match=r"seed must be in \[0, 2\^32\)"):
        check_seed(seed)


def test_names_are_a_word_or_words_each_once():
    assert names("qam16") == ("qam16",)
    assert names(["a", "b", "a"]) == ("a", "b")


counts = st.lists(st.integers(0, 50), min_size=1, max_size=6)
sums = st.dictionaries(st.sampled_from(["ber", "ser"]), counts.map(lambda x: count_sums(np.array(x), 50)))


@settings(deadline=None, max_examples=60)
@given(a=sums, b=sums, c=sums)
def test_sums_form_a_commutative_monoid(a, b, c):
    assert add(a, b) == add(b, a)
    assert add(add(a, b), c) == add(a, add(b, c))
    assert add(a, {}) == a == add({}, a)


@settings(deadline=None, max_examples=60)
@given(a=counts, b=counts)
def test_sums_of_parts_are_sums_of_the_whole(a, b):
    whole = np.array(a + b)
    assert add({"ber": count_sums(np.array(a), 50)}, {"ber": count_sums(np.array(b), 50)}) == {
        "ber": count_sums(whole, 50)
    }
    assert add({"psnr": mean_sums(np.array(a))}, {"psnr": mean_sums(np.array(b))}) == {
        "psnr": mean_sums(whole)
    }


def test_counts_are_exact_beyond_32_bits():
    found = count_sums(np.full(4, 2**30, np.int32), 2**33)
    assert found == {"errors": 2**32, "errors_sq": 2**62, "trials": 2**35, "blocks": 4}


def lines(order):
    made = [
        {
            "point": {"snr": snr, "channel": "awgn"},
            "batch": batch,
            "sums": {"ber": count_sums(np.array([snr, batch]), 9)},
        }
        for snr in (1, 2)
        for batch in range(3)
    ]
    return [made[i] for i in order]


@given(order=st.permutations(range(6)))
def test_totals_do_not_depend_on_the_order_of_lines(order):
    found = {point["snr"]: part for point, part in Totals(lines(order)).points()}
    assert found == {point["snr"]: part for point, part in Totals(lines(range(6))).points()}
    assert found[2]["ber"]["errors"] == 9


def test_a_batch_simulated_twice_counts_once():
    assert Totals(lines([0, 1, 1, 0, 2])).points() == Totals(lines([0, 1, 2])).points()


CODED, WORDS, BITS = {"channel": "awgn", "code": "ldpc"}, 40, 512


def coded_line(point, bits, words, psnr=20.0, trials=WORDS):
    block = {"errors_sq": 0, "trials": trials, "blocks": 4}
    sums = {
        "ber": {**block, "errors": bits, "trials": BITS * trials}, "bler": {**block, "errors": words},
        "psnr": mean_sums(np.full(100, psnr)),
    }  # fmt: skip
    return {"point": point, "batch": 0, "sums": sums}


def test_a_word_that_another_device_decides_differently_is_no_contradiction():
    """It takes half of its bits and some of the quality along; without a code two decisions are two bits."""
    Totals([coded_line(CODED, 300, 10), coded_line(CODED, 500, 11, 20.1)])
    Totals([coded_line(AWGN, 300, 10), coded_line(AWGN, 302, 11, 20.001)])
    for other in (
        coded_line(AWGN, 500, 11), coded_line(AWGN, 300, 10, 20.1), coded_line(CODED, 300, 13),
        coded_line(CODED, 3000, 10), coded_line(CODED, 300, 10, trials=WORDS + 1), coded_line(CODED, 300, 10, 30.0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="different results"):
            Totals([coded_line(other["point"], 300, 10), other])


def test_rows_name_what_they_count():
    parts = {"ber": count_sums(np.array([3, 0, 5]), 40), "psnr": mean_sums(np.array([20.0, 22.0]))}
    ber, psnr = result_rows({"channel": "awgn"}, parts, {"ber": 4})
    assert (ber["errors"], ber["trials"], ber["n"], ber["value"]) == (8, 120, 3, 8 / 120)
    assert ber["low"] < ber["value"] < ber["high"]
    assert (psnr["metric"], psnr["n"], psnr["value"]) == ("psnr", 2, 21.0)
    assert "errors" not in psnr and psnr["low"] < 21 < psnr["high"]


def test_a_point_keeps_its_fields():
    """`n`, bits sent of a word, was once overwritten by the number of blocks."""
    with pytest.raises(ValueError, match=r"fields \['n'\] are those of its results"):
        result_rows({"channel": "awgn", "n": 1024}, {"psnr": mean_sums(np.array([20.0, 22.0]))}, {})


def test_blocks_that_share_a_fade_have_a_wider_interval():
    half_lost = {"ser": count_sums(np.array([100, 0] * 20), 100)}
    (apart,), (together,) = result_rows(AWGN, half_lost, {"ser": 1}), result_rows(AWGN, half_lost, {})
    assert (together["high"] - together["low"]) / (apart["high"] - apart["low"]) > 8


@settings(deadline=None, max_examples=60)
@given(errors=st.integers(0, 1000))
def test_independent_trials_have_the_exact_interval(errors):
    found = clustered_interval(errors, errors**2, 1000, 10, 1)
    np.testing.assert_allclose(found, proportion_interval(errors, 1000), rtol=1e-12)


def test_no_error_counts_symbols_and_not_their_bits():
    """Bits of one symbol err together: 10^6 error-free bits of 16-QAM are 250,000 witnesses."""
    np.testing.assert_allclose(
        clustered_interval(0, 0, 10**6, 100, 4), proportion_interval(0, 250_000), rtol=1e-12
    )


@pytest.mark.parametrize("shared", [1, 4, 10])
def test_intervals_of_clustered_errors_cover_the_truth_as_often_as_they_say(shared):
    """Groups of `shared` trials err all or none, the worst case; 2,000 experiments of 95 % intervals, 4 sigma."""
    draws = np.random.default_rng(shared)
    groups = draws.binomial(50, 0.03, size=(2000, 40)) * shared  # errors of each of 40 blocks of 50 groups
    hits = 0
    for blocks in groups:
        found = clustered_interval(int(blocks.sum()), float((blocks**2).sum()), 2000 * shared, 40, shared)
        hits += found.low <= 0.03 <= found.high
    coverage = proportion_interval(hits, 2000, FOUR_SIGMA)
    assert coverage.high > 0.95
    if shared > 1:  # and the plain binomial one would not
        plain = [proportion_interval(int(b.sum()), 2000 * shared) for b in groups[:300]]
        assert np.mean([one.low <= 0.03 <= one.high for one in plain]) < 0.8
