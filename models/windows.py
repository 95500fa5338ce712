"""Attention within windows of a grid: what it costs grows with the number of tokens, not with its square.

Liu et al., "Swin Transformer", ICCV 2021, arXiv 2103.14030. Letters: B batch, H and W grid, C channels, N windows, M side of
a window, T = M^2 tokens of a window, K heads. Masks and positions are constants of a grid, made by NumPy and never part of
the state, so that weights of one image size serve every other.
"""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

TRUNCATED = nnx.initializers.truncated_normal(0.02)


class WindowAttention(nnx.Module):
    """Multi-head attention within windows, with a learned bias for every relative position.

    window: side M, in tokens; a grid that is not larger is one window. shift: cyclic, in tokens, so that the windows of two
    blocks overlap; tokens that the shift brings together from opposite edges do not see each other. Parameters:
    4 C^2 + 4 C + K (2 M - 1)^2.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int, *, rngs: nnx.Rngs):
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide among {heads} heads")
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nnx.Linear(channels, 3 * channels, kernel_init=TRUNCATED, rngs=rngs)
        self.out = nnx.Linear(channels, channels, kernel_init=TRUNCATED, rngs=rngs)
        self.bias = nnx.Param(TRUNCATED(rngs.params(), ((2 * window - 1) ** 2, heads), jnp.float32))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Errors: ValueError for a grid that windows do not divide."""
        height, width = x.shape[1:3]
        side, shift = fitting_window((height, width), self.window, self.shift)
        x = jnp.roll(x, (-shift, -shift), axis=(1, 2))
        tokens = to_windows(x, side)  # [b, n, t, c]
        q, k, v = jnp.split(self.qkv(tokens).reshape(*tokens.shape[:3], 3 * self.heads, -1), 3, axis=-2)
        logits = jnp.einsum("bntkd,bnskd->bnkts", q, k) * q.shape[-1] ** -0.5
        logits += jnp.moveaxis(self.bias[...][relative_positions(side, self.window)], -1, 0)[None, None]
        if shift:
            seen = shift_mask(height, width, side, shift)
            logits = jnp.where(
                seen[None, :, None], logits, -jnp.inf
            )  # a token sees itself, so no row is empty
        mixed = jnp.einsum("bnkts,bnskd->bntkd", nnx.softmax(logits), v)
        y = from_windows(self.out(mixed.reshape(tokens.shape)), height, width)
        return jnp.roll(y, (shift, shift), axis=(1, 2))


class SwinBlock(nnx.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)) with GELU. Parameters beside the attention: 8 C^2 + 9 C at ratio 4."""

    def __init__(
        self, channels: int, heads: int, window: int, shift: int, mlp_ratio: int = 4, *, rngs: nnx.Rngs
    ):
        self.norm1 = nnx.LayerNorm(channels, epsilon=1e-5, rngs=rngs)
        self.attention = WindowAttention(channels, heads, window, shift, rngs=rngs)
        self.norm2 = nnx.LayerNorm(channels, epsilon=1e-5, rngs=rngs)
        self.up = nnx.Linear(channels, mlp_ratio * channels, kernel_init=TRUNCATED, rngs=rngs)
        self.down = nnx.Linear(mlp_ratio * channels, channels, kernel_init=TRUNCATED, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        x = x + self.attention(self.norm1(x))
        return x + self.down(gelu(self.up(self.norm2(x))))


def gelu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x P(N(0, 1) < x), by erf. `jax.nn.gelu` takes erfc, which XLA computes in twice the time on a CPU; they differ by a
    rounding of x."""
    return 0.5 * x * (1 + lax.erf(x * 0.5**0.5))


def fitting_window(grid: tuple[int, int], window: int, shift: int) -> tuple[int, int]:
    """Side and shift of the windows on a grid. Errors: ValueError for a grid that windows do not divide.

    Where one side of the grid is no larger than the window, that is the side of the windows, and nothing is shifted.
    """
    if min(grid) <= window:
        window, shift = min(grid), 0
    if grid[0] % window or grid[1] % window:
        raise ValueError(
            f"windows of {window} x {window} do not divide a grid of {grid[0]} x {grid[1]}: take another image size or "
            "window"
        )
    return window, shift


def to_windows(x: Float[Array, "b h w c"], side: int) -> Float[Array, "b n t c"]:
    """Tokens of each window, row by row; windows row by row."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, -1, side * side, c)


def from_windows(x: Float[Array, "b n t c"], height: int, width: int) -> Float[Array, "b h w c"]:
    """The inverse of `to_windows`."""
    b, _, tokens, c = x.shape
    side = int(tokens**0.5)
    x = x.reshape(b, height // side, width // side, side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, height, width, c)


@functools.cache
def relative_positions(side: int, window: int) -> Int[np.ndarray, "t t"]:
    """Row of the bias table for each pair of tokens of a window; the table is that of windows of `window` x `window`."""
    place = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    apart = place[:, None] - place[None] + window - 1
    return apart[..., 0] * (2 * window - 1) + apart[..., 1]


@functools.cache
def shift_mask(height: int, width: int, side: int, shift: int) -> Bool[np.ndarray, "n t t"]:
    """Which tokens of a shifted window see each other: those that were neighbours before the cyclic shift."""

    def region(length: int) -> np.ndarray:
        return (np.arange(length) >= length - shift).astype(int)

    regions = 2 * region(height)[:, None] + region(width)[None]
    windows = np.asarray(
        regions.reshape(height // side, side, width // side, side)
        .transpose(0, 2, 1, 3)
        .reshape(-1, side * side)
    )
    return windows[:, :, None] == windows[:, None, :]


def attention_macs(tokens: int, channels: int, window: int) -> int:
    """Multiply-accumulates of one attention layer on N = `tokens`: 4 N C^2 for the projections, 2 M^2 N C within windows.

    With a window as large as the grid that is global attention. Source: section 3.2 of the paper.
    """
    return 4 * tokens * channels**2 + 2 * window**2 * tokens * channels
