"""Images over a sweep: one compilation, points that ignore each other, draws in common, honest bookkeeping."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from channels import no_fading
from models import UJSCCConfig
from phy import ResourceGrid, qam
from semsim import devices, error_counts, image_runs, quality, simulation
from semsim.data import from_array
from semsim.error_counts import ErrorCount
from semsim.link import Link
from semsim.metrics import psnr
from semsim.runs import load_run
from semsim.scenario import Propagation, grid_fading
from semsim.simulation import reconstruct, run
from semsim.sweep import draw_id, draw_words
from semsim.systems import SYSTEMS, Delivered, Point, analogue, per_order, ujscc
from semsim.systems.index_coding import IndexCoding, index_plan

CODEC = ujscc.build(UJSCCConfig(image_size=16, width=8, encoder_blocks=1, decoder_blocks=1))
GRID = ResourceGrid(6, 16, 8, subcarrier_spacing=60e3, pilot_ofdm_symbol_indices=(1, 4))
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
IMAGES, IMAGES8 = from_array(PIXELS[:5]), from_array(PIXELS)
ARGUMENTS = {"codec": CODEC, "grid": GRID}


@pytest.fixture(autouse=True)
def four_images_a_batch(monkeypatch):
    monkeypatch.setattr(image_runs, "BLOCK", 2)
    monkeypatch.setattr(image_runs, "BLOCKS", 2)


def values(found):
    return {tuple(row.items()) for row in found.rows()}


def test_a_sweep_compiles_once_and_a_point_ignores_it(monkeypatch):
    """Every order and `auto`, 3 channels, 16 SNRs; then one of those points alone."""
    seen, system = [], SYSTEMS["ujscc"]

    def counted(*arguments):
        seen.append(arguments)
        return system.transmit(*arguments)

    monkeypatch.setitem(SYSTEMS, "ujscc", replace(system, transmit=counted))
    alone = run("ujscc", IMAGES, "qam64", "tdl-a", [14.0], **ARGUMENTS)
    once, compiled = len(seen), devices.evaluate._cache_size()
    orders = (*ujscc.ORDERS, "auto")
    found = run("ujscc", IMAGES, orders, ("awgn", "rayleigh-block", "tdl-a"), range(16), **ARGUMENTS)
    assert (len(seen), devices.evaluate._cache_size()) == (once, compiled)
    assert len(found.points) == 6 * 3 * 16
    assert len(values(alone)) == 3 and values(alone) <= values(found)


def test_rows_say_what_was_measured(tmp_path):
    found = run("ujscc", IMAGES, "qpsk", "awgn", [6.0], title="mine", out=tmp_path, **ARGUMENTS)
    rows = {row["metric"]: row for row in found.rows()}
    assert set(rows) == {"psnr", "ssim", "ser"}
    for row in rows.values():
        assert (row["system"], row["modulation"], row["channel"], row["esno_db"], row["n"]) == (
            "ujscc", "qpsk", "awgn", 6.0, 5,
        )  # fmt: skip
        assert row["cbr_payload"] == 64 / 768
        assert row["cbr"] == pytest.approx((6 * 16 * 1.5) / 768)  # 64 data, 32 pilots, half as much prefix
        assert row["low"] <= row["value"] <= row["high"]
    assert rows["ser"]["trials"] == 5 * 64
    assert load_run(tmp_path).rows() == found.rows()
    config = load_run(tmp_path).config
    assert (config["title"], config["data"]["images"], config["grid"]["fft_size"]) == ("mine", 5, 16)
    assert len(config["weights"]["sha256"]) == 16


def draws_of(channel, esno_db, batch, block):
    words = jnp.asarray(draw_words(0, draw_id({"channel": channel}, esno_db)))
    return devices.block_key(words, jnp.asarray([batch, block], jnp.uint32))


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("count", [1, 5, 7])
def test_the_last_batch_counts_its_own_images_and_no_padding(kind, count):
    """Two blocks of two images a batch, in the order that the seed draws: against each block sent by hand."""
    pixels = (PIXELS if kind == "uint8" else PIXELS.astype(np.float32) / 255)[:count]
    point = Point(jnp.int32(2), grid_fading("awgn", Propagation(), GRID), jnp.float32(0.01))
    kernel = quality.Quality(SYSTEMS["ujscc"], nnx.graphdef(CODEC), Link(GRID), draws=1, realizations=2)
    order = np.random.default_rng(0).permutation(count)
    psnrs, errors = [], 0
    for start in range(0, count, 2):
        chosen = order[start : start + 2]
        block = np.resize(pixels[chosen], (2, *pixels.shape[1:]))
        by_hand = kernel(draws_of("awgn", 20.0, start // 4, start % 4 // 2), block, (nnx.state(CODEC), point))
        psnrs += list(np.asarray(by_hand.psnr)[: len(chosen)])
        errors += int(by_hand.symbol_errors[: len(chosen)].sum())
    ((_, sums),) = run("ujscc", from_array(pixels), "qam16", "awgn", [20.0], **ARGUMENTS).points
    assert sums["psnr"]["n"] == count and sums["ser"]["trials"] == 64 * count
    np.testing.assert_allclose(sums["psnr"]["sum"], np.sum(psnrs), rtol=1e-5)
    assert sums["ser"]["errors"] == errors


def test_realizations_are_independent_draws_averaged_per_image():
    found = run(
        "ujscc", from_array(PIXELS[:2]), "qam16", "rayleigh-block", [10.0], realizations=3, **ARGUMENTS
    ).points
    ((_, sums),) = found
    fading = grid_fading("rayleigh-block", Propagation(), GRID)
    point = Point(jnp.int32(2), fading, jnp.float32(0.1))
    key = draws_of("rayleigh-block", 10.0, 0, 0)
    images = jnp.asarray(PIXELS[np.random.default_rng(0).permutation(2)] / np.float32(255))

    @jax.jit
    def send(key):
        return ujscc.transmit(CODEC, images, key, Link(GRID), point)

    each = [send(jax.random.fold_in(key, draw)) for draw in range(3)]
    quality = np.array([psnr(one.images, images) for one in each], np.float64)
    assert np.std(quality, axis=0).min() > 0
    np.testing.assert_allclose(sums["psnr"]["sum"], quality.mean(axis=0).sum(), rtol=1e-5)
    np.testing.assert_allclose(sums["psnr"]["sum_sq"], (quality.mean(axis=0) ** 2).sum(), rtol=1e-5)
    assert sums["ser"]["errors"] == sum(int(one.symbol_errors.sum()) for one in each)
    assert sums["ser"]["trials"] == 2 * 64 * 3 and sums["ser"]["blocks"] == 2


@pytest.fixture
def fake(monkeypatch):
    """A system that delivers every image as it was: for bookkeeping."""

    def transmit(codec, images, key, link, point):
        return Delivered(images, jnp.zeros(len(images), jnp.int32), None)

    monkeypatch.setitem(SYSTEMS, "ujscc", replace(SYSTEMS["ujscc"], transmit=transmit))


def test_draws_are_common_to_modulations_and_receivers_and_to_nothing_else():
    """The words that the keys are made of: one set for each channel and SNR."""
    words = [
        tuple(job.work.words)
        for arguments in ({}, {"csi": "ls"}, {"demap": "app"})
        for job in simulation.sweep(
            "ujscc",
            IMAGES,
            ("bpsk", "qam256", "auto"),
            ("awgn", "tdl-a"),
            (3.0, 4.0),
            **arguments,
            **ARGUMENTS,
        ).jobs
    ]
    assert len(words) == 3 * 3 * 2 * 2 and len(set(words)) == 2 * 2


@pytest.mark.parametrize("way", ["points", "bits", "symbols", "labels"])
def test_draws_are_common_to_systems(monkeypatch, way):
    """One key of a block is three: its fades come from the second and its noise from the third, whatever is sent."""
    seen = []

    class Heard(Exception):
        pass

    def fade(key, link, fading, batch, count):
        seen.append(key)
        return jnp.ones((*batch, 1), jnp.complex64)

    def send(key, *arguments, **named):
        seen.append(key)
        raise Heard

    for module in (per_order, analogue, error_counts):
        monkeypatch.setattr(module, "fade", fade)
    for module, name in (
        (per_order, "carry"), (per_order, "send_as_bits"), (analogue, "send_symbols"), (error_counts, "send_labels"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, send)
    key, link, images = jax.random.key(3), Link(), jnp.zeros((2, 16, 16, 3))
    point = Point(jnp.int32(1), no_fading(), jnp.float32(0.1), jnp.arange(4))
    stub = SimpleNamespace(config=SimpleNamespace(num_symbols=8))
    plan = index_plan(ujscc.ORDERS, "qpsk", IndexCoding("labelled"))
    with pytest.raises(Heard):
        {
            "points": lambda: per_order.transmit(CODEC, images, key, link, point),
            "bits": lambda: per_order.transmit_bits(CODEC, images, key, link, point, plan),
            "symbols": lambda: analogue.transmit(stub, images, key, link, point, lambda *_: (None, None)),
            "labels": lambda: ErrorCount(link, 2, 8)(key, (), (qam(2), no_fading(), 0.1, None)),
        }[way]()
    fading, noise = seen
    assert [fading, noise] == list(jax.random.split(key, 3)[1:])


def test_images_come_in_an_order_of_the_seed_and_an_early_end_is_a_random_sample():
    pixels = np.repeat(np.arange(8, dtype=np.uint8), 16 * 16 * 3).reshape(8, 16, 16, 3)
    for seed in (0, 1):
        job = simulation.sweep(
            "ujscc", from_array(pixels), "bpsk", "awgn", [3.0], seed=seed, **ARGUMENTS
        ).jobs[0]
        shown = np.concatenate([job.work.mapped(batch)[..., 0, 0, 0].reshape(-1) for batch in range(2)])
        assert sorted(shown) == list(range(8)) and list(shown) != list(range(8))
        np.testing.assert_array_equal(shown, np.random.default_rng(seed).permutation(8))


def test_a_point_ends_when_its_interval_is_narrow_enough():
    """Four images a batch: the first look of ten or more, however wide an interval is allowed."""
    images = from_array(np.concatenate([PIXELS, PIXELS]))
    whole = run("ujscc", images, "qam16", "awgn", [15.0], **ARGUMENTS)
    early = run("ujscc", images, "qam16", "awgn", [15.0], width=50.0, **ARGUMENTS)
    assert [row["n"] for row in whole.rows()] == [16] * 3 and whole.rows()[0]["stopped"] == "trials"
    assert [row["n"] for row in early.rows()] == [12] * 3 and early.rows()[0]["stopped"] == "width"


def test_a_system_that_detects_nothing_has_no_symbol_error_rate(fake):
    rows = run("ujscc", IMAGES, "bpsk", "awgn", [3.0], **ARGUMENTS).rows()
    assert [(row["metric"], row["value"]) for row in rows] == [
        ("psnr", pytest.approx(100)),
        ("ssim", pytest.approx(1)),
    ]


def test_ctrl_c_keeps_the_finished_points(fake, tmp_path):
    seen = []

    def progress(text, done, total):
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    found = run(
        "ujscc", IMAGES, "bpsk", "awgn", (0.0, 5.0, 9.0), out=tmp_path, progress=progress, **ARGUMENTS
    )
    assert seen == [(0, 3), (1, 3), (2, 3)] and found.interrupted
    assert {(row["esno_db"], row["n"]) for row in found.rows()} == {(0.0, 5), (5.0, 5)}
    assert load_run(tmp_path).points == found.points


def test_a_metric_that_is_not_finite_stops_the_run_and_names_the_point(monkeypatch, tmp_path):
    def transmit(codec, images, key, link, point):
        spoilt = jnp.where(point.noise_var < 0.5, jnp.nan, images)
        return Delivered(spoilt, jnp.zeros(len(images), jnp.int32), None)

    monkeypatch.setitem(SYSTEMS, "ujscc", replace(SYSTEMS["ujscc"], transmit=transmit))
    with pytest.raises(
        FloatingPointError, match="not finite at .*'esno_db': 5.0.*what was finished before is kept"
    ):
        run("ujscc", IMAGES, "bpsk", "awgn", (0.0, 5.0), out=tmp_path, **ARGUMENTS)
    assert {row["esno_db"] for row in load_run(tmp_path).rows()} == {0.0}


def test_reconstruct_is_the_first_realisation_of_a_run(monkeypatch):
    """`run` folds in the number of the realisation, `reconstruct` does too: the pictures belong to the figures."""
    monkeypatch.setitem(SYSTEMS, "ujscc", replace(SYSTEMS["ujscc"], grid=GRID))
    pictures = reconstruct("ujscc", PIXELS[:7], "qam16", "tdl-a", 12.0, codec=CODEC)
    ((_, sums),) = run("ujscc", from_array(PIXELS[:7]), "qam16", "tdl-a", [12.0], **ARGUMENTS).points
    assert sums["ser"]["errors"] == int(np.sum(pictures.symbol_errors))
    quality = np.asarray(psnr(pictures.images, jnp.asarray(PIXELS[:7] / np.float32(255))))
    np.testing.assert_allclose(sums["psnr"]["sum"], quality.sum(), rtol=1e-5)


def test_a_system_without_weights_says_so(monkeypatch):
    for missing in (None, Path("nowhere")):
        monkeypatch.setitem(SYSTEMS, "ujscc", replace(SYSTEMS["ujscc"], checkpoint=missing))
        with pytest.raises(ValueError, match="no weights of ujscc ship with this version: train them"):
            run("ujscc", IMAGES, "bpsk", "awgn", [0.0])


GOOD = {
    "system": "ujscc",
    "images": IMAGES,
    "modulation": "qpsk",
    "channel": "awgn",
    "esno_db": [1.0],
    **ARGUMENTS,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": "ujsc"}, "unknown system 'ujsc'; did you mean ujscc"),
        ({"modulation": "qam1024"}, "unknown modulation of ujscc 'qam1024'"),
        ({"modulation": []}, "at least one modulation and one channel"),
        ({"channel": "tdl-z"}, "unknown channel 'tdl-z'; did you mean tdl-"),
        ({"channel": "rayleigh"}, "rayleigh fades as rayleigh-block"),
        ({"esno_db": []}, "esno_db is empty"),
        ({"esno_db": "x"}, "esno_db takes numbers or start:stop:step; got 'x'"),
        ({"codec": nnx.Linear(2, 2, rngs=nnx.Rngs(0))}, "codec must be of type UJSCC, .*; got a Linear"),
        ({"codec": "ujscc"}, "codec must be of type UJSCC, .*; got 'ujscc'"),
        ({"coding": "ldpc"}, "coding must be of type IndexCoding, .*; got 'ldpc'"),
        ({"images": [IMAGES[0]]}, "images are the name of a set, a path, an array .*; got list"),
        ({"realizations": 1.5}, "realizations must be in .1, 100,000. and whole; got 1.5"),
        ({"esno_db": [np.inf]}, r"esno_db must be in \[-300, 300\] dB; got inf"),
        ({"total_images": 5}, "without a width every point takes all images"),
        ({"width": -1.0}, "width must be a positive number of dB; got -1"),
        ({"realizations": 0}, "realizations must be in"),
        ({"seed": 2**32}, "seed must be in"),
        ({"csi": "genie"}, "unknown csi 'genie'"),
        (
            {"grid": ResourceGrid(2, 16, 8)},
            "the grid holds 32 data symbols; the payload has 64: use a larger grid",
        ),
        (
            {"images": np.zeros((2, 8, 16, 3), np.uint8)},
            r"array/0 has 8x16 pixels \(height x width\); SSIM needs 11 on each side",
        ),
        ({"images": np.zeros((2, 17, 16, 3), np.uint8)}, "the system's own grid, repeated: leave grid out"),
        ({"images": np.full((1, 16, 16, 3), 255.0)}, r"image 0 spans \[255, 255\]: divide by 255"),
        (
            {"codec": None, "checkpoint": Path("nowhere.safetensors")},
            "there is no checkpoint at nowhere.safetensors",
        ),
        (
            {"codec": None, "checkpoint": "."},
            "checkpoint . is a folder: name the file, such as weights.safetensors",
        ),
    ],
)
def test_mistakes_are_said_before_anything_is_compiled_or_written(change, message, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "evaluate", None)
    with pytest.raises(ValueError, match=message):
        run(**{**GOOD, **change, "out": tmp_path / "run"})
    assert list(tmp_path.iterdir()) == []
