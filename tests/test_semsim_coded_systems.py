"""VQ indices as bits: every combination arrives, codes work as they do alone, draws are those of indices as points."""

import itertools
from dataclasses import replace
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import phy
from models import UJSCCConfig
from phy import ResourceGrid
from semsim import coding, devices, error_rates, image_runs
from semsim.coding import Coding, Decoding
from semsim.comparison import compare
from semsim.data import from_array
from semsim.link import Link, fade, split_keys
from semsim.runs import load_run, sharing_of
from semsim.scenario import Propagation, grid_fading
from semsim.simulation import reconstruct, run
from semsim.stats import FOUR_SIGMA, INDEPENDENT, proportion_interval
from semsim.systems import SYSTEMS, Point, per_order, ujscc
from semsim.systems.index_coding import IndexCoding, bit_confusion, index_plan, send_as_bits

KEY = jax.random.key(9)
CODEC = ujscc.build(UJSCCConfig(image_size=16, width=8, encoder_blocks=1, decoder_blocks=1))
GRID = ResourceGrid(6, 16, 8, subcarrier_spacing=60e3, pilot_ofdm_symbol_indices=(1, 4))
PIXELS = np.random.default_rng(0).integers(0, 256, (400, 16, 16, 3), np.uint8)
IMAGES = from_array(PIXELS[:20])
ARGUMENTS = {"codec": CODEC, "grid": GRID}
HALF = IndexCoding("labelled", "ldpc", "1/2")
BITS_ONLY = IndexCoding("labelled")
CHANNELS = ("awgn", "tdl-a")
TWICE = {"coding": HALF, "realizations": 2}

CODED = [
    (name, order, Fraction(phy.num_bits(order), phy.num_bits(name)))
    for name, order in itertools.product(phy.MODULATIONS, ujscc.ORDERS)
    if phy.num_bits(order) < phy.num_bits(name)
]
QUICK = [("qpsk", "bpsk"), ("psk8", "qpsk"), ("qam64", "qam16"), ("qam256", "qam64"), ("qam1024", "qam256")]
UNCODED = [(order, order, Fraction(1)) for order in ujscc.ORDERS]


def marked(combination):
    slow = combination in CODED and combination[:2] not in QUICK
    return pytest.param(*combination, marks=pytest.mark.slow) if slow else combination


@pytest.mark.parametrize(("modulation", "order", "rate"), [marked(one) for one in (*CODED, *UNCODED)])
def test_indices_arrive_over_every_combination_at_equal_channel_use(modulation, order, rate):
    """Without noise: what the decoder gets is what the encoder made, on one symbol an index, whatever the labelling."""
    how = IndexCoding("labelled", "ldpc", str(rate)) if rate < 1 else BITS_ONLY
    plan = index_plan(ujscc.ORDERS, modulation, how)
    assert (plan.order, ujscc.ORDERS[plan.row]) == (order, order)
    size = 2 ** phy.num_bits(order)
    labels = jnp.asarray(phy.index_map.random(size, seed=1))
    indices = jax.random.randint(KEY, (3, 16), 0, size)
    gain = jnp.full((3, 16), 0.6 + 0.8j, jnp.complex64)  # it holds 16 symbols: another number would not fit

    # Compiled in a hurry: it runs once.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def send(indices):
        return send_as_bits(
            KEY, Link(), plan, indices, labels, jnp.full(size, 1 / size), gain, jnp.float32(1e-6)
        )

    arrived = send(indices)
    np.testing.assert_array_equal(arrived.indices, indices)
    assert arrived.wrong_words is None if rate == 1 else not np.any(arrived.wrong_words)


def test_the_combinations_are_those_with_whole_indices():
    assert len(CODED) == 17 and set(QUICK) <= {one[:2] for one in CODED}
    for modulation, order, rate in CODED:
        block = index_plan(ujscc.ORDERS, modulation, IndexCoding("labelled", "ldpc", str(rate))).block(256)
        assert block.num_bits == 256 * phy.num_bits(order) and block.crc_bits == 0
        assert block.n == 256 * phy.num_bits(modulation) and block.coderate == pytest.approx(float(rate))


@pytest.fixture(autouse=True, scope="module")
def twenty_images_a_batch():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_runs, "BLOCK", 5)
        patch.setattr(image_runs, "BLOCKS", 4)
        yield


@pytest.fixture(scope="module")
def coded_run(twenty_images_a_batch, tmp_path_factory):
    """Two modulations, two channels, three SNRs, two realisations, and how many programs were compiled for them."""
    folder, before = tmp_path_factory.mktemp("coded") / "run", devices.evaluate._cache_size()
    found = run(
        "ujscc", IMAGES, ("qpsk", "qam16"), CHANNELS, (-10.0, 12.0, 60.0), out=folder, **ARGUMENTS, **TWICE
    )
    return found, devices.evaluate._cache_size() - before


def test_each_modulation_compiles_once_whatever_channels_and_snrs(coded_run):
    found, compiled = coded_run
    assert compiled == 2 and len(found.points) == 2 * 2 * 3


def test_rows_say_what_was_measured(coded_run):
    found, _ = coded_run
    rows = [row for row in found.rows() if (row["modulation"], row["channel"]) == ("qam16", "awgn")]
    for row in rows:
        assert (row["order"], row["index_map"]) == ("qpsk", "labelled")
        assert (row["code"], row["coderate"]) == ("ldpc", "1/2")
        assert (row["demap"], row["decoder"], row["n"]) == ("app", "layered offset-min-sum int8 20", 20)
        assert row["cbr_payload"] == 64 / 768
    value = {(row["metric"], row["esno_db"]): row for row in rows}
    assert {metric for metric, _ in value} == {"psnr", "ssim", "ser", "bler"}
    assert (value["bler", 12.0]["trials"], value["ser", 12.0]["trials"]) == (20 * 2, 20 * 2 * 64)
    assert value["bler", -10.0]["value"] == 1.0 and 0.3 < value["ser", -10.0]["value"] < 0.8
    assert value["bler", 60.0]["value"] == value["ser", 60.0]["value"] == 0.0
    assert load_run(found.folder).rows() == found.rows()


def test_words_are_independent_and_indices_of_an_image_are_not(coded_run):
    found, _ = coded_run
    for point, sums in found.points:
        assert sharing_of(point, "bler") == sharing_of(point, "undetected") == INDEPENDENT
        if (point["modulation"], point["channel"], point["esno_db"]) == ("qam16", "awgn", 60.0):
            rows = {row["metric"]: row for row in found.rows() if all(row[k] == v for k, v in point.items())}
            assert rows["bler"]["high"] == pytest.approx(proportion_interval(0, 40).high)
            assert rows["ser"]["high"] == pytest.approx(proportion_interval(0, 20).high)
            assert sums["bler"]["blocks"] == sums["ser"]["blocks"] == 20


def test_a_coded_run_compares_with_indices_as_points_draw_by_draw(coded_run):
    """At 60 dB both deliver what the codec makes of its QPSK codebook: every image is the same."""
    plain = run("ujscc", IMAGES, "qpsk", CHANNELS, (12.0, 60.0), realizations=2, **ARGUMENTS)
    coded = run("ujscc", IMAGES, "qam16", CHANNELS, (12.0, 60.0), **ARGUMENTS, **TWICE)
    rows = {(row["channel"], row["esno_db"], row["metric"]): row for row in compare(coded, plain)}
    assert len(rows) == 2 * 2 * 3 and {metric for *_, metric in rows} == {"psnr", "ssim", "ser"}
    for channel in CHANNELS:
        assert rows[channel, 60.0, "psnr"]["verdict"] == "identical"
        assert rows[channel, 12.0, "psnr"]["draws"] == 20
    both = coded_run[0].config["ledger"], plain.config["ledger"]
    assert both[0]["cbr"] == both[1]["cbr"] and both[0]["lines"][0]["channel_uses"] == 64
    assert "no CRC" in both[0]["lines"][0]["note"] and both[0]["lines"][-1]["what"] == "index labelling"
    assert coded_run[0].config["coding"]["coderate"] == "1/2" and "coding" not in plain.config


def test_words_are_lost_as_often_as_in_a_ber_sweep_with_the_same_code():
    """128 bits in 256 on 16-QAM over AWGN at 5.5 dB: the rates of two independent samples, 4 sigma of their difference."""
    esno_db = 5.5
    found = run("ujscc", from_array(PIXELS), "qam16", CHANNELS, [esno_db], seed=3, **ARGUMENTS, **TWICE)
    mine = next(sums["bler"] for point, sums in found.points if point["channel"] == "awgn")
    alone = Coding("ldpc", k=128, n=256)
    ebno_db = esno_db - 10 * np.log10(4 * 0.5)
    ((point, sums),) = error_rates.ber("qam16", "awgn", [ebno_db], coding=alone, max_bits=1, seed=3).points
    assert point["esno_db"] == pytest.approx(esno_db, abs=1e-6)
    rates = [part["errors"] / part["trials"] for part in (mine, sums["bler"])]
    trials = [part["trials"] for part in (mine, sums["bler"])]
    assert min(trials) >= 800 and 0.02 < rates[1] < 0.9
    variance = sum(rate * (1 - rate) / count for rate, count in zip(rates, trials, strict=True))
    assert abs(rates[0] - rates[1]) < 4 * np.sqrt(variance)


FADING = grid_fading("tdl-a", Propagation(), GRID)
NOISY = Point(jnp.int32(2), FADING, jnp.float32(0.05), jnp.arange(16))


def test_with_natural_labels_and_no_code_bits_are_points():
    """The same codebook on the same constellation: fades, noise, decisions and images are the same, bit for bit."""
    images = jnp.asarray(PIXELS[:4] / np.float32(255))
    plan = index_plan(ujscc.ORDERS, "qam16", BITS_ONLY)

    @jax.jit
    def both(images):
        point = ujscc.transmit(CODEC, images, KEY, Link(GRID), NOISY)
        return point, ujscc.transmit_bits(CODEC, images, KEY, Link(GRID), NOISY, plan)

    points, bits = both(images)
    assert int(jnp.sum(points.symbol_errors)) > 0 and bits.word_errors is None
    for one, other in zip(points[:3], bits[:3], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_coded_word_meets_the_fades_and_the_noise_of_a_point_map(monkeypatch):
    """`carry` gets the same gain and, with the same shape of signal, the same key."""

    class Sent(Exception):
        pass

    def stopped(key, link, symbols, gain, noise_var, **options):
        raise Sent(jax.random.key_data(key), jnp.asarray(symbols.shape), gain, noise_var)

    monkeypatch.setattr(per_order, "carry", stopped)
    monkeypatch.setattr(coding, "carry", stopped)
    plan = index_plan(ujscc.ORDERS, "qam256", HALF)

    @partial(jax.jit, static_argnums=0)
    def met(way, images):
        try:
            way(CODEC, images, KEY, Link(GRID), NOISY)
        except Sent as sent:
            return sent.args

    images = jnp.asarray(PIXELS[:4] / np.float32(255))
    points, bits = met(ujscc.transmit, images), met(partial(ujscc.transmit_bits, plan=plan), images)
    for one, other in zip(points, bits, strict=True):
        np.testing.assert_array_equal(one, other)
    _, key_fading, _ = split_keys(KEY)
    np.testing.assert_allclose(
        points[2], fade(key_fading, Link(GRID), FADING, (4,), 64), rtol=1e-4, atol=1e-6
    )


def test_the_decoder_knows_the_source_only_through_what_was_received(monkeypatch):
    """Hold what the receiver got from the air: two sources give the same images; wrong words tell them apart."""
    symbols = phy.qam(4).modulate(jax.random.randint(KEY, (4, 64), 0, 16))
    held = phy.Equalised(symbols, jnp.full((4, 64), 0.05))
    monkeypatch.setattr(coding, "carry", lambda *arguments, **options: held)
    plan, graph = index_plan(ujscc.ORDERS, "qam16", HALF), nnx.split(CODEC)
    point = replace(NOISY, order=jnp.int32(1), labels=jnp.arange(4))

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def output(images):
        return ujscc.transmit_bits(nnx.merge(*graph), images, KEY, Link(GRID), point, plan)

    first, second = output(jnp.asarray(PIXELS[:4] / np.float32(255))), output(jnp.ones((4, 16, 16, 3)))
    np.testing.assert_array_equal(first.images, second.images)
    assert np.all(first.word_errors == 1) and np.any(first.symbol_errors != second.symbol_errors)


def test_reconstruct_is_the_first_realisation_of_a_run(monkeypatch):
    monkeypatch.setitem(SYSTEMS, "ujscc", replace(SYSTEMS["ujscc"], grid=GRID))
    pictures = reconstruct("ujscc", PIXELS[:6], "qam64", "tdl-a", 9.0, codec=CODEC, coding=BITS_ONLY)
    ((_, sums),) = run(
        "ujscc", from_array(PIXELS[:6]), "qam64", "tdl-a", [9.0], coding=BITS_ONLY, **ARGUMENTS
    ).points
    assert sums["ser"]["errors"] == int(np.sum(pictures.symbol_errors)) > 0


def test_confusion_of_bits_is_what_flipping_them_does():
    labels, flips = (
        np.random.default_rng(1).integers(0, 8, 200_000),
        np.random.default_rng(2).random((200_000, 3)),
    )
    decided = labels ^ ((flips < 0.05) @ np.array([4, 2, 1]))
    confusion = bit_confusion(3, 0.05)
    np.testing.assert_allclose(confusion.sum(1), 1, rtol=1e-12)
    for sent, received in itertools.product(range(8), range(8)):
        count = int(np.sum((labels == sent) & (decided == received)))
        interval = proportion_interval(count, int(np.sum(labels == sent)), FOUR_SIGMA)
        assert interval.low < confusion[sent, received] < interval.high


@pytest.mark.parametrize(("modulation", "how"), [("qam256", HALF), ("qam16", BITS_ONLY)])
def test_the_labelling_puts_likely_errors_between_similar_codewords(modulation, how):
    """With the weights that ship: better than the natural one, which training has bent, and far better than random ones."""
    codec, plan = ujscc.load(), index_plan(ujscc.ORDERS, modulation, how)
    size, row = 2**plan.bits_per_index, plan.row
    codewords = np.asarray(codec.quantizer.codewords[...])[row, :size]
    usage = np.asarray(codec.quantizer.count[...], float)[row, :size]
    confusion = bit_confusion(plan.bits_per_index, 0.05) if how.coded else phy.confusion("qam16", 12.0)
    mine, natural, *random = (
        phy.index_distortion(labels, codewords, confusion, usage / usage.sum())
        for labels in (
            SYSTEMS["ujscc"].as_bits.labels(codec, plan),
            phy.index_map.natural(size),
            *(phy.index_map.random(size, seed) for seed in range(5)),
        )
    )
    assert mine < 0.97 * natural and mine < 0.7 * min(random)


GOOD = {"system": "ujscc", "images": IMAGES, "modulation": "qam16", "channel": "awgn", "esno_db": [1.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"modulation": "qam64", "coding": HALF},
            "qam64 at coderate 1/2 leaves 3 bits.*for 1, 2, 4, 6, 8. Possible: qpsk 1/2; qam16 1/4 1/2; qam64 1/6 1/3 2/3; "
            "qam256 1/8 1/4 1/2 3/4; qam1024 1/10 1/5 2/5 3/5 4/5; psk8 1/3 2/3",
        ),
        (
            {"modulation": "qam1024", "coding": BITS_ONLY},
            "leaves 10 bits.*Possible: bpsk 1; qpsk 1; qam16 1; qam64 1; qam256 1$",
        ),
        (
            {"modulation": ("qam16", "auto"), "coding": HALF},
            "auto takes each realisation's own order.*name modulations",
        ),
        ({"modulation": "qam61", "coding": HALF}, "unknown modulation 'qam61'; did you mean qam"),
        ({"demap": "app", "coding": HALF}, "a code needs soft bits, .*leave demap out"),
        (
            {"system": "deepjscc", "codec": None, "modulation": "analogue", "coding": HALF},
            "deepjscc sends no indices.*leave them out",
        ),
    ],
)
def test_mistakes_are_said_before_anything_is_compiled_or_written(change, message, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "evaluate", None)
    with pytest.raises(ValueError, match=message):
        run(**{**ARGUMENTS, **GOOD, "coding": HALF, **change, "out": tmp_path / "run"})
    assert list(tmp_path.iterdir()) == []


def test_a_word_of_too_few_indices_is_refused():
    with pytest.raises(
        ValueError,
        match="n must be at least 13 for 4 payload bits .12 with.* a code rate above 0.95 .*; got 8",
    ):
        index_plan(per_order.ORDERS, "qpsk", HALF).block(4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"index_map": "gray"}, "unknown index map 'gray'. Choices: point, labelled"),
        ({"index_map": "labelled", "code": "polar"}, "unknown code 'polar'"),
        ({"code": "ldpc", "coderate": "1/2"}, "a code carries bits, not points: take index_map labelled"),
        ({"index_map": "labelled", "code": "ldpc"}, "lies between 0 and 1; got 1"),
        ({"index_map": "labelled", "code": "ldpc", "coderate": "3/2"}, "lies between 0 and 1; got 3/2"),
        ({"index_map": "labelled", "code": "ldpc", "coderate": "half"}, "a fraction or a number.*got 'half'"),
        ({"index_map": "labelled", "code": "ldpc", "coderate": "1/0"}, "a fraction or a number.*got '1/0'"),
        ({"index_map": "labelled", "coderate": "1/2"}, "settings of a channel code: add code ldpc"),
        ({"decoding": Decoding(num_iterations=5)}, "settings of a channel code: add code ldpc"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        IndexCoding(**settings)


def test_ways_to_write_a_coderate_are_one():
    plans = [
        index_plan(ujscc.ORDERS, "qam16", IndexCoding("labelled", "ldpc", text))
        for text in ("1/2", "0.5", "2/4")
    ]
    assert len({plan.label["coderate"] for plan in plans}) == 1 and {plan.order for plan in plans} == {"qpsk"}
