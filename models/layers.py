"""Layers that serve several modulation orders with one set of weights.

Letters: B batch, H and W grid, C channels, R rows (one row per modulation order).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int


class SwitchableBatchNorm(nnx.Module):
    """Batch normalisation with one affine row and one statistics row per modulation order.

    uJSCC shares every weight between the orders; what differs between them is the statistics of the layer outputs,
    and this is the part that is kept apart (Huh, Seo, Choi, arXiv 2405.10749; "a separate batch-norm set per order").
    The order is a traced index *per sample*, so one batch may mix orders and one program serves them all.

    A mixed batch holds few images of each order, and their statistics are noisy. Training therefore uses batch
    renormalisation (Ioffe, arXiv 1702.03275): the value is normalised with the running statistics, as in evaluation,
    while the gradient is that of batch normalisation. Correction limits: factor 3, shift 5.

    Laws: a sample is normalised only with samples of its own row; a row that no sample of the batch uses keeps its
    statistics bit for bit, and receives no gradient. Adds 2 R C trainable numbers and 2 R C + R statistics; without
    `affine` the outputs have mean 0 and variance 1, and nothing is trainable.
    """

    def __init__(
        self, channels: int, rows: int, *, affine: bool = True, momentum: float = 0.9, epsilon: float = 1e-3
    ):
        kind = nnx.Param if affine else nnx.BatchStat
        self.scale = kind(jnp.ones((rows, channels)))
        self.bias = kind(jnp.zeros((rows, channels)))
        self.mean = nnx.BatchStat(jnp.zeros((rows, channels)))
        self.var = nnx.BatchStat(jnp.ones((rows, channels)))
        self.updates = nnx.BatchStat(jnp.zeros((rows,)))  # batches seen: the first ones are averaged evenly
        self.momentum = momentum
        self.epsilon = epsilon

    def __call__(
        self, x: Float[Array, "b h w c"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """Normalises sample b with row `row[b]`; `train` moves the statistics of the rows present first."""
        if train:
            factor, shift = self._renormalise(x, row)
        else:
            factor = jax.lax.rsqrt(self.var[...] + self.epsilon)
            shift = -self.mean[...] * factor
        gain = self.scale[...] * factor
        shift = self.bias[...] + self.scale[...] * shift
        return x * gain[row][:, None, None, :] + shift[row][:, None, None, :]

    def _renormalise(self, x, row):
        rows = self.mean.shape[0]
        member = jax.nn.one_hot(row, rows, dtype=x.dtype)  # [b, r]
        count = jnp.sum(member, axis=0)[:, None]
        share = member / jnp.maximum(count, 1).T  # columns of the rows present sum to one
        # HIGHEST: the variance is a difference, which the rounded products of an accelerator would not survive.
        mean = jnp.matmul(share.T, jnp.mean(x, axis=(1, 2)), precision=jax.lax.Precision.HIGHEST)
        square = jnp.matmul(share.T, jnp.mean(x**2, axis=(1, 2)), precision=jax.lax.Precision.HIGHEST)
        var = jnp.maximum(square - mean**2, 0.0)
        self._move(jax.lax.stop_gradient(mean), jax.lax.stop_gradient(var), count > 0)
        spread, running = jnp.sqrt(var + self.epsilon), jnp.sqrt(self.var[...] + self.epsilon)
        ratio = jnp.clip(jax.lax.stop_gradient(spread / running), 1 / 3, 3.0)
        offset = jnp.clip(jax.lax.stop_gradient((mean - self.mean[...]) / running), -5.0, 5.0)
        return ratio / spread, offset - mean * ratio / spread

    def _move(self, mean, var, present):
        updates = self.updates[...]
        step = jnp.maximum(1 - self.momentum, 1 / (updates + 1))[:, None]
        self.mean[...] = jnp.where(present, self.mean[...] + step * (mean - self.mean[...]), self.mean[...])
        self.var[...] = jnp.where(present, self.var[...] + step * (var - self.var[...]), self.var[...])
        self.updates[...] = jnp.where(present[:, 0], updates + 1, updates)


class ConvNorm(nnx.Module):
    """Convolution followed by the order's batch normalisation; the bias lives in the normalisation."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, rows: int, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(
            channels_in,
            channels_out,
            (kernel, kernel),
            padding="SAME",
            use_bias=False,
            rngs=rngs,
        )
        self.norm = SwitchableBatchNorm(channels_out, rows)

    def __call__(
        self, x: Float[Array, "b h w c"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b hh ww cc"]:
        return self.norm(self.conv(x), row, train=train)


class ResidualBlock(nnx.Module):
    """x + norm(conv(relu(norm(conv(x))))), then ReLU: two 3x3 convolutions at constant width."""

    def __init__(self, channels: int, rows: int, *, rngs: nnx.Rngs):
        self.first = ConvNorm(channels, channels, 3, rows, rngs=rngs)
        self.second = ConvNorm(channels, channels, 3, rows, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b h w c"], row: Int[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        hidden = nnx.relu(self.first(x, row, train=train))
        return nnx.relu(x + self.second(hidden, row, train=train))


def whole_units(height: int, width: int, unit: int) -> tuple[int, int]:
    """The least multiples of `unit`, from these on."""
    return -(-height // unit) * unit, -(-width // unit) * unit


def space_to_depth(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b hh ww cc"]:
    """Each factor x factor square becomes one position with factor^2 times the channels."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // factor, w // factor, factor * factor * c)


def depth_to_space(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b hh ww cc"]:
    """The inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * factor, w * factor, c // factor**2)
