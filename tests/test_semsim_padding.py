"""Images of any size through any codec: padded, priced, and measured on what is theirs."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from models import DeepJSCCConfig, IndexedConfig, ResidualConfig, SwinConfig, UJSCCConfig
from models.swin import BASE
from semsim import cli, data, devices, image_runs, padding, separation
from semsim.image_runs import ImageOrder
from semsim.metrics import psnr, ssim
from semsim.runs import load_run
from semsim.simulation import reconstruct, run, sweep
from semsim.systems import SYSTEMS

SMALL = UJSCCConfig(image_size=16, width=8, encoder_blocks=1, decoder_blocks=1)
CODEC = SYSTEMS["ujscc"].build(SMALL, 0)
SWIN = SYSTEMS["stsc"].build(SwinConfig((8, 8), (1, 1), (2, 2), 2, channels=4), 0)
STSC = {"codec": SWIN, "modulation": "analogue", "channel": "awgn", "esno_db": [10.0]}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth, so that PSNR and SSIM of neighbours are not those of noise."""
    values = np.random.default_rng(seed).uniform(0, 255, (height + 8, width + 8, 3))
    sums = values.cumsum(0).cumsum(1)
    return ((sums[8:, 8:] - sums[:-8, 8:] - sums[8:, :-8] + sums[:-8, :-8]) / 64).round().astype(np.uint8)


def mixed(*shapes: tuple[int, int]) -> data.ImageSet:
    images = [picture(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    return data.ImageSet("mixed", data.folders.together(images)[0], tuple(map(str, range(len(images)))), "")


# --- to which size ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "unit"),
    [
        (BASE, 128),  # four halvings, windows of 8
        (SwinConfig(window=4), 16),
        (ResidualConfig(), 4),
        (UJSCCConfig(), 32),
        (DeepJSCCConfig(), 32),
        (IndexedConfig(SwinConfig(window=4, channels=8)), 16),
        (SYSTEMS["frenca"].fresh().config, 16),
    ],
)
def test_the_least_size_that_patches_windows_or_tiles_divide(config, unit):
    assert config.fitting(3 * unit, 4 * unit) == (3 * unit, 4 * unit)
    assert config.fitting(3 * unit - 1, 4 * unit + 1) == (3 * unit, 5 * unit)
    assert config.fitting(12, unit) in ((12, unit), (unit, unit))


def test_every_shipped_size_takes_what_it_says_that_it_takes():
    """A size that a Swin codec says to fit does fit: its config is one, whatever the picture."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        size = tuple(int(side) for side in rng.integers(11, 700, 2))
        for config in (BASE, SwinConfig(window=4), ResidualConfig()):
            height, width = config.fitting(*size)
            assert type(config)(**{**vars(config), "height": height, "width": width}).image_shape >= size


def test_padding_is_the_mirror_image():
    image = picture(5, 4)
    found = padding.pad(image, (7, 11))
    np.testing.assert_array_equal(found[:5, :4], image)
    np.testing.assert_array_equal(found[5:, :4], image[[3, 2]])
    np.testing.assert_array_equal(found[0, :, 0], image[0, [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2], 0])


# --- what is measured -------------------------------------------------------------------------------------------------


def test_quality_within_a_size_is_that_of_the_crop():
    x, y = (
        jnp.asarray(np.stack([picture(24, 32, s), picture(24, 32, s + 1)]) / 255.0, jnp.float32)
        for s in (0, 5)
    )
    sizes = jnp.asarray([[24, 32], [13, 17]])
    for measure in (psnr, ssim):
        crop = [measure(x[i, :h], y[i, :h]) for i, h in ((0, 24),)]
        crop.append(measure(x[1, :13, :17], y[1, :13, :17]))
        np.testing.assert_allclose(measure(x, y, sizes), crop, rtol=2e-5)
    assert abs(float(psnr(x, y, sizes)[1] - psnr(x, y)[1])) > 0.01


def test_a_padded_image_is_measured_on_its_own_pixels():
    """21 x 27 on the 24 x 32 that windows of 2 take, against the picture itself, cropped by hand."""
    images = picture(21, 27)[None]
    (row, *_) = (row for row in run("stsc", images, **STSC).rows() if row["metric"] == "psnr")
    shown = reconstruct("stsc", images, "analogue", "awgn", 10.0, codec=SWIN).images
    assert shown.shape == (1, 21, 27, 3)
    expected = psnr(jnp.asarray(shown[0]), jnp.asarray(images[0] / 255.0, jnp.float32))
    assert row["value"] == pytest.approx(float(expected), abs=1e-4)


def test_an_image_that_fits_is_sent_as_it_is():
    """In a set of mixed sizes the image of the first batch has the draws of a set of one, and the same numbers."""
    two = mixed((24, 32), (24, 32), (16, 16))
    first = two.images[ImageOrder(two.sizes, 0).order[0]]
    plain, found = sweep("stsc", first[None], **STSC), sweep("stsc", two, **STSC)
    assert isinstance(plain.jobs[0].work.mapped(0), np.ndarray)
    assert isinstance(found.jobs[0].work.mapped(0), padding.Padded)
    assert not any("padding to" in json.dumps(one.config["ledger"]) for one in (plain, found))
    parts = run("stsc", two, **STSC).batches(found.jobs[0].point)[0].parts
    for row in run("stsc", first[None], **STSC).rows():
        if row["metric"] in ("psnr", "ssim"):
            assert parts[row["metric"]] == pytest.approx([row["value"]], abs=1e-4)


def test_tiles_of_a_small_codec_take_any_size():
    """20 x 40 is six tiles of 16; the last row and column of tiles are mostly mirror image."""
    images = picture(20, 40)[None]
    wanted = ("qpsk", "awgn", [30.0])
    rows = {row["metric"]: row for row in run("ujscc", images, *wanted, codec=CODEC).rows()}
    assert rows["ser"]["trials"] == 6 * 64
    assert rows["psnr"]["cbr_payload"] == 6 * 64 / (3 * 20 * 40)
    shown = reconstruct("ujscc", images, "qpsk", "awgn", 30.0, codec=CODEC).images
    tile = reconstruct("ujscc", images[:, :16, 16:32], "qpsk", "awgn", 30.0, codec=CODEC).images
    np.testing.assert_allclose(shown[:, :16, 16:32], tile, atol=1e-5)


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_tiles_are_priced_as_many_images_of_their_size():
    """20 x 40 is six tiles of 16: six times every line of one, over samples of its own; nothing for the repeated grid."""
    wanted = {"codec": CODEC, "modulation": "qpsk", "channel": "tdl-a", "esno_db": [10.0]}
    one, six = (
        sweep("ujscc", picture(*size)[None], **wanted).config["ledger"] for size in ((16, 16), (20, 40))
    )
    found = {line["what"]: line["channel_uses"] for line in six["lines"]}
    padding = found.pop("padding to 32 x 48")
    assert found == {line["what"]: 6 * line["channel_uses"] for line in one["lines"]} and padding == 0
    assert found["indices"] == 6 * 64 and found["pilots"] > 0
    assert six["cbr"] == pytest.approx(6 * one["cbr"] * 16 * 16 / (20 * 40))


def test_the_padding_is_priced_and_said():
    """Two complex maps on a grid of patches of 4 x 4: 21 x 27 costs what 24 x 32 costs, over samples of its own."""
    ledger = sweep("stsc", picture(21, 27)[None], **STSC).config["ledger"]
    full = sweep("stsc", picture(24, 32)[None], **STSC).config["ledger"]
    assert ledger["source_samples"] == 3 * 21 * 27
    assert ledger["cbr_payload"] == pytest.approx(2 * 6 * 8 / (3 * 21 * 27))
    assert ledger["cbr"] * 21 * 27 == pytest.approx(full["cbr"] * 24 * 32)
    (line,) = (line for line in ledger["lines"] if line["what"].startswith("padding to"))
    assert line["what"] == "padding to 24 x 32" and "21 x 27" in line["note"]


def test_of_mixed_sizes_the_mean_and_the_largest_price():
    images = mixed((24, 32), (21, 27), (24, 32))
    found = run("stsc", images, **STSC)
    prices = [2 * 6 * 8 / (3 * h * w) for h, w in images.sizes]
    for row in found.rows():
        assert row["cbr_payload"] == pytest.approx(np.mean(prices)) and row["n"] == 3
        assert row["cbr_largest"] > row["cbr"]
    entry = found.config["ledger"]
    assert [(one["height"], one["width"], one["images"]) for one in entry["sizes"]] == [
        (24, 32, 2),
        (21, 27, 1),
    ]
    assert max(one["cbr"] for one in entry["sizes"]) == entry["cbr_largest"]


# --- mixed sizes ------------------------------------------------------------------------------------------------------


def test_one_program_for_each_padded_size_and_a_random_order():
    """Five images of four sizes, which two sizes hold; each is a batch, and its numbers are those of the image alone."""
    images = mixed((16, 16), (21, 27), (24, 32), (15, 13), (24, 32))
    devices.evaluate.clear_cache()
    found = run("stsc", images, **STSC)
    assert devices.evaluate._cache_size() == 2
    ((point, sums),) = found.points
    assert sums["psnr"]["n"] == 5 and sorted(found.batches(point)) == [0, 1, 2, 3, 4]
    order = np.random.default_rng(0).permutation(5)
    assert order.tolist() != [0, 1, 2, 3, 4]
    noiseless = {**STSC, "esno_db": [150.0]}
    ((point, _),) = (again := run("stsc", images, **noiseless)).points
    for number in (1, 3):  # the two that are padded
        shown = reconstruct(
            "stsc", images.images[number][None], "analogue", "awgn", 150.0, codec=SWIN
        ).images[0]
        expected = psnr(jnp.asarray(shown), jnp.asarray(images.images[number] / 255.0, jnp.float32))
        (value,) = again.batches(point)[int(np.flatnonzero(order == number)[0])].parts["psnr"]
        assert value == pytest.approx(float(expected), abs=2e-4)


def test_symbol_error_rates_of_mixed_sizes_are_means_over_images():
    images = mixed((16, 16), (32, 48))
    rows = {row["metric"]: row for row in run("ujscc", images, "qam16", "awgn", [10.0], codec=CODEC).rows()}
    alone = [
        {
            row["metric"]: row
            for row in run("ujscc", image[None], "qam16", "awgn", [10.0], codec=CODEC).rows()
        }["ser"]
        for image in images.images
    ]
    assert [row["trials"] for row in alone] == [64, 6 * 64]
    assert rows["ser"]["n"] == 2 and "trials" not in rows["ser"]
    assert 0 < rows["ser"]["value"] < 0.5


def test_a_folder_of_photographs_from_the_command_line(tmp_path, capsys):
    """Sizes mixed, one of them upright by its tag, one file that is no picture: said on the terminal and in the rows."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(40, 50)).save(folder / "a.jpg", exif=exif)
    Image.fromarray(picture(33, 64)).save(folder / "b.png")
    (folder / "c.txt").write_text("no picture")
    wanted = ["run", "deepjscc", "--data", str(folder), "--esno-db", "10", "--json"]
    assert cli.main(wanted) == 2
    assert "run --on-bad skip" in capsys.readouterr().err
    assert cli.main([*wanted, "--on-bad", "skip", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    left_out = "skipped 1 of 3 files: c.txt: not a PNG, JPEG or WebP image"
    assert printed.err.count(left_out) == 1
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert {row["left_out"] for row in rows} == {left_out} and {row["n"] for row in rows} == {2}
    config = load_run(tmp_path / "run").config
    assert {(one["height"], one["width"]) for one in config["ledger"]["sizes"]} == {(50, 40), (33, 64)}
    assert "1 turned as the camera's tag says" in config["data"]["note"]
    assert cli.main([*wanted, "--on-bad", "skip", "--size", "64x32"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["cbr_payload"] for row in rows} == {1 / 12}


def test_what_takes_one_size_says_what_would_do():
    images = mixed((16, 16), (32, 48))
    with pytest.raises(
        ValueError, match=r"separation takes images of one size; got 16x16, 32x48 .*--size.*--tile"
    ):
        separation.sweep(images, "qpsk", "awgn", [10.0])
    with pytest.raises(ValueError, match="reconstruct takes images of one size"):
        reconstruct("ujscc", images, "qpsk", "awgn", 10.0, codec=CODEC)
    with pytest.raises(ValueError, match=r"1 has 8x40 pixels \(height x width\); SSIM needs 11"):
        run("ujscc", mixed((16, 16), (8, 40)), "qpsk", "awgn", [10.0], codec=CODEC)


# --- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "block", "blocks"),
    [
        ([(32, 32)] * 512, 16, 8),
        ([(32, 32)] * 20, 16, 2),
        ([(128, 128)] * 64, 16, 4),
        ([(256, 256)] * 100, 4, 8),
        ([(384, 512)] * 24, 1, 1),
        ([(512, 768)], 1, 1),
        ([(32, 32)] * 40 + [(32, 33)], 1, 1),
    ],
)
def test_blocks_shrink_with_the_image(sizes, block, blocks):
    """Sets of small images keep the blocks, and so the draws, of earlier versions; a photograph is a block of its own."""
    found = ImageOrder(sizes, 0)
    assert (found.block, found.blocks) == (block, blocks)
    assert sorted(np.concatenate([found.chosen(batch) for batch in range(found.batches)])) == list(
        range(len(sizes))
    )


def test_the_draws_of_small_images_are_those_of_earlier_versions():
    entry = image_runs.draws_entry("g", 1, ImageOrder([(32, 32)] * 4, 0))
    assert entry == {"generator": "g", "blocks": 8, "block": 16, "realizations": 1}
    entry = image_runs.draws_entry("g", 1, ImageOrder([(512, 768)] * 4, 0))
    assert entry == {"generator": "g", "blocks": 1, "block": 1, "realizations": 1}
