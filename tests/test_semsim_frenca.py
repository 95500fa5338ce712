"""FRENCA: what is frozen, what is taken over, and that both users hear the same."""

import functools
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from channels import no_fading
from models import Broadcast, BroadcastConfig, SwinConfig, attention_macs
from models.swin import BASE, SMALL, SwinDecoder
from semsim import train_system as training
from semsim.checkpoint import named_arrays
from semsim.info import count_macs
from semsim.link import Link
from semsim.systems import SYSTEMS, Point, frenca

NET = SwinConfig((8, 16), (1, 2), (2, 4), 2, channels=4, mod_layers=1, linear_path=True, height=8, width=8)
CONFIG = BroadcastConfig(NET, ((1, 2), (1, 1)))
IMAGES = jax.random.uniform(jax.random.key(1), (4, 8, 8, 3))
KEY = jax.random.key(2)


@functools.cache
def codec(config: BroadcastConfig = CONFIG) -> Broadcast:
    return nnx.jit(lambda: frenca.build(config))()


def test_the_second_stage_moves_the_small_decoder_only(tmp_path, monkeypatch):
    pixels = np.random.default_rng(3).integers(0, 256, (12, 8, 8, 3), np.uint8)
    monkeypatch.setattr(training.data_sets, "training_images", lambda name, side: pixels)
    system = replace(SYSTEMS["frenca"], sizes=(("tiny", CONFIG),))
    recipe = replace(frenca.RECIPES.cpu, steps=5, batch=4, warmup=1, log_every=2)
    lines: list[dict] = []
    weights = training.train_system(system, "x", recipe, tmp_path / "run", report=lines.append)
    first, second = (
        named_arrays(system.load(tmp_path / "run" / part / "weights.safetensors"))
        for part in ("1-large", "2-small")
    )
    moved = {name for name in first if not np.array_equal(first[name], second[name])}
    assert moved and all(name.startswith("decoders.1.") for name in moved)
    begun = named_arrays(system.fresh(None, recipe.seed))
    still = {name for name in first if np.array_equal(first[name], begun[name])}
    assert {name.split(".")[1] for name in still if name.startswith("decoders")} == {"1"}
    assert not any(name.startswith("encoder.stages") for name in still)
    for name, array in named_arrays(system.load(weights)).items():
        np.testing.assert_array_equal(array, second[name])
    assert {line.get("stage") for line in lines} == {"large", "small"}
    with pytest.raises(ValueError, match="already holds a training run"):
        training.train_system(system, "x", recipe, tmp_path / "run")
    training.train_system(system, "x", recipe, tmp_path / "run", resume=True)  # nothing left to do


def test_the_small_decoder_takes_over_what_fits_and_nothing_else():
    """Of a stage with fewer blocks all of them, of the large one the blocks of the same number."""
    live = nnx.clone(codec())
    names = frenca._transferred(live)
    large, small = named_arrays(live.decoders[0]), named_arrays(live.decoders[1])
    assert set(names) == set(small)
    for name in names:
        np.testing.assert_array_equal(small[name], large[name])
    assert set(large) - set(small) == {name for name in large if name.startswith("stages.0.1.")}


def test_equal_decoders_have_nothing_to_distil():
    """Both hear the same symbols, so what one makes of them is what the other makes of them."""
    twin = nnx.clone(codec(BroadcastConfig(NET, ((1, 1), (1, 1)))))
    frenca._transferred(twin)
    value = nnx.jit(lambda live, weight: frenca.distilled(weight)(live, IMAGES, KEY)[0], static_argnums=1)
    np.testing.assert_allclose(value(twin, 0.5), value(twin, 0.0), rtol=1e-6)
    apart = codec()
    assert float(value(apart, 0.5)) > float(value(apart, 0.0))


def test_distillation_leaves_encoder_and_teacher_without_a_gradient_of_the_teachers_image():
    def difference(live):
        return frenca.distilled(0.5)(live, IMAGES, KEY)[0]

    gradients = nnx.jit(nnx.grad(difference))(codec())
    teacher, student = (jax.tree.leaves(gradients["decoders"][user]) for user in (0, 1))
    assert not any(np.any(leaf) for leaf in teacher) and any(np.any(leaf) for leaf in student)


class Fixed:
    """Stands for a broadcast codec whose users make out given images; remembers what its ends were told."""

    def __init__(self, *images: jax.Array):
        self.images, self.told = images, []

    def encode(self, images: jax.Array, esno_db: float) -> jax.Array:
        self.sender = esno_db
        return jnp.ones((len(images), 2), jnp.complex64)

    def user(self, number: int) -> SimpleNamespace:
        return SimpleNamespace(decode=functools.partial(self.decode, user=number))

    def decode(self, symbols: jax.Array, told: jax.Array, user: int) -> jax.Array:
        self.told.append(told)
        return jax.lax.switch(user, [lambda image=image: image for image in self.images])


@pytest.mark.parametrize(
    ("method", "weight", "taken_over"),
    [("frenca", 0.5, True), ("transfer", 0.0, True), ("distil", 0.5, False), ("plain", 0.0, False)],
)
def test_each_method_learns_what_it_says(method, weight, taken_over):
    """ln(MSE + 0.5 x squared distance to the large user's image), mean over images: its value, and its gradient to the small
    user's image alone."""
    first, second = SYSTEMS["frenca"].stages(method)
    assert first.share + second.share == pytest.approx(1) and first.loss is frenca.together
    assert (first.prepare, second.prepare is not None) == (None, taken_over)
    large, small = (jax.random.uniform(jax.random.key(number), IMAGES.shape) for number in (4, 5))

    def loss(large, small):
        return second.loss(Fixed(large, small), IMAGES, KEY)[0]

    def by_hand(small):
        error = jnp.mean((small - IMAGES) ** 2 + weight * (small - large) ** 2, axis=(1, 2, 3))
        return jnp.mean(jnp.log(error + 1e-5))

    value, (to_large, to_small) = jax.value_and_grad(loss, argnums=(0, 1))(large, small)
    expected, slope = jax.value_and_grad(by_hand)(small)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(to_small, slope, rtol=1e-5)
    assert not np.any(to_large)


def test_methods_and_users_take_turns_in_training():
    """All by a coin, or one stage; both users are trained, on what both hear."""
    (both,) = SYSTEMS["frenca"].stages("iterative")
    assert both.share == 1 and both.loss is frenca.taking_turns
    large, small = IMAGES + 0.1, IMAGES + 0.3
    values = [float(both.loss(Fixed(large, small), IMAGES, jax.random.key(seed))[0]) for seed in range(8)]
    assert {round(value, 3) for value in values} == {
        round(float(np.log(error**2 + 1e-5)), 3) for error in (0.1, 0.3)
    }


def test_methods_train_at_four_snrs_and_tell_the_sender_their_mean(monkeypatch):
    noise, images = [], jnp.zeros((400, 2, 2, 3))
    send = frenca.send_symbols
    monkeypatch.setattr(frenca, "send_symbols", lambda *sent: (noise.append(sent[4]), send(*sent))[1])
    codec = Fixed(images + 0.1, images)
    frenca.together(codec, images, KEY)
    (told,) = codec.told
    np.testing.assert_allclose(noise[0], 10 ** (-np.asarray(told) / 10), rtol=1e-5)
    values, counts = np.unique(told, return_counts=True)
    np.testing.assert_array_equal(values, [1, 3, 5, 7])
    assert np.all(np.abs(counts - 100) < 4 * np.sqrt(400 * 0.25 * 0.75))
    assert codec.sender == np.mean(values)


def test_a_user_is_a_row_and_hears_what_the_other_hears():
    told = jnp.full(4, 5.0)
    symbols = jax.jit(codec().encode)(IMAGES, told)
    for number, name in enumerate(frenca.USERS):
        expected = jax.jit(codec().user(number).decode)(symbols, told)
        found = jax.jit(codec().decode)(symbols, told, jnp.int32(frenca.order(name)))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        point = Point(jnp.int32(number), no_fading(), jnp.float32(1e-12))
        clear = frenca.transmit(codec(), IMAGES, KEY, Link(), point).images
        sent = codec().encode(IMAGES, frenca.BROADCAST_DB)  # whatever this user's channel is like
        at_120 = jax.jit(codec().user(number).decode)(sent, jnp.full(4, 120.0))
        np.testing.assert_allclose(clear, np.clip(at_120, 0, 1), atol=1e-4)


def test_published_decoders_have_their_size_and_price():
    """SwinJSCC's base and small decoder at C = 96; at 256 x 256 the small one takes 19.5 % fewer multiplications."""
    sizes, prices = [], []
    for config in (BASE, SMALL):
        net = nnx.eval_shape(lambda config=config: SwinDecoder(config, rngs=nnx.Rngs(0)))
        graph, state = nnx.split(net)
        sizes.append(sum(leaf.size for leaf in jax.tree.leaves(state)))
        features = jax.ShapeDtypeStruct((1, 16, 16, 96), jnp.float32)
        told = jax.ShapeDtypeStruct((1,), jnp.float32)
        prices.append(
            count_macs(lambda s, x, t, graph=graph: nnx.merge(graph, s)(x, t), state, features, told)
        )
    assert sizes == [9_167_512, 6_001_272]
    assert round(prices[0] / 1e9, 2) == 17.21 and round(prices[1] / 1e9, 2) == 13.85
    assert round(100 * (prices[1] / prices[0] - 1), 1) == -19.5
    block = attention_macs(1024, 256, 8) + 8 * 1024 * 256**2  # four of them at 32 x 32 tokens
    assert prices[0] - prices[1] == 4 * block


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: frenca.order("large"), "unknown user of frenca"),
        (lambda: SYSTEMS["frenca"].stages("kd"), "unknown method of frenca"),
        (lambda: SYSTEMS["stsc"].stages("frenca"), "one way of training: leave method out"),
        (lambda: SYSTEMS["frenca"].loss(("qpsk",)), "leave orders out"),
        (lambda: BroadcastConfig(NET, ()), "at least one user"),
        (lambda: BroadcastConfig(NET, ((1,),)), "one width, depth"),
        (lambda: BroadcastConfig(replace(NET, choice="energy"), ((1, 1),)), "sends the first maps"),
        (lambda: codec().adapted(height=10), "not made of patches"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
