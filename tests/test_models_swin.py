"""The Swin codec: its published size, the power it spends, any image size, and what the ModNet may touch."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import Swin, SwinConfig, some_maps
from models.swin import BASE, CIFAR, LARGE, MOD_LAYERS, SMALL, ModNet

TINY = SwinConfig((8, 16), (1, 2), (2, 4), 2, channels=6, height=8, width=8)


@functools.cache
def codec(config: SwinConfig = TINY) -> Swin:
    return nnx.jit(lambda: Swin(config, rngs=nnx.Rngs(0)))()


@nnx.jit
def encode(codec: Swin, image: jax.Array, esno_db: jax.Array | float = 0.0) -> jax.Array:
    return codec.encode(image, esno_db)


def images(height: int = 8, width: int = 8, batch: int = 3) -> jax.Array:
    return jax.random.uniform(jax.random.key(1), (batch, height, width, 3))


def size(module: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.mark.parametrize(
    ("config", "encoder", "decoder", "adaptive"),
    [
        (CIFAR, 3_698_440, 3_697_768, 13_715_056),
        (SMALL, 6_004_632, 6_001_272, 21_870_544),
        (BASE, 9_170_872, 9_167_512, 28_203_024),
        (LARGE, 18_669_592, 18_666_232, 47_200_464),
    ],
)
def test_sizes_are_those_of_the_published_classes(
    config: SwinConfig, encoder: int, decoder: int, adaptive: int
) -> None:
    """SwinJSCC instantiated by its authors' code, with and without ModNet."""
    told = nnx.eval_shape(lambda: Swin(replace(config, mod_layers=MOD_LAYERS), rngs=nnx.Rngs(0)))
    assert size(told) == adaptive
    sides = [size(side) - size(side.modnet) for side in (told.encoder, told.decoder)]
    assert sides == [encoder, decoder]


def test_sizes_at_every_published_rate_and_of_the_modnet() -> None:
    published = {8: 7_383_896, 16: 7_388_000, 24: 7_392_104, 32: 7_396_208, 48: 7_404_416}
    for channels, expected in published.items():
        config = replace(CIFAR, channels=channels)
        assert size(nnx.eval_shape(lambda config=config: Swin(config, rngs=nnx.Rngs(0)))) == expected
        assert config.num_symbols / 3072 == pytest.approx(channels / 96)
    assert size(nnx.eval_shape(lambda: ModNet(256, 7, rngs=nnx.Rngs(0)))) == 3_159_424


@pytest.mark.parametrize(("height", "width", "sent"), [(16, 24, 6), (4, 4, 2)])
def test_any_size_and_rate_go_through_one_set_of_weights(height: int, width: int, sent: int) -> None:
    image = images(height, width)
    other = codec().adapted(height=height, width=width, sent=sent)
    symbols = encode(other, image)
    assert symbols.shape == (3, height * width // 16 * sent // 2) and symbols.dtype == jnp.complex64
    np.testing.assert_allclose(np.mean(np.abs(np.asarray(symbols)) ** 2, -1), 1, rtol=1e-5)
    assert jax.eval_shape(other.decode, symbols).shape == image.shape
    assert codec().config == TINY


def test_a_rate_that_is_data_sends_what_a_rate_of_the_plan_sends() -> None:
    maps = jax.jit(codec().maps)(images())
    symbols, speaks = some_maps(maps, jnp.array([1, 2, 3]))
    for which, sent in enumerate((2, 4, 6)):
        alone = encode(codec().adapted(sent=sent), images())[which].reshape(2, 2, -1)
        np.testing.assert_allclose(symbols[which, ..., : sent // 2], alone, atol=1e-5)
        assert not np.asarray(symbols[which, ..., sent // 2 :]).any()
        np.testing.assert_array_equal(np.ravel(speaks[which]), np.arange(3) < sent // 2)
        padded = jnp.pad(alone[None], ((0, 0), (0, 0), (0, 0), (0, 3 - sent // 2)))
        expected = codec().picture(padded, 3.0)
        found = codec().adapted(sent=sent).decode(alone.reshape(1, -1), 3.0)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_image_does_not_depend_on_its_batch() -> None:
    """Not even by its power, which others normalise over the batch."""
    image = images()
    alone, together = (encode(codec(), part)[0] for part in (image[:1], image.at[1:].multiply(0.01)))
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_the_modnet_reads_the_snr_and_takes_no_gradient_of_the_features() -> None:
    adaptive = codec(replace(TINY, mod_layers=2))
    low, high = (encode(adaptive, images(), jnp.full(3, snr)) for snr in (0.0, 13.0))
    assert np.abs(np.asarray(low - high)).max() > 1e-4
    np.testing.assert_array_equal(encode(codec(), images(), 0.0), encode(codec(), images(), 13.0))
    # x * gate(x), the gate held constant: the derivative is the gate itself.
    net = ModNet(4, 2, rngs=nnx.Rngs(3))
    x = jax.random.normal(jax.random.key(4), (1, 1, 1, 4))
    scaled = jax.jit(lambda x: net(x, jnp.array([5.0])))
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(scaled(x))))(x)
    np.testing.assert_allclose(gradient, scaled(x) / x, atol=1e-6)


def test_every_weight_learns() -> None:
    adaptive = codec(replace(TINY, mod_layers=2, linear_path=True))

    def loss(codec: Swin) -> jax.Array:
        return jnp.mean((codec.decode(codec.encode(images(), 7.0), 7.0) - images()) ** 2)

    gradients = nnx.jit(nnx.grad(loss))(adaptive)
    for path, leaf in nnx.to_flat_state(gradients):
        assert np.isfinite(leaf[...]).all() and np.abs(np.asarray(leaf[...])).max() > 0, path


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: SwinConfig((8,), (1, 2), (2,)), "one width, depth and number of heads"),
        (lambda: SwinConfig(channels=7), "even number"),
        (lambda: SwinConfig(window=0), "at least 1"),
        (lambda: SwinConfig(sent=34), "of 32 channels an even number"),
        (lambda: SwinConfig(mod_layers=-1), "number of gates"),
        (lambda: codec().adapted(height=10), "10 x 8 is not made of patches of 4 x 4"),
        (lambda: replace(SMALL, height=192, width=192), "do not divide a grid"),
        (lambda: codec().decode(jnp.zeros((1, 11), jnp.complex64)), "takes 12 symbols an image; got 11"),
        (lambda: codec().encode(images(8, 12)), "takes images of 8 x 8 x 3"),
    ],
)
def test_refusals(wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
