"""What all analogue codecs share: which maps are sent, at which power, and that nothing else reaches the decoder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import ResidualConfig, ResidualJSCC, some_maps
from models.residual import GatedBlock

CONFIG = ResidualConfig(size=8, blocks=1, channels=8, height=8, width=8)
IMAGES = jax.random.uniform(jax.random.key(1), (3, 8, 8, 3))


@functools.cache
def codec(choice: str = "first", sent: int | None = None) -> ResidualJSCC:
    made = nnx.jit(lambda: ResidualJSCC(CONFIG, rngs=nnx.Rngs(0)))()
    return made.adapted(choice=choice, sent=sent)


@functools.cache
def maps() -> np.ndarray:
    made = codec()
    return np.asarray(jax.jit(lambda: made.maps(IMAGES, 5.0))())


def test_the_maps_of_most_energy_are_sent_and_come_back_to_their_place() -> None:
    energy = np.sum(np.abs(maps()) ** 2, axis=(1, 2))
    expected = np.sort(np.argsort(-energy, axis=-1)[:, :2], axis=-1)
    sparse = codec("energy", 4)
    chosen = sparse.chosen(jnp.asarray(maps()))
    assert chosen is not None
    np.testing.assert_array_equal(chosen, expected)
    symbols = sparse.symbols(jnp.asarray(maps()), chosen)
    np.testing.assert_allclose(np.mean(np.abs(symbols) ** 2, axis=-1), 1, rtol=1e-5)
    placed = np.zeros_like(maps())
    for image, which in enumerate(expected):
        placed[image][..., which] = np.asarray(symbols[image]).reshape(2, 2, 2)
    found = jax.jit(sparse.decode)(symbols, 5.0, chosen)
    np.testing.assert_allclose(found, jax.jit(codec().picture)(jnp.asarray(placed), 5.0), atol=1e-5)


@pytest.mark.parametrize("choice", ["first", "energy"])
def test_a_rate_that_is_data_is_the_rate_of_a_plan(choice: str) -> None:
    found, speaks = some_maps(jnp.asarray(maps()), jnp.array([1, 2, 4]), choice)
    for image, sent in enumerate((1, 2, 4)):
        alone = codec(choice, 2 * sent)
        chosen = alone.chosen(jnp.asarray(maps()))
        which = np.arange(sent) if chosen is None else np.asarray(chosen[image])
        assert set(np.flatnonzero(np.ravel(speaks[image]))) == set(which)
        expected = alone.symbols(jnp.asarray(maps()), chosen)[image].reshape(2, 2, sent)
        np.testing.assert_allclose(found[image][..., which], expected, atol=1e-5)
        assert not np.asarray(found[image] * (1 - speaks[image])).any()


def test_a_choice_that_follows_from_the_image_is_asked_for() -> None:
    with pytest.raises(ValueError, match="give the choice"):
        codec("energy", 4).decode(jnp.ones((1, 8), jnp.complex64))


def test_the_strong_net_is_as_large_as_its_layers() -> None:
    """Convolutions 48 -> 8 -> 8, a block of two with its gate, linear paths; written out."""
    block = 2 * (9 * 64 + 8) + 1 + (9 * 2 + 2) + (2 * 8 + 8)
    encoder = (9 * 48 * 8 + 8) + block + (9 * 8 * 8 + 8) + (48 * 8 + 8)
    decoder = (9 * 8 * 8 + 8) + block + (9 * 8 * 48 + 48) + (8 * 48 + 48)
    params = nnx.state(codec(), nnx.Param)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == encoder + decoder


def test_the_gate_hears_the_snr() -> None:
    """A block begins as the identity; once its second convolution is not zero, the Es/N0 changes what it adds."""
    block = GatedBlock(4, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(2), (2, 3, 3, 4))
    np.testing.assert_array_equal(block(x, jnp.zeros(2)), x)
    block.second.kernel[...] = jax.random.normal(jax.random.key(3), block.second.kernel.shape)
    low, high = (block(x, jnp.full(2, snr)) - x for snr in (0.0, 20.0))
    assert np.abs(np.asarray(low - high)).max() > 1e-3
    ratio = np.asarray(high / low)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1], ratio.shape), rtol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 7}, "even number"),
        ({"sent": 10}, "of 8 channels an even number from 2 on can be sent; got 10"),
        ({"size": 0}, "at least 1"),
        ({"choice": "best"}, "first ones or by energy"),
        ({"height": 10}, "10 x 8 is not made of patches of 4 x 4"),
    ],
)
def test_refusals(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec().adapted(**wrong)
