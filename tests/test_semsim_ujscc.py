"""uJSCC on the link: what is sent, how often it is wrong, which order is chosen, and what the decoder may know."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import channels
import phy
from models import UJSCCConfig
from phy.index_map import random
from semsim.link import Link, fade, split_keys
from semsim.stats import FOUR_SIGMA, proportion_interval
from semsim.systems import Point, per_order, ujscc

KEY = jax.random.key(5)
CONFIG = UJSCCConfig(width=8, encoder_blocks=1, decoder_blocks=1)
LINK = Link(ujscc.GRID)
IMAGES = jax.random.uniform(KEY, (64, 32, 32, 3))
AXES = {"frequencies": ujscc.GRID.frequencies, "times": ujscc.GRID.times}
AWGN, RAYLEIGH = channels.grid_awgn(**AXES), channels.grid_rayleigh(**AXES)
AWGN, RAYLEIGH = channels.pad([AWGN, RAYLEIGH])
GRAPH, STATE = nnx.split(ujscc.build(CONFIG))


@functools.partial(jax.jit, static_argnames=("decoding",))
def deliver(order, fading, esno_db, labels, decoding="hard"):
    point = Point(order, fading, jnp.asarray(phy.esnodb2no(esno_db)))
    codec = nnx.merge(GRAPH, STATE)
    return ujscc.transmit(codec, IMAGES, KEY, LINK, point, labels=labels, decoding=decoding)


def send(order, fading, esno_db, labels=None, decoding="hard"):
    labels = ujscc.natural_labels() if labels is None else labels
    return deliver(jnp.int32(order), fading, jnp.float32(esno_db), labels, decoding)


@pytest.mark.parametrize(
    ("order", "esno_db", "ser"),
    [  # exact symbol error rates of square QAM, shared table of the systems' notes
        (0, 0.0, 0.0786496), (0, 5.0, 5.95387e-3), (1, 5.0, 0.0739383), (2, 12.0, 0.109353),
        (3, 20.0, 0.0502704), (4, 26.0, 0.0562818), (4, 30.0, 1.13151e-3),
    ],
)  # fmt: skip
def test_symbol_errors_at_the_edges_of_the_intervals(order, esno_db, ser):
    """Errors depend on the point sent, so sample the indices evenly: a random codec uses few of them."""
    labels = jax.random.randint(KEY, (400, 256), 0, 2 ** ujscc.BITS[order])
    modulation = phy.qam(ujscc.BITS[order], 8)

    @jax.jit
    def errors(key):
        gain = jnp.ones((400, 6, 64), jnp.complex64)
        return jnp.sum(
            per_order.send_labels(key, LINK, labels, modulation, gain, phy.esnodb2no(esno_db)) != labels
        )

    interval = proportion_interval(int(errors(KEY)), labels.size, FOUR_SIGMA)
    assert interval.low < ser < interval.high


def test_the_order_follows_the_boundaries():
    snr = jnp.asarray([-10.0, 4.99, 5.0, 11.9, 12.0, 19.9, 20.0, 25.9, 26.0, 40.0])
    np.testing.assert_array_equal(ujscc.choose_order(snr), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    low, high = ujscc.snr_interval(jnp.arange(5))
    np.testing.assert_array_equal(ujscc.choose_order(low), jnp.arange(5))
    np.testing.assert_array_equal(high[:-1], low[1:])


def test_auto_chooses_per_realisation_and_is_what_the_chosen_order_would_have_done():
    auto = send(ujscc.AUTO, RAYLEIGH, 15.0)
    assert len(np.unique(auto.orders)) >= 4  # Rayleigh fading spreads the SNR over the intervals
    gain = fade(split_keys(KEY)[1], LINK, RAYLEIGH, (64,), 256)
    met = 10 * np.log10(np.mean(np.abs(np.asarray(gain)) ** 2, axis=(1, 2)) * 10**1.5)
    np.testing.assert_array_equal(auto.orders, ujscc.choose_order(met))
    for order in range(len(ujscc.ORDERS)):
        fixed = send(order, RAYLEIGH, 15.0)
        mine = np.asarray(auto.orders) == order
        np.testing.assert_array_equal(np.asarray(auto.images)[mine], np.asarray(fixed.images)[mine])
        np.testing.assert_array_equal(
            np.asarray(auto.symbol_errors)[mine], np.asarray(fixed.symbol_errors)[mine]
        )
    assert deliver._cache_size() <= 2  # auto and every order share one program (the other one decodes softly)


@pytest.mark.parametrize("decoding", ["hard", "soft"])
def test_without_noise_labels_and_soft_decisions_change_nothing(decoding):
    mixed = np.tile(np.arange(256), (5, 1))
    for row, bits in enumerate(ujscc.BITS):
        mixed[row, : 2**bits] = random(2**bits, seed=row)
    for order in (0, 2, 4):
        plain = send(order, AWGN, 60.0)
        other = send(order, AWGN, 60.0, jnp.asarray(mixed), decoding)
        np.testing.assert_allclose(plain.images, other.images, atol=2e-5)
        assert int(jnp.sum(other.symbol_errors)) == 0


def test_labels_matter_where_there_are_errors():
    mixed = np.tile(np.arange(256), (5, 1))
    mixed[4] = random(256, seed=1)
    plain, other = send(4, AWGN, 20.0), send(4, AWGN, 20.0, jnp.asarray(mixed))
    assert float(jnp.max(jnp.abs(plain.images - other.images))) > 1e-3


@pytest.mark.parametrize("decoding", ["hard", "soft"])
@pytest.mark.parametrize("order", [2, ujscc.AUTO])
def test_the_decoder_knows_the_source_only_through_what_was_received(monkeypatch, order, decoding):
    """Hold what the receiver got from the air: two sources give the same output, bit for bit, and no derivative."""
    symbols = phy.qam(4).modulate(jax.random.randint(KEY, (4, 256), 0, 16))
    held = phy.Equalised(symbols, jnp.full((4, 256), 0.05))
    point = Point(jnp.int32(order), RAYLEIGH, jnp.float32(0.05))

    def output(images):
        codec = nnx.merge(GRAPH, STATE)
        return ujscc.transmit(codec, images, KEY, LINK, point, decoding=decoding).images

    def slope(images):
        return jax.jvp(output, (images,), (jnp.ones_like(images),))[1]

    free = jax.jit(output)
    assert float(jnp.max(jnp.abs(free(IMAGES[:4]) - free(IMAGES[4:8])))) > 1e-3
    monkeypatch.setattr(per_order, "carry", lambda *arguments, **named: held)
    fixed = jax.jit(lambda images: (output(images), slope(images)))
    first, second = fixed(IMAGES[:4]), fixed(IMAGES[4:8])
    np.testing.assert_array_equal(first[0], second[0])
    assert float(jnp.max(jnp.abs(first[1]))) == 0.0


def test_a_dead_channel_tells_the_decoder_nothing():
    """At -100 dB with the same noise, the images received from two different sources are the same."""
    point = Point(jnp.int32(2), AWGN, jnp.asarray(1e10, jnp.float32))
    codec = nnx.merge(GRAPH, STATE)
    run = jax.jit(lambda images: ujscc.transmit(codec, images, KEY, LINK, point).images)
    np.testing.assert_array_equal(run(IMAGES[:8]), run(IMAGES[8:16]))
    alive = Point(jnp.int32(2), AWGN, jnp.asarray(1e-3, jnp.float32))
    run = jax.jit(lambda images: ujscc.transmit(codec, images, KEY, LINK, alive).images)
    assert float(jnp.max(jnp.abs(run(IMAGES[:8]) - run(IMAGES[8:16])))) > 1e-3


def test_training_reaches_encoder_codebook_and_decoder_and_only_the_orders_asked_for():
    codec = ujscc.build(CONFIG)
    graph, params, rest = nnx.split(codec, nnx.Param, ...)

    @functools.partial(jax.jit, static_argnames="rows")
    def gradient(params, rows):
        def value(params):
            return ujscc.loss(rows)(nnx.merge(graph, params, rest, copy=True), IMAGES[:10], KEY)[0]

        return jax.grad(value)(params)

    for rows in ((2,), (0, 1, 2, 3, 4)):
        grads = gradient(params, rows)
        for part in ("encoder", "decoder"):
            assert float(jnp.max(jnp.abs(grads[part]["blocks"][0]["first"]["conv"]["kernel"][...]))) > 0
        moved = np.max(np.abs(np.asarray(grads["quantizer"]["codewords"][...])), axis=(1, 2)) > 0
        np.testing.assert_array_equal(np.flatnonzero(moved), rows)


def air(monkeypatch, received):
    """What training sends from now on: arguments of the link, and the indices that it hands back in their place."""
    sent = []
    monkeypatch.setattr(per_order, "send_labels", lambda *given: (sent.append(given), received(given[2]))[1])
    return sent


def test_the_training_loss_is_the_mean_over_orders_of_logarithms_and_the_terms_of_the_codebook(monkeypatch):
    """By hand, over what was detected; image i is sent on order i mod the number of orders, in the order asked for."""
    rows, images = (3, 1), IMAGES[:4] * jnp.asarray([1.0, 0.3, 1.0, 0.3])[:, None, None, None]
    sent = air(monkeypatch, lambda indices: jnp.roll(indices, 1, axis=-1))
    value, log = ujscc.loss(rows)(nnx.merge(GRAPH, STATE, copy=True), images, KEY)
    np.testing.assert_array_equal(sent[0][3].num_bits_per_symbol[:, 0], [6, 2, 6, 2])
    row = jnp.asarray([3, 1, 3, 1])
    codec = nnx.merge(GRAPH, STATE, copy=True)
    found = codec.quantise(images, row, train=True)
    np.testing.assert_array_equal(sent[0][2], found.indices)
    heard = codec.quantizer.lookup(jnp.roll(found.indices, 1, axis=-1), row)
    squares = np.mean((codec.picture(heard, row, train=True) - images) ** 2, axis=(1, 2, 3))
    of_order = np.asarray([squares[::2].mean(), squares[1::2].mean()], float)
    terms = (
        0.25 * np.mean(found.commitment) + np.mean(found.codebook) + 0.5 * np.mean(found.imbalance[row[:2]])
    )
    np.testing.assert_allclose(value, np.log(of_order).mean() + terms, rtol=1e-5)
    np.testing.assert_allclose(log["psnr"], -10 * np.log10(of_order), rtol=1e-5)
    assert abs(np.log(of_order).mean() - np.log(of_order.mean())) > 1e-4  # there is something to tell apart
    assert min(float(found.imbalance[3]), float(found.imbalance[1])) > 1e-3


def test_no_gradient_of_the_training_loss_passes_through_the_detection_error(monkeypatch):
    """A codeword that is only ever heard has none, those that were sent have one."""
    row = jnp.full(1, 4)
    codec = nnx.merge(GRAPH, STATE, copy=True)
    used = np.unique(nnx.clone(codec).quantise(IMAGES[:1], row, train=True).indices)
    (heard, *_) = set(range(256)) - set(used.tolist())
    air(monkeypatch, lambda indices: jnp.full_like(indices, heard))
    _, params, rest = nnx.split(codec, nnx.Param, ...)

    def value(params):
        live = nnx.merge(GRAPH, params, rest, copy=True)
        return ujscc.loss((4,), balance=0.0)(live, IMAGES[:1], KEY)[0]

    gradient = np.asarray(jax.jit(jax.grad(value))(params)["quantizer"]["codewords"][...])[4]
    assert np.any(gradient[used]) and not np.any(gradient[heard])


def test_unknown_orders_are_refused():
    with pytest.raises(ValueError, match=r"unknown modulation of ujscc 'psk8'.*Choices: bpsk, qpsk, .*auto"):
        ujscc.SYSTEM.order("psk8")
    with pytest.raises(ValueError, match="unknown modulation to train 'auto'"):
        ujscc.SYSTEM.loss(("auto",))
