"""Laws of DeepJSCC: the power it spends, the size it has, the gradients it gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import DeepJSCC, DeepJSCCConfig

TINY = DeepJSCCConfig(image_size=8, channels=4)


@functools.cache
def codec() -> DeepJSCC:
    return nnx.jit(lambda: DeepJSCC(TINY, rngs=nnx.Rngs(0)))()  # one compilation instead of one a layer


def images(batch: int = 6) -> jax.Array:
    return jax.random.uniform(jax.random.key(1), (batch, 8, 8, 3))


@jax.jit
def encode(codec: DeepJSCC, image: jax.Array) -> jax.Array:
    return codec.encode(image)


@jax.jit
def decode(codec: DeepJSCC, symbols: jax.Array) -> jax.Array:
    return codec.decode(symbols)


def test_parameter_oracle() -> None:
    """156,249 at c = 8: 156,243 in the convolutions, 5 slopes of the encoder, 1 shared by the decoder."""
    params = nnx.state(nnx.eval_shape(lambda: DeepJSCC(DeepJSCCConfig(), rngs=nnx.Rngs(0))), nnx.Param)
    sizes = {path: leaf.size for path, leaf in nnx.to_flat_state(params)}
    slopes = [size for path, size in sizes.items() if path[-1] == "negative_slope"]
    assert slopes == [1] * 6
    assert sum(sizes.values()) == 156_249


@pytest.mark.parametrize(
    ("channels", "symbols", "uses_per_sample"), [(4, 256, 1 / 12), (8, 512, 1 / 6), (16, 1024, 1 / 3)]
)
def test_bandwidth_ratio(channels: int, symbols: int, uses_per_sample: float) -> None:
    config = DeepJSCCConfig(channels=channels)
    assert config.num_symbols == symbols
    assert config.num_symbols / (3 * config.image_size**2) == pytest.approx(uses_per_sample)


def test_every_image_spends_unit_energy() -> None:
    """Also a dark one and a black one, whose latent is zero while the biases are."""
    image = images().at[0].set(0.0).at[1].multiply(1e-6)
    symbols = np.asarray(encode(codec(), image))
    assert symbols.shape == (6, TINY.num_symbols) and symbols.dtype == np.complex64
    np.testing.assert_allclose(np.mean(np.abs(symbols.astype(np.complex128)) ** 2, -1), 1, rtol=1e-6)
    np.testing.assert_array_equal(symbols[0], 1)


def test_symbols_carry_no_scale() -> None:
    """The latent at half or thrice the size gives the same symbols: nothing of the scale is left to know."""
    graph, state = nnx.split(codec())
    expected = encode(codec(), images())
    for factor in (0.5, 3.0):
        scaled = nnx.merge(graph, state, copy=True)
        scaled.encoder.convs[-1].kernel[...] *= factor
        np.testing.assert_allclose(encode(scaled, images()), expected, atol=1e-5)


def test_each_image_is_its_own_problem() -> None:
    symbols = encode(codec(), images())
    output = np.asarray(decode(codec(), symbols))
    assert output.shape == (6, 8, 8, 3)
    assert output.min() >= 0 and output.max() <= 1
    for sample in (0, 5):
        other = jnp.flip(images(), axis=1).at[sample].set(images()[sample])
        alone = encode(codec(), other)
        np.testing.assert_allclose(alone[sample], symbols[sample], atol=1e-6)
        np.testing.assert_allclose(decode(codec(), alone)[sample], output[sample], atol=1e-6)


def test_decoder_reads_both_quadratures() -> None:
    symbols = encode(codec(), images())
    output = decode(codec(), symbols)
    for other in (jnp.conj(symbols), -jnp.conj(symbols)):
        assert float(jnp.mean((decode(codec(), other) - output) ** 2)) > 1e-6


def test_layers_mirror_each_other() -> None:
    """A transposed convolution is the adjoint of its convolution: <y, conv x> = <conv* y, x>, so nothing is shifted."""

    @jax.jit
    def products(codec: DeepJSCC, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        conv, deconv = codec.encoder.convs[1], codec.decoder.deconvs[-2]
        deconv.kernel[...] = jnp.flip(conv.kernel[...], axis=(0, 1)).transpose(0, 1, 3, 2)
        return jnp.vdot(y, conv(x)), jnp.vdot(deconv(y), x)  # fresh biases are zero

    key_x, key_y = jax.random.split(jax.random.key(3))
    forward, backward = products(
        nnx.clone(codec()), jax.random.normal(key_x, (1, 8, 8, 16)), jax.random.normal(key_y, (1, 4, 4, 32))
    )
    np.testing.assert_allclose(forward, backward, rtol=1e-4)


def test_gradients_are_finite_and_reach_every_layer() -> None:
    """Over a noisy line; an all-black image alone gives finite ones too."""
    graph, params = nnx.split(codec())
    noise = 0.3 * jax.random.normal(jax.random.key(2), (6, TINY.num_symbols), jnp.complex64)

    @jax.jit
    @jax.grad
    def gradient(params, image):
        live = nnx.merge(graph, params, copy=True)
        return jnp.mean((live.decode(live.encode(image) + noise) - image) ** 2)

    for leaf in jax.tree.leaves(gradient(params, images())):
        assert np.all(np.isfinite(leaf)) and np.any(np.asarray(leaf) != 0)
    black = gradient(params, jnp.zeros_like(images()))
    for leaf in jax.tree.leaves(black):
        assert np.all(np.isfinite(leaf))
    assert any(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(black)), "the decoder still learns"


def test_no_gradient_along_the_scale() -> None:
    """Power is fixed, so the pull on the last layer is orthogonal to its weights (its bias is zero at the start)."""
    graph, params = nnx.split(codec())
    target = jax.random.normal(jax.random.key(4), (6, TINY.num_symbols), jnp.complex64)

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sum(jnp.abs(nnx.merge(graph, params, copy=True).encode(images()) - target) ** 2)

    path = ("encoder", "convs", 4, "kernel")
    pull, kernel = (dict(nnx.to_flat_state(state))[path][...] for state in (gradient(params), params))
    cosine = jnp.vdot(pull, kernel) / (jnp.linalg.norm(pull.ravel()) * jnp.linalg.norm(kernel.ravel()))
    assert abs(float(cosine)) < 1e-5


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="image_size must be a positive multiple of 4; got 30"):
        DeepJSCCConfig(image_size=30)
    with pytest.raises(ValueError, match="channels must be at least 1 complex map; got 0"):
        DeepJSCCConfig(channels=0)
    with pytest.raises(ValueError, match=r"takes images of 8 x 8 x 3; got \(16, 16, 3\)"):
        codec().encode(jnp.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match="takes 16 symbols an image; got 64"):
        codec().decode(jnp.zeros((1, 64), jnp.complex64))
