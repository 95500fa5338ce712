"""The digital baseline: what fits is sent, losses show what the policy says, rates multiply, channel uses are equal."""

import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

import phy
from semsim import devices, simulation
from semsim.codecs import Fitted, Fitter, codec, fit
from semsim.coding import Coding
from semsim.data import from_array, load
from semsim.devices import Execution
from semsim.error_rates import ber
from semsim.frame import bits_of_bytes, frame
from semsim.mcs import MCS, fraction
from semsim.planner import plan
from semsim.separation import DECODING, Separation, run, sweep
from semsim.sources import Replacements, Sources, measured
from semsim.stats import FOUR_SIGMA, proportion_interval
from semsim.systems.ujscc import GRID


@pytest.fixture(scope="module")
def patches():
    return load("embedded", limit=32)


def value(found, metric, **where):
    (row,) = [
        row for row in found.rows() if row["metric"] == metric and all(row[k] == v for k, v in where.items())
    ]
    return row


def test_a_frame_fills_its_channel_uses():
    plan = frame(256, "qam16", Fraction(1, 2), 2, Fraction(1, 4))
    header, body = plan.parts
    assert plan.num_symbols == 256 and (header.modulation, body.modulation) == ("qpsk", "qam16")
    assert header.num_symbols == (16 + 16) * 4 // 2 and header.block.crc_bits == 16
    assert body.num_bytes == (192 * 4 // 2 - 16) // 8 and plan.num_bytes == body.num_bytes + 2
    long = frame(4096, "qam16", Fraction(1, 2)).parts[0]
    assert long.block.crc_bits == 24 and long.num_bytes == (4096 * 2 - 24) // 8
    assert sum(line.channel_uses for line in plan.lines()) == 256


def test_bytes_become_bits_as_numpy_unpacks_them():
    data = np.random.default_rng(0).integers(0, 256, (3, 5), dtype=np.uint8)
    np.testing.assert_array_equal(bits_of_bytes(jnp.asarray(data)), np.unpackbits(data, axis=-1))


def test_the_grid_costs_what_that_of_the_learned_systems_costs():
    """Equal channel uses for every legend: the totals of the ledgers, payload and all."""
    assert phy.repeated(GRID, 256) == GRID
    many = phy.repeated(GRID, 7 * 256)
    assert many.num_data_symbols == 7 * 256 and many.num_pilots == 7 * GRID.num_pilots
    assert many.energy_per_data_symbol == pytest.approx(GRID.energy_per_data_symbol)
    images = load("embedded", limit=1)
    learned = simulation.sweep("ujscc", images, "qpsk", "awgn", [0.0]).config["ledger"]
    digital = sweep(images, "qpsk", "awgn", [0.0]).config["ledger"]
    assert (digital["cbr"], digital["cbr_payload"]) == (learned["cbr"], learned["cbr_payload"])


def test_quality_is_that_of_the_best_files_that_fit(patches):
    """Far above the cliff nothing is lost, and the images are the codec's own."""
    found = run(patches, "qam64", "awgn", [30.0], Separation(coderate=("2/3",)))
    budget = frame(256, "qam64", Fraction(2, 3)).num_bytes
    fitted = [fit(codec("jpeg"), image, budget) for image in patches.images]
    assert None not in fitted
    expected = measured(patches.images, np.stack([one.image for one in fitted if one]))
    assert value(found, "psnr")["value"] == pytest.approx(expected[:, 0].mean(), abs=1e-4)
    assert value(found, "ssim")["value"] == pytest.approx(expected[:, 1].mean(), abs=1e-4)
    assert value(found, "outage")["errors"] == 0 and value(found, "unfit")["errors"] == 0


def test_an_image_that_does_not_fit_is_lost_and_counted(patches):
    noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    images = from_array(np.concatenate([patches.images[:12], noise]))
    found = run(images, "qpsk", "awgn", [30.0], Separation(coderate=("1/2",)))
    unfit = value(found, "unfit")["errors"]
    fitted = [
        fit(codec("jpeg"), image, frame(256, "qpsk", Fraction(1, 2)).num_bytes) for image in images.images
    ]
    assert unfit == fitted.count(None) > 0
    assert value(found, "outage")["errors"] == unfit and value(found, "body_lost")["errors"] == 0


class Ready:
    """A fitter that has one answer, and counts how often it is asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, 0

    def best(self, num_bytes):
        self.asked += 1
        return self.answer


def test_an_image_is_coded_once_and_when_it_is_sent():
    original = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    fitters = [Ready(Fitted(bytes((n + 1,) * 2), one, 1, "")) for n, one in enumerate(original)]
    fitters[3].answer = None
    source = Sources(fitters, 3, Replacements(original, "grey"))
    chosen = np.array([[3, 1], [1, 1]])
    np.testing.assert_array_equal(source.payloads(chosen), [[[0, 0, 0], [2, 2, 0]], [[2, 2, 0], [2, 2, 0]]])
    np.testing.assert_array_equal(source.fits(chosen), [[False, True], [True, True]])
    source.quality(chosen, np.ones((2, 2, 1), bool))
    assert [one.asked for one in fitters] == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("policy", ["grey", "mean-image", "last-good"])
def test_lost_images_show_what_the_policy_says(policy):
    """By hand, a stream of four, three draws: the first loses places 0 and 2, the second all but 1, the third all but 0."""
    rng = np.random.default_rng(1)
    original = rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    arriving = np.clip(original.astype(int) + rng.integers(-20, 20, original.shape), 0, 255).astype(np.uint8)
    replacement = np.full(original.shape[1:], 128, np.uint8)
    if policy == "mean-image":
        replacement = np.round(original.mean(axis=0)).astype(np.uint8)
    source = Sources([Ready(Fitted(b"x", one, 1, "")) for one in arriving], 1, Replacements(original, policy))
    ok = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    chosen = np.array([[2, 0, 3, 1]])
    found = source.quality(chosen, ok[None])
    for draw in range(3):
        last = None
        for place, image in enumerate(chosen[0]):
            last = image if ok[place, draw] else last
            if ok[place, draw] or (policy == "last-good" and last is not None):
                shown = arriving[last]
            else:
                shown = replacement
            expected = measured(original[image][None], shown[None])[0]
            np.testing.assert_allclose(found[0, place, draw], expected, atol=1e-6)


def test_header_and_body_are_lost_as_their_own_rates_say(patches):
    """An image arrives when both do; over AWGN they are independent, and the header's rate is that of its code."""
    plan = Separation(coderate=("1/2",), header_coderate="1/3", cbr="1/12")
    found = run(patches, "qpsk", "awgn", [0.0, 0.5], plan, realizations=24)
    for esno_db in (0.0, 0.5):
        header, body, outage, unfit = (
            value(found, name, esno_db=esno_db) for name in ("header_lost", "body_lost", "outage", "unfit")
        )
        rates = [row["errors"] / row["trials"] for row in (header, body, outage)]
        assert unfit["errors"] == 0 or unfit["errors"] % 24 == 0
        arrived = (1 - unfit["errors"] / unfit["trials"]) * (1 - rates[0]) * (1 - rates[1])
        low, high = proportion_interval(outage["errors"], outage["trials"], FOUR_SIGMA)[1:]
        assert low < 1 - arrived < high and body["errors"] > 100


def test_the_cliff_is_that_of_the_code(patches):
    """Frames are lost at the block error rate of `semsim ber` for the same code at the same Es/N0, and the PSNR falls
    halfway from its plateau to grey within 0.2 dB of where that rate is one half."""
    part = frame(256, "qam16", Fraction(1, 2)).parts[0]
    esno_db = np.array([0.0, 5.6, 5.9, 6.2, 6.5, 20.0])
    found = run(patches, "qam16", "awgn", esno_db, Separation(coderate=("1/2",)), realizations=24)
    ebno_db = esno_db[1:-1] - 10 * math.log10(4 * part.block.num_bits / part.block.n)
    assert phy.ebnodb2esnodb(ebno_db[0], 4, part.block.coderate) == pytest.approx(esno_db[1])
    coding = Coding("ldpc", part.block.num_bits, part.block.n, crc="16", decoding=DECODING)
    words = [
        row for row in ber("qam16", "awgn", ebno_db, coding=coding, min_errors=10_000, max_bits=7.5e5).rows()
        if row["metric"] == "bler"
    ]  # fmt: skip
    for snr, word in zip(esno_db[1:-1], words, strict=True):
        lost = value(found, "body_lost", esno_db=snr)
        a, n, b, m = lost["errors"], lost["trials"], word["errors"], word["trials"]
        pooled = (a + b) / (n + m)
        assert a > 15 and abs(a / n - b / m) < 4 * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    psnr = np.array([value(found, "psnr", esno_db=snr)["value"] for snr in esno_db])
    fallen = (psnr[-1] - psnr) / (psnr[-1] - psnr[0])
    bler = [word["value"] for word in words]
    assert bler[0] > 0.5 > bler[-1] and fallen[1] > 0.5 > fallen[-2]
    cliff, threshold = (np.interp(-0.5, -np.array(curve), esno_db[1:-1]) for curve in (fallen[1:-1], bler))
    assert abs(cliff - threshold) < 0.2, (cliff, threshold)


def test_a_plan_codes_no_image_and_compiles_no_receiver(monkeypatch):
    """All 37 schemes: as many points as the run has, in programs that schemes share."""
    images = load("embedded", limit=4)
    monkeypatch.setattr(Fitter, "best", lambda *_: pytest.fail("an image was coded"))
    devices.evaluate.clear_cache()
    wanted = sweep(images, "auto", "awgn", [4.0, 12.0])
    found = plan(wanted, Execution())
    assert found.points == len(wanted.jobs) > 8 and len(found.programs) == 2
    assert all(one.memory > 0 and one.seconds is one.compile_seconds is None for one in found.programs)
    assert found.seconds() is None and devices.evaluate._cache_size() == 0


def test_auto_is_the_schemes_of_nr_that_can_be_the_best():
    images = load("embedded", limit=1)

    def chosen(modulation, esno_db, coderate="auto", cbr="1/12"):
        found = sweep(images, modulation, "awgn", [esno_db], Separation(coderate=(coderate,), cbr=cbr))
        return [(job.point["modulation"], job.point["coderate"]) for job in found.jobs]

    low, high = chosen("auto", 2.0), chosen("auto", 14.0)
    assert 3 <= len(low) <= 8 and 3 <= len(high) <= 8 and set(low) | set(high) < set(MCS)
    assert {name for name, _ in low} <= {"qpsk", "qam16"} and {name for name, _ in high} == {"qam64"}
    assert chosen("qam16", 14.0) == [("qam16", "658/1024")]  # all arrive: the one that carries most
    assert chosen("auto", 6.0, "0.5") == [("qpsk", "0.5"), ("qam16", "0.5")]  # the others are hopeless
    config = sweep(images, "auto", "awgn", [2.0]).config
    assert config["schemes"]["awgn"]["2 dB"].startswith(f"{len(low)} of {len(MCS)}: ")
    assert len(chosen("auto", -20.0)) == 1  # nothing arrives, and the point is there all the same


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda images: Separation(codec=("jpg",)), "jpeg"),
        (lambda images: Separation(coderate=("3/2",)), r"coderate must be in \(0, 1\]"),
        (lambda images: Separation(cbr="a"), "cbr is a fraction such as 1/2; got 'a'"),
        (lambda images: Separation(on_failure="freeze"), "on_failure"),
        (
            lambda images: sweep(images, "qpsk", "awgn", [0.0], Separation(coderate=("1/2",), cbr="1/600")),
            "leave no byte",
        ),
        (
            lambda images: sweep(
                np.zeros((12, 384, 512, 3), np.uint8),
                "qpsk",
                "awgn",
                [0.0],
                Separation(on_failure="last-good"),
            ),
            "one of 384x512 pixels .* is a block of its own: take grey or mean-image",
        ),
        (lambda images: sweep(images, "qpsk", "awgn", [0.0], Separation(cbr="1/9999")), "no channel uses"),
        (
            lambda images: sweep(images, "qpsk", "awgn", [0.0], Separation(coderate=("0.99",))),
            "code rate above",
        ),
        (lambda images: sweep(images, "qam5", "awgn", [0.0]), "modulation"),
        (lambda images: fraction("x", "0"), "must be in"),
        (lambda images: sweep(images, "qam1024", "awgn", [0.0]), "modulation with coderate auto"),
        (
            lambda images: sweep(images, "qpsk", "dialect:chunbaobao", [0.0]),
            "no noise variance that soft bits",
        ),
        (
            lambda images: sweep(images, "auto", "awgn", [0.0], Separation(coderate=("auto",), cbr="1/2000")),
            "leave no byte",
        ),
    ],
)
def test_errors(patches, wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(patches)
