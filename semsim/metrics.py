"""Quality of received images, one value an image: MSE, PSNR on floats and on uint8-rounded pixels, SSIM, MS-SSIM.

Images are floats [*batch, height, width, channel] in [0, 1]; whole numbers, such as pixels of a file, are a ValueError.
All but `mse` clamp both images to [0, 1] first, as a display does, and pool all channels. Everything runs under jit, vmap
and grad in float32.
"""

from __future__ import annotations

import math
from typing import Any

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

# PSNR of identical images would be infinite and poison every mean: it stops at 100 dB, a mean squared error of 1e-10.
PSNR_CAP_DB = 100.0
WINDOW, SIGMA = 11, 1.5
# Wang, Simoncelli and Bovik, "Multiscale structural similarity", Asilomar 2003: exponents of levels 1 to 5.
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1, _C2 = 0.01**2, 0.03**2


def mse(x: Float[Array, "*b h w c"], y: Float[Array, "*b h w c"]) -> Float[Array, "*b"]:
    """Mean squared error of each image over pixels and channels, not clamped."""
    _check_shapes(x, y)
    return jnp.mean(jnp.square(x - y), axis=(-3, -2, -1))


def psnr(
    x: Float[Array, "*b h w c"], y: Float[Array, "*b h w c"], size: Int[Array, "*b 2"] | None = None
) -> Float[Array, "*b"]:
    """Peak signal-to-noise ratio of each image in dB: 10 log10(1 / mse), at most `PSNR_CAP_DB`.

    size: height and width of what counts of each image, from its top left corner; None: all.
    The mean over images of this is the mean of the PSNRs, not the PSNR of the mean error. Zero gradient beyond the cap.
    """
    _check_shapes(x, y)
    floor = 10.0 ** (-PSNR_CAP_DB / 10.0)
    if size is None:
        error = mse(_clamp(x), _clamp(y))
    else:
        _check_shapes(x, y)
        error = _mean_within(jnp.square(_clamp(x) - _clamp(y)), size)
    return -10.0 * jnp.log10(jnp.maximum(error, floor))


def psnr_uint8(x: Float[Array, "*b h w c"], y: Float[Array, "*b h w c"]) -> Float[Array, "*b"]:
    """`psnr` after rounding both images to 256 levels, as a file of the reconstruction would have it. No gradient."""
    _check_shapes(x, y)
    return psnr(jnp.round(_clamp(x) * 255.0) / 255.0, jnp.round(_clamp(y) * 255.0) / 255.0)


def ssim(
    x: Float[Array, "*b h w c"], y: Float[Array, "*b h w c"], size: Int[Array, "*b 2"] | None = None
) -> Float[Array, "*b"]:
    """Structural similarity of each image in [-1, 1]: dm-pix, 11-tap Gaussian window of sigma 1.5, no padding.

    size: height and width of what counts of each image, as in `psnr`: windows that lie in it.
    Mean over pixels and channels; constants 0.01 and 0.03 at range 1 (Wang et al., IEEE Trans. Image Process. 13(4), 2004).
    Raises ValueError for images smaller than the window.
    """
    _check_shapes(x, y)
    _check_room(x.shape, 1, WINDOW, "valid")
    *batch, height, width, channels = x.shape

    def blur(z: Any) -> Array:
        # Matrices of 11 diagonals instead of dm-pix's convolutions: the same sums, ten times faster on a CPU.
        return _blur(z, WINDOW, "valid")

    flat = (-1, height, width, channels)
    value = dm_pix.ssim(
        _clamp(x).reshape(flat), _clamp(y).reshape(flat), filter_size=WINDOW, filter_fn=blur,
        return_map=size is not None,
    )  # fmt: skip
    if size is None:
        return jnp.reshape(value, tuple(batch))
    each = jnp.asarray(value).reshape(*batch, height - WINDOW + 1, width - WINDOW + 1, channels)
    return _mean_within(each, size - WINDOW + 1)


def ms_ssim(
    x: Float[Array, "*b h w c"],
    y: Float[Array, "*b h w c"],
    *,
    levels: int,
    window: int = WINDOW,
    padding: str = "valid",
) -> Float[Array, "*b"]:
    """Multi-scale SSIM of each image in [0, 1]; `-10 log10(1 - v)` gives it in dB. State levels, window and padding with it.

    levels: 1 to 5; level L sees the image halved L - 1 times by 2x2 means (an odd last row or column is dropped), and the
        first L of the published exponents, scaled to sum to 1, so that five levels are the standard and one is SSIM.
    window: odd number of taps of the Gaussian of sigma 1.5. padding: `"valid"` keeps whole windows, which a 32x32 image
        can do for two levels at 11 taps and three at 7; `"reflect"` mirrors the image at its edges.
    Negative structure terms count as 0. Raises ValueError when the image has no room for that.
    """
    _check_shapes(x, y)
    if not 1 <= levels <= len(_EXPONENTS):
        raise ValueError(f"levels must be 1 to {len(_EXPONENTS)}; got {levels}")
    if window < 3 or window % 2 == 0:
        raise ValueError(f"window must be an odd number of taps, 3 or more; got {window}")
    if padding not in ("valid", "reflect"):
        raise ValueError(f"padding must be 'valid' or 'reflect'; got {padding!r}")
    _check_room(x.shape, levels, window, padding)
    exponents = np.array(_EXPONENTS[:levels]) / sum(_EXPONENTS[:levels])
    a, b = _clamp(x), _clamp(y)
    per_channel = jnp.ones((*x.shape[:-3], x.shape[-1]), x.dtype)
    for level, exponent in enumerate(exponents, start=1):
        luminance, structure = _terms(a, b, window, padding)
        term = jnp.mean(luminance * structure if level == levels else structure, axis=(-3, -2))
        # The floor keeps the gradient of a fractional power finite at 0; its value is far below rounding.
        per_channel = per_channel * jnp.power(jnp.maximum(term, 1e-12), float(exponent))
        a, b = _halve(a), _halve(b)  # XLA drops the last, unused one
    return jnp.mean(per_channel, axis=-1)


def _terms(a: Array, b: Array, window: int, padding: str) -> tuple[Array, Array]:
    """Luminance and contrast-structure maps of SSIM."""
    mean_a, mean_b = _blur(a, window, padding), _blur(b, window, padding)
    var_a = _blur(a * a, window, padding) - mean_a * mean_a
    var_b = _blur(b * b, window, padding) - mean_b * mean_b
    cov = _blur(a * b, window, padding) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    return luminance, (2 * cov + _C2) / (var_a + var_b + _C2)


def _blur(z: Array, window: int, padding: str) -> Array:
    """Separable Gaussian blur over height and width."""
    rows, columns = (jnp.asarray(_blur_matrix(n, window, padding), z.dtype) for n in z.shape[-3:-1])
    precision = jax.lax.Precision.HIGHEST  # variances are differences of blurs
    z = jnp.einsum("ph,...hwc->...pwc", rows, z, precision=precision)
    return jnp.einsum("qw,...pwc->...pqc", columns, z, precision=precision)


def _blur_matrix(size: int, window: int, padding: str) -> np.ndarray:
    """[outputs, size]: each row holds the taps of one output; mirrored positions add up in their pixel."""
    taps = np.exp(-0.5 * ((np.arange(window) - window // 2) / SIGMA) ** 2)
    taps /= taps.sum()
    half = window // 2
    centres = np.arange(size) if padding == "reflect" else np.arange(half, size - half)
    matrix = np.zeros((len(centres), size))
    for row, centre in enumerate(centres):
        for tap, position in zip(taps, range(centre - half, centre + half + 1), strict=True):
            mirrored = (
                -position if position < 0 else 2 * (size - 1) - position if position >= size else position
            )
            matrix[row, mirrored] += tap
    return matrix


def _halve(z: Array) -> Array:
    height, width = z.shape[-3] // 2 * 2, z.shape[-2] // 2 * 2
    z = z[..., :height, :width, :]
    return (z[..., 0::2, 0::2, :] + z[..., 1::2, 0::2, :] + z[..., 0::2, 1::2, :] + z[..., 1::2, 1::2, :]) / 4


def _mean_within(values: Float[Array, "*b h w c"], size: Int[Array, "*b 2"]) -> Float[Array, "*b"]:
    """Mean over the first `size` rows and columns of each image, and over channels."""
    rows, columns = (
        jax.lax.broadcasted_iota(size.dtype, (*size.shape[:-1], length), size.ndim - 1)
        < size[..., axis, None]
        for axis, length in enumerate(values.shape[-3:-1])
    )
    inside = rows[..., :, None] & columns[..., None, :]
    total = jnp.sum(jnp.where(inside[..., None], values, 0.0), axis=(-3, -2, -1))
    return total / (size[..., 0] * size[..., 1] * values.shape[-1])


def _clamp(x: Array) -> Array:
    return jnp.clip(x, 0.0, 1.0)


def _check_shapes(x: Array, y: Array) -> None:
    if x.shape != y.shape or len(x.shape) < 3:
        raise ValueError(
            f"two image arrays [*batch, height, width, channel] of one shape needed; got {x.shape} and {y.shape}"
        )
    for image in (x, y):  # clipped to [0, 1], pixels of 0 to 255 would be black and white
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise ValueError(
                f"images must be floats in [0, 1]; got {image.dtype}: make them so (semsim.data.as_float)"
            )


def _check_room(shape: tuple[int, ...], levels: int, window: int, padding: str) -> None:
    smallest = min(shape[-3], shape[-2]) // 2 ** (levels - 1)
    needed = window if padding == "valid" else window // 2 + 1
    if smallest < needed:
        fits = min(shape[-3], shape[-2]) // needed
        most = max(0, int(math.log2(fits)) + 1) if fits else 0
        raise ValueError(
            f"{shape[-3]}x{shape[-2]} pixels leave {smallest} at level {levels}, but a window of {window} taps needs "
            f"{needed} ({padding} padding): at most {most} levels fit, or a smaller window"
        )
