"""Laws of the switched layers: an order sees its own samples and moves its own numbers, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate

from models import ConvNorm, ResidualBlock, SwitchableBatchNorm, depth_to_space, space_to_depth

ROWS, CHANNELS = 4, 3
ROW = jnp.array([2, 0, 2, 3, 2, 0])  # row 1 is absent; the others have 3, 2 and 1 samples


def images(seed: int = 0, batch: int = len(ROW), channels: int = CHANNELS) -> jax.Array:
    """Samples of unlike mean and spread, so that a norm over the wrong samples shows."""
    key_x, key_mean, key_scale = jax.random.split(jax.random.key(seed), 3)
    mean = jax.random.normal(key_mean, (batch, 1, 1, channels))
    scale = jax.random.uniform(key_scale, (batch, 1, 1, channels), minval=0.5, maxval=2.0)
    return mean + scale * jax.random.normal(key_x, (batch, 6, 5, channels))


def norm(momentum: float = 0.9) -> SwitchableBatchNorm:
    """A norm whose rows all differ, in weights and in statistics, after 0, 4, 12 and 30 batches."""
    layer = SwitchableBatchNorm(CHANNELS, ROWS, momentum=momentum)
    keys = jax.random.split(jax.random.key(9), 4)
    for key, variable in zip(keys, (layer.scale, layer.bias, layer.mean, layer.var), strict=True):
        variable[...] = jax.random.uniform(key, (ROWS, CHANNELS), minval=0.5, maxval=1.5)
    layer.updates[...] = jnp.array([0.0, 4.0, 12.0, 30.0])
    return layer


@nnx.jit
def train(layer, x: jax.Array, row: jax.Array) -> jax.Array:
    return layer(x, row, train=True)


@nnx.jit
def evaluate(layer, x: jax.Array, row: jax.Array) -> jax.Array:
    return layer(x, row)


@pytest.mark.parametrize("far", [1.0, 100.0])
def test_training_step_against_float64(far: float) -> None:
    """Batch renormalisation (Ioffe 2017, algorithm 1) row by row: statistics, value, gradient; limits 3 and 5 when `far`."""
    layer, x = norm(), far * images()
    cotangent = np.asarray(images(1), np.float64)
    old = {
        name: np.asarray(getattr(layer, name)[...], np.float64)
        for name in ("scale", "bias", "mean", "var", "updates")
    }

    @jax.jit
    def run(x):
        def value(x):
            live = norm()
            y = live(x, ROW, train=True)
            return jnp.sum(jnp.asarray(cotangent, jnp.float32) * y), (
                y,
                live.mean[...],
                live.var[...],
                live.updates[...],
            )

        return jax.grad(value, has_aux=True)(x)

    gradient, (y, new_mean, new_var, updates) = jax.tree.map(np.asarray, run(x))
    sample = np.asarray(x, np.float64)
    clipped = False
    for row in np.unique(ROW):
        own = np.asarray(ROW) == row
        mean, var = sample[own].mean((0, 1, 2)), sample[own].var((0, 1, 2))
        step = max(0.1, 1 / (old["updates"][row] + 1))  # the first batches are averaged evenly
        running_mean = old["mean"][row] + step * (mean - old["mean"][row])
        running_var = old["var"][row] + step * (var - old["var"][row])
        np.testing.assert_allclose(new_mean[row], running_mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(new_var[row], running_var, rtol=1e-4)
        assert updates[row] == old["updates"][row] + 1
        spread, running = np.sqrt(var + layer.epsilon), np.sqrt(running_var + layer.epsilon)
        ratio, offset = spread / running, (mean - running_mean) / running
        clipped |= bool(np.any(ratio > 3))
        ratio, offset = np.clip(ratio, 1 / 3, 3), np.clip(offset, -5, 5)
        standard = (sample[own] - mean) / spread
        expected = (standard * ratio + offset) * old["scale"][row] + old["bias"][row]
        np.testing.assert_allclose(y[own], expected, rtol=1e-4, atol=2e-4)
        pull = cotangent[own] * old["scale"][row] * ratio
        back = pull - pull.mean((0, 1, 2)) - standard * (pull * standard).mean((0, 1, 2))
        np.testing.assert_allclose(gradient[own], back / spread, rtol=1e-3, atol=1e-4)
    assert clipped == (far > 1)


def test_a_training_step_answers_as_evaluation_would() -> None:
    """Inside the limits the value is that of the statistics after the step, which is what will be evaluated."""
    layer, x = norm(), images()
    np.testing.assert_allclose(train(layer, x, ROW), evaluate(layer, x, ROW), atol=2e-5)


def test_the_first_batch_is_plain_batch_normalisation() -> None:
    layer, x = SwitchableBatchNorm(CHANNELS, ROWS), images()
    y = np.asarray(train(layer, x, ROW))
    for row in np.unique(ROW):
        own = np.asarray(x, np.float64)[np.asarray(ROW) == row]
        mean, var = own.mean((0, 1, 2)), own.var((0, 1, 2))
        np.testing.assert_allclose(
            y[np.asarray(ROW) == row], (own - mean) / np.sqrt(var + layer.epsilon), atol=2e-5
        )
        np.testing.assert_allclose(layer.mean[...][row], mean, atol=1e-5)
        np.testing.assert_allclose(layer.var[...][row], var, rtol=1e-4)


def test_evaluation_uses_and_keeps_the_running_statistics() -> None:
    layer, x = norm(), images()
    before = [np.asarray(v[...]) for v in (layer.mean, layer.var)]
    y = evaluate(layer, x, ROW)
    mean, var, scale, bias = (
        np.asarray(v[...], np.float64)[np.asarray(ROW)][:, None, None, :]
        for v in (layer.mean, layer.var, layer.scale, layer.bias)
    )
    np.testing.assert_allclose(
        y, (np.asarray(x) - mean) / np.sqrt(var + layer.epsilon) * scale + bias, atol=1e-5
    )
    np.testing.assert_array_equal([layer.mean[...], layer.var[...]], before)


@pytest.mark.parametrize("row", [0, 3])
def test_a_step_on_one_row_leaves_the_others_bit_identical(row: int) -> None:
    layer, x = norm(), images()
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    target = jax.random.normal(jax.random.key(5), x.shape)

    @jax.jit
    def step(params, rest):
        def loss(params):
            live = nnx.merge(graph, params, rest, copy=True)
            error = live(x, jnp.full(len(ROW), row), train=True) - target
            return jnp.mean(error**2), nnx.state(live, nnx.BatchStat)

        return jax.grad(loss, has_aux=True)(params)

    grads, moved = step(params, rest)
    others = np.arange(ROWS) != row
    for name in ("scale", "bias"):
        gradient = np.asarray(grads[name][...])
        assert np.all(gradient[others] == 0) and np.all(gradient[row] != 0), name
    for name in ("mean", "var", "updates"):
        old, new = np.asarray(rest[name][...]), np.asarray(moved[name][...])
        np.testing.assert_array_equal(new[others], old[others])
        assert np.all(new[row] != old[row]), name


def test_a_mixed_batch_is_its_orders_one_at_a_time() -> None:
    """Statistics, output and the gradient that reaches the input, in training."""
    x, target = images(), images(1)

    @jax.jit
    def run(x, row, target):
        def loss(x):
            y = norm()(x, row, train=True)
            return jnp.sum((y - target) ** 2), y

        gradient, y = jax.grad(loss, has_aux=True)(x)
        return y, gradient

    mixed = run(x, ROW, target)
    for row in np.unique(ROW):
        own = np.asarray(ROW) == row
        for together, alone in zip(mixed, run(x[own], ROW[own], target[own]), strict=True):
            np.testing.assert_allclose(np.asarray(together)[own], alone, atol=2e-5, rtol=1e-4)


def test_without_affine_the_output_is_standard_and_nothing_is_trainable() -> None:
    layer, x = SwitchableBatchNorm(CHANNELS, ROWS, affine=False), 3 * images()
    assert not jax.tree.leaves(nnx.state(layer, nnx.Param))
    y = np.asarray(train(layer, x, ROW))
    for row in np.unique(ROW):
        own = y[np.asarray(ROW) == row]
        np.testing.assert_allclose(own.mean((0, 1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(own.var((0, 1, 2)), 1, atol=2e-3)  # epsilon 1e-3 under the root


def test_a_constant_input_has_a_finite_gradient() -> None:
    """No variance: the first output is the bias, and the rows without samples bring no NaN."""

    @jax.jit
    def run(x):
        def loss(x):
            y = SwitchableBatchNorm(CHANNELS, ROWS)(x, ROW, train=True)
            return jnp.sum(y[..., 0]), y

        return jax.grad(loss, has_aux=True)(x)

    gradient, y = run(jnp.full((len(ROW), 6, 5, CHANNELS), 0.25))
    np.testing.assert_allclose(y, 0, atol=1e-5)
    assert np.all(np.isfinite(gradient))


def test_one_trace_serves_all_rows_in_blocks_too() -> None:
    traces = []
    block = ResidualBlock(CHANNELS, ROWS, rngs=nnx.Rngs(0))
    block.second.norm.bias[...] = jax.random.normal(jax.random.key(4), (ROWS, CHANNELS))
    graph, state = nnx.split(block)

    @jax.jit
    def run(state, x, row):
        traces.append(None)
        return nnx.merge(graph, state)(x, row)

    x = images()
    outputs = [np.asarray(run(state, x, jnp.full(len(ROW), row, ROW.dtype))) for row in range(ROWS)]
    mixed = np.asarray(run(state, x, ROW))
    assert len(traces) == 1
    for sample, row in enumerate(np.asarray(ROW)):
        np.testing.assert_allclose(mixed[sample], outputs[row][sample], atol=1e-5)
    assert not np.allclose(outputs[0], outputs[1], atol=0.1)


def test_residual_block_adds_to_its_input() -> None:
    block = ResidualBlock(CHANNELS, ROWS, rngs=nnx.Rngs(0))
    block.second.norm.scale[...] = jnp.zeros((ROWS, CHANNELS))
    x = images()
    np.testing.assert_array_equal(evaluate(block, x, ROW), np.maximum(x, 0))


def test_conv_norm_is_its_convolution_under_the_norm() -> None:
    """Against SciPy's correlation in float64, zero padded to the same size."""
    layer, x = ConvNorm(CHANNELS, 2, 3, ROWS, rngs=nnx.Rngs(1)), images()
    kernel = np.asarray(layer.conv.kernel[...], np.float64)  # [3, 3, in, out]
    y = evaluate(layer, x, ROW) * np.sqrt(1 + layer.norm.epsilon)  # fresh statistics: mean 0, variance 1
    maps = [
        sum(correlate(np.asarray(x[0, :, :, i]), kernel[:, :, i, o], "same") for i in range(CHANNELS))
        for o in range(2)
    ]
    np.testing.assert_allclose(y[0], np.stack(maps, -1), atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_space_and_depth_are_inverse(factor: int) -> None:
    x = jnp.arange(2 * 8 * 12 * 3.0).reshape(2, 8, 12, 3)
    deep = space_to_depth(x, factor)
    assert deep.shape == (2, 8 // factor, 12 // factor, 3 * factor**2)
    np.testing.assert_array_equal(depth_to_space(deep, factor), x)
    np.testing.assert_array_equal(space_to_depth(depth_to_space(deep, factor), factor), deep)
    square = np.asarray(x)[0, factor : 2 * factor, :factor]  # second square from the top, first from the left
    np.testing.assert_array_equal(deep[0, 1, 0], square.reshape(-1))
