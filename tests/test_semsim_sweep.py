"""Keys belong to points, sums merge like sets, and intervals know what errs together."""

import json
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semsim.stats import FADE, INDEPENDENT, Sharing
from semsim.sweep import (
    Totals,
    add,
    batch_key,
    check_seed,
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
    ber, psnr = result_rows({"channel": "awgn"}, parts, lambda _: Sharing(4, 4))
    assert (ber["errors"], ber["trials"], ber["n"], ber["value"]) == (8, 120, 3, 8 / 120)
    assert ber["low"] < ber["value"] < ber["high"]
    assert (psnr["metric"], psnr["n"], psnr["value"]) == ("psnr", 2, 21.0)
    assert "errors" not in psnr and psnr["low"] < 21 < psnr["high"]


def test_a_point_keeps_its_fields():
    """`n`, bits sent of a word, was once overwritten by the number of blocks."""
    with pytest.raises(ValueError, match=r"fields \['n'\] are those of its results"):
        result_rows(
            {"channel": "awgn", "n": 1024}, {"psnr": mean_sums(np.array([20.0, 22.0]))}, lambda _: FADE
        )


def test_blocks_that_share_a_fade_have_a_wider_interval():
    half_lost = {"ser": count_sums(np.array([100, 0] * 20), 100)}
    (apart,), (together,) = (
        result_rows(AWGN, half_lost, lambda _: INDEPENDENT),
        result_rows(AWGN, half_lost, lambda _: FADE),
    )
    assert (together["high"] - together["low"]) / (apart["high"] - apart["low"]) > 8


GROUPED = np.array([3, 3, 5, 3])


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_sums_of_photographs_merge(cut):
    values = np.array([20.0, 22.0, 30.0, 24.0])
    whole = {"psnr": mean_sums(values, GROUPED), "ser": count_sums(np.array([1, 0, 2, 4]), 8, GROUPED)}
    assert whole["psnr"]["clusters"] == {"3": [3, 66.0], "5": [1, 30.0]}
    assert whole["ser"]["clusters"] == {"3": [3, 5], "5": [1, 2]}
    parts = [
        {
            "psnr": mean_sums(values[part], GROUPED[part]),
            "ser": count_sums(np.array([1, 0, 2, 4])[part], 8, GROUPED[part]),
        }
        for part in (slice(cut), slice(cut, None))
    ]
    assert add(*parts) == add(*parts[::-1]) == whole == json.loads(json.dumps(whole))


def test_rows_of_tiles_are_over_their_photographs():
    """Four tiles of two photographs: t with one degree of freedom over means of 22 and 30, weighted 3 to 1."""
    psnr, ser = result_rows(
        AWGN,
        {
            "psnr": mean_sums(np.array([20.0, 22.0, 30.0, 24.0]), GROUPED),
            "ser": count_sums(np.array([1, 0, 8, 4]), 8, GROUPED),
        },
        lambda _: Sharing(1, math.inf),
    )
    assert (psnr["n"], psnr["photographs"], psnr["value"]) == (4, 2, 24.0)
    error = math.sqrt(2 * ((66 - 3 * 24) ** 2 + (30 - 24) ** 2)) / 4
    assert psnr["high"] - 24 == pytest.approx(12.7062 * error, rel=1e-5)
    assert (ser["n"], ser["photographs"], ser["value"]) == (4, 2, 13 / 32)
    assert ser["low"] < 0.05 and ser["high"] > 0.9


def test_tiles_of_one_photograph_tell_nothing_of_others():
    one = np.zeros(3, int)
    psnr, ser = result_rows(
        AWGN,
        {
            "psnr": mean_sums(np.array([20.0, 22.0, 30.0]), one),
            "ser": count_sums(np.array([1, 0, 8]), 8, one),
        },
        lambda _: FADE,
    )
    assert (psnr["low"], psnr["high"]) == (-math.inf, math.inf)
    assert (ser["low"], ser["high"]) == (0.0, 1.0)


def test_lines_with_and_without_photographs_do_not_mix():
    mixed = add({"psnr": mean_sums(np.array([20.0]))}, {"psnr": mean_sums(np.array([21.0]), np.array([0]))})
    with pytest.raises(
        ValueError, match="2 images, but 1 of known photographs: some lines are of another version"
    ):
        result_rows(AWGN, mixed, lambda _: FADE)


@pytest.mark.parametrize(
    ("metric", "values", "low", "high"),
    [("ssim", [0.99, 0.6, 0.95], 0.32, 1.0), ("ssim", [0.1, 0.9], 0.0, 1.0), ("psnr", [3.0, 9.0], 0.0, 44.12),
     ("ssim", [-0.1, -0.1], -0.1, -0.1)],
)  # fmt: skip
def test_intervals_of_bounded_metrics_stay_within_their_range(metric, values, low, high):
    (row,) = result_rows(AWGN, {metric: mean_sums(np.array(values))}, lambda _: FADE)
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.08)
    assert row["low"] >= min(0.0, *values)
