"""When a point ends: the looks, the rules, the budgets, and what looking costs the intervals in coverage."""

import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semsim.devices import Evaluator, Kernel, Work
from semsim.engine import Job, silent, simulate
from semsim.runs import RunWriter
from semsim.stats import Interval
from semsim.stopping import FEWEST_ERRORS, Stop, half_width, next_look, trials
from semsim.sweep import DEFAULT_GENERATOR, count_sums, draw_words, mean_sums

ENDLESS = 10**9


@dataclass(frozen=True)
class Errors(Kernel):
    """Error counts of transmissions of `trials` symbols; `fading`: each has an exponential gain, which `value` scales."""

    realizations: int = 8
    trials: int = 64
    fading: bool = False

    def __call__(self, key, mapped, value):
        key_gain, key_errors = jax.random.split(key)
        if self.fading:
            gain = jax.random.exponential(key_gain, (self.realizations,)) * value
            value = jax.scipy.special.erfc(jnp.sqrt(gain)) / 2
        return jax.random.binomial(key_errors, self.trials, value, (self.realizations,)).astype(jnp.int32)


@dataclass(frozen=True)
class Scores(Kernel):
    """Values of mean 20 and standard deviation `value`, skewed to the right or normal."""

    realizations: int = 16
    trials: int = 1
    skewed: bool = True

    def __call__(self, key, mapped, value):
        if not self.skewed:
            return 20 + value * jax.random.normal(key, (self.realizations,))
        return 20 + value * (jax.random.exponential(key, (self.realizations,)) - 1)


def job(number, value, kernel=Errors(), budget=ENDLESS, most=ENDLESS, blocks=4, channel="awgn"):  # noqa: B008
    point = {"modulation": "bpsk", "channel": channel, "esno_db": float(number)}

    def sums(batch, found):
        if isinstance(kernel, Scores):
            return {"psnr": mean_sums(found.reshape(-1))}, {}
        return {"ber": count_sums(found, kernel.trials)}, {}

    work = Work(kernel, blocks, draw_words(7, number), DEFAULT_GENERATOR, np.float32(value), lambda batch: ())
    return Job(point, f"{number} dB", channel, work, budget, most, sums)


def run_of(jobs, stop, known=()):
    with RunWriter(None, {"stop": stop.as_dict()}) as writer:
        for point, number, sums in known:
            writer.append(point, number, sums)
        return simulate(jobs, stop, writer, Evaluator(), silent)


def sizes(found):
    """Batches of each point, by SNR."""
    return {point["esno_db"]: len(found.batches(point)) for point, _ in found.points}


BATCH = 4 * 8 * 64  # trials of a batch of the small kernel


def test_looks_grow_by_a_quarter_at_most_and_end_at_the_limit():
    looks = [0]
    while looks[-1] < 1_000_000:
        looks.append(next_look(looks[-1], 1_000_000))
    assert looks[1:14] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22]
    assert looks[-1] == 1_000_000 and len(looks) < 80
    for before, after in itertools.pairwise(looks):
        assert before < after and after - before <= max(1, before / 4)
    assert next_look(100, 110) == 110 and next_look(110, 110) == 110


@pytest.mark.parametrize("name", ["rel_width", "abs_width", "target", "total"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_numbers_that_make_no_rule_are_refused(name, value):
    wanted = r"an error rate, in \(0, 1\)" if name == "target" else "a positive number"
    with pytest.raises(ValueError, match=f"^{name} must be {wanted}; got {value:g}$"):
        Stop("ber", 1e6, **{name: value})
    with pytest.raises(ValueError, match="min_errors must be at least 1; got 0"):
        Stop("ber", 1e6, min_errors=0)


def test_the_rules_in_force_are_what_a_run_keeps():
    assert Stop("ber", 1e6, rel_width=0.1).as_dict() == {
        "metric": "ber",
        "max_trials": 1e6,
        "rel_width": 0.1,
    }


def counts(errors, tried=10_000, each=1):
    """Sums of `errors` that come `each` at a time."""
    return {"errors": errors, "errors_sq": errors * each, "trials": tried, "blocks": tried // 10}


NARROW, WIDE = Interval(1.0, 0.95, 1.05), Interval(1.0, 0.95, 1.5)


@pytest.mark.parametrize(
    ("rules", "part", "interval", "reason"),
    [
        ({"min_errors": 100}, counts(99), NARROW, None),
        ({"min_errors": 100}, counts(100), WIDE, "errors"),
        ({"min_errors": 100}, counts(99, 1_000_000), NARROW, "trials"),
        ({"min_errors": 100}, counts(100, 1_000_000), NARROW, "errors"),
        ({"min_errors": 3}, counts(3, each=3), WIDE, "errors"),  # so few are the user's own risk
        ({"min_errors": 100}, counts(9900, each=100), WIDE, None),
        ({"min_errors": 100}, counts(10_000, each=100), WIDE, "errors"),
        ({"rel_width": 0.1}, counts(FEWEST_ERRORS), NARROW, "width"),
        ({"rel_width": 0.1}, counts(FEWEST_ERRORS - 1), NARROW, None),
        ({"rel_width": 0.1}, counts(1000), WIDE, None),
        ({"rel_width": 0.5}, counts(1000), WIDE, "width"),
        ({"rel_width": 0.1}, counts(0), Interval(0.0, 0.0, 0.0), None),
        ({"rel_width": 0.1, "min_errors": 1000}, counts(999), NARROW, None),
        ({"rel_width": 0.1, "min_errors": 1000}, counts(1000), WIDE, None),
        ({"rel_width": 0.1, "min_errors": 1000}, counts(1000), NARROW, "width"),
        ({"abs_width": 0.1}, {"n": 10}, NARROW, "width"),
        ({"abs_width": 0.1}, {"n": 9}, NARROW, None),
        ({"abs_width": 0.1}, {"n": 90, "clusters": {str(i): [10, 1.0] for i in range(9)}}, NARROW, None),
        ({"abs_width": 0.1}, {"n": 90, "clusters": {str(i): [9, 1.0] for i in range(10)}}, NARROW, "width"),
        ({"abs_width": 0.1}, {"n": 10}, WIDE, None),
        ({"abs_width": 0.1}, {"n": 1_000_000}, WIDE, "trials"),
        ({"abs_width": 0.1, "rel_width": 0.6}, {"n": 10}, WIDE, None),
        ({"abs_width": 0.6, "rel_width": 0.1}, {"n": 10}, WIDE, None),
        ({"rel_width": 0.1}, {"n": 10}, Interval(-1.0, -1.05, -0.95), "width"),
        ({}, counts(5000), NARROW, None),
        ({}, counts(5000, 1_000_000), NARROW, "trials"),
        ({"abs_width": 0.1}, {"n": 1}, Interval(1.0, -math.inf, math.inf), None),
    ],
)
def test_a_point_ends_when_every_rule_is_satisfied_or_the_budget_is_used(rules, part, interval, reason):
    assert Stop("ber", 1_000_000, **rules).reached(part, interval) == reason


def test_small_pieces():
    assert half_width(Interval(1.0, 0.5, 1.2)) == 0.5
    assert trials({"trials": 7, "n": 3}) == 7 and trials({"n": 3}) == 3
    target = Stop("ber", 1e6, target=0.105)
    assert target.below_target(Interval(0.1, 0.09, 0.104)) and not target.below_target(NARROW)
    assert not Stop("ber", 1e6).below_target(Interval(0.0, 0.0, 0.0))


def test_points_end_at_looks_and_only_there():
    """The same as looking by hand at the batches of a run without a rule."""
    whole = run_of([job(i, 0.01 / 2**i, budget=60) for i in range(5)], Stop("ber", 60 * BATCH))
    ended = run_of([job(i, 0.01 / 2**i) for i in range(5)], Stop("ber", ENDLESS, min_errors=40))
    for point, _ in whole.points:
        errors = np.cumsum([batch.sums["ber"]["errors"] for _, batch in sorted(whole.batches(point).items())])
        look = 1
        while errors[look - 1] < 40:
            look = next_look(look, ENDLESS)
        assert sorted(ended.batches(point)) == list(range(look))
        assert {n: whole.batches(point)[n].sums for n in range(look)} == {
            n: batch.sums for n, batch in ended.batches(point).items()
        }
    assert {row["stopped"] for row in ended.rows()} == {"errors"}


def test_a_budget_caps_a_point_to_the_batch():
    found = run_of([job(0, 1e-5, budget=13)], Stop("ber", 13 * BATCH, min_errors=1000))
    assert sizes(found) == {0.0: 13} and found.rows()[0]["stopped"] == "trials"
    assert found.rows()[0]["trials"] == 13 * BATCH


def test_a_curve_ends_below_the_target_whatever_the_order_of_its_points():
    rates = {0: 0.1, 2: 0.03, 4: 0.01, 6: 0.003, 8: 0.001}
    jobs = [job(snr, rates[snr]) for snr in (8, 0, 6, 2, 4)]
    other = [job(snr, rates[snr] / 100, budget=8, channel="rayleigh") for snr in (2, 0)]
    found = run_of(jobs + other, Stop("ber", ENDLESS, min_errors=200, target=0.005))
    assert sorted(p["esno_db"] for p, _ in found.points if p["channel"] == "awgn") == [0.0, 2.0, 4.0, 6.0]
    highs = {row["esno_db"]: row["high"] for row in found.rows() if row["channel"] == "awgn"}
    assert highs[6.0] < 0.005 < highs[4.0]
    # A curve of its own: below the target from the start, so its first point is its last.
    assert [p["esno_db"] for p, _ in found.points if p["channel"] == "rayleigh"] == [0.0]


@pytest.mark.parametrize("total", [1, 3, 7, 11.9, 12])
def test_a_total_that_the_points_use_up_leaves_nothing_to_spend(total):
    found = run_of(
        [job(i, 0.1, budget=4) for i in range(3)],
        Stop("ber", 4 * BATCH, min_errors=ENDLESS, total=total * BATCH),
    )
    assert sizes(found) == {0.0: 4, 1.0: 4, 2.0: 4}


@pytest.mark.parametrize("total", [12.5, 13, 17, 40, 100.9])
def test_a_total_is_spent_to_the_last_batch_and_never_exceeded(total):
    jobs = [job(i, 0.1, budget=4) for i in range(3)]
    found = run_of(jobs, Stop("ber", 4 * BATCH, min_errors=ENDLESS, total=total * BATCH))
    assert sum(sizes(found).values()) == int(total)


def test_the_rest_goes_to_the_widest_interval_until_all_are_alike():
    jobs = [job(i, rate, budget=2) for i, rate in enumerate((0.2, 0.02, 0.005))]
    few, many = (run_of(jobs, Stop("ber", 2 * BATCH, min_errors=ENDLESS, total=n * BATCH)) for n in (8, 400))
    assert sizes(few) == {0.0: 2, 1.0: 2, 2.0: 4}
    reach = [half_width(Interval(*(row[x] for x in ("value", "low", "high")))) for row in many.rows()]
    relative = [width / row["value"] for width, row in zip(reach, many.rows(), strict=True)]
    assert max(relative) < 1.4 * min(relative)
    assert sum(sizes(many).values()) == 400


def test_a_total_stops_at_the_draws_there_are():
    jobs = [job(i, 1.0 + i, Scores(), budget=3, most=5) for i in range(2)]
    found = run_of(jobs, Stop("psnr", 1000, abs_width=9.0, total=1e6))
    assert sizes(found) == {0.0: 5, 1.0: 5}


def test_a_total_leaves_out_points_that_a_target_left_out():
    jobs = [job(i, rate) for i, rate in enumerate((0.1, 0.001, 0.0001))]
    stop = Stop("ber", ENDLESS, min_errors=30, target=0.01, total=60 * BATCH)
    found = run_of(jobs, stop)
    assert set(sizes(found)) == {0.0, 1.0} and sum(sizes(found).values()) == 60


def test_what_is_known_does_not_change_what_is_done():
    """However many batches a former job left, and of whichever points: the same run."""
    jobs = [job(i, 0.03 / 3**i) for i in range(3)]
    stop = Stop("ber", ENDLESS, min_errors=30, target=1e-4, total=120 * BATCH)
    whole = run_of(jobs, stop)
    lines = [(p, n, batch.sums) for p, _ in whole.points for n, batch in whole.batches(p).items()]
    rng = np.random.default_rng(3)
    for share in (0.0, 0.2, 0.5, 0.9, 1.0):
        kept = [line for line in lines if rng.random() < share]
        again = run_of(jobs, stop, [kept[i] for i in rng.permutation(len(kept))])
        assert sorted(map(str, again.points)) == sorted(map(str, whole.points))
        assert sizes(again) == sizes(whole)


def rayleigh(snr):
    """Mean of erfc(sqrt(g)) / 2 over an exponential gain g of mean snr (Proakis, Digital Communications, 14.3)."""
    return (1 - math.sqrt(snr / (1 + snr))) / 2


COVERAGE = {
    "errors, independent": (Errors(), 0.0025, 0.0025, Stop("ber", 1e15, min_errors=50), "awgn", 4),
    "errors, fading": (Errors(512, 256, True), 300, rayleigh(300), Stop("ber", 1e15, min_errors=200),
                       "rayleigh-block", 4),
    "relative width, fading": (Errors(256, 256, True), 30, rayleigh(30), Stop("ber", 1e15, rel_width=0.15),
                               "rayleigh-block", 4),
    "relative width, few errors": (Errors(), 0.0025, 0.0025, Stop("ber", 1e15, rel_width=0.3), "awgn", 4),
    "width of a mean": (Scores(), 4.0, 20.0, Stop("psnr", 1e15, abs_width=0.3), "awgn", 8),
    "width of a mean, one photograph at a time": (Scores(1, skewed=False), 4.0, 20.0,
                                                  Stop("psnr", 1e15, abs_width=4.0), "awgn", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", COVERAGE)
def test_intervals_cover_the_truth_although_the_data_decide_when_to_stop(case, record_property):
    """1,000 simulated experiments each, every one a point of a sweep; 93 to 97 % of the 95 % intervals."""
    kernel, value, truth, stop, channel, blocks = COVERAGE[case]
    jobs = [job(number, value, kernel, channel=channel, blocks=blocks) for number in range(1000)]
    found = run_of(jobs, stop)
    rows = found.rows()
    taken = sizes(found).values()
    assert len(rows) == 1000 and not any(row["stopped"] == "trials" for row in rows)
    assert len(set(taken)) > 1  # the data did decide
    coverage = np.mean([row["low"] <= truth <= row["high"] for row in rows])
    record_property("coverage", float(coverage))
    print(
        f"{case}: coverage {coverage:.3f}, batches {min(taken)} .. {np.mean(list(taken)):.1f} .. {max(taken)}"
    )
    assert 0.93 <= coverage <= 0.97
