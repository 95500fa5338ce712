"""A codec of indices around nets that know nothing of it: its numbers, its orders, its gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import Indexed, IndexedConfig, ResidualConfig
from models.residual import ResidualDecoder, ResidualEncoder

NET = ResidualConfig(size=8, blocks=1, channels=4, height=8, width=8)
CONFIG = IndexedConfig(NET, (2, 16), (1, 2), (2.0, 16.0))
IMAGES = jax.random.uniform(jax.random.key(1), (4, 8, 8, 3))
ROWS = jnp.array([0, 1, 1, 0])


@functools.cache
def codec() -> Indexed:
    def build() -> Indexed:
        rngs = nnx.Rngs(0)
        return Indexed(CONFIG, ResidualEncoder(NET, rngs=rngs), ResidualDecoder(NET, rngs=rngs), rngs=rngs)

    return nnx.jit(build)()


def test_there_is_an_index_for_every_pair_of_features() -> None:
    indices = jax.jit(codec().encode)(IMAGES, ROWS)
    assert CONFIG.num_vectors == 2 * 2 * 2 and indices.shape == (4, 8)
    assert np.asarray(indices)[np.asarray(ROWS) == 0].max() < 2 and np.asarray(indices).max() < 16


def test_the_decoder_hears_codewords_in_the_order_of_the_features() -> None:
    """Vector n of a position is its features 2n and 2n + 1; the nets are told the SNR of the order."""
    indices = jax.random.randint(jax.random.key(2), (4, 8), 0, 2)
    codewords = np.asarray(codec().quantizer.codewords[...])[np.asarray(ROWS)[:, None], indices]
    told = jnp.asarray(CONFIG.told_db)[ROWS]
    expected = codec().decoder.net(jnp.asarray(codewords.reshape(4, 2, 2, 4)), told)
    found = jax.jit(codec().decode)(indices, ROWS)
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-5)
    features = codec().encoder.net(IMAGES, told)
    vectors = codec().vectors(IMAGES, ROWS)  # fresh statistics: mean 0, variance 1
    np.testing.assert_allclose(vectors, features.reshape(4, 8, 2), rtol=2e-3, atol=1e-4)


def test_certain_posteriors_are_indices() -> None:
    indices = jax.random.randint(jax.random.key(2), (4, 8), 0, 2)
    soft = jax.nn.one_hot(indices, 16)
    hard, softly = codec().decode(indices, ROWS), codec().decode_soft(soft, ROWS)
    np.testing.assert_allclose(hard, softly, atol=1e-5)


def test_training_moves_nets_and_codebook_and_the_statistics_of_the_orders_present() -> None:
    live = nnx.clone(codec())

    def loss(live: Indexed) -> jax.Array:
        found = live.quantise(IMAGES, jnp.ones(4, jnp.int32), train=True)
        output = live.picture(found.values, jnp.ones(4, jnp.int32), train=True)
        return jnp.mean((output - IMAGES) ** 2) + jnp.mean(found.codebook)

    gradients = nnx.jit(nnx.grad(loss))(live)
    for part in (
        gradients["encoder"]["net"]["enter"],
        gradients["decoder"]["net"]["leave"],
        gradients["quantizer"],
    ):
        assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(part))
    np.testing.assert_array_equal(live.encoder.norm.updates[...], [0, 1])


def test_another_size_has_the_same_weights() -> None:
    wide = codec().adapted(height=8, width=16)
    assert wide.config.num_vectors == 16 and codec().config == CONFIG
    image = jnp.concatenate([IMAGES, IMAGES], axis=2)
    assert jax.eval_shape(wide.encode, image, ROWS).shape == (4, 16)
    with pytest.raises(ValueError, match="takes images of 8 x 8 x 3"):
        codec().encode(image, ROWS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"sizes": (2, 4, 8)}, "one size, dimension and Es/N0"), ({"dims": (1, 3)}, "pair of reals")],
)
def test_refusals(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IndexedConfig(NET, **{"sizes": (2, 16), "dims": (1, 2), "told_db": (0.0, 1.0), **wrong})
