"""Window attention: a double-precision oracle, who sees whom, what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from models.windows import (
    WindowAttention,
    attention_macs,
    fitting_window,
    from_windows,
    relative_positions,
    shift_mask,
    to_windows,
)


def attention(window=4, shift=2, channels=8, heads=2, seed=0):
    layer = WindowAttention(channels, heads, window, shift, rngs=nnx.Rngs(seed))
    layer.bias[...] = 3 * jax.random.normal(jax.random.key(seed + 1), layer.bias.shape)  # so that it matters
    return layer


def oracle(layer, x, window, shift):
    """Every token by itself: the tokens of its window on the infinite plane, each with the bias of its distance."""
    height, width, channels = x.shape
    weights = [
        np.asarray(part[...], np.float64)
        for part in (layer.qkv.kernel, layer.qkv.bias, layer.out.kernel, layer.out.bias)
    ]
    table = np.asarray(layer.bias[...], np.float64)
    q, k, v = np.split(x.astype(np.float64) @ weights[0] + weights[1], 3, axis=-1)
    found = np.zeros_like(q)
    cells = [(i, j) for i in range(height) for j in range(width)]
    of = {(i, j): ((i - shift) // window, (j - shift) // window) for i, j in cells}
    depth = channels // layer.heads
    for i, j in cells:
        near = [cell for cell in cells if of[cell] == of[i, j]]
        for head in range(layer.heads):
            part = slice(head * depth, (head + 1) * depth)
            logits = [
                q[i, j, part] @ k[a, b, part] / np.sqrt(depth)
                + table[(i - a + layer.window - 1) * (2 * layer.window - 1) + j - b + layer.window - 1, head]
                for a, b in near
            ]
            found[i, j, part] = softmax(logits) @ np.array([v[a, b, part] for a, b in near])
    return found @ weights[2] + weights[3]


@pytest.mark.parametrize(("grid", "shift"), [((8, 8), 0), ((8, 8), 2), ((8, 12), 1), ((12, 8), 3)])
def test_double_precision_oracle(grid, shift):
    layer = attention(shift=shift)
    x = np.random.default_rng(0).standard_normal((2, *grid, 8)).astype(np.float32)
    found = np.asarray(layer(jnp.asarray(x)))
    for image, expected in zip(x, found, strict=True):
        np.testing.assert_allclose(expected, oracle(layer, image, 4, shift), atol=2e-5)


def test_a_grid_no_larger_than_the_window_is_one_window():
    layer = attention()
    x = np.random.default_rng(1).standard_normal((1, 4, 4, 8)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(layer(jnp.asarray(x)))[0], oracle(layer, x[0], 4, 0), atol=2e-5)
    small = np.random.default_rng(2).standard_normal((1, 2, 4, 8)).astype(np.float32)
    np.testing.assert_allclose(
        np.asarray(layer(jnp.asarray(small)))[0], oracle(layer, small[0], 2, 0), atol=2e-5
    )


@pytest.mark.parametrize("shift", [0, 2])
def test_nothing_passes_between_windows(shift):
    """The gradient of a token with respect to another is zero exactly unless they share a window of the unwrapped plane."""
    layer = attention(shift=shift)
    x = jax.random.normal(jax.random.key(5), (8, 8, 8))
    jacobian = jax.jacrev(lambda x: layer(x[None])[0].sum(-1))(x)  # [h, w, h, w, c]
    seen = np.abs(np.asarray(jacobian)).max(-1) > 0
    side = (np.arange(8) - shift) // 4
    same = (side[:, None, None, None] == side[None, None, :, None]) & (
        side[None, :, None, None] == side[None, None, None, :]
    )
    np.testing.assert_array_equal(seen, same)


def test_windows_come_back():
    x = jnp.arange(2 * 6 * 9 * 2).reshape(2, 6, 9, 2)
    windows = to_windows(x, 3)
    np.testing.assert_array_equal(windows[0, 1, :, 0].reshape(3, 3), x[0, :3, 3:6, 0])
    np.testing.assert_array_equal(from_windows(windows, 6, 9), x)


def test_positions_and_masks_are_symmetric():
    positions = relative_positions(3, 4)
    assert positions.max() < 49 and (positions + positions.T == 48).all()
    mask = shift_mask(8, 12, 4, 2)
    assert mask.shape == (6, 16, 16) and (mask == mask.swapaxes(1, 2)).all() and mask[0].all()
    assert [int(window.sum()) for window in mask[[2, 5]]] == [128, 64]


def test_cost_is_what_xla_counts():
    """Within a hundredth at growing grids, but for the softmax, which is no multiply-accumulate of ours."""
    layer, flops, macs = attention(channels=64, heads=4, shift=0), [], []
    for side in (8, 16, 32):
        x = jax.ShapeDtypeStruct((1, side, side, 64), jnp.float32)
        cost = jax.jit(lambda x: layer(x)).lower(x).cost_analysis()
        flops.append(cost["flops"])
        macs.append(attention_macs(side * side, 64, 4))
    np.testing.assert_allclose(np.array(flops) / flops[0], [1, 4, 16], rtol=1e-2)
    np.testing.assert_allclose(np.array(flops), 2 * np.array(macs), rtol=0.06)


def test_refusals():
    with pytest.raises(ValueError, match="8 channels do not divide among 3 heads"):
        WindowAttention(8, 3, 4, 0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="4 x 4 do not divide a grid of 6 x 8"):
        fitting_window((6, 8), 4, 2)
    with pytest.raises(ValueError, match="do not divide"):
        attention()(jnp.zeros((1, 6, 8, 8)))
