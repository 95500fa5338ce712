"""STSC on the link: any size and rate from one set of weights, prices, and what each end knows."""

import functools
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import channels
import phy
from models import Indexed, IndexedConfig, Swin, SwinConfig
from semsim import simulation
from semsim.checkpoint import named_arrays, save_weights
from semsim.data import from_array
from semsim.info import cost
from semsim.link import Link
from semsim.stats import FOUR_SIGMA, proportion_interval
from semsim.systems import SYSTEMS, Point, analogue, stsc
from semsim.train import Recipe, fit

NET = SwinConfig((8, 16), (1, 1), (2, 4), 2, channels=8, mod_layers=1, linear_path=True, height=8, width=8)
RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 256, (4, 16, 24, 3), np.uint8)
IMAGES = jnp.asarray(PIXELS[:, :8, :8] / 255, jnp.float32)
KEY = jax.random.key(0)


@functools.cache
def codec() -> Swin:
    return nnx.jit(lambda: stsc.build(NET))()


@functools.cache
def indexed() -> Indexed:
    return nnx.jit(lambda: stsc.build_indexed(IndexedConfig(NET)))()


def deliver(codec: Swin, esno_db: float = 300.0) -> np.ndarray:
    point = Point(jnp.int32(0), channels.no_fading(), jnp.float32(phy.esnodb2no(esno_db)))
    graph, state = nnx.split(codec)
    run = jax.jit(lambda state: analogue.transmit(nnx.merge(graph, state), IMAGES, KEY, Link(), point).images)
    return np.asarray(run(state))


def test_without_noise_the_link_hands_the_decoder_what_the_encoder_made() -> None:
    for used in (codec(), codec().adapted(sent=4), codec().adapted(sent=4, choice="energy")):
        told = jnp.full(4, 300.0)
        maps = used.maps(IMAGES, told)
        chosen = used.chosen(maps)
        expected = used.decode(used.symbols(maps, chosen), told, chosen)
        np.testing.assert_allclose(deliver(used), np.clip(expected, 0, 1), atol=2e-4)


def test_both_ends_are_told_the_snr_of_the_realisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean Es/N0 after the fade, of each image."""
    told = []

    def ends(codec: Swin, images: jax.Array, esno_db: jax.Array):
        told.append(esno_db)
        return codec.encode(images, esno_db), lambda received: codec.decode(received, esno_db)

    point = Point(jnp.int32(0), channels.rayleigh(0), jnp.float32(phy.esnodb2no(7.0)))
    analogue.transmit(codec(), IMAGES, KEY, Link(), point, ends)
    gain = analogue.fade(analogue.split_keys(KEY)[1], Link(), point.fading, (4,), codec().config.num_symbols)
    expected = 7.0 + 20 * np.log10(np.abs(np.asarray(gain))).reshape(4, -1)[:, 0]
    np.testing.assert_allclose(told[0], expected, atol=1e-3)


@pytest.mark.parametrize("name", ["stsc", "stsc-vq"])
def test_images_of_any_size_go_through_the_engine(name: str) -> None:
    used = codec() if name == "stsc" else indexed()
    found = simulation.run(
        name, from_array(PIXELS), SYSTEMS[name].modulations[0], "awgn", [10.0], codec=used, realizations=1
    )
    (row,) = [row for row in found.rows() if row["metric"] == "psnr"]
    assert row["n"] == 4 and np.isfinite(row["value"])
    symbols = 4 * 6 * 4
    assert row["cbr_payload"] == pytest.approx(symbols / (3 * 16 * 24))


def test_a_rate_of_the_plan_costs_its_symbols_and_a_choice_costs_its_bits() -> None:
    ledger = SYSTEMS["stsc"].ledger
    full = ledger(codec(), Link())
    half = ledger(analogue.at_rate(codec(), cbr=Fraction(1, 24)), Link())
    assert half.payload.channel_uses == full.payload.channel_uses / 2 == 8
    assert half.cbr == half.cbr_payload
    chosen = ledger(codec().adapted(sent=4, choice="energy"), Link())
    assert chosen.channel_uses - half.channel_uses == 3  # C(4, 2) = 6 ways


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cbr": "1/7"}, "no bandwidth ratio 1/7; possible: 1/48, 1/24, 1/16, 1/12"),
        ({"cbr": "x"}, "cbr is a fraction"),
        ({"images": PIXELS[:, :, :10]}, "16x10 pixels .* SSIM needs 11 on each side"),
    ],
)
def test_refusals(arguments: dict, message: str) -> None:
    images = from_array(arguments.pop("images", PIXELS))
    with pytest.raises(ValueError, match=message):
        simulation.sweep("stsc", images, "analogue", "awgn", [10.0], codec=codec(), **arguments)


def test_systems_of_one_rate_refuse_another() -> None:
    for name, images in (("stsc-vq", PIXELS), ("ujscc", np.zeros((1, 32, 32, 3), np.uint8))):
        given = {"codec": indexed()} if name == "stsc-vq" else {}
        with pytest.raises(ValueError, match=r"one rate.*leave cbr( 1/6)? out"):
            simulation.sweep(name, from_array(images), "qpsk", "awgn", [10.0], cbr="1/6", **given)


def test_a_sender_that_adapts_is_declared_to_know_the_snr():
    def declared(name):
        codec = nnx.eval_shape(SYSTEMS[name].fresh)
        return "Es/N0 at the sender" in [line.what for line in SYSTEMS[name].ledger(codec, Link()).overhead]

    found = {name: declared(name) for name in ("stsc", "deepjscc-strong", "deepjscc", "fssc", "frenca")}
    assert found == {"stsc": True, "deepjscc-strong": True, "deepjscc": False, "fssc": False, "frenca": False}


def test_a_decoder_that_is_told_the_snr_beside_an_estimated_channel_is_declared_to_be() -> None:
    """From a gain that is declared it follows."""

    def declared(name, csi):
        codec, grid = nnx.eval_shape(SYSTEMS[name].fresh), SYSTEMS[name].grid
        grid = phy.repeated(grid, codec.config.num_symbols)
        lines = SYSTEMS[name].ledger(codec, Link(grid, csi)).overhead
        return "Es/N0 at the receiver" in [line.what for line in lines]

    found = {name: declared(name, "ls") for name in ("stsc", "frenca", "deepjscc-strong", "deepjscc", "fssc")}
    assert found == {"stsc": True, "frenca": True, "deepjscc-strong": True, "deepjscc": False, "fssc": False}
    assert not any(declared(name, "perfect") for name in found)


@pytest.mark.parametrize(("name", "build"), [("stsc", codec), ("stsc-vq", indexed)])
def test_weights_come_back_from_their_file(tmp_path, name: str, build) -> None:
    """Nested settings too; and a checkpoint of another system is refused."""
    path = tmp_path / "codec.safetensors"
    save_weights(path, build(), SYSTEMS[name].metadata(build()))
    found = SYSTEMS[name].load(path)
    assert found.config == build().config
    for key, array in named_arrays(build()).items():
        np.testing.assert_array_equal(named_arrays(found)[key], array)
    with pytest.raises(ValueError, match=f"is a checkpoint of '{name}', not of deepjscc"):
        SYSTEMS["deepjscc"].load(path)


class Drawn:
    """Stands for a codec of four maps in training: remembers what it was told, and errs by known amounts."""

    config = SimpleNamespace(maps=4, choice="first")

    def __init__(self, errors: jax.Array):
        self.errors = errors

    def maps(self, images: jax.Array, told: jax.Array) -> jax.Array:
        self.told = told
        return jnp.ones((len(images), 2, 2, 4), jnp.complex64)

    def picture(self, maps: jax.Array, told: jax.Array) -> jax.Array:
        np.testing.assert_array_equal(told, self.told)
        self.heard = np.asarray(maps)
        return jnp.broadcast_to(jnp.sqrt(self.errors)[:, None, None, None], (len(maps), 2, 2, 3))


def test_training_draws_snr_and_rate_of_each_image_and_takes_the_mean_of_logarithms(monkeypatch) -> None:
    """Es/N0 uniform from 0 to 20 dB, the noise as told; half of the images with all maps, the others with 1 to all."""
    count, noise = 4000, []
    errors = jnp.asarray(10 ** RNG.uniform(-6, -1, count), jnp.float32)
    send = analogue.send_symbols
    monkeypatch.setattr(analogue, "send_symbols", lambda *sent: (noise.append(sent[4]), send(*sent))[1])
    codec, images = Drawn(errors), jnp.zeros((count, 2, 2, 3))
    value, log = analogue.prefix_loss(least=0.25, full=0.5)(codec, images, KEY)
    told = np.asarray(codec.told, float)
    np.testing.assert_allclose(noise[0], 10 ** (-told / 10), rtol=1e-5)
    assert 0 <= told.min() < 0.1 and 19.9 < told.max() <= 20
    assert abs(told.mean() - 10) < 4 * (20 / np.sqrt(12 * count))
    silent = (codec.heard == 0).all(axis=(1, 2))  # of each image and map
    assert (np.diff(silent.astype(int), axis=1) >= 0).all()  # the first ones speak
    sent = 4 - silent.sum(axis=1)
    for maps, share in ((1, 1 / 8), (2, 1 / 8), (3, 1 / 8), (4, 5 / 8)):
        interval = proportion_interval(int((sent == maps).sum()), count, FOUR_SIGMA)
        assert interval.low < share < interval.high, maps
    assert abs(np.corrcoef(told, sent)[0, 1]) < 4 / np.sqrt(count)
    np.testing.assert_allclose(value, np.mean(np.log(np.asarray(errors, float) + 1e-5)), rtol=1e-5)
    np.testing.assert_allclose(log["psnr"], -10 * np.log10(np.mean(errors[sent == 4])), rtol=1e-5)


def test_a_tiny_overfit_learns_every_rate(tmp_path) -> None:
    """Four images by heart: more maps show more, at every rate better than their mean colour."""
    live = nnx.clone(codec())
    recipe = Recipe(steps=150, batch=4, learning_rate=1e-2, warmup=10, flip=False)
    smooth = np.repeat(np.repeat(PIXELS[:, :8:4, :8:4], 4, axis=1), 4, axis=2)
    fit(live, smooth, recipe, SYSTEMS["stsc"].loss(()), tmp_path / "run")
    images = jnp.asarray(smooth / 255, jnp.float32)
    errors = []
    for sent in (2, 8):
        used = live.adapted(sent=sent)
        run = jax.jit(lambda image, used=used: used.decode(used.encode(image, 20.0), 20.0))
        errors.append(float(jnp.mean((run(images) - images) ** 2)))
    assert errors[1] < errors[0] < float(jnp.var(images))


def test_published_sizes_cost_what_was_published() -> None:
    """0.312 GMAC on each side of the CIFAR-10 codec; XLA counts norms and activations too."""
    system = SYSTEMS["stsc"]
    plain = replace(dict(system.sizes)["cifar"], mod_layers=0)
    found = cost(replace(system, sizes=(("cifar", plain),)))
    assert found["parameters"] == 7_396_208
    for side in ("encoder", "decoder"):
        macs, flops = found[f"{side}_macs"], found[f"{side}_flops"]
        assert round(macs / 1e9, 3) == 0.312
        assert 2 * macs < flops < 2.1 * macs
