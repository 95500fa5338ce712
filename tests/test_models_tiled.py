"""Large images as tiles of a small codec's size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import UJSCC, DeepJSCC, DeepJSCCConfig, Tiled, UJSCCConfig
from models.tiled import cut, join

SMALL = UJSCCConfig(image_size=8, sizes=(2, 4), dims=(1, 2), width=8, encoder_blocks=1, decoder_blocks=1)


def images(count: int, height: int, width: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).uniform(size=(count, height, width, 3)), jnp.float32)


def test_tiles_are_cut_row_by_row_and_joined_again():
    tiled = Tiled(UJSCC(SMALL, rngs=nnx.Rngs(0)), 16, 24)
    x = images(2, 16, 24)
    tiles = cut(x, tiled.config)
    assert tiles.shape == (12, 8, 8, 3)
    np.testing.assert_array_equal(tiles[4], x[0, 8:, 8:16])
    np.testing.assert_array_equal(join(tiles, tiled.config), x)


def test_each_tile_is_an_image_of_its_own():
    codec = UJSCC(SMALL, rngs=nnx.Rngs(0))
    tiled, x, rows = Tiled(codec, 16, 24), images(2, 16, 24), jnp.asarray([0, 1])
    sent = tiled.encode(x, rows)
    assert sent.shape == (2, tiled.config.num_vectors) == (2, 6 * 16)
    np.testing.assert_array_equal(sent[1, 16:32], codec.encode(x[1:, :8, 8:16], rows[1:])[0])
    received = tiled.decode(sent, rows)
    np.testing.assert_allclose(received[1, 8:, :8], codec.decode(sent[1:, 48:64], rows[1:])[0], atol=1e-6)
    posterior = jax.nn.one_hot(sent, 4)
    np.testing.assert_allclose(tiled.decode_soft(posterior, rows), received, atol=1e-5)


def test_symbols_have_unit_energy_in_every_tile():
    codec = DeepJSCC(DeepJSCCConfig(image_size=8, channels=2), rngs=nnx.Rngs(0))
    tiled = Tiled(codec, 8, 24)
    sent = tiled.encode(images(2, 8, 24))
    assert sent.shape == (2, tiled.config.num_symbols)
    np.testing.assert_allclose(jnp.mean(jnp.abs(sent.reshape(2, 3, -1)) ** 2, axis=-1), 1, rtol=1e-5)
    assert tiled.decode(sent).shape == (2, 8, 24, 3)


@pytest.mark.parametrize(
    ("size", "message"), [((12, 16), "height must be .* multiple of 8"), ((8, 0), "width must")]
)
def test_impossible_sizes(size, message):
    with pytest.raises(ValueError, match=message):
        Tiled(UJSCC(SMALL, rngs=nnx.Rngs(0)), *size)


def test_another_image_size_is_refused():
    with pytest.raises(ValueError, match="images of 16 x 24; got 16 x 16"):
        Tiled(UJSCC(SMALL, rngs=nnx.Rngs(0)), 16, 24).encode(images(1, 16, 16), jnp.asarray([0]))
