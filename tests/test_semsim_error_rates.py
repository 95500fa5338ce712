"""Error rates against theory; one compilation per plan; stop rules; what Ctrl-C leaves."""

import signal
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from channels import GENERATORS
from phy import ResourceGrid
from semsim import devices, error_counts, theory
from semsim.devices import Execution
from semsim.error_rates import ber
from semsim.runs import load_run
from semsim.scenario import Propagation
from semsim.stats import FOUR_SIGMA, proportion_interval

ORDERS = ("bpsk", "qpsk", "qam16", "qam64", "qam256")
MODULATIONS = (*ORDERS, "qam1024", "psk8")
SMALL_GRID = ResourceGrid(4, 16, 8, subcarrier_spacing=60e3, pilot_ofdm_symbol_indices=(0, 3))


@pytest.fixture
def small(monkeypatch):
    """Batches of a few symbols, for what does not depend on their number."""
    for name, value in {"FLAT_BLOCK": 4, "FLAT_SYMBOLS": 32, "GRID_BLOCK": 2, "BLOCKS": 1}.items():
        monkeypatch.setattr(error_counts, name, value)


@dataclass(frozen=True)
class NoLink(error_counts.ErrorCount):
    """Three bit errors and two symbol errors in every transmission, at no cost: for bookkeeping."""

    def __call__(self, key, mapped, shared):
        return error_counts.Errors(
            jnp.full(self.realizations, 3, jnp.int32), jnp.full(self.realizations, 2, jnp.int32)
        )


@pytest.fixture
def no_link(small, monkeypatch):
    monkeypatch.setattr(error_counts, "ErrorCount", NoLink)


@pytest.fixture
def traces(monkeypatch):
    """A list that grows with every tracing of the program."""
    seen, original = [], error_counts.random_labels

    def counted(*arguments):
        seen.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(error_counts, "random_labels", counted)
    devices.evaluate.clear_cache()
    return seen


@pytest.mark.parametrize(
    ("channel", "k_db"),
    [("awgn", None), ("rayleigh", None), ("rician", 0.0), ("rician", 5.0), ("rician", 10.0)],
)
def test_every_modulation_meets_theory(channel, k_db):
    """4 sigma, at points with at least 1,000 errors; fixed keys."""
    propagation = Propagation(k_db=k_db) if k_db is not None else None
    found = ber(
        MODULATIONS, channel, (1.0, 7.0), min_errors=1000, max_bits=2e6, propagation=propagation, seed=1
    ).rows(FOUR_SIGMA)
    enough = [row for row in found if row["errors"] >= 1000]
    assert len(enough) == len(found) == 28
    for row in enough:
        rate = {"ber": theory.ber, "ser": theory.ser}[row["metric"]]
        exact = float(rate(row["modulation"], row["esno_db"], channel, k_db))
        assert row["low"] < exact < row["high"], row


def test_block_fading_meets_theory_with_an_interval_over_blocks():
    """The mean over fades does not know their coherence; the interval must. Bits of a block share one gain."""
    row = ber("qam16", "rayleigh-block", [10.0], max_bits=4e6, min_errors=10**9, seed=2).rows(FOUR_SIGMA)[0]
    assert row["low"] < float(theory.ber("qam16", row["esno_db"], "rayleigh")) < row["high"]
    apart = proportion_interval(row["errors"], row["trials"], FOUR_SIGMA)
    assert row["high"] - row["low"] > 5 * (apart.high - apart.low)


def test_bits_of_one_faded_symbol_are_not_independent_witnesses():
    row = ber("qam1024", "rayleigh", [20.0], max_bits=2e6, min_errors=10**9).rows()[0]
    apart = proportion_interval(row["errors"], row["trials"])
    assert 1.2 < (row["high"] - row["low"]) / (apart.high - apart.low) < np.sqrt(10)


def test_a_sweep_compiles_once_per_plan(small, traces):
    """5 modulations x 3 channels x 16 SNRs: one program for symbols in a row, one for the grid."""
    found = ber(ORDERS, ("awgn", "rayleigh-block", "tdl-a"), range(16), max_bits=1, grid=SMALL_GRID)
    assert len(found.points) == 5 * 3 * 16
    assert len(traces) == 2
    ber(
        ORDERS,
        ("rician-block", "tdl-a"),
        [3.3],
        max_bits=1,
        grid=SMALL_GRID,
        seed=9,
        propagation=Propagation(speed=5.0),
    )
    assert len(traces) == 2
    ber(ORDERS, ("rayleigh", "rician"), [3.3], max_bits=1)  # a gain per symbol is another plan
    assert len(traces) == 3


@pytest.mark.parametrize("demap", ["nearest", "app"])
def test_the_bank_equals_separate_kernels(small, traces, demap):
    orders = ("bpsk", "qam16", "qam256") if demap == "nearest" else ("qpsk", "qam16")
    together = ber(orders, "awgn", (0.0, 8.0), max_bits=1, demap=demap).points
    apart = [
        point for name in orders for point in ber(name, "awgn", (0.0, 8.0), max_bits=1, demap=demap).points
    ]
    assert together == apart
    assert len(traces) == len(orders)  # the widest one alone is the bank


def test_a_point_without_errors_has_an_upper_bound(small):
    row = ber("qam16", "awgn", [40.0], max_bits=1).rows()[0]
    assert (row["errors"], row["trials"], row["low"]) == (0, 512, 0.0)
    assert row["high"] == pytest.approx(1 - 0.025 ** (1 / 128))  # 128 symbols, whose bits err together


def test_a_point_ignores_the_sweep_around_it(small):
    def rows(*arguments):
        return {tuple(row.items()) for row in ber(*arguments, max_bits=500, grid=SMALL_GRID).rows()}

    alone = rows("qpsk", "tdl-c", [4.0])
    assert len(alone) == 2
    assert alone <= rows(("qam256", "qpsk"), ("tdl-a", "awgn", "tdl-c", "tdl-e"), (9.0, 4.0, 1.0))


def test_repeated_names_and_values_are_one_point(no_link):
    assert len(ber(["qpsk", "qpsk"], ["awgn", "awgn"], [1, 1.0, 1], max_bits=1).rows()) == 2


def test_estimation_costs_errors_on_the_very_same_draws(monkeypatch):
    monkeypatch.setattr(error_counts, "BLOCKS", 4)
    perfect, ls = (
        ber("qam16", "tdl-a", (5.0, 15.0), csi=csi, max_bits=2e5, min_errors=10**9).rows()
        for csi in ("perfect", "ls")
    )
    for known, estimated in zip(perfect, ls, strict=True):
        assert known["trials"] == estimated["trials"] and known["esno_db"] == estimated["esno_db"]
        assert 1.2 < estimated["errors"] / known["errors"] < 2.5  # Sionna's rates: 1.4 to 1.7 in bit errors


def test_snr_is_charged_for_pilots_and_prefix_on_the_grid_only(no_link):
    flat, grid = ber("qam16", ("awgn", "tdl-a"), [10.0], max_bits=1).points
    assert flat[0]["esno_db"] == pytest.approx(10 + 10 * np.log10(4), abs=1e-6)
    assert grid[0]["esno_db"] == pytest.approx(
        flat[0]["esno_db"] - 10 * np.log10(14 / 12 * 78 / 72), abs=1e-6
    )


def test_a_point_stops_at_errors_or_bits_whichever_is_first(no_link):
    by_errors = ber("qpsk", "awgn", [0.0], min_errors=13).rows()[0]
    assert (by_errors["stopped"], by_errors["errors"], by_errors["trials"]) == ("errors", 24, 512)
    by_bits = ber("qpsk", "awgn", [0.0], max_bits=1000).rows()[0]
    assert (by_bits["stopped"], by_bits["errors"], by_bits["trials"]) == ("trials", 48, 1024)


@pytest.mark.parametrize("folder", [None, "run"])
def test_ctrl_c_between_points_keeps_the_finished_ones(no_link, tmp_path, folder):
    def progress(text, done, total):
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / folder if folder else None
    found = ber("qpsk", "awgn", (0.0, 1.0, 2.0), max_bits=1, out=out, progress=progress)
    assert found.interrupted
    assert [row["ebno_db"] for row in found.rows()] == [0.0, 0.0, 1.0, 1.0]
    if out:
        assert load_run(out).points == found.points


def test_ctrl_c_inside_a_point_finishes_its_batch_and_keeps_it(no_link, monkeypatch, tmp_path):
    """Ctrl-C comes while the third batch is counted: that one is still stored."""
    original, calls = error_counts.count_sums, []

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == 5:  # two sums a batch
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(error_counts, "count_sums", counted)
    found = ber("qpsk", "awgn", [0.0], out=tmp_path)
    assert found.interrupted
    assert found.rows() == load_run(tmp_path).rows()
    assert (found.rows()[0]["trials"], found.rows()[0]["stopped"]) == (3 * 4 * 32 * 2, "interrupted")


def test_progress_and_config(no_link, tmp_path):
    seen = []
    ber("qpsk", "awgn", (0.0, 1.0), max_bits=1, out=tmp_path, progress=lambda *line: seen.append(line))
    assert seen == [("qpsk awgn 0 dB", 0, 2), ("qpsk awgn 1 dB", 1, 2), ("", 2, 2)]
    config = load_run(tmp_path).config
    assert config["grid"]["fft_size"] == 72 and config["propagation"]["speed"] == 3.0 and config["seed"] == 0


GOOD = {"modulation": ["qam16"], "channel": ["awgn"], "ebno_db": [0.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modulation": ["qam61"]}, "unknown modulation 'qam61'; did you mean qam1?.*Choices: bpsk, qpsk"),
        ({"channel": "tdl-f"}, "unknown channel 'tdl-f'; did you mean tdl-.*Choices: awgn"),
        ({"modulation": []}, "at least one modulation and one channel"),
        ({"channel": []}, "at least one modulation and one channel"),
        ({"ebno_db": []}, "ebno_db is empty"),
        ({"ebno_db": None}, "ebno_db takes numbers or start:stop:step; got None"),
        ({"modulation": None}, "modulations and channels are names, .*; got None"),
        (
            {"coding": "ldpc"},
            "coding must be of type Coding, such as Coding.'ldpc', k=512, n=1024.; got 'ldpc'",
        ),
        ({"antennas": 2}, "antennas must be of type Antennas, .* got 2"),
        ({"grid": "wide"}, "grid must be of type ResourceGrid, .* got 'wide'"),
        (
            {"propagation": {"speed": 30.0}, "raw": True},
            "propagation must be of type Propagation, .* got a dict",
        ),
        ({"execution": 2, "raw": True}, "execution must be of type Execution, .* got 2"),
        ({"seed": 1.5}, "seed must be in .0, 2.32. and whole; got 1.5"),
        ({"ebno_db": [np.nan]}, r"ebno_db must be in \[-300, 300\] dB; got nan"),
        ({"min_errors": 0}, "min_errors must be at least 1"),
        ({"max_bits": np.inf}, "max_bits must be in"),
        ({"total_bits": 0.5}, "total_bits must be in"),
        ({"rel_width": -0.1}, "rel_width must be a positive number; got -0.1"),
        ({"abs_width": 0.0}, "abs_width must be a positive number; got 0"),
        ({"importance": True, "rel_width": 0.0}, "rel_width must be a positive number; got 0"),
        ({"target": 0.0}, "target must be an error rate, in \\(0, 1\\); got 0"),
        ({"generator": "rand"}, "unknown generator 'rand'.*Choices: threefry2x32"),
        ({"execution": {"devices": 0}}, "devices must be at least 1; got 0"),
        ({"execution": {"devices": 999}}, "devices must be at most .*; got 999"),
        ({"execution": {"batch": 0}}, "batch must be auto or at least 1 realisation"),
        ({"importance": True, "min_errors": 9}, "importance sampling stops at rel_width, not at min_errors"),
        ({"importance": True, "channel": "tdl-a"}, "unknown channel of importance sampling 'tdl-a'"),
        ({"importance": True, "ebno_db": [50.0]}, "out of reach of single precision: lower the SNR"),
        ({"csi": "ls"}, "csi ls needs pilots, which only the channels on a grid have; got awgn"),
        ({"csi": "genie"}, "unknown csi .genie."),
        ({"demap": "soft"}, "demap must be nearest or app; got 'soft'"),
        ({"seed": -1}, "seed must be in"),
        (
            {"channel": ["tdl-a"], "propagation": {"delay_spread": 1e-6}},
            "longer than the cyclic prefix.*shorten the delay",
        ),
        (
            {"propagation": {"delay_spread": -1e-9}},
            "delay_spread must be in seconds, >= 0 and at most 0.001; got -1e-09",
        ),
        ({"propagation": {"delay_spread": 100.0}}, "at most 0.001; got 100: did you mean 100e-9 .ns.?"),
        (
            {"propagation": {"carrier_frequency": 0.0}},
            "carrier_frequency must be in Hz, from 1e.06 .* got 0$",
        ),
        ({"propagation": {"carrier_frequency": 3.5}}, "in Hz, .*; got 3.5: did you mean 3.5e9 .GHz..$"),
        ({"propagation": {"carrier_frequency": 3500}}, "in Hz, .*; got 3500: did you mean 3500e6 .MHz..$"),
        ({"propagation": {"carrier_frequency": -3.5e9}}, "in Hz, .*; got -3.5e.09$"),
        ({"propagation": {"carrier_frequency": np.inf}}, "in Hz, .*; got inf$"),
        ({"propagation": {"speed": np.nan}}, "speed must be in m/s, >= 0 and at most 20000 .* got nan"),
        ({"propagation": {"speed": 1e5}}, "speed must be in m/s, .* got 100000"),
        ({"propagation": {"speed": -1.0}}, "speed must be in m/s, .* got -1"),
        (
            {"channel": ["tdl-c"], "propagation": {"speed": 2000.0}},
            "tdl-c at 2000 m/s and 3.5 GHz turns .* % of the power into interference between subcarriers 30 kHz apart",
        ),
        ({"propagation": {"k_db": np.inf}}, "k_db must be a finite number of dB; got inf"),
    ],
)
def test_mistakes_are_said_before_anything_is_compiled_or_written(change, message, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "evaluate", None)
    with pytest.raises(ValueError, match=message):
        change = dict(change)
        raw = change.pop("raw", False)
        if "propagation" in change and not raw:
            change = {**change, "propagation": Propagation(**change["propagation"])}
        if "execution" in change and not raw:
            change = {"execution": Execution(**change["execution"])}
        ber(**{**GOOD, **change, "out": tmp_path / "run"})
    assert list(tmp_path.iterdir()) == []


def test_one_snr_is_a_range_of_one_and_a_folder_may_be_text(no_link, tmp_path):
    one = ber("qpsk", "awgn", 3, max_bits=1, out=str(tmp_path / "run"))
    assert one.folder == tmp_path / "run" and [row["ebno_db"] for row in one.rows()] == [3.0, 3.0]
    for same in (3.0, "3", np.float32(3), np.array(3.0), [3], (3.0,)):
        assert ber("qpsk", "awgn", same, max_bits=1).rows() == one.rows()
    assert [row["ebno_db"] for row in ber("qpsk", "awgn", "0:2:1", max_bits=1).rows()[::2]] == [0, 1, 2]


def test_an_snr_is_never_minus_zero(no_link):
    """Eb/N0 of -3.0103 dB is Es/N0 of 0 dB at QPSK, and rounds to it from below."""
    for row in ber("qpsk", "awgn", -3.0103001, max_bits=1).rows():
        assert row["esno_db"] == 0 and np.copysign(1, row["esno_db"]) == 1


def test_importance_sampling_is_marked_and_meets_theory_where_plain_sampling_sees_nothing(tmp_path):
    """16-QAM at a BER near 1e-9: half a million symbols would show no error."""
    found = ber("qam16", ("awgn", "rayleigh-block"), [17.0], importance=True, out=tmp_path, seed=4)
    rows = {(row["channel"], row["metric"]): row for row in found.rows(FOUR_SIGMA)}
    assert len(rows) == 6
    for (channel, metric), row in rows.items():
        assert row["estimator"] == "importance" and row["stopped"] == "width"
        if metric != "bler":
            rate = {"ber": theory.ber, "ser": theory.ser}[metric]
            exact = float(rate("qam16", row["esno_db"], channel.removesuffix("-block")))
            assert row["low"] < exact < row["high"] and row["high"] < 1.2 * row["low"]
    assert rows["awgn", "ber"]["value"] < 1e-10
    assert load_run(tmp_path).rows() == found.rows()


@pytest.mark.parametrize("generator", GENERATORS)
def test_every_generator_meets_theory(generator):
    found = ber("qam16", "rayleigh", (8.0,), min_errors=10**9, max_bits=4e6, generator=generator, seed=3)
    for row in found.rows(FOUR_SIGMA):
        rate = {"ber": theory.ber, "ser": theory.ser}[row["metric"]]
        assert row["low"] < float(rate("qam16", row["esno_db"], "rayleigh")) < row["high"]
    assert found.config["draws"]["generator"] == generator


def test_a_point_ends_at_an_absolute_width(small):
    row = ber("qpsk", "awgn", [0.0], abs_width=0.01).rows()[0]
    wider = ber("qpsk", "awgn", [0.0], abs_width=0.02).rows()[0]
    assert row["stopped"] == wider["stopped"] == "width" and wider["trials"] < row["trials"]
    assert max(row["high"] - row["value"], row["value"] - row["low"]) <= 0.01
