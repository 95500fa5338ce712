"""One meaning of SNR: the energy that every system sends, what its receiver takes back, and what runs say of it."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import channels
import phy
from models import UJSCCConfig
from phy.index_map import random
from semsim import calibration, image_runs, simulation
from semsim.calibration import measure_usage
from semsim.comparison import compare
from semsim.data import from_array, load
from semsim.energy import Sent, apart, energy_fields, energy_sums, index_amplitude, over_draws, sent
from semsim.envelope import best_of_each_snr
from semsim.frame import bits_of_bytes, frame, frame_symbols
from semsim.link import Link
from semsim.mcs import fraction
from semsim.plot import quality_figure
from semsim.separation import Separation
from semsim.separation import run as run_separation
from semsim.sweep import add
from semsim.systems import SYSTEMS, Point, per_order, ujscc
from semsim.systems.index_coding import IndexCoding, index_plan, send_as_bits

KEY = jax.random.key(11)
PIXELS = load("embedded").images[np.random.default_rng(3).permutation(512)]
SEEN, HELD = PIXELS[:96], PIXELS[96:160]
FLAT = channels.no_fading()
INDEX_SYSTEMS = [name for name, system in SYSTEMS.items() if system.as_bits is not None]
LABELS = jnp.asarray(
    np.stack(
        [np.concatenate([random(2**bits, seed=bits), np.arange(2**bits, 256)]) for bits in per_order.BITS]
    )
)
hurried = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiled to run once


def calibrated(name):
    codec = SYSTEMS[name].fresh(seed=1)
    codec.quantizer.count[...] = jnp.asarray(measure_usage(codec, SEEN))
    return codec


@pytest.mark.parametrize("name", INDEX_SYSTEMS)
def test_orders_of_index_systems_send_energy_1_and_without_the_gain_would_not(name):
    """Usage fitted on one half of the photographs' patches, energy measured on the other; points, labels and bits."""
    system, codec = SYSTEMS[name], calibrated(name)
    graph, state = nnx.split(codec)

    @hurried
    def energies(state, images, order, labels, usage):
        codec = nnx.merge(graph, state)
        codec.quantizer.count[...] = usage
        point = Point(order, FLAT, jnp.float32(0.1))
        return per_order.transmit(codec, images, KEY, Link(), point, labels=labels).sent.energy

    images, uniform = jnp.asarray(HELD, jnp.float32) / 255, codec.quantizer._uniform(codec.quantizer.sizes)
    for row, order in enumerate(per_order.ORDERS):
        for labels in (per_order.natural_labels(), LABELS)[: 1 + (order == "qam64")]:
            found = np.asarray(
                energies(state, images, jnp.int32(row), labels, codec.quantizer.count[...]), float
            )
            sigma = found.std() * np.sqrt(1 / len(SEEN) + 1 / len(HELD))
            assert abs(found.mean() - 1) <= 4 * sigma + 1e-5, order
            if order in ("bpsk", "qpsk"):
                np.testing.assert_allclose(found, 1, atol=1e-5)
    found = np.asarray(
        energies(state, images, jnp.int32(4), per_order.natural_labels(), jnp.asarray(uniform))
    )
    assert abs(found.mean() - 1) > 0.1
    assert system.transmit is per_order.transmit


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name not in INDEX_SYSTEMS])
def test_analogue_systems_send_energy_1_with_every_image(name):
    system = SYSTEMS[name]
    graph, state = nnx.split(system.fresh(seed=1))
    side = nnx.merge(graph, state).config.image_shape[0]
    assert side == 32

    @hurried
    def energy(state, images):
        return system.transmit(
            nnx.merge(graph, state), images, KEY, Link(), Point(jnp.int32(0), FLAT, jnp.float32(0.1))
        )

    found = energy(state, jnp.asarray(HELD[:4], jnp.float32) / 255).sent
    np.testing.assert_allclose(found.energy, 1, atol=1e-5)
    np.testing.assert_allclose(found.papr_db, 10 * np.log10(np.asarray(found.peak)), atol=1e-4)


@pytest.mark.parametrize("modulation", ["qam16", "qam64", "qam256"])
def test_frames_are_scrambled_so_that_short_files_and_filling_send_energy_1_too(modulation):
    """The zeros behind a file are most of a frame: scrambled, every point is as likely as the others."""
    plan = frame(2048, modulation, fraction("coderate", "1/2"))
    points = (
        np.abs(np.asarray(phy.modulation(modulation).modulate(jnp.arange(2 ** phy.num_bits(modulation)))))
        ** 2
    )
    sigma = points.std() / np.sqrt(plan.num_symbols)
    files = np.random.default_rng(0).integers(0, 256, (3, plan.num_bytes), np.uint8)
    files[1, 5:] = 0
    files[2] = 0
    found = np.asarray(sent(frame_symbols(plan, jnp.asarray(files))).energy)
    np.testing.assert_array_less(np.abs(found - 1), 4 * sigma)
    plain = replace(
        plan, parts=tuple(replace(part, block=replace(part.block, scrambling=None)) for part in plan.parts)
    )
    assert abs(float(sent(frame_symbols(plain, jnp.asarray(files[2:]))).energy[0]) - 1) > 4 * sigma


def test_a_separation_run_says_the_energy_of_the_frames_that_it_sent():
    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    images = from_array(np.concatenate([HELD[:6], noise]))  # noise fits at no quality
    found = run_separation(images, "qam16", "awgn", [30.0], Separation(coderate=("1/4",)))
    ((_, sums),) = found.points
    fitting = 8 - sums["unfit"]["errors"]
    assert 0 < fitting < 8 and sums["energy"]["n"] == fitting
    row = found.rows()[0]
    assert row["es_low_db"] - 0.05 < 0 < row["es_high_db"] + 0.05
    assert row["peak_db"] == pytest.approx(10 * np.log10(18 / 10), abs=1e-3)  # the corner of 16-QAM


@pytest.mark.parametrize("name", ["qam16", "qam64"])
def test_coded_index_bits_are_scrambled_and_need_no_gain(name):
    """All indices alike: as points their energy would be that of one point."""
    plan = index_plan(
        per_order.ORDERS, "qam256", IndexCoding("labelled", "ldpc", {"qam16": "1/2", "qam64": "3/4"}[name])
    )
    size = 2 ** phy.num_bits(name)
    points = np.abs(np.asarray(phy.qam(8).modulate(jnp.arange(256)))) ** 2
    usage = jnp.zeros(size).at[0].set(1.0)
    arrived = send_as_bits(
        KEY, Link(), plan, jnp.zeros((2, 256), jnp.int32), jnp.arange(size), usage, jnp.ones((2, 1), jnp.complex64),
        jnp.float32(1e-4),
    )  # fmt: skip
    np.testing.assert_array_less(np.abs(np.asarray(arrived.sent.energy) - 1), 4 * points.std() / np.sqrt(256))


@pytest.mark.parametrize("row", range(5))
def test_the_gain_is_that_of_the_law(row):
    """E = sum p |s|^2 in float64, for skewed usage to any scale and any labelling; padding counts nothing."""
    size = 2 ** per_order.BITS[row]
    usage = np.zeros((5, 256), np.float32)
    usage[:, :2] = 1.0
    usage[row, :size] = 7 * np.random.default_rng(row).dirichlet(np.full(size, 0.3))
    codec = ujscc.build(UJSCCConfig(width=8, encoder_blocks=1, decoder_blocks=1))
    codec.quantizer.count[...] = jnp.asarray(usage)
    for labels in (per_order.natural_labels(), LABELS):
        points = np.asarray(phy.qam(per_order.BITS[row]).modulate(labels[row, :size]), np.complex128)
        shares = usage[row, :size].astype(float) / usage[row, :size].sum()
        expected = (shares @ np.abs(points) ** 2) ** -0.5
        np.testing.assert_allclose(per_order.amplitudes(codec, labels)[row], expected, rtol=1e-6)
        np.testing.assert_allclose(
            index_amplitude(jnp.asarray(usage[row, :size]), points), expected, rtol=1e-6
        )


CONFIG = UJSCCConfig(width=8, encoder_blocks=1, decoder_blocks=1)
GRAPH, STATE = nnx.split(ujscc.build(CONFIG))
SKEWED = np.zeros((5, 256), np.float32)
for _row, _bits in enumerate(per_order.BITS):
    SKEWED[_row, : 2**_bits] = np.abs(np.asarray(phy.qam(_bits).modulate(jnp.arange(2**_bits)))) ** -2.0


@pytest.mark.parametrize("decoding", ["hard", "soft", "bits"])
def test_a_gain_is_that_much_less_noise_to_every_receiver(decoding):
    """With a gain a at N0, and without at N0 / a^2: the same draws, errors and images, hard and soft."""
    plan = index_plan(per_order.ORDERS, "qam64", IndexCoding("labelled"))
    images, row, noise_var = jnp.asarray(HELD[:4], jnp.float32) / 255, 3, 0.05

    @hurried
    def send(usage, noise_var):
        codec = nnx.merge(GRAPH, STATE, copy=True)
        codec.quantizer.count[...] = usage
        point = Point(jnp.int32(row), channels.rayleigh(1), noise_var, LABELS[row, :64])
        if decoding == "bits":
            return per_order.transmit_bits(codec, images, KEY, Link(), point, plan)
        return per_order.transmit(codec, images, KEY, Link(), point, labels=LABELS, decoding=decoding)

    skew = SKEWED.copy()
    skew[row, :64] = SKEWED[
        row, np.asarray(LABELS[row, :64])
    ]  # index i is the point with label LABELS[row, i]
    codec = nnx.merge(GRAPH, STATE, copy=True)
    codec.quantizer.count[...] = jnp.asarray(skew)
    amplitude = float(per_order.amplitudes(codec, LABELS)[row])
    assert amplitude > 1.3
    uniform = jnp.asarray(codec.quantizer._uniform(codec.quantizer.sizes))
    skewed = send(jnp.asarray(skew), jnp.float32(noise_var))
    plain = send(uniform, jnp.float32(noise_var / amplitude**2))
    assert 0 < int(plain.symbol_errors.sum()) < 4 * 256
    np.testing.assert_array_equal(skewed.symbol_errors, plain.symbol_errors)
    np.testing.assert_allclose(skewed.images, plain.images, atol=2e-5)
    np.testing.assert_allclose(skewed.sent.energy, amplitude**2 * plain.sent.energy, rtol=1e-5)
    np.testing.assert_allclose(skewed.sent.papr_db, plain.sent.papr_db, atol=1e-4)


def test_training_meets_the_noise_that_the_gain_leaves(monkeypatch):
    codec = nnx.merge(GRAPH, STATE)
    codec.quantizer.count[...] = jnp.asarray(SKEWED)
    seen = []
    monkeypatch.setattr(per_order, "send_labels", lambda *sent: (seen.append(sent[5]), sent[2])[1])
    row = jnp.arange(5)
    per_order._through_noise(KEY, codec, jnp.zeros((5, 256), jnp.int32), row)
    low, high = per_order.snr_interval(row)
    told = low + (high - low) * jax.random.uniform(jax.random.split(KEY)[0], row.shape)
    expected = phy.esnodb2no(told) / per_order.amplitudes(codec, per_order.natural_labels()) ** 2
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6)


def test_what_was_sent_is_mean_ratio_and_peak():
    symbols = jnp.asarray([[1, 1j, -1, 3], [2, 2, 2j, 2]], jnp.complex64)
    found = sent(symbols)
    np.testing.assert_allclose(found.energy, [3, 4])
    np.testing.assert_allclose(found.peak, [9, 4])
    np.testing.assert_allclose(found.papr_db, [10 * np.log10(3), 0], atol=1e-6)
    sums = add(energy_sums(found), energy_sums(sent(symbols[1:])))
    fields = energy_fields(sums)
    assert fields["es_db"] == pytest.approx(10 * np.log10(11 / 3), abs=1e-4)
    assert fields["peak_db"] == pytest.approx(10 * np.log10(9), abs=1e-4)
    assert fields["papr_db"] == pytest.approx(10 * np.log10(3) / 3, abs=1e-4)
    assert fields["es_low_db"] < fields["es_db"] < fields["es_high_db"]
    drawn = over_draws(
        Sent(*(jnp.asarray(values) for values in ([[1.0, 3.0]], [[2.0, 4.0]], [[5.0, 9.0]]))), 1
    )
    assert [float(value[0]) for value in drawn] == [2.0, 3.0, 9.0]
    assert energy_fields({"psnr": sums["energy"]}) == {} == energy_sums(sent(symbols[:0]))


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(image_runs, "BLOCK", 4)
    monkeypatch.setattr(image_runs, "BLOCKS", 4)


def test_runs_say_what_was_sent_and_uneven_ones_are_neither_compared_nor_ranked(small_batches, tmp_path):
    """A codec calibrated for other images: its 64-QAM is weak, which the figure shows where it is, and the others refuse."""
    even, uneven = calibrated("ujscc"), calibrated("ujscc")
    uneven.quantizer.count[...] = jnp.asarray(
        1 / np.where(SKEWED > 0, SKEWED, np.inf)
    )  # takes the corners for common
    images = from_array(HELD[:64])
    runs = [
        simulation.run("ujscc", images, ("qpsk", "qam64"), "awgn", (20.0,), codec=codec, out=tmp_path / name)
        for name, codec in (("even", even), ("uneven", uneven))
    ]
    rows = [{row["modulation"]: row for row in run.rows()} for run in runs]
    assert rows[0]["qpsk"]["es_db"] == rows[0]["qpsk"]["papr_db"] == rows[0]["qpsk"]["peak_db"] == 0
    assert rows[0]["qam64"]["es_low_db"] < 0.1 and rows[0]["qam64"]["es_high_db"] > -0.1
    assert rows[1]["qam64"]["es_high_db"] < -0.3 and rows[1]["qam64"]["papr_db"] > 1
    with pytest.raises(
        ValueError,
        match=r"qam64 awgn 20 dB cannot be compared: .*/even sent symbols of .* dB, .*/uneven of -.*semsim calibrate",
    ):
        compare(*runs)
    assert apart(runs[0].rows()) is None
    both = [{**row, "run": run.folder.name} for run in runs for row in run.rows()]
    with pytest.raises(
        ValueError, match=r"equal energy: uneven ujscc qam64 sent symbols of -.*semsim calibrate"
    ):
        best_of_each_snr(both)
    (axes, *_) = quality_figure(both, ("psnr",)).axes
    assert "energy sent" in axes.get_xlabel()
    drawn = {line.get_label(): line.get_xdata()[0] for line in axes.get_lines()}
    assert drawn["uneven ujscc qam64"] == pytest.approx(20 + rows[1]["qam64"]["es_db"])
    assert quality_figure(runs[0].rows(), ("psnr",)).axes[0].get_xlabel() == "$E_s/N_0$ (dB)"
    old = [
        {name: x for name, x in row.items() if not name.startswith(("es_", "papr", "peak"))} for row in both
    ]
    assert quality_figure(old, ("psnr",)).axes[0].get_xlabel() == "$E_s/N_0$ (dB)"


def test_energies_are_apart_where_their_intervals_are():
    """By more than a tenth of a decibel between the ends that face each other."""

    def row(low, high):
        return {"es_db": (low + high) / 2, "es_low_db": low, "es_high_db": high}

    even, weak, near, unsure = row(-0.05, 0.05), row(-0.5, -0.2), row(-0.4, -0.1), row(-3.0, 0.0)
    assert apart([even, weak]) == apart([weak, even]) == (weak, even)
    assert apart([even, near]) is None and apart([even, unsure]) is None and apart([even]) is None
    assert apart([unsure, even, {"psnr": 3.0}, weak]) == (weak, even)
    assert apart([{"es_db": -9.0}, even]) is None  # one image has no interval


def test_energy_of_tiles_counts_by_their_photographs():
    """Five tiles of one photograph say no more than it does."""
    energy = np.asarray([1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0])
    groups = np.asarray([0, 0, 0, 0, 0, 1, 2])
    alone, grouped = (
        energy_sums(Sent(energy, np.zeros(7), energy), groups=groups) for groups in (None, groups)
    )
    assert "clusters" not in alone["energy"] and len(grouped["energy"]["clusters"]) == 3
    assert energy_fields(alone)["es_high_db"] < energy_fields(grouped)["es_high_db"]


class Indices(nnx.Module):
    """Stands for a codec: the index of an image is its first pixel, four times, and its second plus the order, twice."""

    def __init__(self):
        self.quantizer = SimpleNamespace(count=nnx.BatchStat(jnp.ones((5, 256)) / 256))

    def encode(self, images, row):
        first, second = (jnp.round(255 * images[:, 0, k, 0]).astype(jnp.int32)[:, None] for k in (0, 1))
        return jnp.concatenate([jnp.tile(first, 4), jnp.tile(second + row[:, None], 2)], axis=1)


def test_usage_is_counted_without_the_filling_of_a_block(monkeypatch):
    """Seven images in blocks of four, in every order."""
    monkeypatch.setattr(calibration, "BLOCK_PIXELS", 4 * 2 * 2)
    images = np.zeros((7, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = range(7), 100
    usage = measure_usage(Indices(), images)
    expected = np.zeros((5, 256))
    expected[:, :7] = 4 / 42
    expected[np.arange(5), 100 + np.arange(5)] = 14 / 42
    np.testing.assert_allclose(usage, expected, rtol=1e-6)


def test_usage_is_counted_on_a_sample_of_all_images_and_says_what_it_changes(monkeypatch):
    """At the gain for one usage, images of another have the energy (old gain / new gain)^2."""
    seen, written = [], []
    images = np.zeros((40, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = range(40)

    def measured(codec, chosen):
        seen.extend(chosen[:, 0, 0, 0].tolist())
        return SKEWED

    monkeypatch.setattr(calibration, "measure_usage", measured)
    monkeypatch.setattr(calibration, "rewrite", lambda *given: written.append(given))
    rows = calibration.write_usage("a", Indices(), images, "b", "mine", sample=20)
    assert len(set(seen)) == 20 and max(seen) > 30 and seen != sorted(seen)
    assert written[0][:2] == ("a", "b") and written[0][3] == {"usage": {"source": "mine", "images": 20}}
    np.testing.assert_array_equal(written[0][2]["quantizer.count"], SKEWED)
    for row, found in enumerate(rows):
        size = 2 ** per_order.BITS[row]
        energy = np.abs(np.asarray(phy.qam(per_order.BITS[row]).modulate(jnp.arange(size)), complex)) ** 2
        of_source = SKEWED[row, :size] @ energy / SKEWED[row, :size].sum()
        assert found["gain_db"] == pytest.approx(-10 * np.log10(of_source), abs=2e-3)
        assert found["es_db_before"] == pytest.approx(10 * np.log10(of_source / energy.mean()), abs=2e-3)
    assert rows[3]["es_db_before"] < -0.5


def test_bytes_fill_the_frame():
    """What `frame_symbols` sends is every part's bits: one flipped bit changes what is sent."""
    plan = frame(256, "qam16", fraction("coderate", "1/2"), 2, fraction("coderate", "1/4"))
    data = np.zeros((1, plan.num_bytes), np.uint8)
    first = np.asarray(frame_symbols(plan, jnp.asarray(data)))
    for place in (0, plan.num_bytes - 1):
        other = data.copy()
        other[0, place] = 1
        assert bits_of_bytes(jnp.asarray(other)).sum() == 1
        assert np.any(np.asarray(frame_symbols(plan, jnp.asarray(other))) != first)
