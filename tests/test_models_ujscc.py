"""Laws of the uJSCC codec: one network for all orders, what an order owns, and that it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import UJSCC, UJSCCConfig
from models.ujscc import OUTPUT_GAIN

ORDERS = 5
TINY = UJSCCConfig(image_size=8, width=16, encoder_blocks=1, decoder_blocks=1)
ROW = jnp.arange(10) % ORDERS


def images(seed: int = 0, batch: int = len(ROW), size: int = TINY.image_size) -> jax.Array:
    """A gradient of random slope and colour in each image, and noise on it."""
    key_slope, key_mean, key_noise = jax.random.split(jax.random.key(seed), 3)
    slope = jax.random.uniform(key_slope, (batch, 1, 1, 3), minval=-0.5, maxval=0.5)
    mean = jax.random.uniform(key_mean, (batch, 1, 1, 3), minval=0.3, maxval=0.7)
    ramp = jnp.linspace(-1, 1, size)[None, :, None, None] * slope
    noise = 0.02 * jax.random.normal(key_noise, (batch, size, size, 3))
    return jnp.clip(mean + ramp + noise, 0, 1)


@functools.cache
def codec() -> UJSCC:
    return nnx.jit(lambda: UJSCC(TINY, rngs=nnx.Rngs(0)))()  # one compilation instead of one a layer


@jax.jit
def encode(codec: UJSCC, image: jax.Array, row: jax.Array) -> jax.Array:
    return codec.encode(image, row)


@jax.jit
def decode(codec: UJSCC, indices: jax.Array, row: jax.Array) -> jax.Array:
    return codec.decode(indices, row)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@functools.cache
def parameters(config: UJSCCConfig) -> nnx.State:
    return nnx.state(nnx.eval_shape(lambda: UJSCC(config, rngs=nnx.Rngs(0))), nnx.Param)


def formula(config: UJSCCConfig) -> int:
    """Counted from the layer table by hand: convolutions, then normalised channels, then codebooks."""
    width, code, rows = config.width, 4 * max(config.dims), len(config.sizes)
    block = 2 * 9 * width**2
    encoder = 9 * 48 * width + config.encoder_blocks * block + width * code + 48 * code
    decoder = 9 * code * width + config.decoder_blocks * block + 9 * width * 48 + 48 + 9 * code * 48
    channels = (
        2 + 2 * config.encoder_blocks + 2 * config.decoder_blocks
    ) * width  # the vectors' norm is not affine
    return encoder + decoder + 2 * rows * channels + rows * max(config.sizes) * max(config.dims)


@pytest.mark.parametrize("config", [UJSCCConfig(), TINY, UJSCCConfig(sizes=(2, 16), dims=(1, 4), width=24)])
def test_parameter_count(config: UJSCCConfig) -> None:
    assert count(parameters(config)) == formula(config)


def test_an_order_costs_little() -> None:
    """Four more rows of normalisation: 0.77 % on top of one order's network ("small", about 1 % at a million weights)."""
    one = count(parameters(UJSCCConfig(sizes=(256,), dims=(2,)))) - 256 * 2
    five = count(parameters(UJSCCConfig())) - ORDERS * 256 * 2
    assert five - one == 4 * 2 * 12 * 128
    assert 0.005 < (five - one) / one < 0.015


def test_indices_are_in_the_range_of_their_order() -> None:
    indices = np.asarray(encode(codec(), images(), ROW))
    assert indices.shape == (len(ROW), TINY.num_vectors) and TINY.num_vectors == 16
    assert np.all(indices >= 0) and np.all(indices < np.asarray(TINY.sizes)[np.asarray(ROW)][:, None])
    for order in range(ORDERS):
        assert len(np.unique(indices[np.asarray(ROW) == order])) > 1


def test_an_image_does_not_know_its_batch() -> None:
    image = images()
    together = encode(codec(), image, ROW)
    decoded = decode(codec(), together, ROW)
    for sample in range(ORDERS):
        one = slice(sample, sample + 1)
        # Another neighbourhood of the same size: all others replaced and shifted to other orders.
        other = images(1).at[one].set(image[one])
        row = ((ROW + 1) % ORDERS).at[sample].set(ROW[sample])
        alone = encode(codec(), other, row)
        np.testing.assert_array_equal(alone[one], together[one])
        np.testing.assert_allclose(decode(codec(), alone, row)[one], decoded[one], atol=1e-6)


def test_images_come_out_in_range_and_depend_on_what_was_sent() -> None:
    key = jax.random.key(2)
    indices = jax.random.randint(key, (len(ROW), TINY.num_vectors), 0, 2)
    image = np.asarray(decode(codec(), indices, ROW))
    assert image.shape == (len(ROW), 8, 8, 3)
    assert image.min() >= 0 and image.max() <= 1
    other = np.asarray(decode(codec(), indices.at[0, 0].set(1 - indices[0, 0]), ROW))
    assert np.any(other[0] != image[0])
    np.testing.assert_array_equal(other[1:], image[1:])


def test_an_index_is_a_place_in_the_image() -> None:
    """Vector n is the 2 x 2 pixels at row n // 4, column n % 4: the linear path alone shows it."""
    live = nnx.clone(codec())
    kernel = jnp.zeros_like(live.decoder.linear.kernel[...])
    dim = max(TINY.dims)
    weight = np.zeros((4, dim, 4, 4, 3), np.float32)  # [place, code, pixel row, pixel column, colour]
    for place in range(4):
        top, left = 2 * (place // 2), 2 * (place % 2)
        weight[place, 0, top : top + 2, left : left + 2] = 1
    live.decoder.linear.kernel[...] = kernel.at[1, 1].set(weight.reshape(4 * dim, 48))
    live.decoder.pixels.kernel[...] = jnp.zeros_like(live.decoder.pixels.kernel[...])
    indices = jax.random.randint(jax.random.key(3), (1, 16), 0, 2)
    image = np.asarray(jax.jit(lambda live, i: live.decode(i, jnp.array([0])))(live, indices))
    sign = np.asarray(1 - 2 * indices).reshape(4, 4)
    np.testing.assert_allclose(
        image[0, :, :, 0], 0.5 + OUTPUT_GAIN * np.kron(sign, np.ones((2, 2))), atol=1e-6
    )


def test_a_certain_posterior_decodes_as_the_index_it_names() -> None:
    indices = encode(codec(), images(), ROW)
    soft = jax.jit(lambda codec, p: codec.decode_soft(p, ROW))(
        codec(), jax.nn.one_hot(indices, max(TINY.sizes))
    )
    np.testing.assert_allclose(soft, decode(codec(), indices, ROW), atol=1e-6)


def test_one_trace_serves_all_orders() -> None:
    traces = []
    graph, state = nnx.split(codec())

    @jax.jit
    def round_trip(state, image, row):
        traces.append(None)
        live = nnx.merge(graph, state)
        return live.decode(live.encode(image, row), row)

    image = images()
    outputs = [
        np.asarray(round_trip(state, image, jnp.full(len(ROW), order, ROW.dtype))) for order in range(ORDERS)
    ]
    mixed = np.asarray(round_trip(state, image, ROW))
    assert len(traces) == 1
    for sample in range(len(ROW)):
        np.testing.assert_allclose(mixed[sample], outputs[sample % ORDERS][sample], atol=1e-5)


@functools.cache
def trainer():
    """Split codec and one jitted gradient of the clean reconstruction loss; statistics come back beside it."""
    graph, params, rest = nnx.split(codec(), nnx.Param, ...)

    @jax.jit
    def gradient(params, rest, image, row):
        def loss(params):
            live = nnx.merge(graph, params, rest, copy=True)
            quantised = live.quantise(image, row, train=True)
            output = live.decoder(quantised.values, row, train=True)
            mse = jnp.mean((output - image) ** 2)
            vq = 0.25 * jnp.mean(quantised.commitment) + jnp.mean(quantised.codebook)
            return mse + 0.1 * vq, nnx.state(live, nnx.Not(nnx.Param))

        return jax.grad(loss, has_aux=True)(params)

    return graph, params, rest, gradient


@pytest.mark.parametrize("order", [0, 3])
def test_a_step_on_one_order_leaves_the_others_numbers_alone(order: int) -> None:
    """Statistics, affine rows, codebooks and usage, through the whole codec; the shared weights do move."""
    _, params, rest, gradient = trainer()
    grads, moved = gradient(params, rest, images(), jnp.full(len(ROW), order, ROW.dtype))
    others = np.arange(ORDERS) != order
    switched = 0
    for path, leaf in [*nnx.to_flat_state(grads), *nnx.to_flat_state(moved)]:
        value = np.asarray(leaf[...])
        before = np.zeros_like(value) if isinstance(leaf, nnx.Param) else np.asarray(_at(rest, path))
        if path[:2] == ("encoder", "norm") and path[-1] in ("scale", "bias"):
            np.testing.assert_array_equal(value, before, err_msg=f"{path} is a constant")
        elif path[-2] in ("norm", "quantizer"):
            switched += 1
            np.testing.assert_array_equal(value[others], before[others], err_msg=str(path))
            assert np.any(value[order] != before[order]), path
        else:
            assert np.any(value != 0), f"{path} gets no gradient"
    assert (
        switched == 5 * 6 + 3 + 2
    )  # six affine norms at this depth, the vectors' norm, codebooks and their usage


def _at(state: nnx.State, path: tuple) -> jax.Array:
    return dict(nnx.to_flat_state(state))[path][...]


def test_it_learns_ten_images() -> None:
    """Adam by hand, all orders mixed; then what is *sent* and decoded at evaluation beats the mean image by far."""
    graph, params, rest, gradient = trainer()
    image = images()

    @jax.jit
    def adam(step, params, grads, first, second):
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, second, grads)
        rate = 4e-3 * jnp.sqrt(1 - 0.99**step) / (1 - 0.9**step)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, first, second)
        return params, first, second

    first = second = jax.tree.map(jnp.zeros_like, params)
    for step in range(200):
        grads, rest = gradient(params, rest, image, (ROW + step + step // ORDERS) % ORDERS)
        params, first, second = adam(step + 1.0, params, grads, first, second)
    trained = nnx.merge(graph, params, rest)
    mean_image = float(jnp.mean((image - jnp.mean(image, axis=0, keepdims=True)) ** 2))
    mse = np.zeros(ORDERS)
    for order in range(ORDERS):
        row = jnp.full(len(ROW), order, ROW.dtype)
        mse[order] = jnp.mean((decode(trained, encode(trained, image, row), row) - image) ** 2)
    assert np.all(mse < 0.5 * mean_image), f"{mse} against {mean_image}"
    assert np.all(mse[2:] < 0.25 * mean_image), f"{mse} against {mean_image}"


@pytest.mark.parametrize("size", [0, 30, -4])
def test_image_sizes_that_make_no_grid_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size must be a positive multiple of 4; got {size}"):
        UJSCCConfig(image_size=size)


def test_codebooks_that_make_no_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="needs .* codewords in every codebook; got 16 of dimension 3"):
        UJSCC(UJSCCConfig(sizes=(2, 16), dims=(1, 3)), rngs=nnx.Rngs(0))
