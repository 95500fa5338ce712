"""Image metrics against NumPy and SciPy in float64, and by their laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from semsim import data, metrics


def pair(seed: int = 0, batch: tuple[int, ...] = (3,), size: int = 32, spread: float = 0.1):
    """Real patches where the size allows, with noise of a different strength on each image."""
    rng = np.random.default_rng(seed)
    if size == 32:
        count = int(np.prod(batch))
        x = data.load("embedded", limit=count).images.reshape(*batch, 32, 32, 3) / 255.0
    else:
        x = ndimage.gaussian_filter(rng.random((*batch, size, size, 3)), (*[0] * len(batch), 2, 2, 0))
        x = (x - x.min()) / (x.max() - x.min())
    y = x + spread * rng.random((*batch, 1, 1, 1)) * rng.normal(size=x.shape)
    return x.astype(np.float32), y.astype(np.float32)


def gaussian(window: int) -> np.ndarray:
    taps = np.exp(-0.5 * ((np.arange(window) - window // 2) / 1.5) ** 2)
    return taps / taps.sum()


def blur(z: np.ndarray, window: int, padding: str) -> np.ndarray:
    """One channel by SciPy; "mirror" does not repeat the edge pixel."""
    for axis in (0, 1):
        z = ndimage.correlate1d(z, gaussian(window), axis=axis, mode="mirror")
    half = window // 2
    return z if padding == "reflect" else z[half:-half, half:-half]


def maps(a: np.ndarray, b: np.ndarray, window: int, padding: str):
    ma, mb = blur(a, window, padding), blur(b, window, padding)
    va, vb = blur(a * a, window, padding) - ma**2, blur(b * b, window, padding) - mb**2
    cov = blur(a * b, window, padding) - ma * mb
    structure = (2 * cov + 0.03**2) / (va + vb + 0.03**2)
    return (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2) * structure, structure


def reference_ms_ssim(x, y, levels, window, padding) -> float:
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:levels]
    weights /= weights.sum()
    x, y = (np.clip(z.astype(np.float64), 0, 1) for z in (x, y))
    values = []
    for c in range(x.shape[-1]):
        a, b, value = x[..., c], y[..., c], 1.0
        for level in range(levels):
            full, structure = maps(a, b, window, padding)
            value *= max((full if level == levels - 1 else structure).mean(), 0.0) ** weights[level]
            a, b = (z[: len(z) // 2 * 2, : z.shape[1] // 2 * 2] for z in (a, b))
            a, b = (z.reshape(len(z) // 2, 2, z.shape[1] // 2, 2).mean((1, 3)) for z in (a, b))
        values.append(value)
    return float(np.mean(values))


def test_psnr_equals_numpy():
    x, y = pair()
    clipped = np.clip(y.astype(np.float64), 0, 1)
    error = np.mean((x.astype(np.float64) - clipped) ** 2, axis=(1, 2, 3))
    found = metrics.psnr(jnp.asarray(x), jnp.asarray(y))
    assert found.shape == (3,) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, -10 * np.log10(error), rtol=1e-5)
    np.testing.assert_allclose(
        metrics.mse(jnp.asarray(x), jnp.asarray(y)), np.mean((x - y) ** 2.0, axis=(1, 2, 3)), rtol=1e-5
    )


def test_psnr_uint8_is_that_of_the_saved_files():
    x, y = pair(1)
    saved = [np.round(np.clip(z, 0, 1) * 255).astype(np.uint8).astype(np.float64) for z in (x, y)]
    expected = 10 * np.log10(255**2 / np.mean((saved[0] - saved[1]) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(metrics.psnr_uint8(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-5)


def test_known_errors_have_known_psnr():
    grey = jnp.full((4, 32, 32, 3), 0.5)
    off = jnp.asarray([0.1, 0.01, 0.0, 5.0])[:, None, None, None]
    # A constant error e is -20 log10 e; identical images stop at the cap; 5.5 is clamped to 1, an error of 0.5.
    np.testing.assert_allclose(
        metrics.psnr(grey, grey + off), [20.0, 40.0, metrics.PSNR_CAP_DB, 6.0206], rtol=1e-4
    )
    # Half a level up of 8-bit grey rounds back: no difference in the files.
    np.testing.assert_allclose(metrics.psnr_uint8(grey * 0 + 100 / 255, grey * 0 + 100.4 / 255), 100.0)


@pytest.mark.parametrize("size", [32, 45])
def test_ssim_equals_scipy(size):
    x, y = pair(2, size=size)
    a, b = (np.clip(z.astype(np.float64), 0, 1) for z in (x, y))
    expected = [
        np.mean([maps(a[i, ..., c], b[i, ..., c], 11, "valid")[0] for c in range(3)]) for i in range(3)
    ]
    np.testing.assert_allclose(jax.jit(metrics.ssim)(jnp.asarray(x), jnp.asarray(y)), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("size", "levels", "window", "padding"),
    [
        (32, 1, 11, "valid"),
        (32, 2, 11, "valid"),
        (32, 3, 7, "valid"),
        (32, 3, 11, "reflect"),
        (45, 3, 5, "valid"),
        (192, 5, 11, "valid"),
    ],
)
def test_ms_ssim_equals_scipy(size, levels, window, padding):
    x, y = pair(3, batch=(2,), size=size)
    metric = jax.jit(functools.partial(metrics.ms_ssim, levels=levels, window=window, padding=padding))
    found = metric(jnp.asarray(x), jnp.asarray(y))
    expected = [reference_ms_ssim(x[i], y[i], levels, window, padding) for i in range(2)]
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_one_level_of_ms_ssim_is_ssim():
    x, y = (jnp.asarray(z) for z in pair(4, spread=0.05))
    one_level = jax.jit(functools.partial(metrics.ms_ssim, levels=1))
    np.testing.assert_allclose(one_level(x, y), jax.jit(metrics.ssim)(x, y), atol=1e-5)


METRICS = {
    "psnr": metrics.psnr,
    "psnr_uint8": metrics.psnr_uint8,
    "ssim": metrics.ssim,
    "ms_ssim": lambda x, y: metrics.ms_ssim(x, y, levels=2),
}


@pytest.mark.parametrize("name", METRICS)
def test_laws_of_every_metric(name):
    metric = jax.jit(METRICS[name])
    x, y = (jnp.asarray(z) for z in pair(5, batch=(2, 2)))
    found = metric(x, y)
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found, metric(y, x), rtol=1e-5)
    for i in range(2):  # one image at a time, alone and under vmap, is the batch
        for j in range(2):
            np.testing.assert_allclose(metric(x[i, j], y[i, j]), found[i, j], rtol=1e-4)
    np.testing.assert_allclose(jax.vmap(metric)(x, y), found, rtol=1e-4)
    best = metric(x, x)
    np.testing.assert_allclose(best, metrics.PSNR_CAP_DB if name.startswith("psnr") else 1.0, rtol=1e-5)
    assert (found < best).all()
    less = metric(x, x + (y - x) / 4)
    assert (less > found).all()
    np.testing.assert_allclose(metric(x, jnp.clip(y, 0, 1)), found, rtol=1e-6)  # clamped like a display


@pytest.mark.parametrize("name", ["psnr", "ssim", "ms_ssim"])
def test_gradients_agree_with_differences(name):
    x, y = (jnp.asarray(z) for z in pair(6, batch=()))
    y = jnp.clip(y, 0.02, 0.98)
    metric, grad = jax.jit(METRICS[name]), jax.jit(jax.grad(METRICS[name], argnums=1))
    gradient = grad(x, y)
    assert jnp.isfinite(gradient).all()
    direction = jnp.asarray(np.random.default_rng(7).normal(size=y.shape).astype(np.float32))
    step = 1e-3
    slope = (metric(x, y + step * direction) - metric(x, y - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.sum(gradient * direction), slope, rtol=2e-2, atol=2e-2)
    assert jnp.isfinite(grad(x, x)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: metrics.ssim(x[:, :8], x[:, :8]),
            "8x32 pixels leave 8 at level 1, but a window of 11 taps needs 11",
        ),
        (
            lambda x: metrics.ms_ssim(x, x, levels=3),
            r"leave 8 at level 3.*\(valid padding\): at most 2 levels fit",
        ),
        (lambda x: metrics.ms_ssim(x, x, levels=4, window=7), "at most 3 levels fit"),
        (lambda x: metrics.ms_ssim(x, x, levels=0), "levels must be 1 to 5; got 0"),
        (lambda x: metrics.ms_ssim(x, x, levels=1, window=4), "odd number of taps, 3 or more; got 4"),
        (
            lambda x: metrics.ms_ssim(x, x, levels=1, padding="zero"),
            "must be 'valid' or 'reflect'; got 'zero'",
        ),
    ],
)
def test_images_without_room_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.zeros((1, 32, 32, 3)))


def test_images_of_different_shapes_are_refused():
    # With run-time type checks on, jaxtyping's own message comes first.
    with pytest.raises(
        (ValueError, TypeError), match=r"of one shape needed; got .*\(1, 32, 32, 2\)|f32\[1,32,32,2\]"
    ):
        metrics.psnr(jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 2)))


@pytest.mark.parametrize(
    "metric",
    [
        metrics.mse,
        metrics.psnr,
        metrics.psnr_uint8,
        metrics.ssim,
        functools.partial(metrics.ms_ssim, levels=1),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, bool])
def test_pixels_of_a_file_are_refused_and_not_clipped_to_black_and_white(metric, dtype):
    """A PSNR of 22.43 came where 31.82 was right."""
    pixels = data.load("embedded", limit=1).images
    floats = data.as_float(pixels)
    for pair in ((pixels.astype(dtype), floats), (floats, pixels.astype(dtype))):
        with pytest.raises(ValueError, match=rf"floats in \[0, 1\]; got {np.dtype(dtype)}: make them so"):
            metric(*pair)
